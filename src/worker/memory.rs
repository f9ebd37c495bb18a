//! How a worker's memory limit is divided between all that holds memory. Pure.

use serde::Serialize;

/// Parts of the limit that [`MemorySplit`] deals out.
const PARTS: u64 = 64;
/// The most that payloads, what graphs hold and what is retained get each, however much memory there is.
const HELD_BYTES_MAX: u64 = 1 << 30;
/// The most for bodies of calls under way.
const BODY_BYTES_MAX: u64 = 256 << 20;
/// The most for events.
const EVENT_BYTES_MAX: u64 = 64 << 20;
/// The most that one task may take from others by reference.
const REFERENCE_BYTES_MAX: u64 = 256 << 20;

/// The memory limit, divided: everything that holds memory of a payload's or a model's size has a bound of its own, and together they make the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemorySplit {
    /// What the ledger hands out: running tasks and loaded models.
    pub tasks_bytes: u64,
    /// Payloads of open tasks, and what is parsed of them.
    pub payload_bytes: u64,
    /// Values that open tasks took from others by reference.
    pub copied_bytes: u64,
    /// Ended tasks that open ones will read.
    pub parked_bytes: u64,
    /// Ended tasks whose results can still be fetched.
    pub retained_bytes: u64,
    /// Results and chunks in events.
    pub event_bytes: u64,
    /// Bodies of calls under way.
    pub body_bytes: u64,
    /// Results of encoders that are kept for texts that come again.
    pub cache_bytes: u64,
}

impl MemorySplit {
    /// Divides the limit with `cache_bytes` for kept results, which are no more than [`MemorySplit::cache_bytes_max`]: an eighth for payloads, a sixteenth each for copies, parked and retained results and bodies, a sixty-fourth for events, each
    /// with a bound; the rest, three fifths and more, for tasks and models.
    #[must_use]
    pub fn of(limit_bytes: u64, cache_bytes: u64) -> Self {
        let share = |parts: u64, most: u64| (limit_bytes / PARTS * parts).min(most);
        let graph_bytes = share(4, HELD_BYTES_MAX);
        let mut split = Self {
            tasks_bytes: 0,
            payload_bytes: share(8, HELD_BYTES_MAX),
            copied_bytes: graph_bytes,
            parked_bytes: graph_bytes,
            retained_bytes: share(4, HELD_BYTES_MAX),
            event_bytes: share(1, EVENT_BYTES_MAX),
            body_bytes: share(4, BODY_BYTES_MAX),
            cache_bytes: cache_bytes.min(Self::cache_bytes_max(limit_bytes)),
        };
        split.tasks_bytes = limit_bytes - split.held_bytes();
        split
    }

    /// The most that may be set aside for kept results: a quarter of the limit, so that tasks and models keep more than a third.
    #[must_use]
    pub fn cache_bytes_max(limit_bytes: u64) -> u64 {
        limit_bytes / 4
    }

    /// What may be held beside running tasks and loaded models.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.payload_bytes
            + self.copied_bytes
            + self.parked_bytes
            + self.retained_bytes
            + self.event_bytes
            + self.body_bytes
            + self.cache_bytes
    }

    /// The most that one task may take from others by reference: the first may always take its values.
    #[must_use]
    pub fn reference_bytes_max(&self) -> u64 {
        self.copied_bytes.min(REFERENCE_BYTES_MAX)
    }
}
