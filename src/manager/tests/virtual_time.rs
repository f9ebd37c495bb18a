//! Who waits how long, in exact virtual time: a discrete-event simulation around the core.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{ledger, task};
use crate::manager::clock::{Clock, ManualClock};
use crate::manager::core::{Core, Ready, RunEnd, Start};
use crate::manager::events::EventHub;
use crate::manager::options::ManagerOptions;
use crate::manager::ring::RingPolicy;
use crate::resource::{Claim, Ledger};
use crate::task::{Parts, Prepared, ResourceDemand, Submission, TaskId, TaskPriority, TaskResult};

const MS: u64 = 1_000_000;

/// Two threads, tasks that take exactly as long as they say.
struct World {
    core: Core,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    takes_ns: HashMap<TaskId, u64>,
    ends: BinaryHeap<Reverse<(u64, u64)>>,
    running: HashMap<u64, Start>,
    next: u64,
    waited_ns: HashMap<TaskId, u64>,
    latency_ns: HashMap<TaskId, u64>,
    /// Tasks in the order of their starts.
    started: Vec<TaskId>,
    /// Memory that no task uses, given back when a task is stuck for which that is enough.
    idle: Option<Claim>,
}

struct Work {
    submitter: &'static str,
    priority: TaskPriority,
    takes_ns: u64,
    demand: ResourceDemand,
}

fn work(submitter: &'static str) -> Work {
    let demand = ResourceDemand { host_bytes: 1, threads: 1, ..ResourceDemand::default() };
    Work { submitter, priority: TaskPriority::Normal, takes_ns: 10 * MS, demand }
}

impl World {
    fn new(host_bytes: u64) -> Self {
        let clock = Arc::new(ManualClock::new());
        let ledger = ledger(host_bytes, 2);
        let options = ManagerOptions { clock: clock.clone(), ..ManagerOptions::default() };
        let hub = Arc::new(EventHub::new(RingPolicy { count_max: 16, bytes_max: 1 << 16 }, clock.clone()));
        Self {
            core: Core::new(&options, ledger.clone(), hub),
            clock,
            ledger,
            takes_ns: HashMap::new(),
            ends: BinaryHeap::new(),
            running: HashMap::new(),
            next: 0,
            waited_ns: HashMap::new(),
            latency_ns: HashMap::new(),
            started: Vec::new(),
            idle: None,
        }
    }

    fn submit(&mut self, work: Work) -> TaskId {
        let mut new = task(serde_json::Value::Null);
        new.priority = work.priority;
        self.takes_ns.insert(new.id, work.takes_ns);
        let prepared = Prepared { demand: work.demand, ..Prepared::default() };
        let submission = Submission::new(new).submitter(work.submitter);
        let ready =
            Ready { submission, bytes: 24, references: Vec::new(), prepared, fingerprint: None, deadline_ns: None, retries_default: 0 };
        let (id, _) = self.core.accept(ready).expect("room");
        self.turn();
        id
    }

    fn turn(&mut self) {
        loop {
            let turn = self.core.turn();
            for start in turn.starts {
                let at_ns = self.clock.now_ns() + self.takes_ns[&start.key.task_id];
                self.waited_ns.insert(start.key.task_id, start.queue_ns);
                self.started.push(start.key.task_id);
                self.next += 1;
                self.ends.push(Reverse((at_ns, self.next)));
                self.running.insert(self.next, start);
            }
            let gives_back = self.gives_back(turn.stuck.as_ref());
            if !turn.more && !gives_back {
                return;
            }
        }
    }

    fn gives_back(&mut self, stuck: Option<&ResourceDemand>) -> bool {
        let shortage = stuck.and_then(|demand| self.ledger.try_claim(demand).err());
        let Some((shortage, idle)) = shortage.zip(self.idle.as_ref()) else { return false };
        shortage.needed - shortage.free <= shortage.relieved_by(idle.demand()) && self.idle.take().is_some()
    }

    /// Moves to `at_ns`, ending what ends until then.
    fn run_until(&mut self, at_ns: u64) {
        while let Some(&Reverse((end_ns, key))) = self.ends.peek() {
            if end_ns > at_ns {
                break;
            }
            self.ends.pop();
            self.advance_to(end_ns);
            let start = self.running.remove(&key).expect("it runs");
            let id = start.key.task_id;
            self.latency_ns.insert(id, start.queue_ns + self.takes_ns[&id]);
            let end = RunEnd { result: Ok((TaskResult::default(), Parts::default())), panicked: false, bytes: 0, jitter: 0.0 };
            self.core.run_ended(start.key, end);
            drop(start.claim);
            self.core.run_over(start.key, false);
            self.turn();
        }
        self.advance_to(at_ns);
        self.turn();
    }

    fn advance_to(&mut self, at_ns: u64) {
        self.clock.advance(Duration::from_nanos(at_ns.saturating_sub(self.clock.now_ns())));
    }
}

#[test]
fn a_flood_of_ten_thousand_tasks_delays_another_submitter_by_at_most_its_solo_latency() {
    let mut world = World::new(1 << 30);
    for _ in 0..10_000 {
        world.submit(work("noisy"));
    }
    let mut quiet = Vec::new();
    for at in 0..200 {
        // Arrivals at every phase of the running tasks, before and after the flood has risen to the top by its age.
        world.run_until(at * 237 * MS + (at % 10) * MS / 3);
        quiet.push(world.submit(work("quiet")));
    }
    world.run_until(60_000 * MS);
    let worst = quiet.iter().map(|id| world.latency_ns[id]).max().expect("some");
    assert!(worst <= 2 * 10 * MS, "the worst latency was {} ms, alone it is 10 ms", worst as f64 / MS as f64);
    assert_eq!(world.core.totals().completed, 10_200);
}

#[test]
fn ever_new_submitters_hold_up_one_that_is_ahead_of_its_share_only_for_a_while() {
    let mut world = World::new(1 << 30);
    for _ in 0..4 {
        world.submit(Work { takes_ns: 500 * MS, ..work("ahead") });
    }
    world.run_until(1_000 * MS);
    let waits = world.submit(work("ahead"));
    for at in 0..1_600 {
        // Two threads are never idle, and every task comes under a name of its own.
        let name: &'static str = Box::leak(format!("new {at}").into_boxed_str());
        world.submit(work(name));
        world.run_until(1_000 * MS + at * 5 * MS);
    }
    let waited = world.waited_ns.get(&waits).copied().expect("it started before its age would have helped");
    assert!(waited <= 2_500 * MS, "it was ahead by a second of both threads and waited {} ms", waited / MS);
}

#[test]
fn submitters_share_the_threads_evenly_however_much_they_submit() {
    let mut world = World::new(1 << 30);
    for _ in 0..3_000 {
        world.submit(work("a"));
    }
    let (b, c): (Vec<_>, Vec<_>) = (0..500).map(|_| (world.submit(work("b")), world.submit(work("c")))).unzip();
    world.run_until(3_000 * MS);
    let done = |ids: &[TaskId]| ids.iter().filter(|id| world.latency_ns.contains_key(id)).count();
    // 600 tasks fit into 3 s on two threads: 200 each.
    for share in [done(&b), done(&c)] {
        assert!((190..=210).contains(&share), "{share} of 200");
    }
}

#[test]
fn long_and_short_tasks_get_the_same_share_of_the_threads() {
    let mut world = World::new(1 << 30);
    let heavy: Vec<_> = (0..1_000).map(|_| world.submit(Work { takes_ns: 100 * MS, ..work("heavy") })).collect();
    let light: Vec<_> = (0..2_000).map(|_| world.submit(work("light"))).collect();
    world.run_until(10_000 * MS);
    let done = |ids: &[TaskId]| ids.iter().filter(|id| world.latency_ns.contains_key(id)).count();
    // 20 seconds of threads: ten each. A task also costs its submitter a fixed share beside its time.
    let (heavy, light) = (done(&heavy), done(&light));
    assert!((85..=140).contains(&heavy), "{heavy} long tasks");
    assert!((600..=1_150).contains(&light), "{light} short tasks");
}

#[test]
fn a_low_task_starts_behind_an_endless_stream_of_high_ones_within_the_ageing_bound() {
    let mut world = World::new(1 << 30);
    let high = || Work { priority: TaskPriority::High, ..work("same") };
    for _ in 0..20 {
        world.submit(high());
    }
    let low = world.submit(Work { priority: TaskPriority::Low, ..work("same") });
    for at in 1..8_000 {
        world.run_until(at * 5 * MS);
        world.submit(high());
    }
    let waited = world.waited_ns.get(&low).copied().expect("it started");
    assert!(waited <= 31_000 * MS, "it waited {} ms", waited / MS);
    assert!(waited >= 19_000 * MS, "it is overdue to each level above after 10 s, not at once: {} ms", waited / MS);
}

#[test]
fn a_task_of_a_higher_priority_starts_next_in_front_of_a_backlog_of_any_age() {
    let mut world = World::new(1 << 30);
    for at in 0..1_500 {
        world.submit(Work { priority: TaskPriority::Low, takes_ns: 1_000 * MS, ..work(if at % 3 == 0 { "same" } else { "other" }) });
    }
    world.run_until(600_000 * MS);
    for at in 0..90_u64 {
        world.run_until((600_000 + at * 1_337) * MS);
        let priority = [TaskPriority::Critical, TaskPriority::High, TaskPriority::Normal][at as usize % 3];
        let before = world.started.len();
        let urgent = world.submit(Work { priority, ..work("same") });
        world.run_until((601_000 + at * 1_337) * MS);
        assert_eq!(world.started[before], urgent, "{priority:?} is the next to start, {at}");
    }
    let waiting = world.core.stats().queued["low"];
    assert!(waiting > 50, "the backlog lasted: {waiting}");
    // A burst leaves one start in nine to what is overdue, and no more.
    let before = world.started.len();
    let burst: Vec<_> = (0..90).map(|_| world.submit(Work { priority: TaskPriority::Critical, ..work("same") })).collect();
    world.run_until(world.clock.now_ns() + 60_000 * MS);
    let last = world.started.iter().position(|id| *id == burst[89]).expect("it started");
    assert_eq!(last + 1 - before, 90 + 90 / 9 + 1);
}

#[test]
fn no_low_task_starves_beside_a_steady_stream_of_higher_ones() {
    // (priority of the stream, its load in per cent of both threads, the longest a low task may wait in ms)
    for (priority, load, bound_ms) in [
        (TaskPriority::Normal, 90, 2_000),
        (TaskPriority::Normal, 150, 12_000),
        (TaskPriority::High, 120, 23_000),
        (TaskPriority::Critical, 120, 33_000),
    ] {
        let mut world = World::new(1 << 30);
        let mut low = Vec::new();
        // Tasks of 10 ms on two threads: 200 a second are all there is.
        let every_ns = 100 * 1_000 * MS / (200 * load);
        for at in 0..60_000 * MS / every_ns {
            world.run_until(at * every_ns);
            world.submit(Work { priority, ..work("stream") });
            if at % 40 == 0 {
                low.push(world.submit(Work { priority: TaskPriority::Low, ..work("low") }));
            }
        }
        let due = low.len() * (60_000 - bound_ms) as usize / 60_000;
        let waited = low[..due].iter().map(|id| world.waited_ns.get(id).copied().unwrap_or(u64::MAX) / MS).max();
        println!("{priority:?} at {load} %: a low task waited {waited:?} ms at worst");
        assert!(waited.is_some_and(|waited| waited <= bound_ms), "{priority:?} at {load} %: {waited:?} ms");
        let share = world.started.iter().filter(|id| !low.contains(id)).count() * 100 / world.started.len();
        assert!(share >= 88, "the stream keeps eight starts of nine: {share} %");
    }
}

#[test]
fn a_large_task_is_passed_by_small_ones_only_for_a_bounded_time() {
    let sized = |host_bytes, takes_ns| Work {
        demand: ResourceDemand { host_bytes, threads: 0, ..ResourceDemand::default() },
        takes_ns,
        ..work("same")
    };
    // Of different sizes and of about the same.
    for (large, small) in [(90, 30), (63, 33)] {
        let mut world = World::new(100);
        world.submit(sized(small, 100 * MS));
        world.run_until(5 * MS);
        world.submit(sized(small, 100 * MS));
        let large = world.submit(sized(large, 10 * MS));
        let mut passed = 0;
        for at in 1..400 {
            world.run_until(at * 10 * MS);
            passed += usize::from(!world.waited_ns.contains_key(&large));
            world.submit(sized(small, 100 * MS));
        }
        let waited = world.waited_ns.get(&large).copied().expect("it started");
        assert!(passed > 10, "small ones pass it at first");
        // Reserved 500 ms after it was first passed, then at most one small task of 100 ms is in its way.
        assert!(waited <= 720 * MS, "it waited {} ms", waited / MS);
    }
}

#[test]
fn a_large_low_task_gets_its_room_from_a_stream_of_higher_ones_once_it_is_overdue() {
    let mut world = World::new(100);
    let sized = |priority, host_bytes| Work {
        demand: ResourceDemand { host_bytes, threads: 0, ..ResourceDemand::default() },
        takes_ns: 100 * MS,
        priority,
        ..work("same")
    };
    world.submit(sized(TaskPriority::Critical, 30));
    let large: Vec<_> = (0..3).map(|_| world.submit(sized(TaskPriority::Low, 90))).collect();
    for at in 1..6_000 {
        world.run_until(at * 10 * MS);
        world.submit(sized(TaskPriority::Critical, 30));
    }
    let waited: Vec<_> = large.iter().map(|id| world.waited_ns.get(id).map(|ns| ns / MS)).collect();
    assert!(waited[0].is_some_and(|ms| (30_000..=31_000).contains(&ms)), "{waited:?}");
    assert!(
        waited[1].is_some_and(|ms| (40_000..=41_500).contains(&ms)),
        "the higher ones are held up once in 10 s, not for all of them: {waited:?}"
    );
}

#[test]
fn a_reservation_that_nobody_can_meet_gives_way() {
    let mut world = World::new(100);
    // Memory that no task holds, such as a loaded model.
    let model = world.ledger.try_claim(&ResourceDemand { host_bytes: 50, ..ResourceDemand::default() }).expect("free");
    let sized = |host_bytes| Work { demand: ResourceDemand { host_bytes, threads: 1, ..ResourceDemand::default() }, ..work("same") };
    let large = world.submit(sized(80));
    let mut small = Vec::new();
    for at in 1..300 {
        world.run_until(at * 10 * MS);
        small.push(world.submit(sized(10)));
    }
    world.run_until(4_000 * MS);
    assert!(!world.waited_ns.contains_key(&large));
    assert!(small.iter().all(|id| world.latency_ns.contains_key(id)), "small tasks go on meanwhile");
    assert!(world.core.turn().stuck.is_some(), "and the owner of the memory is told");
    drop(model);
    world.turn();
    world.run_until(5_000 * MS);
    assert!(world.latency_ns.contains_key(&large));
}

#[test]
fn idle_memory_goes_to_a_task_that_a_steady_stream_would_pass_for_ever() {
    let mut world = World::new(100);
    world.idle = world.ledger.try_claim(&ResourceDemand { host_bytes: 50, ..ResourceDemand::default() }).ok();
    let sized = |host_bytes| Work {
        demand: ResourceDemand { host_bytes, threads: 1, ..ResourceDemand::default() },
        takes_ns: 20 * MS,
        ..work("same")
    };
    // One of them always runs, and with any beside it giving back what is idle would not be enough.
    world.submit(sized(10));
    let large = world.submit(sized(95));
    for at in 1..300 {
        world.run_until(at * 10 * MS);
        world.submit(sized(10));
    }
    let waited = world.waited_ns.get(&large).copied().expect("it started");
    assert!(waited <= 540 * MS, "it waited {} ms", waited / MS);
}

#[test]
fn tasks_of_an_engine_run_by_the_thousand_while_compute_tasks_hold_every_thread() {
    let mut world = World::new(1 << 30);
    for _ in 0..10 {
        world.submit(work("same"));
    }
    let joins = || Work { demand: ResourceDemand { host_bytes: 1, threads: 0, ..ResourceDemand::default() }, ..work("other") };
    for _ in 0..1_500 {
        world.submit(joins());
    }
    assert_eq!(world.running.len(), 2 + 1024, "two compute tasks, and as many of the other submitter as one may run");
}
