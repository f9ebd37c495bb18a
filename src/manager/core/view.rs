//! Copies of the state for those who ask.

use std::collections::BinaryHeap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::queue::Slot;
use super::super::table::Entry;
use super::super::views::{ManagerStats, StatusKind, StatusView, TaskFilter, TaskSummary, TypeStats};
use super::{Core, Mode};
use crate::journal::{Outcome, OutcomeKind};
use crate::task::{Parts, Task, TaskError, TaskId, TaskPriority, TaskStatus};

/// Entries looked at under one hold of the lock.
const STRETCH: Slot = 1024;

/// What a caller who waits gets at first.
pub(in super::super) enum Waiting {
    Ended(Arc<Outcome>),
    Open(oneshot::Receiver<Arc<Outcome>>),
}

impl Core {
    pub(in super::super) fn status(&self, task_id: &TaskId) -> Result<StatusView, TaskError> {
        let entry = self.entry(task_id)?;
        Ok(StatusView { status: entry.life.phase().into(), priority: entry.priority, attempt: entry.life.attempt() })
    }

    fn entry(&self, task_id: &TaskId) -> Result<&Entry, TaskError> {
        let slot = self.table.find(task_id)?;
        self.table.get(slot).ok_or(TaskError::NotFound { task_id: *task_id })
    }

    pub(in super::super) fn owner(&self, task_id: &TaskId) -> Result<Arc<str>, TaskError> {
        Ok(self.entry(task_id)?.body.submitter.clone())
    }

    /// The pieces from which [`snapshot`] makes a task outside the lock.
    pub(in super::super) fn pieces(&self, task_id: &TaskId) -> Result<Pieces, TaskError> {
        Ok(pieces(self.entry(task_id)?))
    }

    pub(in super::super) fn parts(&self, task_id: &TaskId) -> Result<Arc<Parts>, TaskError> {
        let entry = self.entry(task_id)?;
        if !entry.life.phase().is_terminal() {
            return Ok(Arc::default());
        }
        match entry.outcome.as_ref().map(|outcome| &outcome.kind) {
            Some(OutcomeKind::Completed { parts, .. }) => Ok(parts.clone()),
            _ => Ok(Arc::default()),
        }
    }

    pub(in super::super) fn wait(&mut self, task_id: &TaskId) -> Result<Waiting, TaskError> {
        let slot = self.table.find(task_id)?;
        let entry = self.table.get_mut(slot).ok_or(TaskError::NotFound { task_id: *task_id })?;
        if entry.life.phase().is_terminal()
            && let Some(outcome) = &entry.outcome
        {
            return Ok(Waiting::Ended(outcome.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        let waiters = &mut entry.rare().waiters;
        // Callers who gave up leave closed senders behind.
        if waiters.len() == waiters.capacity() {
            waiters.retain(|waiter| !waiter.is_closed());
        }
        waiters.push(sender);
        Ok(Waiting::Open(receiver))
    }

    /// Pieces of the tasks with that status in one stretch of the table, and where to go on.
    pub(in super::super) fn by_status(&self, kind: StatusKind, from: Slot) -> (Vec<Pieces>, Option<Slot>) {
        let (entries, next) = self.table.stretch(from, STRETCH);
        (entries.filter(|entry| StatusKind::from(entry.life.phase()) == kind).map(pieces).collect(), next)
    }

    /// Adds the ids of one stretch that match, keeping the `limit` smallest; returns where to go on.
    pub(in super::super) fn matching(&self, filter: &TaskFilter, found: &mut BinaryHeap<TaskId>, from: Slot) -> Option<Slot> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let (entries, next) = self.table.stretch(from, STRETCH);
        for entry in entries {
            let id = entry.body.id();
            if found.len() == limit && found.peek().is_none_or(|largest| *largest <= id) || !matches(entry, filter) {
                continue;
            }
            found.push(id);
            if found.len() > limit {
                found.pop();
            }
        }
        next
    }

    pub(in super::super) fn summary(&self, task_id: &TaskId) -> Option<TaskSummary> {
        let entry = self.entry(task_id).ok()?;
        let phase = entry.life.phase();
        let outcome = entry.outcome.as_ref().filter(|_| phase.is_terminal());
        let task = &entry.body.task;
        Some(TaskSummary {
            id: task.id,
            task_type: task.payload.task_type.clone(),
            priority: task.priority,
            status: phase.into(),
            attempt: entry.life.attempt(),
            submitter: entry.body.submitter.clone(),
            labels: entry.body.labels.clone(),
            created_at: task.created_at,
            completed_at: outcome.map(|outcome| outcome.at.max(task.created_at)),
            error: outcome.and_then(|outcome| outcome.error()).map(|error| error.to_string()),
        })
    }

    pub(in super::super) fn stats(&mut self) -> ManagerStats {
        let now_ns = self.clock.now_ns();
        let oldest_ns = self.queue.fronts().filter_map(|slot| self.table.get(slot)).map(|entry| entry.accepted_ns).min();
        let room = self.limits.room;
        let drain_per_s = if self.open.tasks == 0 { self.drain_rate.last_per_s() } else { self.drain_rate.per_s(now_ns) };
        let types = self.types.all.iter().map(|count| TypeStats {
            task_type: count.task_type.name().to_owned(),
            completed: count.completed,
            failed: count.failed,
            cancelled: count.cancelled,
            queue_seconds: count.queue_seconds.clone(),
            compute_seconds: count.compute_seconds.clone(),
        });
        ManagerStats {
            queued: TaskPriority::ALL.iter().map(|level| (level.name(), self.queued[*level as usize])).collect(),
            blocked: self.blocked,
            backing_off: self.backing_off,
            oldest_queued_ms: oldest_ns.map_or(0, |oldest_ns| now_ns.saturating_sub(oldest_ns) / 1_000_000),
            running: (self.runs - self.ending.min(self.runs)) as u64,
            ending: self.ending as u64,
            open_tasks: (self.open.tasks, room.tasks_max),
            open_bytes: (self.open.bytes, room.bytes_max),
            retained_tasks: self.retention.count() as u64,
            retained_bytes: self.retention.bytes(),
            totals: self.totals,
            refused: self.refused.clone(),
            drain_per_s,
            types: types.collect(),
            operations: self.throughput.stats(now_ns),
            events_published: self.hub.published(),
            handler_events_missed: 0,
            handler_failures: 0,
            draining: self.mode != Mode::Open,
            journal_failed: self.journal_failed,
        }
    }
}

fn matches(entry: &Entry, filter: &TaskFilter) -> bool {
    let label = |(name, value): &(String, String)| entry.body.labels.get(name) == Some(value);
    filter.after.is_none_or(|after| entry.body.id() > after)
        && filter.status.is_none_or(|status| StatusKind::from(entry.life.phase()) == status)
        && filter.task_type.as_ref().is_none_or(|task_type| entry.body.task.payload.task_type == *task_type)
        && filter.submitter.as_deref().is_none_or(|submitter| *entry.body.submitter == *submitter)
        && filter.label.as_ref().is_none_or(label)
}

/// A task in shared pieces.
pub(in super::super) struct Pieces {
    entry: Arc<crate::journal::Accepted>,
    kind: StatusKind,
    outcome: Option<Arc<Outcome>>,
}

fn pieces(entry: &Entry) -> Pieces {
    let phase = entry.life.phase();
    Pieces { entry: entry.body.clone(), kind: phase.into(), outcome: entry.outcome.clone().filter(|_| phase.is_terminal()) }
}

impl Pieces {
    /// The task as outsiders see it; copies payload and result.
    pub(in super::super) fn into_task(self) -> Task {
        let mut task = self.entry.task.clone();
        task.status = match (&self.outcome, self.kind) {
            (Some(outcome), _) => outcome.status(),
            (None, StatusKind::Running) => TaskStatus::Running,
            (None, _) => TaskStatus::Pending,
        };
        if let Some(outcome) = &self.outcome {
            task.completed_at = Some(outcome.at.max(task.created_at));
            if let OutcomeKind::Completed { result, .. } = &outcome.kind {
                task.result = Some((**result).clone());
            }
        }
        task
    }
}
