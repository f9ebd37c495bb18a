//! The one error of the task floor: a stable code, an outside message and an inside detail that is never serialised.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{TaskId, TaskStatus};

/// Why a task was refused or ended without a result.
///
/// `Display` is the outside message: what was wrong, where, what is allowed. The code in JSON equals [`TaskError::code`].
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskError {
    /// No registered executor serves this task type.
    #[error("no executor serves this task type")]
    UnsupportedTaskType,
    /// No task of that id is known: it never existed, or its result has passed retention.
    #[error("task {task_id} not found; it never existed or its result has passed retention")]
    NotFound {
        /// The id that was asked for.
        task_id: TaskId,
    },
    /// A field of the payload or of the submission is wrong.
    #[error("invalid payload at `{field}`: {reason}")]
    InvalidPayload {
        /// JSON path of the field, such as `vectors[3][0]`.
        field: String,
        /// What was found and what is allowed.
        reason: String,
    },
    /// A bounded queue is full; nothing was kept.
    #[error("overloaded: {reason}; retry after {} ms", .retry_after.as_millis())]
    Overloaded {
        /// When to try again, from the measured drain rate.
        #[serde(rename = "retry_after_ms", with = "duration_ms")]
        retry_after: Duration,
        /// Which bound was met.
        reason: String,
    },
    /// The task needs more memory than this worker can ever give it.
    #[error("does not fit: needs {needed_bytes} bytes of {resource}, {available_bytes} can be had")]
    DoesNotFit {
        /// What was asked for: `host memory`, `cuda:0 memory`, `executor text memory`.
        resource: String,
        /// Bytes the task needs.
        needed_bytes: u64,
        /// Bytes there are at most.
        available_bytes: u64,
    },
    /// The deadline passed before the task ended; expired work never starts.
    #[error("deadline exceeded: it was {deadline}")]
    DeadlineExceeded {
        /// The deadline (UTC).
        deadline: DateTime<Utc>,
    },
    /// The task was cancelled.
    #[error("cancelled: {reason}")]
    Cancelled {
        /// Who or what asked for it.
        reason: String,
    },
    /// The caller may not do this.
    #[error("unauthorized: {reason}")]
    Unauthorized {
        /// What is missing.
        reason: String,
    },
    /// The model is not on this host and may not or cannot be fetched.
    #[error("model `{model}` is missing: {reason}")]
    ModelMissing {
        /// The model as it was asked for.
        model: String,
        /// Where it was looked for, what to do.
        reason: String,
    },
    /// The model is here but cannot be run.
    #[error("model `{model}` is not supported: {reason}")]
    ModelUnsupported {
        /// The model as it was asked for.
        model: String,
        /// What is unsupported and what is supported.
        reason: String,
    },
    /// A file of the model is damaged or lies about itself.
    #[error("model `{model}` is corrupt: {reason}")]
    ModelCorrupt {
        /// The model as it was asked for.
        model: String,
        /// File, field and what is wrong with it.
        reason: String,
    },
    /// The device that was asked for is not there; there is no silent fallback.
    #[error("device `{device}` is unavailable: {reason}")]
    DeviceUnavailable {
        /// The device as it was asked for.
        device: String,
        /// Why, and what is available.
        reason: String,
    },
    /// The idempotency key belongs to a different task.
    #[error(
        "idempotency key `{key}` belongs to task {existing}, which was submitted with another `{differs}`: repeat that submission as it was, or use a new key"
    )]
    IdempotencyConflict {
        /// The key.
        key: String,
        /// The task that holds it.
        existing: TaskId,
        /// The first field that differs: `type`, `data`, `parts`, `depends_on`, `priority` or `retries_max`.
        #[serde(default)]
        differs: String,
    },
    /// A task that this one depends on did not complete.
    #[error("dependency {dependency} did not complete: {reason}")]
    DependencyFailed {
        /// The task that failed, was cancelled or is unknown: the first of a chain.
        dependency: TaskId,
        /// Its error.
        reason: String,
    },
    /// The task has ended; its state cannot change.
    #[error("task {task_id} has already ended as {}", .status.name())]
    AlreadyTerminal {
        /// The task.
        task_id: TaskId,
        /// How it ended.
        status: TaskStatus,
    },
    /// The worker drains; it accepts nothing new.
    #[error("the worker is shutting down and accepts no new tasks")]
    ShuttingDown,
    /// A fault of the worker, not of the request.
    #[error("internal error: {message}")]
    Internal {
        /// The outside message.
        message: String,
        /// The inside detail, for logs only.
        #[serde(skip)]
        detail: String,
    },
}

impl TaskError {
    /// An [`TaskError::InvalidPayload`] at `field`. Both texts may repeat what came from outside, so long ones lose their middle.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidPayload { field: shortened(field.into(), FIELD_BYTES_MAX), reason: shortened(reason.into(), REASON_BYTES_MAX) }
    }

    /// An [`TaskError::Internal`] with an outside message and an inside detail.
    pub fn internal(message: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Internal { message: message.into(), detail: detail.into() }
    }

    /// The stable, machine-readable code; the same string as `code` in JSON.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedTaskType => "unsupported_task_type",
            Self::NotFound { .. } => "not_found",
            Self::InvalidPayload { .. } => "invalid_payload",
            Self::Overloaded { .. } => "overloaded",
            Self::DoesNotFit { .. } => "does_not_fit",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::Cancelled { .. } => "cancelled",
            Self::Unauthorized { .. } => "unauthorized",
            Self::ModelMissing { .. } => "model_missing",
            Self::ModelUnsupported { .. } => "model_unsupported",
            Self::ModelCorrupt { .. } => "model_corrupt",
            Self::DeviceUnavailable { .. } => "device_unavailable",
            Self::IdempotencyConflict { .. } => "idempotency_conflict",
            Self::DependencyFailed { .. } => "dependency_failed",
            Self::AlreadyTerminal { .. } => "already_terminal",
            Self::ShuttingDown => "shutting_down",
            Self::Internal { .. } => "internal",
        }
    }

    /// True when the same task may succeed if it is tried again unchanged.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Overloaded { .. } | Self::Internal { .. } | Self::ShuttingDown)
    }

    /// The inside detail for logs; empty where the outside message says it all.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Internal { detail, .. } => detail,
            _ => "",
        }
    }
}

/// The longest field path and the longest reason of an [`TaskError::InvalidPayload`].
const FIELD_BYTES_MAX: usize = 512;
const REASON_BYTES_MAX: usize = 2048;

/// The text, or its beginning and end around ` ... ` when it is longer than `bytes_max`: what was found stands first, what is allowed last.
fn shortened(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let half = bytes_max / 2;
    format!("{} ... {}", &text[..text.floor_char_boundary(half)], &text[text.ceil_char_boundary(text.len() - half)..])
}

/// Durations as whole milliseconds in JSON.
mod duration_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_does_not_repeat_a_whole_payload() {
        let huge = format!("found `{}`; allowed are a and b", "ü".repeat(1_000_000));
        let text = TaskError::invalid("é".repeat(10_000), huge).to_string();
        assert!(text.len() < 3000 && text.contains("found `ü") && text.ends_with("allowed are a and b"), "{text}");
        assert_eq!(TaskError::invalid("k", "found 0"), TaskError::InvalidPayload { field: "k".into(), reason: "found 0".into() });
    }
}
