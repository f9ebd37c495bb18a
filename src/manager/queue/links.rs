//! Where tasks stand in the queue: each in one flow, in the order of service, and in the list of its level, in the order of age.

use super::forest::{Bytes, NONE};
use super::{Queue, Slot};

#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) age_prev: Slot,
    pub(super) age_next: Slot,
    pub(super) entered_ns: u64,
    /// The flow it waits in.
    pub(super) flow: u32,
    pub(super) submitter: u32,
    pub(super) class: u16,
    pub(super) cost: u16,
    pub(super) level: u8,
    pub(super) queued: bool,
}

impl Default for Node {
    fn default() -> Self {
        Self { age_prev: NONE, age_next: NONE, entered_ns: 0, flow: NONE, submitter: 0, class: 0, cost: 1, level: 0, queued: false }
    }
}

/// Both ends of a level's list, oldest first.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) head: Slot,
    pub(super) tail: Slot,
}

/// Tasks of one level, class and submitter; `tasks` is the root of their set, by order of arrival, and `last` the one that came last.
#[derive(Clone, Copy)]
pub(super) struct Flow {
    pub(super) submitter: u32,
    pub(super) level: u8,
    pub(super) class: u16,
    pub(super) tasks: u32,
    pub(super) last: Slot,
}

/// What a submitter has been served, and its flows.
#[derive(Default)]
pub(super) struct Account {
    pub(super) pass: u64,
    pub(super) flows: Vec<u32>,
}

impl Queue {
    /// Tasks at the front of their levels; the oldest of a level is among them.
    pub fn fronts(&self) -> impl Iterator<Item = Slot> + '_ {
        self.ages.iter().map(|ends| ends.head).filter(|&slot| slot != NONE)
    }

    /// Puts a task whose node is set at the end of its flow and of its level.
    pub(super) fn link(&mut self, slot: Slot, bytes: Bytes) {
        self.order += 1;
        let flow = self.flow_of(slot);
        self.nodes[slot].flow = flow;
        let Flow { tasks, last, .. } = self.flows[flow as usize];
        let tasks = self.tasks.append((tasks, last), slot, self.order, bytes);
        self.flows[flow as usize].last = slot;
        self.grow_or_shrink(flow, tasks);
        let ages = &mut self.ages[usize::from(self.nodes[slot].level)];
        let prev = std::mem::replace(&mut ages.tail, slot);
        if prev == NONE {
            ages.head = slot;
        } else {
            self.nodes[prev].age_next = slot;
        }
        (self.nodes[slot].age_prev, self.nodes[slot].age_next) = (prev, NONE);
    }

    /// Takes a task out of its flow and its level.
    pub(super) fn unlink(&mut self, slot: Slot) {
        let node = self.nodes[slot];
        let flow = &mut self.flows[node.flow as usize];
        let tasks = self.tasks.remove(flow.tasks, slot);
        if flow.last == slot {
            flow.last = if tasks == NONE { NONE } else { self.tasks.last(tasks) };
        }
        self.grow_or_shrink(node.flow, tasks);
        if node.age_prev != NONE {
            self.nodes[node.age_prev].age_next = node.age_next;
        }
        if node.age_next != NONE {
            self.nodes[node.age_next].age_prev = node.age_prev;
        }
        let ages = &mut self.ages[usize::from(node.level)];
        if ages.head == slot {
            ages.head = node.age_next;
        }
        if ages.tail == slot {
            ages.tail = node.age_prev;
        }
    }

    /// The flow of a task's submitter, level and class, made if there is none.
    fn flow_of(&mut self, slot: Slot) -> u32 {
        let node = self.nodes[slot];
        let account = &mut self.accounts[node.submitter as usize];
        if account.flows.is_empty() {
            account.pass = account.pass.max(self.virtual_time);
            self.backlogged += 1;
        }
        let known = account.flows.iter().copied().find(|&flow| {
            let flow = &self.flows[flow as usize];
            flow.level == node.level && flow.class == node.class
        });
        if let Some(flow) = known {
            return flow;
        }
        let made = Flow { submitter: node.submitter, level: node.level, class: node.class, tasks: NONE, last: NONE };
        let flow = match self.free_flows.pop() {
            Some(flow) => {
                self.flows[flow as usize] = made;
                flow
            }
            None => {
                self.flows.push(made);
                (self.flows.len() - 1) as u32
            }
        };
        self.accounts[node.submitter as usize].flows.push(flow);
        flow
    }

    /// Notes the changed tasks of a flow where flows are chosen among: a new flow comes in, an empty one goes.
    fn grow_or_shrink(&mut self, flow: u32, tasks: u32) {
        let Flow { submitter, level, class, tasks: before, .. } = self.flows[flow as usize];
        self.flows[flow as usize].tasks = tasks;
        let account = &mut self.accounts[submitter as usize];
        let ready = &mut self.ready[usize::from(level)][usize::from(class)];
        if tasks == NONE {
            *ready = self.order_of_flows.remove(*ready, flow);
            account.flows.retain(|&known| known != flow);
            self.free_flows.push(flow);
            self.backlogged -= u64::from(account.flows.is_empty());
        } else if before == NONE {
            *ready = self.order_of_flows.insert(*ready, flow, account.pass, self.tasks.least(tasks));
        } else if self.order_of_flows.own(flow) != self.tasks.least(tasks) {
            self.order_of_flows.resize(flow, self.tasks.least(tasks));
        }
    }

    /// Counts `cost` against a submitter: its waiting tasks come later by that much.
    ///
    /// Virtual time moves by the part of it that one more submitter would have got, so that whoever is ahead of its share waits for a bounded amount
    /// of others' work, also when those others are ever new ones.
    pub fn charge(&mut self, submitter: u32, cost: u64) {
        let Some(account) = self.accounts.get_mut(submitter as usize) else { return };
        self.served = self.served.saturating_add(cost);
        let sharers = self.backlogged + 1;
        if self.served >= sharers {
            self.virtual_time = self.virtual_time.saturating_add(self.served / sharers);
            self.served %= sharers;
        }
        account.pass = account.pass.saturating_add(cost);
        let pass = account.pass;
        for &flow in &account.flows {
            let Flow { level, class, .. } = self.flows[flow as usize];
            let ready = &mut self.ready[usize::from(level)][usize::from(class)];
            let own = self.order_of_flows.own(flow);
            *ready = self.order_of_flows.remove(*ready, flow);
            *ready = self.order_of_flows.insert(*ready, flow, pass, own);
        }
    }

    /// The submitter's number will be given to another one, who starts without a past.
    pub fn forget_submitter(&mut self, submitter: u32) {
        if let Some(account) = self.accounts.get_mut(submitter as usize)
            && account.flows.is_empty()
        {
            account.pass = 0;
        }
    }
}
