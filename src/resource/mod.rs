//! Floor 3, what there is and who holds it: the host and its devices, budgets, claims, threads.
//!
//! Invariant: the sum of all live claims never exceeds any account's limit, at any instant.

mod budget;
mod bytes;
mod cgroup;
mod compute;
mod device;
mod ledger;
mod probe;
mod steps;
mod threads;

pub use budget::{Account, Budget, BudgetLimits, DeviceClassKey, Shortage, device_key};
pub use bytes::{ByteSizeError, LIMIT_BYTES_MIN, MemoryLimit, ResolvedMemoryLimit, format_bytes, parse_bytes};
pub use compute::{ComputePool, panic_error};
pub use device::{ChosenDevice, DeviceChoice};
pub use ledger::{Claim, HeldBytes, HostAccount, Ledger};
pub use probe::{HostCpus, HostMemory, HostProbe};
pub use steps::StepPool;
pub use threads::{POOL_THREADS_MAX, ThreadFlags, ThreadPlan};

#[cfg(test)]
mod tests;
