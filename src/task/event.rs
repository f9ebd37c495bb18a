//! What happens to tasks, told to whoever listens.

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{TaskError, TaskId, TaskPriority, TaskResult, TaskType};

/// One thing that happened to one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskEvent {
    /// The task was accepted.
    TaskSubmitted {
        /// The task.
        task_id: TaskId,
        /// Its type.
        task_type: TaskType,
        /// Its priority.
        priority: TaskPriority,
    },
    /// An executor began to work on the task.
    TaskStarted {
        /// The task.
        task_id: TaskId,
        /// 1 for the first run, 2 for the first retry.
        attempt: u32,
    },
    /// The executor reports how far it is.
    TaskProgress {
        /// The task.
        task_id: TaskId,
        /// Share of the work done, 0.0 to 1.0.
        progress: f32,
        /// What it does now.
        message: String,
    },
    /// The executor streams a piece of the answer.
    TaskChunk {
        /// The task.
        task_id: TaskId,
        /// Position of the piece, from 0.
        index: u64,
        /// The piece.
        data: serde_json::Value,
    },
    /// The task ended with a result.
    TaskCompleted {
        /// The task.
        task_id: TaskId,
        /// The result.
        result: TaskResult,
        /// From start to end of the last attempt.
        duration: Duration,
    },
    /// The task ended with an error, after its last retry.
    TaskFailed {
        /// The task.
        task_id: TaskId,
        /// Why.
        error: TaskError,
        /// How often it was tried again.
        retry_count: u32,
    },
    /// The task was cancelled.
    TaskCancelled {
        /// The task.
        task_id: TaskId,
        /// Who or what asked for it.
        reason: String,
    },
}

impl TaskEvent {
    /// The task it happened to.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        match self {
            Self::TaskSubmitted { task_id, .. }
            | Self::TaskStarted { task_id, .. }
            | Self::TaskProgress { task_id, .. }
            | Self::TaskChunk { task_id, .. }
            | Self::TaskCompleted { task_id, .. }
            | Self::TaskFailed { task_id, .. }
            | Self::TaskCancelled { task_id, .. } => *task_id,
        }
    }

    /// The name in JSON and in an SSE `event:` line: `task_submitted`, `task_started`, ...
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TaskSubmitted { .. } => "task_submitted",
            Self::TaskStarted { .. } => "task_started",
            Self::TaskProgress { .. } => "task_progress",
            Self::TaskChunk { .. } => "task_chunk",
            Self::TaskCompleted { .. } => "task_completed",
            Self::TaskFailed { .. } => "task_failed",
            Self::TaskCancelled { .. } => "task_cancelled",
        }
    }
}

/// Why a handler could not take an event; it is counted, never retried, and never stalls the manager.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The handler failed.
    #[error("event handler failed: {0}")]
    Failed(String),
    /// The handler takes no more events and is removed.
    #[error("event handler is closed")]
    Closed,
}

/// Something that listens. The manager boxes the future; a slow handler loses events, never holds up tasks.
pub trait EventHandler<E>: Send + Sync + 'static {
    /// Takes one event.
    fn handle(&self, event: E) -> impl Future<Output = Result<(), EventError>> + Send;
}
