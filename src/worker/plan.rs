//! What a worker on this host will use: memory, threads, and which models it looks for where. Reads the host, starts nothing.

use tallow_kernels::Isa;
use tallow_kernels::threads::{CandleThreadsError, set_candle_threads};

use super::MemorySplit;
use crate::config::WorkerSettings;
use crate::resource::{HostProbe, ResolvedMemoryLimit, ThreadFlags, ThreadPlan, format_bytes};
use crate::task::TaskError;

/// Sizes for one worker, with the reasons for them.
#[derive(Clone, Debug)]
pub struct WorkerPlan {
    settings: WorkerSettings,
    probe: HostProbe,
    threads: ThreadPlan,
    memory: ResolvedMemoryLimit,
}

impl WorkerPlan {
    /// Plans for this host. Blocks for some reads of `/proc` and `/sys`.
    ///
    /// Errors: `InvalidPayload` for a memory limit above what the process may use or too small to work with, a thread count out of bounds, or more kept
    /// results than the memory limit leaves room for.
    /// `DeviceUnavailable` for instructions that the processor lacks, or for others than the process already computes with.
    pub fn make(settings: &WorkerSettings) -> Result<Self, TaskError> {
        use_instructions(settings)?;
        let probe = HostProbe::read();
        let flags = ThreadFlags { compute: settings.threads, candle: settings.candle_threads, runtime: None };
        let threads = ThreadPlan::new(&probe.cpus, flags)?;
        let memory = settings.memory_limit.resolve(&probe.memory).map_err(|error| TaskError::invalid("memory_limit", error.to_string()))?;
        let cache_bytes_max = MemorySplit::cache_bytes_max(memory.bytes);
        if settings.result_cache_bytes > cache_bytes_max {
            let (found, limit) = (format_bytes(settings.result_cache_bytes), format_bytes(memory.bytes));
            let reason = format!("found {found}; the memory limit of {limit} leaves {} for it", format_bytes(cache_bytes_max));
            return Err(TaskError::invalid("result_cache", reason));
        }
        Ok(Self { settings: settings.clone(), probe, threads, memory })
    }

    /// Sizes the pools that belong to the whole process: candle's, which read the environment at first use. To be called first thing in
    /// `main`, before any thread runs; a program that embeds the worker may leave it away and set `CANDLE_NUM_THREADS` itself.
    ///
    /// Errors: `Internal` when other threads run already. A system that does not tell how many run keeps candle's own defaults.
    pub fn size_process_pools(&self) -> Result<(), TaskError> {
        match set_candle_threads(self.threads.candle) {
            Ok(()) => Ok(()),
            Err(CandleThreadsError::Unknown { reason }) => {
                tracing::warn!(reason, "candle's thread pools keep their own default size");
                Ok(())
            }
            Err(error) => Err(TaskError::internal("candle's thread pools could not be sized", error.to_string())),
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn settings(&self) -> &WorkerSettings {
        &self.settings
    }

    /// What the host has.
    #[must_use]
    pub fn probe(&self) -> &HostProbe {
        &self.probe
    }

    /// Threads of each pool.
    #[must_use]
    pub fn threads(&self) -> &ThreadPlan {
        &self.threads
    }

    /// What the worker may hold.
    #[must_use]
    pub fn memory(&self) -> &ResolvedMemoryLimit {
        &self.memory
    }

    /// What of it tasks and models get, and what is kept for payloads, results, events and bodies.
    #[must_use]
    pub fn memory_split(&self) -> MemorySplit {
        MemorySplit::of(self.memory.bytes, self.settings.result_cache_bytes)
    }
}

/// Fixes the instructions of the whole process where the settings name some; to be called before anything is computed.
///
/// Errors: `DeviceUnavailable` listing what there is, for a level that the processor lacks or that came too late.
pub fn use_instructions(settings: &WorkerSettings) -> Result<(), TaskError> {
    let Some(name) = &settings.isa else { return Ok(()) };
    Isa::named(name)
        .and_then(Isa::force)
        .map_err(|error| TaskError::DeviceUnavailable { device: format!("instructions {name}"), reason: error.to_string() })
}
