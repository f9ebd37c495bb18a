//! Whether there is room in the queue, and when there will be. Pure.
//!
//! One submitter may hold at most [`SHARE_FACTOR`] times what is free (dynamic thresholds, Choudhury and Hahne 1998): alone it can use eight ninths
//! of the queue, two flooding ones eight seventeenths each, and there is always room left for one who comes late.

use std::time::Duration;

/// How many times the free room one submitter may hold.
pub const SHARE_FACTOR: u64 = 8;

/// The shortest and the longest wait that is ever advised.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// Advised while no drain rate is known.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(1);

/// Bounds of what is open: waiting, running or backing off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Tasks.
    pub tasks_max: u64,
    /// Bytes of payloads.
    pub bytes_max: u64,
}

/// An amount of tasks and payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks.
    pub tasks: u64,
    /// Bytes of payloads.
    pub bytes: u64,
}

impl Load {
    /// Adds.
    pub fn add(&mut self, other: Self) {
        self.tasks += other.tasks;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Takes away.
    pub fn sub(&mut self, other: Self) {
        self.tasks = self.tasks.saturating_sub(other.tasks);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// Which bound refuses a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The queue holds as many tasks as it may.
    Tasks,
    /// The queue holds as many bytes as it may.
    Bytes,
    /// The submitter holds as much of the queue as it may.
    Share,
    /// It could not be accepted even by an empty queue.
    Never,
}

/// Whether `more` of one submitter, which holds `own` of `all`, is accepted. All of it or nothing.
pub fn admit(room: Room, all: Load, own: Load, more: Load) -> Result<(), Full> {
    if more.tasks > room.tasks_max || more.bytes > room.bytes_max {
        return Err(Full::Never);
    }
    if all.tasks + more.tasks > room.tasks_max {
        return Err(Full::Tasks);
    }
    if all.bytes.saturating_add(more.bytes) > room.bytes_max {
        return Err(Full::Bytes);
    }
    let within = |own: u64, all: u64, max: u64| own <= (max - all).saturating_mul(SHARE_FACTOR);
    // A first task always gets in, however small the queue, and so does whatever finds the queue empty.
    if all.tasks == 0 {
        return Ok(());
    }
    let tasks_fair = own.tasks == 0 && more.tasks == 1 || within(own.tasks + more.tasks, all.tasks + more.tasks, room.tasks_max);
    let bytes_fair = own.tasks == 0 || within(own.bytes.saturating_add(more.bytes), all.bytes + more.bytes, room.bytes_max);
    if tasks_fair && bytes_fair { Ok(()) } else { Err(Full::Share) }
}

/// When there will be room for `more_tasks`, from the measured drain in tasks per second; between 100 ms and 60 s, 1 s while nothing is known.
#[must_use]
pub fn retry_after(more_tasks: u64, drain_per_s: f64) -> Duration {
    if !drain_per_s.is_finite() || drain_per_s <= 0.0 {
        return RETRY_AFTER_UNKNOWN;
    }
    let wait_s = (more_tasks as f64 / drain_per_s).min(RETRY_AFTER.1.as_secs_f64());
    Duration::from_secs_f64(wait_s).clamp(RETRY_AFTER.0, RETRY_AFTER.1)
}

/// Tasks ended per second while any are open, as an exponentially weighted mean with a time constant of five seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainRate {
    per_s: f64,
    counted: u64,
    since_ns: u64,
}

impl DrainRate {
    const WINDOW_NS: u64 = 250_000_000;
    const TIME_CONSTANT_S: f64 = 5.0;

    /// Something is open again: the time in which nothing was does not count.
    pub fn resume(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
    }

    /// The rate as of the last look.
    #[must_use]
    pub fn last_per_s(&self) -> f64 {
        self.per_s
    }

    /// Counts an ended task.
    pub fn count(&mut self, now_ns: u64) {
        self.fold(now_ns);
        self.counted += 1;
    }

    /// Tasks per second as of now; 0 until the first window has passed.
    pub fn per_s(&mut self, now_ns: u64) -> f64 {
        self.fold(now_ns);
        self.per_s
    }

    fn fold(&mut self, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.since_ns);
        if elapsed_ns < Self::WINDOW_NS {
            return;
        }
        let elapsed_s = elapsed_ns as f64 / 1e9;
        let recent = self.counted as f64 / elapsed_s;
        let weight = if self.per_s == 0.0 { 1.0 } else { 1.0 - (-elapsed_s / Self::TIME_CONSTANT_S).exp() };
        self.per_s += (recent - self.per_s) * weight;
        self.counted = 0;
        self.since_ns = now_ns;
    }
}
