//! One key, one task: a submitter that repeats a submission gets the first task's id. Pure.
//!
//! A repeat is recognised by what the submitter sent, field by field, before any reference was replaced. Fresh ids of tasks that are submitted together
//! say nothing about what was sent, so a dependency among them counts by the other task's key, or by its place when it has none.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::references::FROM;
use crate::task::{Submission, TaskError, TaskId};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// The fields that a repeat may not change, in the order of a fingerprint's digests.
pub const FIELDS: [&str; 6] = ["type", "data", "parts", "depends_on", "priority", "retries_max"];

/// What identifies a submission: the first 16 bytes of a SHA-256 over each of [`FIELDS`].
pub type Fingerprint = [[u8; 16]; FIELDS.len()];

/// Keys in use, by submitter.
#[derive(Default)]
pub struct Keys {
    keys: HashMap<(u32, Box<str>), (TaskId, Fingerprint)>,
}

impl Keys {
    /// The task that already holds the key, or `None`. Errors: `IdempotencyConflict` with the first field that differs.
    pub fn find(&self, submitter: u32, key: &str, fingerprint: &Fingerprint) -> Result<Option<TaskId>, TaskError> {
        // The map's key owns its text; one allocation per keyed submission.
        let Some((existing, held)) = self.keys.get(&(submitter, key.into())) else { return Ok(None) };
        let differs = FIELDS.iter().zip(held.iter().zip(fingerprint)).find(|(_, (held, sent))| held != sent);
        match differs {
            None => Ok(Some(*existing)),
            Some((field, _)) => Err(TaskError::IdempotencyConflict { key: key.into(), existing: *existing, differs: (*field).to_owned() }),
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

/// How the tasks of one submission stand for each other in fingerprints.
#[derive(Default)]
pub struct Siblings {
    names: HashMap<TaskId, String>,
}

impl Siblings {
    /// The tasks that are submitted together. Nothing is noted when none of them has a key.
    #[must_use]
    pub fn of(batch: &[Submission]) -> Self {
        if batch.iter().all(|submission| submission.idempotency_key.is_none()) {
            return Self::default();
        }
        let name = |(at, submission): (usize, &Submission)| {
            let name = submission.idempotency_key.as_ref().map_or_else(|| format!("task {at}"), |key| format!("key {key}"));
            (submission.task.id, name)
        };
        Self { names: batch.iter().enumerate().map(name).collect() }
    }

    fn name(&self, task_id: TaskId) -> String {
        self.names.get(&task_id).cloned().unwrap_or_else(|| task_id.to_string())
    }
}

/// The fingerprint of a submission as it was sent. Keys of objects are sorted; numbers count as they are written (`1` and `1.0` differ);
/// `depends_on` is a set. Deadlines, labels and the task's own id are not in it.
#[must_use]
pub fn fingerprint(submission: &Submission, siblings: &Siblings) -> Fingerprint {
    let payload = &submission.task.payload;
    let retries_max = submission.retries_max.map_or_else(|| "default".to_owned(), |retries_max| retries_max.to_string());
    [
        digest(|hash| text(hash, payload.task_type.name())),
        digest(|hash| value(hash, &payload.data, siblings)),
        digest(|hash| {
            for (name, part) in &payload.parts {
                text(hash, name);
                text(hash, part.dtype().name());
                hash.update((part.shape().len() as u64).to_le_bytes());
                for dim in part.shape() {
                    hash.update((*dim as u64).to_le_bytes());
                }
                hash.update(part.bytes());
            }
        }),
        digest(|hash| {
            let named: BTreeSet<String> = submission.depends_on.iter().map(|id| siblings.name(*id)).collect();
            named.iter().for_each(|name| text(hash, name));
        }),
        digest(|hash| text(hash, submission.task.priority.name())),
        digest(|hash| text(hash, &retries_max)),
    ]
}

fn digest(write: impl FnOnce(&mut Sha256)) -> [u8; 16] {
    let mut hash = Sha256::new();
    write(&mut hash);
    let whole: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|at| whole[at])
}

fn text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

fn value(hash: &mut Sha256, data: &Value, siblings: &Siblings) {
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
            items.iter().for_each(|item| value(hash, item, siblings));
        }
        Value::Object(fields) => {
            hash.update([5]);
            hash.update((fields.len() as u64).to_le_bytes());
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            for (key, field) in sorted {
                text(hash, key);
                match field.as_str().filter(|_| key == FROM).and_then(|id| id.parse().ok()) {
                    Some(task_id) => text(hash, &siblings.name(task_id)),
                    None => value(hash, field, siblings),
                }
            }
        }
    }
}
