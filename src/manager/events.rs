//! Events as they are kept and read: a compact record per event, made into a [`TaskEvent`] only for whoever wants one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::clock::Clock;
use super::ring::{Read, Ring, RingPolicy};
use crate::task::{TaskError, TaskEvent, TaskId, TaskPriority, TaskResult, TaskType};

/// Events a reader takes out of the ring at once.
const READ_COUNT: usize = 256;

/// One event with its number. Cloning shares the result.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// Its number: 1, 2, 3, ... without gaps.
    pub seq: u64,
    /// When it happened (UTC).
    pub at: DateTime<Utc>,
    /// The task it happened to.
    pub task_id: TaskId,
    /// Who submitted the task.
    pub submitter: Arc<str>,
    kind: EventKind,
}

/// What happened, sharing what is large.
#[derive(Clone, Debug)]
pub(super) enum EventKind {
    Submitted { task_type: Arc<TaskType>, priority: TaskPriority },
    Started { attempt: u32 },
    Progress { progress: f32, message: Arc<str> },
    Chunk { index: u64, data: Arc<serde_json::Value> },
    Completed { result: Arc<TaskResult>, duration_ns: u64 },
    Failed { error: Arc<TaskError>, retry_count: u32 },
    Cancelled { reason: Arc<str> },
}

impl EventRecord {
    /// The event as a value of its own; copies a completed task's result.
    #[must_use]
    pub fn event(&self) -> TaskEvent {
        let task_id = self.task_id;
        match &self.kind {
            EventKind::Submitted { task_type, priority } => {
                TaskEvent::TaskSubmitted { task_id, task_type: (**task_type).clone(), priority: *priority }
            }
            EventKind::Started { attempt } => TaskEvent::TaskStarted { task_id, attempt: *attempt },
            EventKind::Progress { progress, message } => {
                TaskEvent::TaskProgress { task_id, progress: *progress, message: message.to_string() }
            }
            EventKind::Chunk { index, data } => TaskEvent::TaskChunk { task_id, index: *index, data: (**data).clone() },
            EventKind::Completed { result, duration_ns } => {
                TaskEvent::TaskCompleted { task_id, result: (**result).clone(), duration: Duration::from_nanos(*duration_ns) }
            }
            EventKind::Failed { error, retry_count } => {
                TaskEvent::TaskFailed { task_id, error: (**error).clone(), retry_count: *retry_count }
            }
            EventKind::Cancelled { reason } => TaskEvent::TaskCancelled { task_id, reason: reason.to_string() },
        }
    }

    /// The name of the event, as [`TaskEvent::name`] gives it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &self.kind {
            EventKind::Submitted { .. } => "task_submitted",
            EventKind::Started { .. } => "task_started",
            EventKind::Progress { .. } => "task_progress",
            EventKind::Chunk { .. } => "task_chunk",
            EventKind::Completed { .. } => "task_completed",
            EventKind::Failed { .. } => "task_failed",
            EventKind::Cancelled { .. } => "task_cancelled",
        }
    }

    /// The result of a completed task, shared; `None` for every other event.
    #[must_use]
    pub fn result(&self) -> Option<&Arc<TaskResult>> {
        match &self.kind {
            EventKind::Completed { result, .. } => Some(result),
            _ => None,
        }
    }

    /// True when nothing follows about this task.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self.kind, EventKind::Completed { .. } | EventKind::Failed { .. } | EventKind::Cancelled { .. })
    }
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventCursor {
    /// With the next event that happens.
    Now,
    /// With the oldest event that is still kept.
    Oldest,
    /// With the event after this number: how a reader resumes.
    After(u64),
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// The next event.
    Event(EventRecord),
    /// This many events were dropped before the reader came to them.
    Missed(u64),
}

#[derive(Clone)]
struct Kept {
    at_ns: u64,
    task_id: TaskId,
    submitter: Arc<str>,
    kind: EventKind,
}

/// The ring of events, its lock and its bell.
pub(super) struct EventHub {
    ring: Mutex<Ring<Kept>>,
    arrived: Notify,
    closed: AtomicBool,
    clock: Arc<dyn Clock>,
    epoch: u64,
}

impl EventHub {
    pub(super) fn new(policy: RingPolicy, clock: Arc<dyn Clock>) -> Self {
        let ring = Mutex::new(Ring::new(policy));
        Self { ring, arrived: Notify::new(), closed: AtomicBool::new(false), clock, epoch: rand::random() }
    }

    /// Drawn when the hub is made: numbers of events mean something only together with it.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Numbers and keeps an event. `bytes` is what it holds beside the ring.
    pub(super) fn publish(&self, at_ns: u64, task: (TaskId, &Arc<str>), kind: EventKind, bytes: u64) {
        let kept = Kept { at_ns, task_id: task.0, submitter: task.1.clone(), kind };
        self.ring.lock().push(kept, bytes);
        self.arrived.notify_waiters();
    }

    /// How many events there have been.
    pub(super) fn published(&self) -> u64 {
        self.ring.lock().next() - 1
    }

    /// Ends every reader once it has read what is there.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_waiters();
    }

    pub(super) fn reader(self: &Arc<Self>, from: EventCursor) -> EventReader {
        let ring = self.ring.lock();
        let next = match from {
            EventCursor::Now => ring.next(),
            EventCursor::Oldest => ring.oldest(),
            EventCursor::After(seq) => seq.saturating_add(1).min(ring.next()),
        };
        EventReader { hub: Arc::clone(self), next, buffer: VecDeque::new() }
    }
}

/// Reads events in order, at its own pace.
pub struct EventReader {
    hub: Arc<EventHub>,
    next: u64,
    buffer: VecDeque<EventRecord>,
}

impl EventReader {
    /// The next event, or how many were missed; waits for one. `None` after the manager has shut down and everything was read.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let hub = Arc::clone(&self.hub);
            let arrived = hub.arrived.notified();
            let closed = hub.closed.load(Ordering::Acquire);
            if let Some(delivery) = self.try_next() {
                return Some(delivery);
            }
            if closed {
                return None;
            }
            arrived.await;
        }
    }

    /// The next event if there is one already. Never waits.
    pub fn try_next(&mut self) -> Option<Delivery> {
        if let Some(record) = self.buffer.pop_front() {
            return Some(Delivery::Event(record));
        }
        let read = self.hub.ring.lock().read(self.next, READ_COUNT);
        match read {
            Read::Missed { count, next } => {
                self.next = next;
                Some(Delivery::Missed(count))
            }
            Read::Events(events) => {
                for kept in events {
                    let at = self.hub.clock.wall(kept.at_ns);
                    let Kept { task_id, submitter, kind, .. } = kept;
                    self.buffer.push_back(EventRecord { seq: self.next, at, task_id, submitter, kind });
                    self.next += 1;
                }
                self.buffer.pop_front().map(Delivery::Event)
            }
        }
    }

    /// The number of the event that comes next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next - self.buffer.len() as u64
    }
}
