//! The manager's state behind its one lock: applies the pure decisions to the table and tells the journal, the readers and the waiters.
//!
//! Every method is short and never waits. Invariants: a state change is appended to the journal before anyone can see or act on it; `open` is the sum
//! over tasks that are not terminal; a slot is in the queue exactly when its phase is `Queued`.

mod accept;
mod end;
mod replay;
mod turn;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::admission::{DrainRate, Load, Room};
use super::clock::Clock;
use super::events::EventHub;
use super::idempotency::Keys;
use super::options::{ManagerOptions, ns};
use super::queue::{Queue, QueuePolicy, Slot, Waiting};
use super::registers::{Classes, Submitters, Types};
use super::retention::{Retention, RetentionPolicy};
use super::retry::RetryPolicy;
use super::table::Table;
use super::throughput::{Throughput, Work};
use super::timers::Timers;
use super::views::Totals;
use crate::journal::{Journal, OutcomeKind, Record};
use crate::resource::Ledger;
use crate::task::{ResourceDemand, TaskError, TaskId};

pub(super) use accept::{Needs, Ready, at_position};
pub(super) use end::{RunEnd, RunKey, Settled, outcome_bytes};
pub(super) use replay::Replay;
pub(super) use turn::{Resolve, Resolved, Start};
pub(super) use view::{Pieces, Waiting as Wait};

/// Whether new tasks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Open,
    /// New tasks are refused.
    Draining,
    /// Nothing starts any more and nothing is journaled: what is open stays open for the next manager on the same journal.
    Closed,
}

/// The numbers of [`ManagerOptions`] that decisions need.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub room: Room,
    pub running_max: usize,
    pub running_per_submitter_max: usize,
    pub reference_bytes_max: u64,
    pub graph_bytes_max: u64,
    pub retry: RetryPolicy,
}

/// What the lock guards.
pub(super) struct Core {
    pub(super) table: Table,
    queue: Queue,
    submitters: Submitters,
    types: Types,
    classes: Classes,
    timers: Timers,
    retention: Retention,
    keys: Keys,
    drain_rate: DrainRate,
    throughput: Throughput,
    totals: Totals,
    refused: BTreeMap<&'static str, u64>,
    open: Load,
    /// Bytes of large submissions that are being checked.
    checking_bytes: u64,
    /// Bytes of ended tasks that are kept because open ones will read their results.
    parked_bytes: u64,
    /// Bytes of values that open tasks took from others by reference, and of those being taken.
    copied_bytes: u64,
    /// Runs that have not returned, ending ones included.
    runs: usize,
    ending: usize,
    blocked: u64,
    backing_off: u64,
    queued: [u64; 4],
    expedited: Vec<(Slot, TaskId)>,
    to_resolve: VecDeque<(Slot, TaskId)>,
    /// Ended tasks whose dependents have not been told yet.
    settling: VecDeque<(Slot, TaskId, Option<TaskError>)>,
    pub(super) mode: Mode,
    journal_failed: bool,
    pub(super) limits: Limits,
    hub: Arc<EventHub>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    journal: Arc<dyn Journal>,
}

impl Core {
    pub(super) fn new(options: &ManagerOptions, ledger: Ledger, hub: Arc<EventHub>) -> Self {
        let retention = RetentionPolicy {
            count_max: options.retained_tasks_max,
            bytes_max: options.retained_bytes_max,
            age_max_ns: ns(options.retained_for),
        };
        Self {
            table: Table::new(),
            queue: Queue::new(QueuePolicy { age_step_ns: ns(options.age_step).max(1), reserve_after_ns: ns(options.reserve_after) }),
            submitters: Submitters::default(),
            types: Types::default(),
            classes: Classes::default(),
            timers: Timers::default(),
            retention: Retention::new(retention),
            keys: Keys::default(),
            drain_rate: DrainRate::default(),
            throughput: Throughput::default(),
            totals: Totals::default(),
            refused: BTreeMap::new(),
            open: Load::default(),
            checking_bytes: 0,
            parked_bytes: 0,
            copied_bytes: 0,
            runs: 0,
            ending: 0,
            blocked: 0,
            backing_off: 0,
            queued: [0; 4],
            expedited: Vec::new(),
            to_resolve: VecDeque::new(),
            settling: VecDeque::new(),
            mode: Mode::Open,
            journal_failed: false,
            limits: Limits {
                room: Room { tasks_max: options.open_tasks_max as u64, bytes_max: options.open_bytes_max },
                running_max: options.running_max.max(1),
                running_per_submitter_max: options.running_per_submitter_max.max(1),
                reference_bytes_max: options.reference_bytes_max,
                graph_bytes_max: options.graph_bytes_max,
                retry: options.retry,
            },
            hub,
            ledger,
            clock: options.clock.clone(),
            journal: options.journal.clone(),
        }
    }

    /// Tasks that are not terminal.
    pub(super) fn open_tasks(&self) -> u64 {
        self.open.tasks
    }

    /// Runs that have not returned.
    pub(super) fn runs(&self) -> usize {
        self.runs
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Counts a refused submission.
    pub(super) fn count_refusal(&mut self, error: &TaskError) {
        *self.refused.entry(error.code()).or_default() += 1;
    }

    /// Counts the work of a completed task.
    pub(super) fn worked(&mut self, executor: &str, operation: &str, work: Work) {
        self.throughput.count(executor, operation, work, self.clock.now_ns());
    }

    /// The journal can no longer be trusted: nothing new is taken from here on.
    pub(super) fn journal_broke(&mut self, error: &TaskError) {
        if !self.journal_failed {
            tracing::error!(detail = error.detail(), "the journal failed; new tasks are refused: {error}");
        }
        self.journal_failed = true;
    }

    /// Appends a record about a change that happens in any case; a failure closes the manager to new tasks.
    fn append(&mut self, record: Record) {
        if self.mode == Mode::Closed {
            return;
        }
        if let Err(error) = self.journal.append(&[record]) {
            self.journal_broke(&error);
        }
    }

    fn enqueue(&mut self, slot: Slot, now_ns: u64) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        entry.class = self.classes.enter(&entry.prepared.demand, &mut self.queue);
        let priority = entry.priority as u8;
        let cost = 1 + (entry.bytes / COST_BYTES).min(COST_MAX) as u16;
        self.queued[usize::from(priority)] += 1;
        let ResourceDemand { host_bytes, device_bytes, .. } = entry.prepared.demand;
        let (submitter, class) = (entry.submitter, entry.class);
        self.queue.push(slot, Waiting { level: priority, submitter, class, cost, host_bytes, device_bytes, now_ns });
    }

    /// True when the run loop must look at a new task: it would start, as far as is known, or has a deadline to watch.
    pub(super) fn concerns_loop(&self, slot: Slot) -> bool {
        let entry = self.table.get(slot);
        entry.is_some_and(|entry| entry.rare.is_some() || !self.queue.is_blocked(slot) && self.runs < self.limits.running_max)
    }

    /// Cancels what is open; returns how many tasks that were.
    pub(super) fn cancel_all(&mut self, reason: &str) -> usize {
        let slots: Vec<Slot> = self.table.slots().collect();
        let reason: Arc<str> = reason.into();
        let stopped = slots.into_iter().filter(|&slot| self.stop(slot, OutcomeKind::Cancelled(reason.clone())).is_ok()).count();
        self.settle();
        stopped
    }
}

/// Payload bytes that cost a submitter as much as one task more.
const COST_BYTES: u64 = 64 * 1024;
/// The most a payload adds to a task's cost.
const COST_MAX: u64 = 1023;
/// Thread time that costs a submitter as much as one task more.
const COST_NS: u64 = 10_000_000;
