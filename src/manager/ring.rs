//! The last events, numbered from 1, shared by all readers. Pure: bounded by count and bytes, the oldest goes first.

use std::collections::VecDeque;

/// Bounds of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPolicy {
    /// At most this many events (at least 1).
    pub count_max: usize,
    /// At most this many bytes held by them; the newest event stays even if it alone is larger.
    pub bytes_max: u64,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// The events it asked for are gone: how many were missed, and the number to go on from.
    Missed {
        /// How many.
        count: u64,
        /// The oldest that is still there.
        next: u64,
    },
    /// Events with consecutive numbers, the first of which is the one asked for; empty when there is nothing new.
    Events(Vec<T>),
}

/// Events and their sizes.
pub struct Ring<T> {
    policy: RingPolicy,
    events: VecDeque<(T, u64)>,
    bytes: u64,
    next: u64,
}

impl<T: Clone> Ring<T> {
    /// An empty ring; the first event will be number 1.
    #[must_use]
    pub fn new(policy: RingPolicy) -> Self {
        Self { policy, events: VecDeque::new(), bytes: 0, next: 1 }
    }

    /// Adds an event of which `bytes` are held beside the ring, and returns its number.
    pub fn push(&mut self, event: T, bytes: u64) -> u64 {
        // Room is made first, so that the ring never holds, nor allocates for, more than it may.
        while self.events.len() >= self.policy.count_max.max(1) || self.bytes.saturating_add(bytes) > self.policy.bytes_max {
            let Some((_, bytes)) = self.events.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        self.events.push_back((event, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        let seq = self.next;
        self.next += 1;
        seq
    }

    /// The number the next event will get.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest event that is still there; equals `next` when there is none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    /// Up to `count_max` events from number `from` on.
    #[must_use]
    pub fn read(&self, from: u64, count_max: usize) -> Read<T> {
        let oldest = self.oldest();
        if from < oldest {
            return Read::Missed { count: oldest - from, next: oldest };
        }
        let skip = usize::try_from(from - oldest).unwrap_or(usize::MAX).min(self.events.len());
        Read::Events(self.events.range(skip..).take(count_max).map(|(event, _)| event.clone()).collect())
    }
}
