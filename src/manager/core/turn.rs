//! One turn of the run loop under the lock: what is due, what is too old, what may start.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::queue::{Short, Slot};
use super::super::references::{Reference, Source, Take};
use super::super::state::{Command, Phase};
use super::super::table::Entry;
use super::super::timers::Timer;
use super::{Core, Mode, RunKey};
use crate::journal::{Accepted, OutcomeKind, Record};
use crate::resource::Claim;
use crate::task::{CancelHandle, Prepared, ResourceDemand, Task, TaskError, TaskId};

/// Starts of one turn: keeps the lock short; the rest follows in the next.
const STARTS_MAX: usize = 128;
/// Forgotten tasks of one turn.
const FORGOTTEN_MAX: usize = 1024;
/// Timers of one turn.
const TIMERS_MAX: usize = 1024;

/// A run to begin.
pub(in super::super) struct Start {
    pub key: RunKey,
    pub body: Arc<Accepted>,
    /// The task with its references resolved, if it had any.
    pub resolved: Option<Arc<Task>>,
    pub prepared: Prepared,
    pub claim: Claim,
    pub cancel: CancelHandle,
    pub deadline_ns: Option<u64>,
    pub queue_ns: u64,
}

/// References to replace, outside the lock.
pub(in super::super) struct Resolve {
    pub slot: Slot,
    pub body: Arc<Accepted>,
    pub references: Arc<[Reference]>,
    pub sources: Vec<(TaskId, Source)>,
}

/// A task whose references were replaced.
pub(in super::super) struct Resolved {
    pub task: Task,
    pub prepared: Prepared,
    /// Bytes of its data as it is now, and of what is parsed of it.
    pub copied_bytes: u64,
}

/// What the loop does after a turn.
#[derive(Default)]
pub(in super::super) struct Turn {
    pub starts: Vec<Start>,
    pub resolves: Vec<Resolve>,
    /// Entries that were forgotten; dropped outside the lock.
    pub forgotten: Vec<Entry>,
    /// What a waiting task needs for which idle memory should be given back.
    pub stuck: Option<ResourceDemand>,
    /// When to look again if nothing else happens.
    pub wake_ns: Option<u64>,
    /// True when there was more to do than one turn takes.
    pub more: bool,
}

impl Core {
    /// Decides what happens now.
    pub(in super::super) fn turn(&mut self) -> Turn {
        let now_ns = self.clock.now_ns();
        let mut turn = Turn::default();
        self.fire_timers(now_ns, &mut turn);
        self.settle();
        self.forget(now_ns, &mut turn);
        self.begin_resolving(&mut turn);
        self.queue.unblock();
        if self.mode != Mode::Closed {
            self.start_expedited(now_ns, &mut turn);
            self.start_queued(now_ns, &mut turn);
            turn.more |= self.queue.asks();
            turn.stuck = self.stuck(&mut turn);
        }
        let wakes = [self.timers.next_ns(), self.retention.next_expiry_ns()];
        turn.wake_ns = wakes.into_iter().flatten().min();
        turn
    }

    /// What the task needs for which room should be made. One that cannot fit any more, because what outlasts tasks has grown, fails instead.
    fn stuck(&mut self, turn: &mut Turn) -> Option<ResourceDemand> {
        let slot = self.queue.stuck()?;
        let demand = self.table.get(slot)?.prepared.demand.clone();
        match self.ledger.check_can_ever_fit(&demand) {
            Ok(()) => Some(demand),
            Err(error) => {
                // Refused only when it ended meanwhile.
                let _ended_before = self.stop(slot, OutcomeKind::Failed(Arc::new(error)));
                self.settle();
                turn.more = true;
                None
            }
        }
    }

    /// A run loop begins: what an earlier one was resolving is resolved again.
    pub(in super::super) fn resume(&mut self) {
        let slots: Vec<Slot> = self.table.slots().collect();
        let known: HashSet<Slot> = self.to_resolve.iter().map(|(slot, _)| *slot).collect();
        for slot in slots {
            let resolving = self.table.get(slot).filter(|entry| entry.life.phase() == Phase::Resolving && !known.contains(&slot));
            if let Some(entry) = resolving {
                self.to_resolve.push_back((slot, entry.body.id()));
            }
        }
    }

    fn fire_timers(&mut self, now_ns: u64, turn: &mut Turn) {
        for _ in 0..TIMERS_MAX {
            let Some((slot, timer)) = self.timers.pop_due(now_ns) else { return };
            match timer {
                Timer::Deadline => {
                    let deadline = self.table.get(slot).and_then(|entry| entry.body.deadline).unwrap_or_default();
                    // Refused only when the outcome is being written: then it was in time.
                    let _in_time = self.stop(slot, OutcomeKind::Failed(Arc::new(TaskError::DeadlineExceeded { deadline })));
                }
                Timer::Retry => {
                    let Some(entry) = self.table.get_mut(slot) else { continue };
                    entry.rare().retry_ns = None;
                    if entry.life.apply(Command::RetryDue).is_ok_and(|effects| effects.enqueue) {
                        self.backing_off = self.backing_off.saturating_sub(1);
                        self.enqueue(slot, now_ns);
                    }
                }
            }
        }
        turn.more = true;
    }

    fn forget(&mut self, now_ns: u64, turn: &mut Turn) {
        for _ in 0..FORGOTTEN_MAX {
            let Some(slot) = self.retention.expire(now_ns) else { return };
            let Some(entry) = self.table.get_mut(slot) else { continue };
            let bytes = entry.bytes.saturating_add(entry.outcome_bytes);
            if entry.is_held() && self.parked_bytes.saturating_add(bytes) <= self.limits.graph_bytes_max {
                entry.rare().is_parked = true;
                self.parked_bytes += bytes;
                continue;
            }
            let Some(entry) = self.table.remove(slot) else { continue };
            if let Some(key) = &entry.body.idempotency_key {
                self.keys.remove(entry.submitter, key);
            }
            self.leave(entry.submitter);
            self.append(Record::Forgotten { task_id: entry.body.id() });
            turn.forgotten.push(entry);
        }
        turn.more = true;
    }

    /// Lets tasks take the values they refer to, as long as the copies of all open tasks together stay within the bound on what graphs hold.
    fn begin_resolving(&mut self, turn: &mut Turn) {
        while let Some(&(slot, task_id)) = self.to_resolve.front() {
            let copied_bytes = self.copied_bytes_of(slot, task_id);
            let fits = self.copied_bytes.saturating_add(copied_bytes) <= self.limits.graph_bytes_max;
            // One at a time always may, so that no bound stops a graph for good.
            if !fits && self.copied_bytes > 0 {
                return;
            }
            self.to_resolve.pop_front();
            if let Some(resolve) = self.resolve_of(slot, task_id) {
                self.count_copies(slot, copied_bytes);
                turn.resolves.push(resolve);
            }
        }
    }

    /// Counts what a task holds, or will hold, of other tasks' values.
    fn count_copies(&mut self, slot: Slot, copied_bytes: u64) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        let before = std::mem::replace(&mut entry.rare().copied_bytes, copied_bytes);
        self.copied_bytes = self.copied_bytes.saturating_sub(before).saturating_add(copied_bytes);
    }

    /// The most that the values a task takes by reference can hold; parts are shared and hold nothing.
    fn copied_bytes_of(&self, slot: Slot, task_id: TaskId) -> u64 {
        let entry = self.table.get(slot).filter(|entry| entry.body.id() == task_id);
        let Some(rare) = entry.and_then(|entry| entry.rare.as_ref()) else { return 0 };
        let taken = rare.references.iter().filter(|reference| matches!(reference.take, Take::Path(_)));
        let source = |id: &TaskId| self.table.find(id).ok().and_then(|slot| self.table.get(slot)).map_or(0, |entry| entry.outcome_bytes);
        taken.map(|reference| source(&reference.from)).fold(0, u64::saturating_add).min(self.limits.reference_bytes_max)
    }

    fn resolve_of(&mut self, slot: Slot, task_id: TaskId) -> Option<Resolve> {
        let entry = self.table.get_same(slot, task_id).filter(|entry| entry.life.phase() == Phase::Resolving)?;
        let references = entry.rare.as_ref()?.references.clone();
        let (body, holds) = (entry.body.clone(), entry.rare.as_ref()?.holds.clone());
        let sources = holds.iter().filter_map(|held| Some((*held, self.source(held)?))).collect();
        Some(Resolve { slot, body, references, sources })
    }

    fn source(&self, task_id: &TaskId) -> Option<Source> {
        let entry = self.table.find(task_id).ok().and_then(|slot| self.table.get(slot))?;
        match &entry.outcome.as_ref()?.kind {
            OutcomeKind::Completed { result, parts } => Some((result.clone(), parts.clone())),
            _ => None,
        }
    }

    /// The references of a task were replaced and its payload prepared, or that failed.
    pub(in super::super) fn resolved(&mut self, slot: Slot, task_id: TaskId, outcome: Result<Resolved, TaskError>) {
        let now_ns = self.clock.now_ns();
        let Some(entry) = self.table.get_same(slot, task_id) else { return };
        match outcome {
            Ok(Resolved { task, prepared, copied_bytes }) => {
                if entry.life.apply(Command::Resolved).is_err() {
                    return;
                }
                // What is parsed of the copies counts with them, not with the payload.
                entry.prepared = Prepared { request_bytes: 0, ..prepared };
                let rare = entry.rare();
                rare.resolved = Some(Arc::new(task));
                let holds = std::mem::take(&mut rare.holds);
                self.release(&holds, now_ns);
                self.count_copies(slot, copied_bytes);
                self.enqueue(slot, now_ns);
            }
            Err(error) => {
                // Refused only when it ended meanwhile.
                let _ended_before = self.stop(slot, OutcomeKind::Failed(Arc::new(error)));
                self.settle();
            }
        }
    }

    /// Asks to start a task ahead of its turn. Returns false when it does not wait in the queue.
    pub(in super::super) fn expedite(&mut self, slot: Slot) -> bool {
        let Some(entry) = self.table.get_mut(slot).filter(|entry| entry.life.phase() == Phase::Queued) else { return false };
        let task_id = entry.body.id();
        if !std::mem::replace(&mut entry.rare().is_expedited, true) {
            self.expedited.push((slot, task_id));
        }
        true
    }

    fn start_expedited(&mut self, now_ns: u64, turn: &mut Turn) {
        for (slot, task_id) in std::mem::take(&mut self.expedited) {
            let Some(entry) = self.table.get_same(slot, task_id) else { continue };
            entry.rare().is_expedited = false;
            let (class, submitter) = (entry.class, entry.submitter);
            let waits = entry.life.phase() == Phase::Queued;
            let free = self.runs < self.limits.running_max && self.queue.reserved().is_none_or(|reserved| reserved == slot);
            if !waits || !free || self.submitters.get(submitter).running >= self.limits.running_per_submitter_max {
                continue;
            }
            let demand = self.table.get(slot).map(|entry| entry.prepared.demand.clone()).unwrap_or_default();
            if let Ok(claim) = self.ledger.try_claim(&demand)
                && self.queue.remove(slot)
            {
                self.queue.started(class);
                turn.starts.extend(self.start(slot, claim, now_ns));
            }
        }
    }

    fn start_queued(&mut self, now_ns: u64, turn: &mut Turn) {
        while self.runs < self.limits.running_max {
            if turn.starts.len() >= STARTS_MAX {
                turn.more = true;
                return;
            }
            let mut claimed = None;
            let Self { queue, table, ledger, submitters, classes, limits, .. } = self;
            let picked = queue.pick(now_ns, &mut |slot| {
                let Some(entry) = table.get(slot) else { return Err(Short::Submitter) };
                if submitters.get(entry.submitter).running >= limits.running_per_submitter_max {
                    return Err(Short::Submitter);
                }
                let demand = &entry.prepared.demand;
                claimed = Some(ledger.try_claim(demand).map_err(|shortage| classes.short(entry.class, demand, &shortage))?);
                Ok(())
            });
            let (Some(slot), Some(claim)) = (picked, claimed) else { return };
            turn.starts.extend(self.start(slot, claim, now_ns));
        }
    }

    /// Makes the move to `Running` for a task that has left the queue with its claim.
    fn start(&mut self, slot: Slot, claim: Claim, now_ns: u64) -> Option<Start> {
        self.count_dequeued(slot);
        let entry = self.table.get_mut(slot)?;
        entry.life.apply(Command::Start).ok()?;
        let cancel = CancelHandle::default();
        entry.cancel = Some(cancel.clone());
        entry.started_ns = now_ns.max(1);
        let (submitter, attempt, body) = (entry.submitter, entry.life.attempt(), entry.body.clone());
        let start = Start {
            key: RunKey {
                slot,
                task_id: body.id(),
                attempt,
                submitter,
                class: entry.class,
                started_ns: now_ns,
                threads: entry.prepared.demand.threads,
            },
            resolved: entry.rare.as_ref().and_then(|rare| rare.resolved.clone()),
            prepared: entry.prepared.clone(),
            deadline_ns: entry.rare.as_ref().and_then(|rare| rare.deadline_ns),
            queue_ns: now_ns.saturating_sub(entry.accepted_ns),
            claim,
            cancel,
            body,
        };
        self.runs += 1;
        self.submitters.get_mut(submitter).running += 1;
        self.submitters.use_again(submitter);
        self.append(Record::Started { task_id: start.key.task_id, attempt });
        let task = (start.key.task_id, &start.body.submitter);
        self.hub.publish(now_ns, task, super::super::events::EventKind::Started { attempt }, 0);
        Some(start)
    }
}
