//! The words every floor speaks: a task, its payload, its status, its result. No I/O, no clock except in [`Task::new`].

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Parts, TaskId};

/// One unit of work with its state, as the manager hands it out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Identity, drawn by [`Task::new`].
    pub id: TaskId,
    /// Order in the queue.
    pub priority: TaskPriority,
    /// What is to be done.
    pub payload: TaskPayload,
    /// Where the task stands.
    pub status: TaskStatus,
    /// What came out; `Some` exactly when the status is [`TaskStatus::Completed`].
    pub result: Option<TaskResult>,
    /// When the task was made (UTC).
    pub created_at: DateTime<Utc>,
    /// When the task became terminal (UTC).
    pub completed_at: Option<DateTime<Utc>>,
}

impl Task {
    /// Makes a pending task. Draws the id and reads the wall clock: the only clock read of this floor.
    #[must_use]
    pub fn new(task_type: TaskType, priority: TaskPriority, data: serde_json::Value) -> Self {
        Self {
            id: TaskId::new(),
            priority,
            payload: TaskPayload::new(task_type, data),
            status: TaskStatus::Pending,
            result: None,
            created_at: Utc::now(),
            completed_at: None,
        }
    }

    /// The same task with named binary parts beside its JSON.
    #[must_use]
    pub fn with_parts(mut self, parts: Parts) -> Self {
        self.payload.parts = parts;
        self
    }

    /// True while the task waits.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.status == TaskStatus::Pending
    }

    /// True while an executor works on the task.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status == TaskStatus::Running
    }

    /// True when the task ended with a result.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.status == TaskStatus::Completed
    }

    /// True when the status can never change again.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.status.is_terminal()
    }
}

/// What a task asks for: a type, JSON data and, beside the JSON, named binary parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskPayload {
    /// Which family of executor serves it.
    pub task_type: TaskType,
    /// The request: an object with an `operation` and its fields.
    pub data: serde_json::Value,
    /// Large arrays beside the JSON; the data names one as `{"$part": "name"}`.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub parts: Parts,
}

impl TaskPayload {
    /// A payload without binary parts.
    #[must_use]
    pub fn new(task_type: TaskType, data: serde_json::Value) -> Self {
        Self { task_type, data, parts: Parts::default() }
    }
}

/// Where a task stands. Terminal states never change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Accepted and waiting: for its turn, for resources, for a dependency or for a retry.
    Pending,
    /// An executor works on it.
    Running,
    /// Ended with a result.
    Completed,
    /// Ended with an error; the text is the error's outside message.
    Failed(String),
    /// Ended by request, by its deadline's caller or by shutdown.
    Cancelled,
}

impl TaskStatus {
    /// True when the status can never change again.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed(_) | Self::Cancelled)
    }

    /// The name without data: `pending`, `running`, `completed`, `failed`, `cancelled`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Order in the queue: the highest first. A level whose tasks have waited too long gets a share of the starts, so none starves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum TaskPriority {
    /// When nothing else waits.
    Low = 0,
    /// The default.
    #[default]
    Normal = 1,
    /// Before normal work.
    High = 2,
    /// Before everything else.
    Critical = 3,
}

impl TaskPriority {
    /// Every level, lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Which family of executor serves a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// Text in, text, spans or numbers out; needs no model.
    TextProcessing,
    /// Arithmetic on vectors and matrices.
    VectorComputation,
    /// Running a model.
    ModelInference,
    /// Keeping and fetching data; no executor of this crate serves it.
    Storage,
    /// A registered name of a user's own executor: `[a-z0-9_-]{1,64}`.
    Custom(String),
}

impl TaskType {
    /// The name without data: `text_processing`, ..., or the custom name itself.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::TextProcessing => "text_processing",
            Self::VectorComputation => "vector_computation",
            Self::ModelInference => "model_inference",
            Self::Storage => "storage",
            Self::Custom(name) => name,
        }
    }

    /// True unless this is a custom type whose name is outside `[a-z0-9_-]{1,64}`.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let Self::Custom(name) = self else { return true };
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
    }
}

/// Metadata key: how many of a task's items failed while the others succeeded.
pub const METADATA_FAILED_COUNT: &str = "failed_count";
/// Metadata key: the executor that did the work, by the name under which it is registered.
pub const METADATA_EXECUTOR: &str = "executor";
/// Metadata key: the operation that was done.
pub const METADATA_OPERATION: &str = "operation";

/// What a completed task gives back. Large arrays are kept beside it as parts, by task id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The answer of the operation.
    pub output: serde_json::Value,
    /// How it was made: device, model, timings, what was truncated, what failed.
    #[serde(default)]
    pub metadata: HashMap<String, serde_json::Value>,
}

impl TaskResult {
    /// A result without metadata.
    #[must_use]
    pub fn new(output: serde_json::Value) -> Self {
        Self { output, metadata: HashMap::new() }
    }

    /// True unless the metadata says that part of the work failed ([`METADATA_FAILED_COUNT`] above zero or `success: false`).
    #[must_use]
    pub fn is_success(&self) -> bool {
        let failed = self.metadata.get(METADATA_FAILED_COUNT).and_then(serde_json::Value::as_u64).unwrap_or(0);
        let denied = self.metadata.get("success").and_then(serde_json::Value::as_bool) == Some(false);
        failed == 0 && !denied
    }
}
