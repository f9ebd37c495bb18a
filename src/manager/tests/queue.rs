//! The queue against a plain reference that looks at every waiting task: whatever fits runs, in order, and what does not fit is not forgotten.

use std::collections::BTreeMap;

use super::{Seeded, ledger};
use crate::manager::queue::{AGED_EVERY, Queue, QueuePolicy, Short, Slot, Waiting};
use crate::manager::registers::Classes;
use crate::resource::{BudgetLimits, Claim, Ledger};
use crate::task::{DeviceClass, MemoryShare, ModelDemand, ResourceDemand};

const POLICY: QueuePolicy = QueuePolicy { age_step_ns: 2_000, reserve_after_ns: 300 };
const RUNS_OF_ONE_MAX: usize = 9;

#[derive(Clone)]
struct Task {
    demand: ResourceDemand,
    level: u8,
    submitter: u32,
    class: u16,
    entered_ns: u64,
    order: u64,
}

struct World {
    rng: Seeded,
    queue: Queue,
    classes: Classes,
    ledger: Ledger,
    waiting: BTreeMap<Slot, Task>,
    running: Vec<(Task, Claim)>,
    now_ns: u64,
    next: Slot,
    /// Starts that passed an earlier task of the same submitter, level and class, because that was too large.
    passing: usize,
    overdue: usize,
    longest_ns: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let devices = [("cuda:0".to_owned(), 500)].into();
        Self {
            rng: Seeded::new(seed),
            queue: Queue::new(POLICY),
            classes: Classes::default(),
            ledger: Ledger::new(&BudgetLimits { host_bytes: 1_000, threads: 6, devices }),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            now_ns: 0,
            next: 0,
            passing: 0,
            overdue: 0,
            longest_ns: 0,
        }
    }

    /// Sizes of every kind, most of them in the upper half of what there is, where a factor of two decides.
    fn demand(&mut self) -> ResourceDemand {
        let mut demand =
            ResourceDemand { host_bytes: self.rng.below(1_001), threads: self.rng.below(3) as u32, ..ResourceDemand::default() };
        match self.rng.below(5) {
            0 => demand.host_bytes = 400 + self.rng.below(200),
            1 => {
                demand.share = Some(MemoryShare { account: "small".into(), limit_bytes: 300 });
                demand.host_bytes = self.rng.below(301);
            }
            2 => {
                demand.device = DeviceClass::Cuda(0);
                demand.device_bytes = 100 + self.rng.below(401);
                demand.host_bytes = self.rng.below(700);
            }
            3 => {
                // Two models of one share, booked with whoever comes first.
                let model = self.rng.below(2);
                let name = format!("model {model}").into();
                demand.model = Some(ModelDemand { owner: 0, name, host_bytes: 250 + 150 * model, device_bytes: 0 });
                demand.share = Some(MemoryShare { account: "models".into(), limit_bytes: 900 });
                demand.host_bytes = self.rng.below(501);
            }
            _ => {}
        }
        demand
    }

    fn submit(&mut self) {
        let demand = self.demand();
        let class = self.classes.enter(&demand, &mut self.queue);
        let (level, submitter, slot) = (self.rng.below(4) as u8, self.rng.below(4) as u32, self.next);
        let (host_bytes, device_bytes) = (demand.host_bytes, demand.device_bytes);
        let cost = 1 + self.rng.below(20) as u16;
        self.queue.push(slot, Waiting { level, submitter, class, cost, host_bytes, device_bytes, now_ns: self.now_ns });
        let task = Task { demand, level, submitter, class, entered_ns: self.now_ns, order: u64::from(slot) };
        self.waiting.insert(slot, task);
        self.next += 1;
    }

    fn runs_too_many(&self, submitter: u32) -> bool {
        self.running.iter().filter(|(task, _)| task.submitter == submitter).count() >= RUNS_OF_ONE_MAX
    }

    /// Tasks that could start now, by looking at each.
    fn fitting(&self) -> Vec<Slot> {
        let fits = |task: &Task| !self.runs_too_many(task.submitter) && self.ledger.try_claim(&task.demand).is_ok();
        self.waiting.iter().filter(|(_, task)| fits(task)).map(|(slot, _)| *slot).collect()
    }

    /// Whether a task draws on what the reserving one lacks.
    fn competes(&self, task: &Task, reserving: &Task) -> bool {
        match self.ledger.try_claim(&reserving.demand).map(drop) {
            Ok(()) => true,
            Err(shortage) if shortage.resource == "compute threads" => task.demand.threads > 0,
            Err(shortage) if shortage.resource.starts_with("executor ") => {
                let account = |task: &Task| task.demand.share.as_ref().map(|share| share.account.clone());
                account(task) == account(reserving)
            }
            Err(shortage) if shortage.resource.contains("cuda") => task.demand.device == DeviceClass::Cuda(0),
            Err(_host) => true,
        }
    }

    fn turn(&mut self) {
        self.queue.unblock();
        loop {
            let fitting = self.fitting();
            let reserving = self.queue.reserved().map(|slot| (slot, self.waiting[&slot].clone()));
            let mut claim = None;
            let Self { queue, classes, ledger, waiting, running, now_ns, .. } = self;
            let picked = queue.pick(*now_ns, &mut |slot| {
                let task = &waiting[&slot];
                if running.iter().filter(|(other, _)| other.submitter == task.submitter).count() >= RUNS_OF_ONE_MAX {
                    return Err(Short::Submitter);
                }
                claim = Some(ledger.try_claim(&task.demand).map_err(|shortage| classes.short(task.class, &task.demand, &shortage))?);
                Ok(())
            });
            let Some(slot) = picked else {
                // A task gives its place up inside the call when nothing that runs could help it, so the one that reserves now counts.
                let reserving = self.queue.reserved().map(|slot| self.waiting[&slot].clone());
                for slot in fitting {
                    let held_up = reserving.as_ref().is_some_and(|reserving| self.competes(&self.waiting[&slot], reserving));
                    assert!(held_up, "{slot} fits and was not started; {reserving:?}", reserving = reserving.map(|task| task.demand));
                }
                return;
            };
            assert!(fitting.contains(&slot), "what starts fits");
            self.check_order(slot, &fitting, reserving);
            let task = self.waiting.remove(&slot).expect("it waited");
            self.longest_ns = self.longest_ns.max(self.now_ns - task.entered_ns);
            self.running.push((task, claim.expect("claimed")));
        }
    }

    fn check_order(&mut self, slot: Slot, fitting: &[Slot], reserving: Option<(Slot, Task)>) {
        if reserving.as_ref().is_some_and(|(reserving, _)| *reserving == slot) {
            return;
        }
        let started = &self.waiting[&slot];
        let free = |task: &Task| reserving.as_ref().is_none_or(|(_, reserving)| !self.competes(task, reserving));
        let highest = fitting.iter().map(|other| &self.waiting[other]).filter(|task| free(task)).map(|task| task.level).max();
        if let Some(highest) = highest.filter(|highest| *highest > started.level) {
            let oldest = self.waiting.values().filter(|task| task.level == started.level).map(|task| task.entered_ns).min();
            let due_ns = POLICY.age_step_ns * u64::from(highest - started.level);
            assert!(oldest.is_some_and(|oldest| oldest + due_ns <= self.now_ns), "a lower level goes first only when it is overdue");
            self.overdue += 1;
        }
        let flow = |task: &Task| (task.level, task.submitter, task.class) == (started.level, started.submitter, started.class);
        let earlier = |task: &&Task| flow(task) && task.order < started.order;
        assert!(!fitting.iter().map(|other| &self.waiting[other]).any(|task| earlier(&task)), "the first that fits of a flow goes first");
        self.passing += usize::from(self.waiting.values().any(|task| earlier(&task)));
    }

    fn finish_one(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let at = self.rng.below(self.running.len() as u64) as usize;
        let (task, claim) = self.running.swap_remove(at);
        drop(claim);
        self.queue.finished(task.class);
        let cost = self.rng.below(5);
        self.queue.charge(task.submitter, cost);
    }

    fn cancel_one(&mut self) {
        let Some(slot) = self.waiting.keys().nth(self.rng.below(1 + self.waiting.len() as u64) as usize).copied() else { return };
        assert!(self.queue.remove(slot));
        self.waiting.remove(&slot);
    }
}

#[test]
fn whatever_fits_runs_and_what_does_not_fit_is_reached() {
    let (mut passing, mut overdue) = (0, 0);
    for seed in 1..=24 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for step in 0..1_500 {
            match world.rng.below(8) {
                0..=3 if world.waiting.len() < 80 => world.submit(),
                4 => world.cancel_one(),
                _ => {
                    world.finish_one();
                    world.turn();
                }
            }
            world.now_ns += world.rng.below(60);
            if step % 100 == 0 {
                world.turn();
            }
        }
        world.turn();
        while !world.waiting.is_empty() {
            let before = world.waiting.len() + world.running.len();
            world.finish_one();
            world.now_ns += 20;
            world.turn();
            assert!(world.waiting.len() + world.running.len() < before, "with nothing new, everything starts");
        }
        (passing, overdue) = (passing + world.passing, overdue + world.overdue);
        // 80 tasks of at most 60 ns each wait in front of it, its own level is overdue after 6,000 ns and gets a start in nine.
        assert!(world.longest_ns < 80 * 60 * u64::from(AGED_EVERY + 1), "one waited {} ns", world.longest_ns);
    }
    println!("{passing} starts passed a larger task of their own flow, {overdue} came from an overdue level");
    assert!(passing > 100 && overdue > 10, "the simulation reaches what it is about");
}

#[test]
fn a_smaller_task_of_the_same_power_of_two_starts_beside_a_larger_one() {
    let (mut queue, mut classes, ledger) = (Queue::new(POLICY), Classes::default(), ledger(1_000, 4));
    let demand = |host_bytes| ResourceDemand { host_bytes, threads: 1, ..ResourceDemand::default() };
    let held = ledger.try_claim(&demand(400)).expect("free");
    for (slot, host_bytes) in [1_000, 601, 700, 600, 650, 512].into_iter().enumerate() {
        let class = classes.enter(&demand(host_bytes), &mut queue);
        queue.push(slot as Slot, Waiting { level: 1, submitter: 0, class, cost: 1, host_bytes, device_bytes: 0, now_ns: 0 });
    }
    let sizes = [1_000, 601, 700, 600, 650, 512];
    let mut asked = Vec::new();
    let picked = queue.pick(0, &mut |slot| {
        asked.push(slot);
        let claim = ledger.try_claim(&demand(sizes[slot as usize])).map_err(|shortage| Short::Host(shortage.free))?;
        drop(claim);
        Ok(())
    });
    assert_eq!((picked, asked), (Some(3), vec![0, 3]), "the first that fits, found with one refusal");
    drop(held);
}

#[test]
fn a_model_comes_before_the_tasks_of_its_class_and_no_other_class_waits_for_it() {
    let (mut queue, mut classes, ledger) = (Queue::new(POLICY), Classes::default(), ledger(1_000, 4));
    let of_model = |name: &str, host_bytes| {
        let model = Some(ModelDemand { owner: 0, name: name.into(), host_bytes: 400, device_bytes: 0 });
        ResourceDemand { host_bytes, model, ..ResourceDemand::default() }
    };
    let held = ledger.try_claim(&ResourceDemand { host_bytes: 300, ..ResourceDemand::default() }).expect("free");
    let demands = [of_model("a", 500), of_model("a", 301), of_model("a", 300), of_model("b", 0), of_model("a", 1), of_model("b", 300)];
    let mut class_of = Vec::new();
    for (slot, demand) in demands.iter().enumerate() {
        let (class, host_bytes) = (classes.enter(demand, &mut queue), demand.host_bytes);
        queue.push(slot as Slot, Waiting { level: 1, submitter: 0, class, cost: 1, host_bytes, device_bytes: 0, now_ns: 0 });
        class_of.push(class);
    }
    assert_ne!(class_of[0], class_of[3], "tasks of different models are not one class");
    let mut asked = Vec::new();
    let mut pick = |queue: &mut Queue| {
        let mut claim = None;
        let picked = queue.pick(0, &mut |slot| {
            asked.push(slot);
            let (demand, class) = (&demands[slot as usize], class_of[slot as usize]);
            claim = Some(ledger.try_claim(demand).map_err(|shortage| classes.short(class, demand, &shortage))?);
            Ok(())
        });
        (picked, claim)
    };
    let (one, of_a) = pick(&mut queue);
    assert_eq!(one, Some(2), "300 bytes are left beside the model");
    assert_eq!(pick(&mut queue).0, None, "nothing is left for the other model");
    drop((of_a, held));
    queue.finished(class_of[2]);
    queue.unblock();
    let (two, _of_a) = pick(&mut queue);
    assert_eq!(two, Some(0), "its model is loaded with it");
    let (three, _also_of_a) = pick(&mut queue);
    assert_eq!(three, Some(4), "100 bytes are left, and the model is there already");
    assert_eq!(asked, [0, 2, 3, 4, 0, 1, 3, 4], "one refusal says what fits of a class");
}
