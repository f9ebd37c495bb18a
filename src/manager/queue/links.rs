//! The lists of the queue: one per flow for the order of service, one per level for the order of age. A task is in one of each.

use super::{LEVELS, Queue, Slot};

/// No task: the end of a list.
pub(super) const NONE: Slot = u32::MAX;
/// Promotions of one call of [`Queue::age`]: keeps the call short; the rest follows in the next.
const PROMOTIONS_MAX: usize = 1024;

#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) prev: Slot,
    pub(super) next: Slot,
    pub(super) age_prev: Slot,
    pub(super) age_next: Slot,
    pub(super) entered_ns: u64,
    pub(super) order: u64,
    pub(super) submitter: u32,
    pub(super) class: u16,
    pub(super) cost: u16,
    pub(super) level: u8,
    /// The level at which it joined.
    pub(super) origin: u8,
    pub(super) queued: bool,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            prev: NONE,
            next: NONE,
            age_prev: NONE,
            age_next: NONE,
            entered_ns: 0,
            order: 0,
            submitter: 0,
            class: 0,
            cost: 1,
            level: 0,
            origin: 0,
            queued: false,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) head: Slot,
    pub(super) tail: Slot,
}

pub(super) struct FlowList {
    pub(super) level: u8,
    pub(super) class: u16,
    pub(super) ends: Ends,
}

#[derive(Default)]
pub(super) struct Flow {
    pub(super) pass: u64,
    pub(super) lists: Vec<FlowList>,
}

impl Queue {
    /// Tasks at the front of their levels; the oldest of a level is among them.
    pub fn fronts(&self) -> impl Iterator<Item = Slot> + '_ {
        self.ages.iter().map(|ends| ends.head).filter(|&slot| slot != NONE)
    }

    /// Raises what has waited long enough by one level.
    pub fn age(&mut self, now_ns: u64) {
        let mut promotions = 0;
        for level in (0..LEVELS - 1).rev() {
            while promotions < PROMOTIONS_MAX {
                let slot = self.ages[level].head;
                if slot == NONE || self.nodes[slot].entered_ns.saturating_add(self.policy.age_step_ns) > now_ns {
                    break;
                }
                self.unlink(slot);
                self.link(slot, level as u8 + 1, now_ns);
                promotions += 1;
            }
        }
    }

    /// When the next task rises a level.
    #[must_use]
    pub fn next_age_ns(&self) -> Option<u64> {
        let heads = self.ages[..LEVELS - 1].iter().filter(|ends| ends.head != NONE);
        heads.map(|ends| self.nodes[ends.head].entered_ns.saturating_add(self.policy.age_step_ns)).min()
    }

    pub(super) fn link(&mut self, slot: Slot, level: u8, now_ns: u64) {
        self.order += 1;
        let (submitter, class) = (self.nodes[slot].submitter, self.nodes[slot].class);
        let flow = &mut self.flows[submitter as usize];
        if flow.lists.is_empty() {
            flow.pass = flow.pass.max(self.virtual_time);
            self.backlogged += 1;
        }
        let prev = match flow.lists.iter_mut().find(|list| list.level == level && list.class == class) {
            Some(list) => std::mem::replace(&mut list.ends.tail, slot),
            None => {
                flow.lists.push(FlowList { level, class, ends: Ends { head: slot, tail: slot } });
                self.ready[usize::from(level)][usize::from(class)].insert((flow.pass, submitter));
                NONE
            }
        };
        let ages = &mut self.ages[usize::from(level)];
        let age_prev = std::mem::replace(&mut ages.tail, slot);
        if age_prev == NONE {
            ages.head = slot;
        } else {
            self.nodes[age_prev].age_next = slot;
        }
        if prev != NONE {
            self.nodes[prev].next = slot;
        }
        let order = self.order;
        let node = &mut self.nodes[slot];
        (node.prev, node.next, node.age_prev, node.age_next) = (prev, NONE, age_prev, NONE);
        (node.level, node.entered_ns, node.order) = (level, now_ns, order);
    }

    pub(super) fn unlink(&mut self, slot: Slot) {
        let node = self.nodes[slot];
        if node.prev != NONE {
            self.nodes[node.prev].next = node.next;
        }
        if node.next != NONE {
            self.nodes[node.next].prev = node.prev;
        }
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
        let flow = &mut self.flows[node.submitter as usize];
        let Some(at) = flow.lists.iter().position(|list| list.level == node.level && list.class == node.class) else { return };
        let ends = &mut flow.lists[at].ends;
        if ends.head == slot {
            ends.head = node.next;
        }
        if ends.tail == slot {
            ends.tail = node.prev;
        }
        if ends.head == NONE {
            flow.lists.swap_remove(at);
            self.ready[usize::from(node.level)][usize::from(node.class)].remove(&(flow.pass, node.submitter));
            self.backlogged -= u64::from(flow.lists.is_empty());
        }
    }
}
