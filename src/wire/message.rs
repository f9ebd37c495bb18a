//! What workers say to each other about tasks.

use serde::{Deserialize, Serialize};

use super::WireError;
use crate::task::{TaskError, TaskId, TaskPriority, TaskResult, TaskType};

/// The longest name of a worker, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// The longest text of progress or of a reason, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// A task on its way from one worker to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskMessage {
    /// The worker that asks; checked against the connection's key by [`super::check_sender`], never trusted. At most 256 bytes.
    pub from: String,
    /// The worker that is asked. At most 256 bytes.
    pub to: String,
    /// The task.
    pub task_id: TaskId,
    /// Which family of executor serves it.
    pub task_type: TaskType,
    /// The payload as the two workers agreed to write it; base64 in JSON.
    #[serde(with = "base64_bytes")]
    pub payload: Vec<u8>,
    /// Order in the queue.
    pub priority: TaskPriority,
}

/// A message about a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum TaskProtocol {
    /// Run this task.
    TaskRequest(TaskMessage),
    /// The task has ended.
    TaskResponse {
        /// The task.
        task_id: TaskId,
        /// How it ended: `{"ok": ...}` or `{"error": ...}` in JSON.
        #[serde(with = "outcome")]
        result: Result<TaskResult, TaskError>,
    },
    /// The task is under way.
    TaskProgress {
        /// The task.
        task_id: TaskId,
        /// Share of the work done, 0.0 to 1.0.
        progress: f32,
        /// What is being done. At most 4096 bytes.
        message: String,
    },
    /// The task is no longer wanted.
    TaskCancel {
        /// The task.
        task_id: TaskId,
        /// Why. At most 4096 bytes.
        reason: String,
    },
}

impl TaskProtocol {
    /// The names of the messages in JSON.
    pub(super) const KINDS: [&str; 4] = ["task_request", "task_response", "task_progress", "task_cancel"];

    /// The task it is about.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        match self {
            Self::TaskRequest(message) => message.task_id,
            Self::TaskResponse { task_id, .. } | Self::TaskProgress { task_id, .. } | Self::TaskCancel { task_id, .. } => *task_id,
        }
    }

    /// Bounds that the types do not carry. Errors: `Malformed` at the field.
    pub(super) fn check(&self) -> Result<(), WireError> {
        match self {
            Self::TaskRequest(message) => {
                check_len("message.task_request.from", &message.from, NAME_BYTES_MAX)?;
                check_len("message.task_request.to", &message.to, NAME_BYTES_MAX)?;
                if message.task_type.is_valid() {
                    return Ok(());
                }
                Err(WireError::malformed("message.task_request.task_type", "a custom type is 1 to 64 of a-z, 0-9, _ and -"))
            }
            Self::TaskResponse { .. } => Ok(()),
            Self::TaskProgress { progress, message, .. } => {
                check_len("message.task_progress.message", message, TEXT_BYTES_MAX)?;
                if (0.0..=1.0).contains(progress) {
                    return Ok(());
                }
                Err(WireError::malformed("message.task_progress.progress", &format!("found {progress}; allowed are 0.0 to 1.0")))
            }
            Self::TaskCancel { reason, .. } => check_len("message.task_cancel.reason", reason, TEXT_BYTES_MAX),
        }
    }
}

fn check_len(path: &str, text: &str, bytes_max: usize) -> Result<(), WireError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(WireError::malformed(path, &format!("{} bytes; at most {bytes_max} are allowed", text.len())))
}

/// Bytes as one base64 text: a third longer than the bytes, where a list of numbers would be four times as long.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(|error| D::Error::custom(format!("base64: {error}")))
    }
}

/// A result as `{"ok": ...}` or `{"error": ...}`.
mod outcome {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::task::{TaskError, TaskResult};

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Told<'a> {
        Ok(&'a TaskResult),
        Error(&'a TaskError),
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Heard {
        Ok(TaskResult),
        Error(TaskError),
    }

    pub(super) fn serialize<S: Serializer>(result: &Result<TaskResult, TaskError>, serializer: S) -> Result<S::Ok, S::Error> {
        match result {
            Ok(done) => Told::Ok(done),
            Err(error) => Told::Error(error),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Result<TaskResult, TaskError>, D::Error> {
        Heard::deserialize(deserializer).map(|heard| match heard {
            Heard::Ok(done) => Ok(done),
            Heard::Error(error) => Err(error),
        })
    }
}
