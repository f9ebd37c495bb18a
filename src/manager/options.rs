//! The bounds of a manager, each with its default and what happens when it is met.

use std::sync::Arc;
use std::time::Duration;

use super::clock::{Clock, SystemClock};
use super::retry::{MAX_RETRY_COUNT, RetryPolicy};
use crate::journal::{Journal, MemoryJournal};
use crate::resource::{BudgetLimits, Ledger};
use crate::task::{ExecutorCapabilities, ResourceDemand};

/// Host bytes a manager may claim when neither the executor nor the caller names a bound.
pub const HOST_BYTES_DEFAULT: u64 = 2 * 1024 * 1024 * 1024;

/// A listener for demands that find no room.
pub type OnShortage = Arc<dyn Fn(&ResourceDemand) + Send + Sync>;

/// How a manager bounds what it holds and runs.
#[derive(Clone)]
pub struct ManagerOptions {
    /// Open tasks (waiting, running or backing off); more are refused with `Overloaded`. Default 100,000. One submitter alone may hold eight ninths.
    pub open_tasks_max: usize,
    /// Bytes of their payloads together, and of what is parsed of them; more are refused with `Overloaded`. Default 1 GiB.
    pub open_bytes_max: u64,
    /// Bytes of the values that open tasks took from others by reference, all together (more wait), and as many again of ended tasks that are kept
    /// because open ones will read their results (more are kept as any other). Default 1 GiB.
    pub graph_bytes_max: u64,
    /// Runs at once, those that join an engine's batch (`threads: 0`) included; more wait. Default 4,096.
    pub running_max: usize,
    /// Runs of one submitter at once; more wait. Default 1,024.
    pub running_per_submitter_max: usize,
    /// A task that has waited this long for each level between them is overdue to a higher priority, which then leaves one start in nine to the level of
    /// that task. Default 10 s, so that even `Low` starts in front of a flood of `Critical` after 30 s.
    pub age_step: Duration,
    /// A task that does not fit may be passed by others for this long; then it reserves. Default 500 ms.
    pub reserve_after: Duration,
    /// A cancelled run that does not return within this time is dropped. Default 200 ms.
    pub cancel_grace: Duration,
    /// Pace of retries. Default 100 ms doubling up to 10 s.
    pub retry: RetryPolicy,
    /// Retries of a task whose submission names none. Default [`MAX_RETRY_COUNT`].
    pub retries_default: u32,
    /// Ended tasks that stay known; the oldest are forgotten. Default 100,000.
    pub retained_tasks_max: usize,
    /// Bytes of their payloads, results and parts; the oldest are forgotten. Default 1 GiB.
    pub retained_bytes_max: u64,
    /// How long ended tasks stay known. Default 1 h.
    pub retained_for: Duration,
    /// Events kept for readers; slower ones are told how many they missed. Default 65,536.
    pub events_max: usize,
    /// Bytes of results and chunks held by those events. Default 64 MiB.
    pub event_bytes_max: u64,
    /// Bytes of values that one task may take from others by reference (binary parts are shared and not counted). Default 256 MiB.
    pub reference_bytes_max: u64,
    /// What tasks claim from. `None`: host memory as the executor's `max_memory_mb` says, or [`HOST_BYTES_DEFAULT`], and one thread per processor.
    pub ledger: Option<Ledger>,
    /// Told what a waiting task needs when nothing that runs could make room for it, or when it has been passed for long: whoever holds idle memory (loaded models) may give it back.
    /// Called by the run loop, possibly often; must not block. Default: nobody.
    pub on_shortage: Option<OnShortage>,
    /// Where state changes are written. Default a [`MemoryJournal`].
    pub journal: Arc<dyn Journal>,
    /// Time. Default the system's.
    pub clock: Arc<dyn Clock>,
}

impl Default for ManagerOptions {
    fn default() -> Self {
        Self {
            open_tasks_max: 100_000,
            open_bytes_max: 1024 * 1024 * 1024,
            graph_bytes_max: 1024 * 1024 * 1024,
            running_max: 4096,
            running_per_submitter_max: 1024,
            age_step: Duration::from_secs(10),
            reserve_after: Duration::from_millis(500),
            cancel_grace: Duration::from_millis(200),
            retry: RetryPolicy::default(),
            retries_default: MAX_RETRY_COUNT,
            retained_tasks_max: 100_000,
            retained_bytes_max: 1024 * 1024 * 1024,
            retained_for: Duration::from_secs(3600),
            events_max: 65_536,
            event_bytes_max: 64 * 1024 * 1024,
            reference_bytes_max: 256 * 1024 * 1024,
            ledger: None,
            on_shortage: None,
            journal: Arc::new(MemoryJournal::new()),
            clock: Arc::new(SystemClock::new()),
        }
    }
}

/// The ledger of a manager that was given none.
pub(super) fn default_ledger(capabilities: &ExecutorCapabilities) -> Ledger {
    let host_bytes = match capabilities.max_memory_mb {
        0 => HOST_BYTES_DEFAULT,
        mb => mb.saturating_mul(1024 * 1024),
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    Ledger::new(&BudgetLimits { host_bytes, threads, devices: std::collections::BTreeMap::new() })
}

/// A duration in the manager's nanoseconds.
pub(super) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
