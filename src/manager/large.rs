//! Which submissions take long to admit, and what they hold. Pure.

use serde_json::Value;

use crate::task::{Submission, json_bytes};

/// Payloads above this, as [`crate::task::json_bytes`] counts, are checked and parsed beside the runtime's threads.
pub(super) const ADMIT_INLINE_MAX: u64 = 256 * 1024;

/// True when the payloads are above [`ADMIT_INLINE_MAX`] together. Looks at no more of them than that bound takes. Parts count only where a key makes a
/// digest of them: otherwise nothing reads them at admission.
pub(super) fn is_large(submissions: &[Submission]) -> bool {
    let left = submissions.iter().try_fold(ADMIT_INLINE_MAX, |left, submission| {
        let keyed = submission.idempotency_key.is_some();
        spent(&submission.task.payload.data, if keyed { left.checked_sub(parts_bytes(submission))? } else { left })
    });
    left.is_none()
}

/// What the payloads hold, as the manager counts them.
pub(super) fn payload_bytes(submissions: &[Submission]) -> u64 {
    submissions.iter().map(|submission| json_bytes(&submission.task.payload.data).saturating_add(parts_bytes(submission))).sum()
}

fn parts_bytes(submission: &Submission) -> u64 {
    submission.task.payload.parts.values().map(|part| part.bytes().len() as u64).sum()
}

/// What is left of `bytes` after the value; `None` as soon as nothing is.
fn spent(value: &Value, bytes: u64) -> Option<u64> {
    let bytes = bytes.checked_sub(24)?;
    match value {
        Value::String(text) => bytes.checked_sub(text.len() as u64),
        Value::Array(items) => items.iter().try_fold(bytes, |left, item| spent(item, left)),
        Value::Object(fields) => fields.iter().try_fold(bytes, |left, (key, field)| spent(field, left.checked_sub(24 + key.len() as u64)?)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(bytes),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::task::{Part, Task, TaskPriority, TaskType};

    fn submission(data: Value) -> Submission {
        Submission::new(Task::new(TaskType::TextProcessing, TaskPriority::Normal, data))
    }

    #[test]
    fn the_bound_is_on_what_json_bytes_counts() {
        let fields = |len: usize| json!({ "a": "x".repeat(len), "b": [1, null, { "c": true }] });
        let room = ADMIT_INLINE_MAX - json_bytes(&fields(0));
        for (len, large) in [(room, false), (room + 1, true)] {
            let data = fields(usize::try_from(len).expect("small"));
            assert_eq!(is_large(&[submission(data)]), large);
        }
        assert!(!is_large(&[]));
        let half = || submission(fields(usize::try_from(room / 2).expect("small")));
        assert!(!is_large(&[half()]) && is_large(&[half(), half(), half()]), "a batch counts as a whole");
    }

    #[test]
    fn parts_count_where_a_digest_of_them_is_made() {
        let part = Part::from_f32(vec![100_000], &vec![0.0; 100_000]).expect("a part");
        let task = submission(json!({})).task.with_parts([("rows".to_owned(), part)].into());
        assert!(!is_large(&[Submission::new(task.clone())]));
        assert!(is_large(&[Submission::new(task).idempotency_key("key")]));
    }
}
