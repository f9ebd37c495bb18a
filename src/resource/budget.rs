//! Pure accounting of what may be held at once: bytes of the host and of devices, bytes of executors' shares, compute threads.
//!
//! Values in, values out: no lock, no clock. [`super::Ledger`] puts a lock and RAII claims around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::task::{DeviceClass, ResourceDemand, TaskError};

/// The bounds of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Host bytes that tasks and models may hold together.
    pub host_bytes: u64,
    /// Compute threads that may be kept busy.
    pub threads: u32,
    /// Bytes of each device that may be held.
    pub devices: BTreeMap<DeviceClassKey, u64>,
}

/// A device as a key: its name in listings (`cuda:0`, `metal`).
pub type DeviceClassKey = String;

/// One account: what is held and what may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Held now.
    pub used: u64,
    /// The bound.
    pub limit: u64,
    /// The most ever held.
    pub peak: u64,
}

impl Account {
    fn add(&mut self, amount: u64) {
        self.used += amount;
        self.peak = self.peak.max(self.used);
    }

    fn sub(&mut self, amount: u64) {
        debug_assert!(self.used >= amount, "an account never releases more than it holds");
        self.used = self.used.saturating_sub(amount);
    }
}

/// Which account is too full for a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The account: `host memory`, `cuda:0 memory`, `executor text memory`, `compute threads`.
    pub resource: String,
    /// What the demand needs.
    pub needed: u64,
    /// What is free now.
    pub free: u64,
    /// What there is at most.
    pub limit: u64,
}

/// All accounts of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Host memory, in bytes.
    pub host: Account,
    /// Compute threads.
    pub threads: Account,
    /// Device memory by device name, in bytes.
    pub devices: BTreeMap<DeviceClassKey, Account>,
    /// Executors' shares, in bytes of host and device memory together; an account appears with its first claim and carries the limit that
    /// came with the latest one.
    pub shares: BTreeMap<Arc<str>, Account>,
}

/// The name of a device in listings; the host has none.
#[must_use]
pub fn device_key(device: DeviceClass) -> Option<DeviceClassKey> {
    match device {
        DeviceClass::Host => None,
        DeviceClass::Cuda(index) => Some(format!("cuda:{index}")),
        DeviceClass::Metal => Some("metal".into()),
    }
}

/// The most share accounts at once; idle ones make room for new ones.
const SHARE_ACCOUNTS_MAX: usize = 1024;

impl Budget {
    /// Empty accounts under the given bounds.
    #[must_use]
    pub fn new(limits: &BudgetLimits) -> Self {
        let account = |limit| Account { used: 0, limit, peak: 0 };
        Self {
            host: account(limits.host_bytes),
            threads: account(u64::from(limits.threads)),
            devices: limits.devices.iter().map(|(key, &bytes)| (key.clone(), account(bytes))).collect(),
            shares: BTreeMap::new(),
        }
    }

    /// Books the demand, all of it or nothing. Errors: the first account that is too full, or a device that does not exist (limit 0).
    pub fn claim(&mut self, demand: &ResourceDemand) -> Result<(), Shortage> {
        self.check(demand, |account| account.used)?;
        self.make_room_for_share(demand)?;
        self.host.add(demand.host_bytes);
        self.threads.add(self.clamped_threads(demand));
        if let Some(account) = device_key(demand.device).and_then(|key| self.devices.get_mut(&key)) {
            account.add(demand.device_bytes);
        }
        if let Some(share) = &demand.share {
            let account = self.shares.entry(Arc::clone(&share.account)).or_default();
            account.limit = share.limit_bytes;
            account.add(share_bytes(demand));
        }
        Ok(())
    }

    /// Takes a booked demand back: the same demand that was claimed, once.
    pub fn release(&mut self, demand: &ResourceDemand) {
        let threads = self.clamped_threads(demand);
        self.host.sub(demand.host_bytes);
        self.threads.sub(threads);
        if let Some(account) = device_key(demand.device).and_then(|key| self.devices.get_mut(&key)) {
            account.sub(demand.device_bytes);
        }
        if let Some(account) = demand.share.as_ref().and_then(|share| self.shares.get_mut(&share.account)) {
            account.sub(share_bytes(demand));
        }
    }

    /// Errors when the demand could not be met even by an idle worker: `DeviceUnavailable` for a device that is not there, else `DoesNotFit`.
    pub fn check_can_ever_fit(&self, demand: &ResourceDemand) -> Result<(), TaskError> {
        if let Some(device) = device_key(demand.device).filter(|key| !self.devices.contains_key(key)) {
            let known: Vec<&str> = self.devices.keys().map(String::as_str).collect();
            let reason =
                if known.is_empty() { "this worker runs on cpu alone".into() } else { format!("this worker runs on {}", known.join(", ")) };
            return Err(TaskError::DeviceUnavailable { device, reason });
        }
        self.check(demand, |_idle| 0).map_err(|shortage| TaskError::DoesNotFit {
            resource: shortage.resource,
            needed_bytes: shortage.needed,
            available_bytes: shortage.limit,
        })
    }

    /// A task that wants more threads than there are gets them all.
    fn clamped_threads(&self, demand: &ResourceDemand) -> u64 {
        u64::from(demand.threads).min(self.threads.limit)
    }

    fn check(&self, demand: &ResourceDemand, used: impl Fn(&Account) -> u64) -> Result<(), Shortage> {
        let within = |resource: &dyn Fn() -> String, needed: u64, account: &Account| {
            let free = account.limit.saturating_sub(used(account));
            if needed <= free { Ok(()) } else { Err(Shortage { resource: resource(), needed, free, limit: account.limit }) }
        };
        within(&|| "host memory".into(), demand.host_bytes, &self.host)?;
        if let Some(share) = &demand.share {
            // The limit is the demand's own: an executor may have changed it since the account was opened.
            let held = self.shares.get(&share.account).copied().unwrap_or_default();
            let account = Account { limit: share.limit_bytes, ..held };
            within(&|| format!("executor {} memory", share.account), share_bytes(demand), &account)?;
        }
        if let Some(key) = device_key(demand.device) {
            let account = self.devices.get(&key).copied();
            let needed = if account.is_none() { demand.device_bytes.max(1) } else { demand.device_bytes };
            within(&|| format!("{key} memory"), needed, &account.unwrap_or_default())?;
        }
        within(&|| "compute threads".into(), self.clamped_threads(demand), &self.threads)
    }

    /// Keeps the number of share accounts bounded: idle ones go when there are too many.
    fn make_room_for_share(&mut self, demand: &ResourceDemand) -> Result<(), Shortage> {
        let Some(share) = &demand.share else { return Ok(()) };
        if self.shares.len() < SHARE_ACCOUNTS_MAX || self.shares.contains_key(&share.account) {
            return Ok(());
        }
        self.shares.retain(|_name, account| account.used > 0);
        if self.shares.len() < SHARE_ACCOUNTS_MAX {
            return Ok(());
        }
        let limit = SHARE_ACCOUNTS_MAX as u64;
        Err(Shortage { resource: "executor accounts".into(), needed: 1, free: 0, limit })
    }
}

/// What a demand takes of its executor's share: the bound covers all memory that the executor holds, wherever it lies.
fn share_bytes(demand: &ResourceDemand) -> u64 {
    demand.host_bytes.saturating_add(demand.device_bytes)
}
