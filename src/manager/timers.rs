//! What is due when: deadlines and back-offs by task. Pure.

use std::collections::BTreeSet;

use super::queue::Slot;

/// What happens when a timer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The task's deadline passes.
    Deadline,
    /// The task's next attempt may begin.
    Retry,
}

/// Armed timers in the order of time. A task disarms its timers when it ends, so their number is bounded by that of the open tasks.
#[derive(Default)]
pub struct Timers {
    armed: BTreeSet<(u64, Slot, Timer)>,
}

impl Timers {
    /// Arms a timer.
    pub fn arm(&mut self, at_ns: u64, slot: Slot, timer: Timer) {
        self.armed.insert((at_ns, slot, timer));
    }

    /// Disarms a timer that was armed for that time.
    pub fn disarm(&mut self, at_ns: u64, slot: Slot, timer: Timer) {
        self.armed.remove(&(at_ns, slot, timer));
    }

    /// Takes out the next timer that is due.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<(Slot, Timer)> {
        let first = *self.armed.first()?;
        if first.0 > now_ns {
            return None;
        }
        self.armed.remove(&first);
        Some((first.1, first.2))
    }

    /// When the next timer is due.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        self.armed.first().map(|first| first.0)
    }
}
