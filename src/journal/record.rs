//! The records of the journal: accepted, started, ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::task::{Parts, Submission, Task, TaskError, TaskId, TaskResult, TaskStatus};

/// A task as it was accepted, with its conditions. Never changes; shared by the manager, the journal and the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The task as executors see it; where it stands now is said by later records, not by this `status` (which is `Running`).
    pub task: Task,
    /// Whose share of the worker it uses.
    pub submitter: Arc<str>,
    /// When it stops being wanted.
    pub deadline: Option<DateTime<Utc>>,
    /// Tasks that must complete first, references included, without duplicates.
    pub depends_on: Vec<TaskId>,
    /// The submitter's key for this task.
    pub idempotency_key: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// How often a retryable error is tried again.
    pub retries_max: u32,
    /// Digests of what the submitter sent, by which a repeat under the same key is recognised; only the manager reads them.
    pub fingerprint: Option<Box<[[u8; 16]]>>,
}

impl Accepted {
    /// Takes a submission over. `retries_max` is the number that applies when the submission names none.
    #[must_use]
    pub fn new(submission: Submission, submitter: Arc<str>, retries_max: u32) -> Self {
        let mut task = submission.task;
        task.status = TaskStatus::Running;
        Self {
            task,
            submitter,
            deadline: submission.deadline,
            depends_on: submission.depends_on,
            idempotency_key: submission.idempotency_key,
            labels: submission.labels,
            retries_max: submission.retries_max.unwrap_or(retries_max),
            fingerprint: None,
        }
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task.id
    }
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// With what.
    pub kind: OutcomeKind,
    /// When (UTC).
    pub at: DateTime<Utc>,
}

/// With what a task ended.
#[derive(Clone, Debug, PartialEq)]
pub enum OutcomeKind {
    /// A result and its binary parts, committed together.
    Completed {
        /// The result, shared with every reader.
        result: Arc<TaskResult>,
        /// Its binary parts, shared.
        parts: Arc<Parts>,
    },
    /// An error, after the last retry.
    Failed(Arc<TaskError>),
    /// Someone's wish; the text is the reason.
    Cancelled(Arc<str>),
}

impl Outcome {
    /// The status that says so.
    #[must_use]
    pub fn status(&self) -> TaskStatus {
        match &self.kind {
            OutcomeKind::Completed { .. } => TaskStatus::Completed,
            OutcomeKind::Failed(error) => TaskStatus::Failed(error.to_string()),
            OutcomeKind::Cancelled(_) => TaskStatus::Cancelled,
        }
    }

    /// The error a waiter gets; `None` when it completed.
    #[must_use]
    pub fn error(&self) -> Option<TaskError> {
        match &self.kind {
            OutcomeKind::Completed { .. } => None,
            OutcomeKind::Failed(error) => Some((**error).clone()),
            OutcomeKind::Cancelled(reason) => Some(TaskError::Cancelled { reason: reason.to_string() }),
        }
    }
}

/// One state change, or the end of a task's keeping.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A task was accepted.
    Accepted(Arc<Accepted>),
    /// A run is about to begin; written before it does.
    Started {
        /// The task.
        task_id: TaskId,
        /// 1 for the first run.
        attempt: u32,
    },
    /// The task ended; nothing about it follows.
    Ended {
        /// The task.
        task_id: TaskId,
        /// How.
        outcome: Arc<Outcome>,
    },
    /// The ended task is no longer kept: by count, bytes or age. Nothing needs its result any more.
    Forgotten {
        /// The task.
        task_id: TaskId,
    },
}

/// What the records of one task add up to.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// The task as it was accepted.
    pub accepted: Arc<Accepted>,
    /// Runs that were begun.
    pub attempt: u32,
    /// `None` while the task is open.
    pub outcome: Option<Arc<Outcome>>,
}
