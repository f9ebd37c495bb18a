//! Who is next: priority, then age, then fair share per submitter, subject to what fits. Pure.
//!
//! *Fair share.* Tasks wait in *flows*: one per level, class and submitter, in the order of their arrival. Among the flows of a level the one whose
//! submitter has been served least goes first (start-time fair queueing: the long-run shares of deficit round robin, but a newcomer waits for no round);
//! what a task really took is charged when it returns.
//!
//! *Age.* A level is *overdue* to a higher one when its oldest task has waited `age_step` for each level between them. An overdue level gets the start
//! after [`AGED_EVERY`] starts in a row of the level it is overdue to. So priority holds in front of any backlog, however old: a task that comes alone to
//! a higher level starts next; and no level starves behind any flood, however steady. Linux's deadline schedulers for storage do the same to writes
//! behind reads (`writes_starved`) and to low priorities (`prio_aging_expire`); to raise the old tasks themselves would hand the top level to them.
//!
//! *What fits.* A *class* is a set of tasks that ask for the same threads, draw on the same accounts and use the same model, so that they differ in
//! bytes of their own alone. What is found too large says how much is free beside the model, and the flows are searched for the first task that asks for
//! no more (`forest`): whatever fits runs. A task that does not fit may be passed by others for at most `reserve_after`; then nothing at its level or
//! below that competes for what it lacks starts before it. When no running task could make room for it, whoever holds idle memory is asked to, and it is
//! tried once more before it gives way. It holds up a higher level once it is overdue to that, and only one task in `age_step` does.

mod forest;
mod links;
mod pick;

use std::collections::{BTreeMap, BTreeSet};

use super::chunked::Chunked;
use forest::{Bytes, Forest, NONE};
use links::{Account, Ends, Flow, Node};

/// Position of a task in the manager's table.
pub type Slot = u32;

/// Priority levels, lowest first.
pub const LEVELS: usize = 4;
/// Starts in a row that a level may make in front of one that is overdue to it.
pub const AGED_EVERY: u32 = 8;

/// Bounds of waiting, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct QueuePolicy {
    /// After this long for each level between them a task is overdue to a higher level.
    pub age_step_ns: u64,
    /// For this long a task that does not fit may be passed.
    pub reserve_after_ns: u64,
}

/// What the tasks of a class draw on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassFacts {
    /// True when they keep compute threads busy; all of a class as many.
    pub threads: bool,
    /// The executor's memory share they draw on.
    pub share: Option<u32>,
    /// The device they draw on.
    pub device: Option<u32>,
}

/// Why a task cannot start now, and how many bytes of that are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Host memory.
    Host(u64),
    /// Compute threads.
    Threads,
    /// The memory share of an executor.
    Share(u32, u64),
    /// The memory of a device.
    Device(u32, u64),
    /// The submitter runs as many tasks as it may.
    Submitter,
}

impl Short {
    fn concerns(self, facts: &ClassFacts) -> bool {
        match self {
            Self::Host(_) => true,
            Self::Threads => facts.threads,
            Self::Share(share, _) => facts.share == Some(share),
            Self::Device(device, _) => facts.device == Some(device),
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
    /// Host memory it asks for.
    pub host_bytes: u64,
    /// Device memory it asks for.
    pub device_bytes: u64,
    /// Now.
    pub now_ns: u64,
}

/// A task for which what it lacks is kept.
#[derive(Clone, Copy)]
struct Reserved {
    slot: Slot,
    short: Short,
    /// The highest level it holds up.
    level: u8,
    tried: bool,
    /// Nothing runs that could make room; who holds idle memory is asked before it gives way.
    asks: bool,
}

/// The waiting tasks.
pub struct Queue {
    policy: QueuePolicy,
    nodes: Chunked<Node>,
    /// Every flow's tasks, by order of arrival.
    tasks: Forest,
    /// The flows of each level and class, by what their submitters have been served.
    order_of_flows: Forest,
    flows: Vec<Flow>,
    free_flows: Vec<u32>,
    accounts: Vec<Account>,
    /// Roots in `order_of_flows`.
    ready: [Vec<u32>; LEVELS],
    ages: [Ends; LEVELS],
    /// Starts in a row of each level in front of one that is overdue to it.
    streaks: [u32; LEVELS],
    facts: Vec<ClassFacts>,
    running: Vec<u32>,
    /// What is free for each class, as far as is known.
    free: Vec<Bytes>,
    /// Classes in which nothing fits, whatever its size.
    blocked: Vec<bool>,
    blocked_submitters: BTreeSet<u32>,
    held_back: Vec<(Slot, Short)>,
    passed_ns: BTreeMap<Slot, u64>,
    reserved: Option<Reserved>,
    /// When a task may next hold up a level above its own.
    holds_up_next_ns: u64,
    virtual_time: u64,
    /// Cost served since the virtual time last moved, which it is owed.
    served: u64,
    /// Submitters with waiting tasks.
    backlogged: u64,
    order: u64,
    len: usize,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(policy: QueuePolicy) -> Self {
        Self {
            policy,
            nodes: Chunked::default(),
            tasks: Forest::default(),
            order_of_flows: Forest::default(),
            flows: Vec::new(),
            free_flows: Vec::new(),
            accounts: Vec::new(),
            ready: Default::default(),
            ages: [Ends { head: NONE, tail: NONE }; LEVELS],
            streaks: [0; LEVELS],
            facts: Vec::new(),
            running: Vec::new(),
            free: Vec::new(),
            blocked: Vec::new(),
            blocked_submitters: BTreeSet::new(),
            held_back: Vec::new(),
            passed_ns: BTreeMap::new(),
            reserved: None,
            holds_up_next_ns: 0,
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
        self.free.push(Bytes::MAX);
        self.blocked.push(false);
        for level in &mut self.ready {
            level.push(NONE);
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

    /// True when the task waits and is known not to fit until something is released.
    #[must_use]
    pub fn is_blocked(&self, slot: Slot) -> bool {
        let waits = self.nodes.contains(slot) && self.nodes[slot].queued;
        waits && {
            let class = usize::from(self.nodes[slot].class);
            self.blocked[class] || !self.tasks.own(slot).within(&self.free[class])
        }
    }

    /// Appends a task to its flow. A slot that already waits is left where it is.
    pub fn push(&mut self, slot: Slot, waiting: Waiting) {
        self.nodes.ensure(slot);
        if self.nodes[slot].queued {
            return;
        }
        if self.accounts.len() <= waiting.submitter as usize {
            self.accounts.resize_with(waiting.submitter as usize + 1, Account::default);
        }
        self.nodes[slot] = Node {
            entered_ns: waiting.now_ns,
            submitter: waiting.submitter,
            class: waiting.class,
            cost: waiting.cost.max(1),
            level: waiting.level.min((LEVELS - 1) as u8),
            queued: true,
            ..Node::default()
        };
        self.len += 1;
        self.link(slot, Bytes::new(waiting.host_bytes, waiting.device_bytes));
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
        self.free.fill(Bytes::MAX);
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

    fn running_against(&self, short: Short) -> u32 {
        self.facts.iter().zip(&self.running).filter(|(facts, _)| short.concerns(facts)).map(|(_, running)| running).sum()
    }
}
