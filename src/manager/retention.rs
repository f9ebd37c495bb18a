//! Which ended tasks are forgotten, oldest first: bounds of count, bytes and age. Pure.

use std::collections::VecDeque;

use super::queue::Slot;

/// What is kept of ended tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// At most this many.
    pub count_max: usize,
    /// At most this many bytes of payloads, results and parts.
    pub bytes_max: u64,
    /// For at most this long, in nanoseconds.
    pub age_max_ns: u64,
}

#[derive(Clone, Copy)]
struct Ended {
    slot: Slot,
    bytes: u64,
    at_ns: u64,
}

/// Ended tasks in the order in which they may be forgotten.
pub struct Retention {
    policy: RetentionPolicy,
    ended: VecDeque<Ended>,
    bytes: u64,
}

impl Retention {
    /// Nothing kept yet.
    #[must_use]
    pub fn new(policy: RetentionPolicy) -> Self {
        Self { policy, ended: VecDeque::new(), bytes: 0 }
    }

    /// Adds a task that has ended, or that was exempt and no longer is.
    pub fn add(&mut self, slot: Slot, bytes: u64, now_ns: u64) {
        self.ended.push_back(Ended { slot, bytes, at_ns: now_ns });
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The next task to forget, or `None` while every bound holds.
    pub fn expire(&mut self, now_ns: u64) -> Option<Slot> {
        let oldest = *self.ended.front()?;
        let aged = now_ns.saturating_sub(oldest.at_ns) >= self.policy.age_max_ns;
        if !aged && self.ended.len() <= self.policy.count_max && self.bytes <= self.policy.bytes_max {
            return None;
        }
        self.ended.pop_front();
        self.bytes = self.bytes.saturating_sub(oldest.bytes);
        Some(oldest.slot)
    }

    /// When the oldest task becomes too old.
    #[must_use]
    pub fn next_expiry_ns(&self) -> Option<u64> {
        self.ended.front().map(|ended| ended.at_ns.saturating_add(self.policy.age_max_ns))
    }

    /// Tasks kept.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ended.len()
    }

    /// Bytes kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
