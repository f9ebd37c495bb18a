//! What the manager shows of itself and its tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::state::Phase;
use super::throughput::OperationStats;
use crate::task::{TaskId, TaskPriority, TaskStatus, TaskType};

/// Entries of a listing when the filter names no limit.
pub const LIST_LIMIT_DEFAULT: usize = 100;
/// Entries of a listing at most.
pub const LIST_LIMIT_MAX: usize = 10_000;

/// A [`TaskStatus`] without its text: costs nothing to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusKind {
    /// Accepted and waiting.
    Pending,
    /// An executor works on it.
    Running,
    /// Ended with a result.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by request or by shutdown.
    Cancelled,
}

impl StatusKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// True when it can never change again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl From<&TaskStatus> for StatusKind {
    fn from(status: &TaskStatus) -> Self {
        match status {
            TaskStatus::Pending => Self::Pending,
            TaskStatus::Running => Self::Running,
            TaskStatus::Completed => Self::Completed,
            TaskStatus::Failed(_) => Self::Failed,
            TaskStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Phase> for StatusKind {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Blocked | Phase::Resolving | Phase::Queued | Phase::Backoff => Self::Pending,
            Phase::Running | Phase::Committing => Self::Running,
            Phase::Completed => Self::Completed,
            Phase::Failed => Self::Failed,
            Phase::Cancelled => Self::Cancelled,
        }
    }
}

/// Where one task stands; copied out of the table in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StatusView {
    /// Its status without text.
    pub status: StatusKind,
    /// Its priority as submitted.
    pub priority: TaskPriority,
    /// Runs begun so far.
    pub attempt: u32,
}

/// Which tasks to list, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only these.
    pub status: Option<StatusKind>,
    /// Only this type.
    pub task_type: Option<TaskType>,
    /// Only this submitter's.
    pub submitter: Option<String>,
    /// Only with this label.
    pub label: Option<(String, String)>,
    /// Only ids after this one: the last id of the page before.
    pub after: Option<TaskId>,
    /// At most this many; `None` means [`LIST_LIMIT_DEFAULT`], more than [`LIST_LIMIT_MAX`] means that.
    pub limit: Option<usize>,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskSummary {
    /// The task.
    pub id: TaskId,
    /// Its type.
    pub task_type: TaskType,
    /// Its priority as submitted.
    pub priority: TaskPriority,
    /// Where it stands.
    pub status: StatusKind,
    /// Runs begun so far.
    pub attempt: u32,
    /// Who submitted it.
    pub submitter: Arc<str>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was made (UTC).
    pub created_at: DateTime<Utc>,
    /// When it ended (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime<Utc>>,
    /// Why it failed or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Tasks since the start, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Accepted.
    pub submitted: u64,
    /// Ended with a result.
    pub completed: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Attempts made again.
    pub retried: u64,
    /// Attempts in which the executor panicked.
    pub panicked: u64,
}

/// One task type since the start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TypeStats {
    /// Its name.
    pub task_type: String,
    /// Ended with a result.
    pub completed: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Seconds between acceptance and the start of the last attempt.
    pub queue_seconds: Histogram,
    /// Seconds between start and end of the last attempt.
    pub compute_seconds: Histogram,
}

/// The manager at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ManagerStats {
    /// Tasks in the queue by submitted priority: `low`, `normal`, `high`, `critical`.
    pub queued: BTreeMap<&'static str, u64>,
    /// Tasks that wait for others they depend on.
    pub blocked: u64,
    /// Tasks that wait for their next attempt.
    pub backing_off: u64,
    /// Age of the oldest task at the head of a queue level, in milliseconds.
    pub oldest_queued_ms: u64,
    /// Tasks that run.
    pub running: u64,
    /// Runs that were cancelled and have not returned yet.
    pub ending: u64,
    /// Open tasks and the bound on them.
    pub open_tasks: (u64, u64),
    /// Bytes of their payloads and the bound on them.
    pub open_bytes: (u64, u64),
    /// Ended tasks still known.
    pub retained_tasks: u64,
    /// Bytes they hold.
    pub retained_bytes: u64,
    /// Tasks since the start.
    pub totals: Totals,
    /// Submissions refused since the start, by error code (`overloaded`, `invalid_payload`, ...).
    pub refused: BTreeMap<&'static str, u64>,
    /// Tasks ended per second while any were open, recently.
    pub drain_per_s: f64,
    /// By task type.
    pub types: Vec<TypeStats>,
    /// What each operation of each executor has done, and at which rate; no part of the JSON, where it has a place of its own.
    #[serde(skip)]
    pub operations: Vec<OperationStats>,
    /// The number the next event will get, minus one.
    pub events_published: u64,
    /// Events that handlers missed because they were slow.
    pub handler_events_missed: u64,
    /// Events that handlers failed to take.
    pub handler_failures: u64,
    /// True while new tasks are refused because of a drain.
    pub draining: bool,
    /// True when the journal has failed and new tasks are refused.
    pub journal_failed: bool,
}

/// What a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DrainReport {
    /// Tasks that completed meanwhile.
    pub completed: u64,
    /// Tasks that failed meanwhile.
    pub failed: u64,
    /// Tasks that were cancelled, by others or because the time was up.
    pub cancelled: u64,
    /// Runs that had not returned when the drain gave up on them.
    pub abandoned: u64,
    /// How long it took.
    #[serde(rename = "elapsed_ms", serialize_with = "as_ms")]
    pub elapsed: Duration,
}

fn as_ms<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
}
