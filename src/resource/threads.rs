//! How many threads each pool gets: the one place that sizes them all. Pure.

use serde::Serialize;

use super::HostCpus;
use crate::task::TaskError;

/// The most threads that any pool is given.
pub const POOL_THREADS_MAX: usize = 1024;

/// Pool sizes that were asked for; what is `None` follows from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadFlags {
    /// Threads of the async runtime.
    pub runtime: Option<usize>,
    /// Threads that compute.
    pub compute: Option<usize>,
    /// Threads of candle's own pools.
    pub candle: Option<usize>,
}

/// How many threads each pool gets, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadPlan {
    /// Threads of the async runtime: they wait and pass on, they never compute.
    pub runtime: usize,
    /// Threads of the compute pool; the budget's compute threads.
    pub compute: usize,
    /// Threads of candle's own pools (`CANDLE_NUM_THREADS`, `RAYON_NUM_THREADS`).
    pub candle: usize,
    /// A sentence for each number.
    pub reasons: Vec<String>,
}

impl ThreadPlan {
    /// Plans for this host. Errors: `InvalidPayload` when a flag is 0 or above [`POOL_THREADS_MAX`].
    pub fn new(cpus: &HostCpus, flags: ThreadFlags) -> Result<Self, TaskError> {
        let host = host_sentence(cpus);
        let (compute, why_compute) = pick("compute_threads", flags.compute, cpus.usable, &host)?;
        // Two hyper-threads of a core share its multipliers, so matrix products gain nothing from the second.
        let cores = compute.min(cpus.cores.max(1));
        let (candle, why_candle) = pick("candle_threads", flags.candle, cores, "one per core, within the compute threads")?;
        // Waiting for sockets and timers keeps few threads busy; the quarter leaves the processors to the compute threads. With one thread alone, a call
        // that takes a moment would hold up every other.
        let few = (cpus.usable / 4).clamp(2, 8);
        let (runtime, why_runtime) = pick("runtime_threads", flags.runtime, few, "a quarter of the usable processors, 2 to 8")?;
        let reasons = vec![
            format!("compute: {compute}, {why_compute}"),
            format!("candle: {candle}, {why_candle}"),
            format!("runtime: {runtime}, {why_runtime}"),
        ];
        Ok(Self { runtime, compute, candle, reasons })
    }
}

fn pick(flag: &str, asked: Option<usize>, planned: usize, reason: &str) -> Result<(usize, String), TaskError> {
    match asked {
        Some(count) if (1..=POOL_THREADS_MAX).contains(&count) => Ok((count, format!("as asked for by {flag}"))),
        Some(count) => Err(TaskError::invalid(flag, format!("found {count}; allowed are 1 to {POOL_THREADS_MAX} threads"))),
        None => Ok((planned.clamp(1, POOL_THREADS_MAX), reason.to_owned())),
    }
}

fn host_sentence(cpus: &HostCpus) -> String {
    match cpus.quota {
        Some(quota) if cpus.usable < cpus.allowed => format!("the cgroup quota allows {quota:.2} processors of {}", cpus.allowed),
        _ if cpus.allowed < cpus.online => format!("the affinity mask allows {} processors of {}", cpus.allowed, cpus.online),
        _ => format!("the machine has {} processors", cpus.online),
    }
}
