//! The core under thousands of random commands, without threads or real time: what must hold after every one of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{Seeded, ledger, task};
use crate::journal::{Journal, MemoryJournal, OutcomeKind};
use crate::manager::clock::{Clock, ManualClock};
use crate::manager::core::{Core, Ready, RunEnd, Settled, Start};
use crate::manager::events::EventHub;
use crate::manager::options::ManagerOptions;
use crate::manager::ring::RingPolicy;
use crate::manager::views::StatusKind;
use crate::resource::Ledger;
use crate::task::{MemoryShare, Parts, Prepared, ResourceDemand, Submission, TaskError, TaskId, TaskPriority, TaskResult};

const HOST_BYTES: u64 = 1000;
const SHARE_BYTES: u64 = 300;

struct Simulation {
    rng: Seeded,
    core: Core,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    journal: Arc<MemoryJournal>,
    running: Vec<Start>,
    /// What was last seen of every accepted task.
    seen: BTreeMap<TaskId, (StatusKind, u32)>,
    depends_on: HashMap<TaskId, Vec<TaskId>>,
    owners: Vec<Vec<TaskId>>,
    starts: usize,
    refused: usize,
    stale: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new());
        let ledger = ledger(HOST_BYTES, 4);
        let journal = Arc::new(MemoryJournal::new());
        let options = ManagerOptions {
            open_tasks_max: 200,
            open_bytes_max: 1 << 20,
            graph_bytes_max: 1 << 20,
            running_max: 12,
            running_per_submitter_max: 7,
            age_step: Duration::from_millis(300),
            reserve_after: Duration::from_millis(50),
            retained_tasks_max: 60,
            retained_for: Duration::from_secs(20),
            clock: clock.clone(),
            journal: journal.clone(),
            ..ManagerOptions::default()
        };
        let hub = Arc::new(EventHub::new(RingPolicy { count_max: 64, bytes_max: 1 << 16 }, clock.clone()));
        Self {
            rng: Seeded::new(seed),
            core: Core::new(&options, ledger.clone(), hub),
            clock,
            ledger,
            journal,
            running: Vec::new(),
            seen: BTreeMap::new(),
            depends_on: HashMap::new(),
            owners: vec![Vec::new(); 5],
            starts: 0,
            refused: 0,
            stale: 0,
        }
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..=5 => self.submit(),
            6 => self.submit_graph(),
            7 => self.cancel(),
            8..=13 => self.finish_one(),
            14..=15 => self.clock.advance(Duration::from_millis(self.rng.below(40))),
            _ => self.turn(),
        }
        self.check();
    }

    fn ready(&mut self, owner: usize, siblings: &[TaskId]) -> Ready {
        let priority = TaskPriority::ALL[self.rng.below(4) as usize];
        let mut new = task(serde_json::json!({}));
        new.priority = priority;
        let mut submission = Submission::new(new).submitter(format!("submitter-{owner}"));
        if self.rng.one_in(3) {
            submission = submission.retries_max(self.rng.below(4) as u32);
        }
        let known = &self.owners[owner];
        for _ in 0..self.rng.below(3) {
            if !known.is_empty() && self.rng.one_in(2) {
                submission.depends_on.push(known[self.rng.below(known.len() as u64) as usize]);
            }
            if !siblings.is_empty() {
                submission.depends_on.push(siblings[self.rng.below(siblings.len() as u64) as usize]);
            }
        }
        submission.depends_on.sort_unstable();
        submission.depends_on.dedup();
        let deadline_ns = self.rng.one_in(6).then(|| self.clock.now_ns() + 1 + self.rng.below(400_000_000));
        submission.deadline = deadline_ns.map(|at_ns| self.clock.wall(at_ns));
        let share = self.rng.one_in(3).then(|| MemoryShare { account: "small".into(), limit_bytes: SHARE_BYTES });
        let bytes_max = if share.is_some() { SHARE_BYTES } else { HOST_BYTES };
        let host_bytes = if self.rng.one_in(10) { bytes_max } else { self.rng.below(bytes_max / 3) };
        let demand = ResourceDemand { host_bytes, threads: self.rng.below(4) as u32, share, ..ResourceDemand::default() };
        let prepared = Prepared { demand, ..Prepared::default() };
        let bytes = self.rng.below(300_000);
        Ready { submission, bytes, references: Vec::new(), prepared, fingerprint: None, deadline_ns, retries_default: 3 }
    }

    fn submit(&mut self) {
        let owner = self.rng.below(5) as usize;
        let ready = self.ready(owner, &[]);
        let depends_on = ready.submission.depends_on.clone();
        match self.core.accept(ready) {
            Ok((id, _)) => self.accepted(owner, id, depends_on),
            Err(error) => {
                assert!(matches!(error, TaskError::Overloaded { .. } | TaskError::NotFound { .. }), "{error}");
                self.refused += 1;
            }
        }
    }

    fn submit_graph(&mut self) {
        let owner = self.rng.below(5) as usize;
        let (mut batch, mut siblings) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.rng.below(6) {
            let ready = self.ready(owner, &siblings);
            siblings.push(ready.submission.task.id);
            batch.push(ready);
        }
        let edges: Vec<_> = batch.iter().map(|ready| ready.submission.depends_on.clone()).collect();
        let before = self.core.open_tasks();
        match self.core.accept_all(batch) {
            Ok((ids, _)) => ids.into_iter().zip(edges).for_each(|(id, depends_on)| self.accepted(owner, id, depends_on)),
            Err(_) => {
                assert_eq!(self.core.open_tasks(), before, "all or nothing");
                self.refused += 1;
            }
        }
    }

    fn accepted(&mut self, owner: usize, id: TaskId, depends_on: Vec<TaskId>) {
        self.owners[owner].push(id);
        self.depends_on.insert(id, depends_on);
        self.seen.insert(id, (StatusKind::Pending, 0));
    }

    fn cancel(&mut self) {
        let ids: Vec<_> = self.seen.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.rng.below(ids.len() as u64) as usize];
        let Ok(slot) = self.core.table.find(&id) else { return };
        let was_terminal = self.seen[&id].0.is_terminal();
        let stopped = self.core.stop(slot, OutcomeKind::Cancelled("test".into()));
        self.core.settle();
        assert!(!(was_terminal && stopped.is_ok()), "a terminal status never changes");
    }

    fn finish_one(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let at = self.rng.below(self.running.len() as u64) as usize;
        let start = self.running.swap_remove(at);
        let (panicked, result) = match self.rng.below(8) {
            0 => (false, Err(TaskError::internal("flaky", ""))),
            1 => (true, Err(TaskError::internal("panic", ""))),
            2 => (false, Err(TaskError::invalid("x", "wrong"))),
            _ => (false, Ok((TaskResult::default(), Parts::default()))),
        };
        let was_stopped = start.cancel.is_cancelled();
        let end = RunEnd { result, panicked, bytes: self.rng.below(100), jitter: 0.5 };
        let settled = self.core.run_ended(start.key, end);
        self.core.settle();
        assert_eq!(settled == Settled::Stale, was_stopped, "an outcome counts exactly when its attempt still runs");
        self.stale += usize::from(was_stopped);
        drop(start.claim);
        self.core.run_over(start.key, settled == Settled::Stale);
    }

    fn turn(&mut self) {
        let turn = self.core.turn();
        let now_ns = self.clock.now_ns();
        for start in turn.starts {
            self.starts += 1;
            let id = start.key.task_id;
            assert!(start.deadline_ns.is_none_or(|at_ns| at_ns > now_ns), "expired work never starts");
            for dependency in &self.depends_on[&id] {
                // A dependency that was forgotten had completed before.
                let status = self.core.status(dependency).map(|view| view.status);
                assert!(status.is_err() || status == Ok(StatusKind::Completed), "a task starts after what it depends on");
            }
            self.running.push(start);
        }
    }

    fn check(&mut self) {
        let mut gone = Vec::new();
        for (id, last) in &mut self.seen {
            let Ok(view) = self.core.status(id) else {
                assert!(last.0.is_terminal(), "only ended tasks are forgotten");
                gone.push(*id);
                continue;
            };
            assert!(!last.0.is_terminal() || last.0 == view.status, "a terminal status never changes");
            assert!(view.attempt >= last.1, "attempts only rise");
            assert!(view.attempt <= 4, "at most three retries");
            *last = (view.status, view.attempt);
        }
        for id in gone {
            self.seen.remove(&id);
            self.owners.iter_mut().for_each(|known| known.retain(|other| *other != id));
        }
        let budget = self.ledger.snapshot();
        let claimed: u64 = self.running.iter().map(|start| start.prepared.demand.host_bytes).sum();
        assert_eq!(budget.host.used, claimed, "claims live exactly as long as runs");
        assert!(budget.host.peak <= HOST_BYTES && budget.threads.peak <= 4, "the sum of claims never exceeds a limit");
        assert!(budget.shares.values().all(|share| share.peak <= SHARE_BYTES), "nor the limit of a share");
        assert_eq!(self.core.runs(), self.running.len());
        assert!(self.running.len() <= 12);
    }

    /// No more submissions: everything ends.
    fn wind_down(&mut self) {
        for _ in 0..20_000 {
            if self.core.open_tasks() == 0 && self.running.is_empty() {
                break;
            }
            self.finish_one();
            self.clock.advance(Duration::from_millis(5));
            self.turn();
            self.check();
        }
        assert_eq!(self.core.open_tasks(), 0, "an accepted task ends");
        let stats = self.core.stats();
        assert_eq!(stats.totals.submitted, stats.totals.completed + stats.totals.failed + stats.totals.cancelled);
        assert_eq!((stats.running, stats.ending, stats.blocked, stats.backing_off), (0, 0, 0, 0));
        assert!(stats.queued.values().all(|count| *count == 0));
        assert_eq!(stats.open_bytes.0, 0);
        self.clock.advance(Duration::from_secs(30));
        self.turn();
        assert_eq!(self.core.stats().retained_tasks, 0, "ended tasks are forgotten with age");
        assert_eq!(self.core.table.slots().count(), 0);
        let kept = self.journal.load().expect("readable");
        assert!(kept.iter().all(|task| task.outcome.is_some()), "the journal knows that everything ended");
    }
}

#[test]
fn nothing_is_lost_and_no_rule_is_broken_in_any_order_of_events() {
    let seeds: Vec<u64> = match std::env::var("TALLOW_SIM_SEED") {
        Ok(seed) => vec![seed.parse().expect("TALLOW_SIM_SEED is a number")],
        Err(_) => (1..=12).collect(),
    };
    let (mut starts, mut refused, mut stale) = (0, 0, 0);
    for seed in seeds {
        println!("seed {seed}");
        let mut simulation = Simulation::new(seed);
        for _ in 0..4_000 {
            simulation.step();
        }
        simulation.wind_down();
        starts += simulation.starts;
        refused += simulation.refused;
        stale += simulation.stale;
    }
    println!("{starts} runs, {refused} refusals, {stale} outcomes that came too late");
    assert!(starts > 100 && refused > 10 && stale > 0, "the simulation reaches what it is about");
}
