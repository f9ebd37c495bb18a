//! The entries of one rank: submitters, their kinds, their tasks, each with its share. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::super::shares::Shares;
use super::Waiting;

/// What an entry costs beside its tokens.
const ENTRY_COST: u64 = 4;
/// Tasks without an entry that fits which are looked at for one place in a batch.
const MISSES_MAX: usize = 64;

/// The entries of one rank.
#[derive(Debug, Default)]
pub(super) struct Level {
    submitters: Shares,
    accounts: BTreeMap<u64, Account>,
    arrivals: BTreeSet<u64>,
    deadlines: BTreeSet<(u64, u64)>,
    /// Batches in a row that passed over these entries.
    pub(super) passed: u32,
    /// True when the last batch began with a deadline.
    was_urgent: bool,
}

/// One submitter.
#[derive(Debug, Default)]
struct Account {
    kinds: Shares,
    asked: BTreeMap<u64, Asked>,
}

/// A submitter's entries of one kind.
#[derive(Debug, Default)]
struct Asked {
    tasks: Shares,
    flows: BTreeMap<u64, Flow>,
}

/// A task's entries.
#[derive(Debug, Default)]
struct Flow {
    /// By length; of equals the first that came is last.
    entries: BTreeSet<(u32, Reverse<u64>)>,
    tokens: u64,
}

impl Level {
    pub(super) fn insert(&mut self, id: u64, entry: &Waiting) {
        let account = self.accounts.entry(entry.submitter).or_default();
        let asked = account.asked.entry(entry.kind).or_default();
        let flow = asked.flows.entry(entry.task).or_default();
        flow.entries.insert((entry.tokens, Reverse(id)));
        flow.tokens += u64::from(entry.tokens);
        asked.tasks.join(entry.task);
        account.kinds.join(entry.kind);
        self.submitters.join(entry.submitter);
        self.arrivals.insert(id);
        self.deadlines.extend(entry.deadline_ns.map(|at_ns| (at_ns, id)));
    }

    /// Takes an entry out that is computed, and charges it.
    pub(super) fn serve(&mut self, id: u64, entry: &Waiting) {
        let cost = u64::from(entry.tokens) + ENTRY_COST;
        self.submitters.charge(entry.submitter, cost);
        if let Some(account) = self.accounts.get_mut(&entry.submitter) {
            account.kinds.charge(entry.kind, cost);
            if let Some(asked) = account.asked.get_mut(&entry.kind) {
                asked.tasks.charge(entry.task, cost);
            }
        }
        self.remove(id, entry);
    }

    /// Takes an entry out; whoever has none left leaves the shares.
    pub(super) fn remove(&mut self, id: u64, entry: &Waiting) {
        self.arrivals.remove(&id);
        if let Some(at_ns) = entry.deadline_ns {
            self.deadlines.remove(&(at_ns, id));
        }
        let Some(account) = self.accounts.get_mut(&entry.submitter) else { return };
        let Some(asked) = account.asked.get_mut(&entry.kind) else { return };
        let Some(flow) = asked.flows.get_mut(&entry.task) else { return };
        if flow.entries.remove(&(entry.tokens, Reverse(id))) {
            flow.tokens -= u64::from(entry.tokens);
        }
        if flow.entries.is_empty() {
            asked.flows.remove(&entry.task);
            asked.tasks.leave(entry.task);
        }
        if asked.tasks.is_empty() {
            account.asked.remove(&entry.kind);
            account.kinds.leave(entry.kind);
        }
        if account.kinds.is_empty() {
            self.accounts.remove(&entry.submitter);
            self.submitters.leave(entry.submitter);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// The entry that has waited longest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.arrivals.first().copied()
    }

    /// Entries whose deadline is not after `now_ns`.
    pub(super) fn due_before(&self, now_ns: u64) -> impl Iterator<Item = u64> {
        self.deadlines.iter().take_while(move |(at_ns, _)| *at_ns <= now_ns).map(|(_, id)| *id)
    }

    /// Tokens that wait for the task of an entry.
    pub(super) fn task_tokens(&self, entry: &Waiting) -> u64 {
        let asked = self.accounts.get(&entry.submitter).and_then(|account| account.asked.get(&entry.kind));
        asked.and_then(|asked| asked.flows.get(&entry.task)).map_or(0, |flow| flow.tokens)
    }

    /// The entry that begins the next batch: one with a deadline before `urgent_until`, every other time, or else whose turn it is.
    pub(super) fn head(&mut self, urgent_until: u64) -> Option<u64> {
        let urgent = self.deadlines.first().filter(|(at_ns, _)| *at_ns <= urgent_until && !self.was_urgent).map(|(_, id)| *id);
        self.was_urgent = urgent.is_some();
        urgent.or_else(|| {
            let account = self.accounts.get(&self.submitters.in_order().next()?)?;
            let asked = account.asked.get(&account.kinds.in_order().next()?)?;
            asked.flows.get(&asked.tasks.in_order().next()?)?.longest(u64::MAX)
        })
    }

    /// The next entry of `kind` in turn with at most `room` tokens, of a task with at most `short` waiting tokens if that is given.
    pub(super) fn first_of(&self, kind: u64, room: u64, short: Option<u64>) -> Option<u64> {
        let accounts = self.submitters.in_order().filter_map(|submitter| self.accounts.get(&submitter)?.asked.get(&kind));
        let flows = accounts.flat_map(|asked| asked.tasks.in_order().filter_map(|task| asked.flows.get(&task)));
        flows.take(MISSES_MAX).filter(|flow| short.is_none_or(|most| flow.tokens <= most)).find_map(|flow| flow.longest(room))
    }
}

impl Flow {
    /// The longest entry of at most `room` tokens; of equals the first that came.
    fn longest(&self, room: u64) -> Option<u64> {
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        // The end of the range is beyond every entry of that length.
        self.entries.range(..=(room, Reverse(0))).next_back().map(|(_, Reverse(id))| *id)
    }
}
