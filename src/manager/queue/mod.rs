//! Who is next: priority, then age, then fair share per submitter, subject to what fits. Pure.
//!
//! Tasks wait in *flows*: one first-in-first-out list per (level, class, submitter). A *class* is a set of tasks with about the same demand, so when the
//! first of a class does not fit, the rest of it need not be asked. Among the flows of a level the one whose submitter has been served least goes
//! first (start-time fair queueing: the long-run shares of deficit round robin, but a newcomer waits for no round); what a task really took is charged when
//! it returns. A task that waits longer than `age_step` rises a level; there it takes its submitter's turn and no more, so a submitter with a long
//! backlog does not come before one who has been served less. A task that does not fit may be passed by others for at most `reserve_after`; then nothing that competes for what
//! it lacks starts before it, unless no running task could ever make room for it.

use std::collections::{BTreeMap, BTreeSet};

mod links;

use super::chunked::Chunked;
use links::{Ends, Flow, NONE, Node};

/// Position of a task in the manager's table.
pub type Slot = u32;

/// Priority levels, lowest first.
pub const LEVELS: usize = 4;
/// Bounds of waiting, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct QueuePolicy {
    /// After this long at one level a task rises to the next.
    pub age_step_ns: u64,
    /// For this long a task that does not fit may be passed.
    pub reserve_after_ns: u64,
}

/// What the tasks of a class ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassFacts {
    /// True when they keep compute threads busy.
    pub threads: bool,
    /// The executor's memory share they draw on.
    pub share: Option<u32>,
    /// The device they draw on.
    pub device: Option<u32>,
}

/// Why a task cannot start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Host memory.
    Host,
    /// Compute threads.
    Threads,
    /// The memory share of an executor.
    Share(u32),
    /// The memory of a device.
    Device(u32),
    /// The submitter runs as many tasks as it may.
    Submitter,
}

impl Short {
    fn concerns(self, facts: &ClassFacts) -> bool {
        match self {
            Self::Host => true,
            Self::Threads => facts.threads,
            Self::Share(share) => facts.share == Some(share),
            Self::Device(device) => facts.device == Some(device),
            Self::Submitter => false,
        }
    }
}

/// A task that joins the queue.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// 0 to 3.
    pub level: u8,
    /// Index of the submitter.
    pub submitter: u32,
    /// Its class, made by [`Queue::add_class`].
    pub class: u16,
    /// What it costs its submitter's share; at least 1.
    pub cost: u16,
    /// Now.
    pub now_ns: u64,
}

#[derive(Clone, Copy)]
struct Reserved {
    slot: Slot,
    short: Short,
    tried: bool,
    /// Nothing runs that could make room; who holds idle memory is asked before it gives way.
    asks: bool,
}

/// The waiting tasks.
pub struct Queue {
    policy: QueuePolicy,
    nodes: Chunked<Node>,
    flows: Vec<Flow>,
    ready: [Vec<BTreeSet<(u64, u32)>>; LEVELS],
    ages: [Ends; LEVELS],
    facts: Vec<ClassFacts>,
    running: Vec<u32>,
    blocked: Vec<bool>,
    blocked_submitters: BTreeSet<u32>,
    held_back: Vec<(Slot, Short)>,
    passed_ns: BTreeMap<Slot, u64>,
    reserved: Option<Reserved>,
    virtual_time: u64,
    /// Cost served since the virtual time last moved, which it is owed.
    served: u64,
    /// Submitters with waiting tasks.
    backlogged: u64,
    order: u64,
    len: usize,
}

/// The first waiting task of a level: the order is by what its submitter has been served, then by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct First {
    pass: u64,
    order: u64,
    submitter: u32,
    slot: Slot,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(policy: QueuePolicy) -> Self {
        Self {
            policy,
            nodes: Chunked::default(),
            flows: Vec::new(),
            ready: Default::default(),
            ages: [Ends { head: NONE, tail: NONE }; LEVELS],
            facts: Vec::new(),
            running: Vec::new(),
            blocked: Vec::new(),
            blocked_submitters: BTreeSet::new(),
            held_back: Vec::new(),
            passed_ns: BTreeMap::new(),
            reserved: None,
            virtual_time: 0,
            served: 0,
            backlogged: 0,
            order: 0,
            len: 0,
        }
    }

    /// Registers a class of tasks and returns its number.
    pub fn add_class(&mut self, facts: ClassFacts) -> u16 {
        let class = u16::try_from(self.facts.len()).unwrap_or(u16::MAX);
        self.facts.push(facts);
        self.running.push(0);
        self.blocked.push(false);
        for level in &mut self.ready {
            level.push(BTreeSet::new());
        }
        class
    }

    /// Tasks that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The task for which idle memory should be given back: the one that has reserved, since it holds up others, or else the first that lacks
    /// something which no running task could give back.
    #[must_use]
    pub fn stuck(&self) -> Option<Slot> {
        let reserved =
            self.reserved.filter(|reserved| !matches!(reserved.short, Short::Threads | Short::Submitter)).map(|reserved| reserved.slot);
        let alone = |(_, short): &&(Slot, Short)| *short != Short::Threads && self.running_against(*short) == 0;
        reserved.or_else(|| self.held_back.iter().find(alone).map(|(slot, _)| *slot))
    }

    /// True when the reserved task is to be asked once more at once: it gives way if it still does not fit.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.reserved.is_some_and(|reserved| reserved.asks && reserved.tried)
    }

    /// The task that has reserved what it needs, if any.
    #[must_use]
    pub fn reserved(&self) -> Option<Slot> {
        self.reserved.map(|reserved| reserved.slot)
    }

    /// True when the class is known not to fit until something is released.
    #[must_use]
    pub fn is_blocked(&self, class: u16) -> bool {
        self.blocked[usize::from(class)]
    }

    /// Appends a task to its flow. A slot that already waits is left where it is.
    pub fn push(&mut self, slot: Slot, waiting: Waiting) {
        self.nodes.ensure(slot);
        if self.nodes[slot].queued {
            return;
        }
        if self.flows.len() <= waiting.submitter as usize {
            self.flows.resize_with(waiting.submitter as usize + 1, Flow::default);
        }
        let level = waiting.level.min((LEVELS - 1) as u8);
        self.nodes[slot] = Node {
            submitter: waiting.submitter,
            class: waiting.class,
            cost: waiting.cost.max(1),
            origin: level,
            queued: true,
            ..Node::default()
        };
        self.len += 1;
        self.link(slot, level, waiting.now_ns);
    }

    /// Takes a task out. Returns false when it did not wait.
    pub fn remove(&mut self, slot: Slot) -> bool {
        if !self.nodes.contains(slot) || !self.nodes[slot].queued {
            return false;
        }
        self.unlink(slot);
        self.nodes[slot].queued = false;
        self.len -= 1;
        self.passed_ns.remove(&slot);
        self.held_back.retain(|(held, _)| *held != slot);
        if self.reserved.is_some_and(|reserved| reserved.slot == slot) {
            self.reserved = None;
        }
        true
    }

    /// Something was released: every class may be asked again.
    pub fn unblock(&mut self) {
        self.blocked.fill(false);
        self.blocked_submitters.clear();
        self.held_back.clear();
        if let Some(reserved) = &mut self.reserved {
            reserved.tried = false;
        }
    }

    /// A task of this class that had been picked no longer runs.
    pub fn finished(&mut self, class: u16) {
        let running = &mut self.running[usize::from(class)];
        *running = running.saturating_sub(1);
    }

    /// Counts a task that was started without [`Queue::pick`].
    pub fn started(&mut self, class: u16) {
        self.running[usize::from(class)] += 1;
    }

    /// The submitter's number will be given to another one, who starts without a past.
    pub fn forget_submitter(&mut self, submitter: u32) {
        if let Some(flow) = self.flows.get_mut(submitter as usize)
            && flow.lists.is_empty()
        {
            flow.pass = 0;
        }
    }

    /// Finds the next task that may start, takes it out and charges its submitter. `fits` claims what the task needs, or says what is short.
    pub fn pick(&mut self, now_ns: u64, fits: &mut dyn FnMut(Slot) -> Result<(), Short>) -> Option<Slot> {
        if let Some(slot) = self.pick_reserved(now_ns, fits) {
            return Some(slot);
        }
        while let Some((submitter, slot)) = self.candidate() {
            let class = self.nodes[slot].class;
            match fits(slot) {
                Ok(()) => {
                    self.note_passed(slot, now_ns);
                    self.take(slot);
                    return Some(slot);
                }
                Err(Short::Submitter) => {
                    self.blocked_submitters.insert(submitter);
                }
                Err(short) => {
                    self.blocked[usize::from(class)] = true;
                    self.held_back.push((slot, short));
                }
            }
        }
        None
    }

    fn pick_reserved(&mut self, now_ns: u64, fits: &mut dyn FnMut(Slot) -> Result<(), Short>) -> Option<Slot> {
        let reserved = self.reserved.filter(|reserved| !reserved.tried)?;
        match fits(reserved.slot) {
            Ok(()) => {
                self.take(reserved.slot);
                return Some(reserved.slot);
            }
            Err(short) if (reserved.asks || short == Short::Submitter) && self.running_against(short) == 0 => {
                // Nothing that runs could make room: it gives way and is passed for another while.
                self.passed_ns.insert(reserved.slot, now_ns);
                self.reserved = None;
            }
            Err(short) => {
                let asks = self.running_against(short) == 0;
                self.reserved = Some(Reserved { slot: reserved.slot, short, tried: true, asks });
            }
        }
        None
    }

    fn running_against(&self, short: Short) -> u32 {
        self.facts.iter().zip(&self.running).filter(|(facts, _)| short.concerns(facts)).map(|(_, running)| running).sum()
    }

    /// The first task in order whose class and submitter are not known to be stuck.
    ///
    /// One that rose by age has to be its submitter's turn among all that wait at the levels it rose from: age protects from higher priorities, and
    /// gives a long backlog nothing over other submitters.
    fn candidate(&self) -> Option<(u32, Slot)> {
        let (level, mut best) = (0..LEVELS).rev().find_map(|level| self.first(level).map(|first| (level, first)))?;
        for level in (usize::from(self.nodes[best.slot].origin)..level).rev() {
            best = self.first(level).filter(|first| first.pass < best.pass).unwrap_or(best);
        }
        Some((best.submitter, best.slot))
    }

    fn first(&self, level: usize) -> Option<First> {
        let classes = self.ready[level].iter().enumerate().filter(|(class, ready)| {
            let held = self.reserved.is_some_and(|reserved| reserved.short.concerns(&self.facts[*class]));
            !ready.is_empty() && !self.blocked[*class] && !held
        });
        let firsts = classes.filter_map(|(class, ready)| {
            let &(pass, submitter) = ready.iter().find(|(_, submitter)| !self.blocked_submitters.contains(submitter))?;
            let slot = self.head(submitter, level as u8, class as u16)?;
            Some(First { pass, order: self.nodes[slot].order, submitter, slot })
        });
        firsts.min()
    }

    fn head(&self, submitter: u32, level: u8, class: u16) -> Option<Slot> {
        let lists = &self.flows[submitter as usize].lists;
        lists.iter().find(|list| list.level == level && list.class == class).map(|list| list.ends.head)
    }

    /// Remembers which held-back tasks the starting one has passed, and makes the longest passed one reserve.
    fn note_passed(&mut self, starting: Slot, now_ns: u64) {
        let (level, facts) = (self.nodes[starting].level, self.facts[usize::from(self.nodes[starting].class)]);
        for &(held, short) in &self.held_back {
            if self.nodes[held].level < level || !short.concerns(&facts) {
                continue;
            }
            let since = *self.passed_ns.entry(held).or_insert(now_ns);
            if self.reserved.is_none() && now_ns.saturating_sub(since) >= self.policy.reserve_after_ns {
                self.reserved = Some(Reserved { slot: held, short, tried: true, asks: false });
            }
        }
    }

    /// Takes a chosen task out and charges its submitter.
    fn take(&mut self, slot: Slot) {
        let node = self.nodes[slot];
        self.remove(slot);
        self.started(node.class);
        let pass = self.flows[node.submitter as usize].pass;
        if pass > self.virtual_time {
            (self.virtual_time, self.served) = (pass, 0);
        }
        self.charge(node.submitter, u64::from(node.cost));
    }

    /// Counts `cost` against a submitter: its waiting tasks come later by that much.
    ///
    /// Virtual time moves by the part of it that one more submitter would have got, so that whoever is ahead of its share waits for a bounded amount
    /// of others' work, also when those others are ever new ones.
    pub fn charge(&mut self, submitter: u32, cost: u64) {
        let Some(flow) = self.flows.get_mut(submitter as usize) else { return };
        self.served = self.served.saturating_add(cost);
        let sharers = self.backlogged + 1;
        if self.served >= sharers {
            self.virtual_time = self.virtual_time.saturating_add(self.served / sharers);
            self.served %= sharers;
        }
        let old = flow.pass;
        flow.pass = old.saturating_add(cost);
        for list in &flow.lists {
            let ready = &mut self.ready[usize::from(list.level)][usize::from(list.class)];
            ready.remove(&(old, submitter));
            ready.insert((flow.pass, submitter));
        }
    }
}
