//! How tasks end: by their run, by someone's wish, by their deadline, by a dependency.

use std::sync::Arc;

use super::super::events::EventKind;
use super::super::queue::Slot;
use super::super::retry::{self, Failure};
use super::super::state::{Command, Effects, End, Phase, Refusal};
use super::super::table::Rare;
use super::super::timers::Timer;
use super::Core;
use crate::journal::{Outcome, OutcomeKind, Record};
use crate::task::{Parts, TaskError, TaskId, TaskResult, json_bytes};

/// What a dependent's error quotes of the failure it comes from, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// One run: names the attempt whose outcome counts.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct RunKey {
    pub slot: Slot,
    pub task_id: TaskId,
    pub attempt: u32,
    pub submitter: u32,
    pub class: u16,
    pub started_ns: u64,
    /// Threads it keeps busy; 0 for work inside an engine, whose time is not its own.
    pub threads: u32,
}

/// What a run came to.
pub(in super::super) struct RunEnd {
    pub result: Result<(TaskResult, Parts), TaskError>,
    pub panicked: bool,
    /// Bytes of the result and its parts, from [`outcome_bytes`].
    pub bytes: u64,
    /// 0.0 to 1.0, for the back-off.
    pub jitter: f64,
}

/// What became of a run's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Settled {
    /// It counts, or another attempt follows.
    Done,
    /// It is in the journal but not durable yet: [`Core::run_committed`] follows.
    Committing,
    /// The task had ended before; the outcome is dropped.
    Stale,
}

impl Core {
    /// Ends a task now, whatever it does. The caller calls [`Core::settle`] afterwards.
    pub(in super::super) fn stop(&mut self, slot: Slot, kind: OutcomeKind) -> Result<(), Refusal> {
        let Some(entry) = self.table.get_mut(slot) else { return Err(Refusal::OutOfOrder(Phase::Cancelled)) };
        let from = entry.life.phase();
        let effects = entry.life.apply(Command::Stop { end: end_of(&kind) })?;
        let outcome = Arc::new(Outcome { kind, at: self.clock.wall_now() });
        let task_id = entry.body.id();
        if let Some(cancel) = entry.cancel.take() {
            let cause = outcome.error().unwrap_or(TaskError::Cancelled { reason: "stopped".into() });
            cancel.cancel(cause);
        }
        self.append(Record::Ended { task_id, outcome: outcome.clone() });
        match from {
            Phase::Blocked => self.blocked = self.blocked.saturating_sub(1),
            Phase::Backoff => self.backing_off = self.backing_off.saturating_sub(1),
            _ => {}
        }
        self.conclude(slot, effects, outcome);
        Ok(())
    }

    /// Takes the outcome of a run, if the run still counts. The caller calls [`Core::settle`] afterwards.
    pub(in super::super) fn run_ended(&mut self, key: RunKey, end: RunEnd) -> Settled {
        let now_ns = self.clock.now_ns();
        let Some(entry) = self.table.get_same(key.slot, key.task_id) else { return Settled::Stale };
        if end.panicked {
            self.totals.panicked += 1;
        }
        let failure = end.result.as_ref().err().map(|error| Failure {
            error,
            panicked: end.panicked,
            attempt: key.attempt,
            retries_max: entry.body.retries_max,
        });
        let delay = failure.and_then(|failure| retry::next_delay(&self.limits.retry, failure, end.jitter));
        if let Some(delay) = delay {
            if entry.life.apply(Command::Retry { attempt: key.attempt }).is_err() {
                return Settled::Stale;
            }
            let at_ns = now_ns.saturating_add(super::ns(delay));
            entry.cancel = None;
            entry.rare().retry_ns = Some(at_ns);
            self.timers.arm(at_ns, key.slot, Timer::Retry);
            self.backing_off += 1;
            self.totals.retried += 1;
            return Settled::Done;
        }
        if entry.life.apply(Command::Commit { attempt: key.attempt }).is_err() {
            return Settled::Stale;
        }
        let kind = match end.result {
            Ok((result, parts)) => {
                entry.outcome_bytes = end.bytes;
                OutcomeKind::Completed { result: Arc::new(result), parts: Arc::new(parts) }
            }
            Err(TaskError::Cancelled { reason }) => OutcomeKind::Cancelled(reason.into()),
            Err(error) => OutcomeKind::Failed(Arc::new(error)),
        };
        let outcome = Arc::new(Outcome { kind, at: self.clock.wall_now() });
        entry.outcome = Some(outcome.clone());
        self.append(Record::Ended { task_id: key.task_id, outcome });
        if !self.journal.is_immediate() {
            return Settled::Committing;
        }
        self.run_committed(key);
        Settled::Done
    }

    /// The outcome of a run is durable: publishes it.
    pub(in super::super) fn run_committed(&mut self, key: RunKey) {
        let Some(entry) = self.table.get_same(key.slot, key.task_id) else { return };
        let Some(outcome) = entry.outcome.clone() else { return };
        let Ok(effects) = entry.life.apply(Command::Finish { end: end_of(&outcome.kind) }) else { return };
        entry.cancel = None;
        self.conclude(key.slot, effects, outcome);
    }

    /// The future of a run is gone: frees its place.
    pub(in super::super) fn run_over(&mut self, key: RunKey, was_stale: bool) {
        self.runs = self.runs.saturating_sub(1);
        if was_stale {
            self.ending = self.ending.saturating_sub(1);
        }
        let submitter = self.submitters.get_mut(key.submitter);
        submitter.running = submitter.running.saturating_sub(1);
        self.queue.finished(key.class);
        let busy_ns = self.clock.now_ns().saturating_sub(key.started_ns).saturating_mul(u64::from(key.threads));
        self.queue.charge(key.submitter, busy_ns / super::COST_NS);
        self.leave(key.submitter);
    }

    /// Tells dependents of ended tasks, and theirs, until nobody is left to tell.
    pub(in super::super) fn settle(&mut self) {
        while let Some((slot, task_id, error)) = self.settling.pop_front() {
            let Some(entry) = self.table.get_same(slot, task_id) else { continue };
            let dependents = entry.rare.as_mut().map(|rare| std::mem::take(&mut rare.dependents)).unwrap_or_default();
            let now_ns = self.clock.now_ns();
            let failed = error.map(|error| Arc::new(dependency_failed(task_id, &error)));
            for (dependent, dependent_id) in dependents {
                let Some(waiting) = self.table.get_same(dependent, dependent_id) else { continue };
                if let Some(failed) = &failed {
                    // A dependent that has ended meanwhile stays as it is.
                    let _ended_before = self.stop(dependent, OutcomeKind::Failed(failed.clone()));
                    continue;
                }
                let rare = waiting.rare();
                rare.open_dependencies = rare.open_dependencies.saturating_sub(1);
                if rare.open_dependencies == 0 {
                    self.unblock(dependent, now_ns);
                }
            }
        }
    }

    /// What every end has in common.
    fn conclude(&mut self, slot: Slot, effects: Effects, outcome: Arc<Outcome>) {
        let now_ns = self.clock.now_ns();
        if effects.dequeue && self.queue.remove(slot) {
            self.count_dequeued(slot);
        }
        let Some(entry) = self.table.get_mut(slot) else { return };
        if effects.stop_run {
            self.ending += 1;
        }
        let body = entry.body.clone();
        entry.outcome = Some(outcome.clone());
        let load = entry.load();
        (entry.prepared.request, entry.prepared.request_bytes) = (None, 0);
        let (bytes, outcome_bytes, submitter, type_idx) = (entry.bytes, entry.outcome_bytes, entry.submitter, entry.type_idx);
        let compute_ns = if entry.started_ns == 0 { None } else { Some(now_ns.saturating_sub(entry.started_ns)) };
        let queue_ns = if entry.started_ns == 0 { now_ns } else { entry.started_ns }.saturating_sub(entry.accepted_ns);
        let attempt = entry.life.attempt();
        let kept_bytes = bytes.saturating_add(outcome_bytes);
        // Beyond the bound it is kept like any other, and those that need it later are told that it is gone.
        let is_parked = entry.is_held() && self.parked_bytes.saturating_add(kept_bytes) <= self.limits.graph_bytes_max;
        let mut holds = Vec::new();
        if let Some(rare) = &mut entry.rare {
            rare.is_parked = is_parked;
            self.copied_bytes = self.copied_bytes.saturating_sub(std::mem::take(&mut rare.copied_bytes));
            holds = disarm(rare, &mut self.timers, slot);
            for waiter in rare.waiters.drain(..) {
                // A waiter that has gone away needs no answer.
                let _gone = waiter.send(outcome.clone());
            }
            if !rare.dependents.is_empty() {
                self.settling.push_back((slot, body.id(), outcome.error()));
            }
        }
        self.open.sub(load);
        self.submitters.get_mut(submitter).open.sub(load);
        self.drain_rate.count(now_ns);
        self.count_end(type_idx, &outcome, queue_ns, compute_ns);
        let (kind, event_bytes) = event_of(&outcome, compute_ns.unwrap_or(0), attempt.saturating_sub(1), outcome_bytes);
        self.hub.publish(now_ns, (body.id(), &body.submitter), kind, event_bytes);
        if is_parked {
            self.parked_bytes += kept_bytes;
        } else {
            self.retention.add(slot, kept_bytes, now_ns);
        }
        self.release(&holds, now_ns);
    }

    fn count_end(&mut self, type_idx: u16, outcome: &Outcome, queue_ns: u64, compute_ns: Option<u64>) {
        let count = &mut self.types.all[usize::from(type_idx)];
        count.queue_seconds.record(queue_ns as f64 / 1e9);
        if let Some(compute_ns) = compute_ns {
            count.compute_seconds.record(compute_ns as f64 / 1e9);
        }
        match &outcome.kind {
            OutcomeKind::Completed { .. } => {
                self.totals.completed += 1;
                count.completed += 1;
            }
            OutcomeKind::Failed(_) => {
                self.totals.failed += 1;
                count.failed += 1;
            }
            OutcomeKind::Cancelled(_) => {
                self.totals.cancelled += 1;
                count.cancelled += 1;
            }
        }
    }

    /// A task no longer needs the results of `holds`.
    pub(super) fn release(&mut self, holds: &[TaskId], now_ns: u64) {
        for held in holds {
            let Ok(slot) = self.table.find(held) else { continue };
            let Some(entry) = self.table.get_mut(slot) else { continue };
            let (bytes, terminal) = (entry.bytes.saturating_add(entry.outcome_bytes), entry.life.phase().is_terminal());
            let rare = entry.rare();
            rare.held_by = rare.held_by.saturating_sub(1);
            if rare.held_by == 0 && rare.is_parked && terminal {
                rare.is_parked = false;
                self.parked_bytes = self.parked_bytes.saturating_sub(bytes);
                self.retention.add(slot, bytes, now_ns);
            }
        }
    }

    pub(super) fn count_dequeued(&mut self, slot: Slot) {
        if let Some(entry) = self.table.get(slot) {
            let queued = &mut self.queued[entry.priority as usize];
            *queued = queued.saturating_sub(1);
        }
    }

    pub(super) fn leave(&mut self, submitter: u32) {
        if self.submitters.leave(submitter) {
            self.queue.forget_submitter(submitter);
        }
    }
}

/// The error of a task whose dependency ended with `error`. It names the task where the failure began, so that it does not grow along a chain.
pub(super) fn dependency_failed(dependency: TaskId, error: &TaskError) -> TaskError {
    if matches!(error, TaskError::DependencyFailed { .. }) {
        return error.clone();
    }
    let mut reason = error.to_string();
    if reason.len() > REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        reason.push_str(" ...");
    }
    TaskError::DependencyFailed { dependency, reason }
}

/// Disarms the timers of an ended task and drops what only an open task needs; returns the tasks it held.
fn disarm(rare: &mut Rare, timers: &mut super::super::timers::Timers, slot: Slot) -> Vec<TaskId> {
    if let Some(at_ns) = rare.deadline_ns.take() {
        timers.disarm(at_ns, slot, Timer::Deadline);
    }
    if let Some(at_ns) = rare.retry_ns.take() {
        timers.disarm(at_ns, slot, Timer::Retry);
    }
    rare.references = Arc::default();
    rare.resolved = None;
    std::mem::take(&mut rare.holds)
}

fn event_of(outcome: &Outcome, duration_ns: u64, retry_count: u32, bytes: u64) -> (EventKind, u64) {
    match &outcome.kind {
        OutcomeKind::Completed { result, parts } => {
            // Parts are not in the event.
            let parts: u64 = parts.values().map(|part| part.bytes().len() as u64).sum();
            (EventKind::Completed { result: result.clone(), duration_ns }, bytes.saturating_sub(parts))
        }
        OutcomeKind::Failed(error) => (EventKind::Failed { error: error.clone(), retry_count }, error.to_string().len() as u64),
        OutcomeKind::Cancelled(reason) => (EventKind::Cancelled { reason: reason.clone() }, reason.len() as u64),
    }
}

pub(super) fn end_of(kind: &OutcomeKind) -> End {
    match kind {
        OutcomeKind::Completed { .. } => End::Completed,
        OutcomeKind::Failed(_) => End::Failed,
        OutcomeKind::Cancelled(_) => End::Cancelled,
    }
}

/// Approximate bytes of a result and its parts.
pub(in super::super) fn outcome_bytes(result: &TaskResult, parts: &Parts) -> u64 {
    let metadata: u64 = result.metadata.iter().map(|(key, value)| 24 + key.len() as u64 + json_bytes(value)).sum();
    let parts: u64 = parts.values().map(|part| part.bytes().len() as u64).sum();
    json_bytes(&result.output) + metadata + parts
}
