//! One key, one task: a submitter that repeats a submission gets the first task's id. Pure.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::task::{TaskError, TaskId, TaskPayload};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// What identifies a payload: SHA-256 over its type, its data with sorted keys, and its parts.
pub type Fingerprint = [u8; 32];

/// Keys in use, by submitter.
#[derive(Default)]
pub struct Keys {
    keys: HashMap<(u32, Box<str>), (TaskId, Fingerprint)>,
}

impl Keys {
    /// The task that already holds the key, or `None`. Errors: `IdempotencyConflict` when its payload differs.
    pub fn find(&self, submitter: u32, key: &str, fingerprint: &Fingerprint) -> Result<Option<TaskId>, TaskError> {
        // The map's key owns its text; one allocation per keyed submission.
        match self.keys.get(&(submitter, key.into())) {
            None => Ok(None),
            Some((task_id, held)) if held == fingerprint => Ok(Some(*task_id)),
            Some((task_id, _)) => Err(TaskError::IdempotencyConflict { key: key.into(), existing: *task_id }),
        }
    }

    /// Gives the key to a task.
    pub fn insert(&mut self, submitter: u32, key: &str, holder: (TaskId, Fingerprint)) {
        self.keys.insert((submitter, key.into()), holder);
    }

    /// Frees the key of a forgotten task.
    pub fn remove(&mut self, submitter: u32, key: &str) {
        self.keys.remove(&(submitter, key.into()));
    }
}

/// Errors with `InvalidPayload` unless the key is 1 to [`KEY_BYTES_MAX`] visible ASCII characters.
pub fn check_key(key: &str) -> Result<(), TaskError> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(TaskError::invalid("idempotency_key", format!("expected 1 to {KEY_BYTES_MAX} visible ASCII characters")))
}

/// The fingerprint of a payload. Keys of objects are sorted; numbers count as they are written (`1` and `1.0` differ).
#[must_use]
pub fn fingerprint(payload: &TaskPayload) -> Fingerprint {
    let mut hash = Sha256::new();
    text(&mut hash, payload.task_type.name());
    value(&mut hash, &payload.data);
    for (name, part) in &payload.parts {
        text(&mut hash, name);
        text(&mut hash, part.dtype().name());
        hash.update((part.shape().len() as u64).to_le_bytes());
        for dim in part.shape() {
            hash.update((*dim as u64).to_le_bytes());
        }
        hash.update(part.bytes());
    }
    hash.finalize().into()
}

fn text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

fn value(hash: &mut Sha256, data: &Value) {
    match data {
        Value::Null => hash.update([0]),
        Value::Bool(flag) => hash.update([1, u8::from(*flag)]),
        Value::Number(number) => {
            hash.update([2]);
            text(hash, &number.to_string());
        }
        Value::String(string) => {
            hash.update([3]);
            text(hash, string);
        }
        Value::Array(items) => {
            hash.update([4]);
            hash.update((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| value(hash, item));
        }
        Value::Object(fields) => {
            hash.update([5]);
            hash.update((fields.len() as u64).to_le_bytes());
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            for (key, field) in sorted {
                text(hash, key);
                value(hash, field);
            }
        }
    }
}
