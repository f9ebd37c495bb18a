//! Pure accounting of what may be held at once: bytes of the host and of devices, bytes of executors' shares, compute threads.
//!
//! A model is booked with the first claim that names it and given back with the last, so that a task claims its model together with its own bytes
//! however many others use it, and what has started never waits for memory.
//!
//! Values in, values out: no lock, no clock. [`super::Ledger`] puts a lock and RAII claims around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::task::{DeviceClass, MemoryShare, ModelDemand, ResourceDemand, TaskError};

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
    /// Of what is held now: what no task gives back when it ends, such as the rows of resident sets.
    pub lasting: u64,
}

impl Account {
    fn add(&mut self, amount: u64) {
        self.used += amount;
        self.peak = self.peak.max(self.used);
    }

    fn add_lasting(&mut self, amount: u64) {
        self.add(amount);
        self.lasting += amount;
    }

    fn sub_lasting(&mut self, amount: u64) {
        self.sub(amount);
        self.lasting = self.lasting.saturating_sub(amount);
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

impl Shortage {
    /// How many bytes of the account that is short come back when a claim on `demand` is released that nobody shares.
    #[must_use]
    pub fn relieved_by(&self, demand: &ResourceDemand) -> u64 {
        amount(&self.resource, demand, Bytes::whole(demand))
    }
}

/// Bytes on the host and on a device.
#[derive(Clone, Copy)]
struct Bytes {
    host: u64,
    device: u64,
}

impl Bytes {
    fn own(demand: &ResourceDemand) -> Self {
        Self { host: demand.host_bytes, device: demand.device_bytes }
    }

    fn model(model: &ModelDemand) -> Self {
        Self { host: model.host_bytes, device: model.device_bytes }
    }

    /// What the demand needs of an idle worker.
    fn whole(demand: &ResourceDemand) -> Self {
        demand.model.as_ref().map_or_else(|| Self::own(demand), |model| Self::own(demand).and(Self::model(model)))
    }

    fn and(self, other: Self) -> Self {
        Self { host: self.host.saturating_add(other.host), device: self.device.saturating_add(other.device) }
    }

    /// What it takes of its executor's share: the bound covers all memory that the executor holds, wherever it lies.
    fn everywhere(self) -> u64 {
        self.host.saturating_add(self.device)
    }
}

/// A model that live claims name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BookedModel {
    /// Claims that name it.
    claims: u64,
    /// Where its device bytes are booked.
    device: DeviceClass,
    /// The executor's share it is booked in.
    share: Option<MemoryShare>,
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
    /// Models that claims name; their bytes are in the accounts above.
    #[serde(skip)]
    models: BTreeMap<ModelDemand, BookedModel>,
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

const HOST_MEMORY: &str = "host memory";

/// The most share accounts at once; idle ones make room for new ones.
const SHARE_ACCOUNTS_MAX: usize = 1024;

impl Budget {
    /// Empty accounts under the given bounds.
    #[must_use]
    pub fn new(limits: &BudgetLimits) -> Self {
        let account = |limit| Account { limit, ..Account::default() };
        Self {
            host: account(limits.host_bytes),
            threads: account(u64::from(limits.threads)),
            devices: limits.devices.iter().map(|(key, &bytes)| (key.clone(), account(bytes))).collect(),
            shares: BTreeMap::new(),
            models: BTreeMap::new(),
        }
    }

    /// Books the demand, all of it or nothing. Errors: the first account that is too full, or a device that does not exist (limit 0).
    pub fn claim(&mut self, demand: &ResourceDemand) -> Result<(), Shortage> {
        self.check(demand, self.missing(demand), |account| account.used)?;
        self.make_room_for_share(demand)?;
        self.threads.add(self.clamped_threads(demand));
        self.book(Bytes::own(demand), demand.device, demand.share.as_ref());
        let Some(model) = &demand.model else { return Ok(()) };
        if let Some(booked) = self.models.get_mut(model) {
            booked.claims += 1;
            return Ok(());
        }
        self.book(Bytes::model(model), demand.device, demand.share.as_ref());
        let booked = BookedModel { claims: 1, device: demand.device, share: demand.share.clone() };
        self.models.insert(model.clone(), booked);
        Ok(())
    }

    /// The account that is too full for the demand now; books nothing.
    #[must_use]
    pub fn shortage(&self, demand: &ResourceDemand) -> Option<Shortage> {
        self.check(demand, self.missing(demand), |account| account.used).err()
    }

    /// Takes a booked demand back: the same demand that was claimed, once.
    pub fn release(&mut self, demand: &ResourceDemand) {
        let threads = self.clamped_threads(demand);
        self.threads.sub(threads);
        self.unbook(Bytes::own(demand), demand.device, demand.share.as_ref());
        let Some(model) = &demand.model else { return };
        let Some(booked) = self.models.get_mut(model) else { return };
        booked.claims = booked.claims.saturating_sub(1);
        if booked.claims == 0
            && let Some(booked) = self.models.remove(model)
        {
            self.unbook(Bytes::model(model), booked.device, booked.share.as_ref());
        }
    }

    /// Books host bytes that outlast every task, all of them or nothing. Errors: the first account that is too full.
    pub fn hold(&mut self, bytes: u64, share: Option<&MemoryShare>) -> Result<(), Shortage> {
        let demand = ResourceDemand { host_bytes: bytes, share: share.cloned(), ..ResourceDemand::default() };
        self.check(&demand, Bytes::own(&demand), |account| account.used)?;
        self.make_room_for_share(&demand)?;
        self.host.add_lasting(bytes);
        if let Some(share) = share {
            let account = self.shares.entry(Arc::clone(&share.account)).or_default();
            account.limit = share.limit_bytes;
            account.add_lasting(bytes);
        }
        Ok(())
    }

    /// Takes back what was booked by [`Budget::hold`], once.
    pub fn let_go(&mut self, bytes: u64, share: Option<&MemoryShare>) {
        self.host.sub_lasting(bytes);
        if let Some(account) = share.and_then(|share| self.shares.get_mut(&share.account)) {
            account.sub_lasting(bytes);
        }
    }

    /// How many live claims name this model.
    #[must_use]
    pub fn model_claims(&self, model: &ModelDemand) -> u64 {
        self.models.get(model).map_or(0, |booked| booked.claims)
    }

    fn book(&mut self, bytes: Bytes, device: DeviceClass, share: Option<&MemoryShare>) {
        self.host.add(bytes.host);
        if let Some(account) = device_key(device).and_then(|key| self.devices.get_mut(&key)) {
            account.add(bytes.device);
        }
        if let Some(share) = share {
            let account = self.shares.entry(Arc::clone(&share.account)).or_default();
            account.limit = share.limit_bytes;
            account.add(bytes.everywhere());
        }
    }

    fn unbook(&mut self, bytes: Bytes, device: DeviceClass, share: Option<&MemoryShare>) {
        self.host.sub(bytes.host);
        if let Some(account) = device_key(device).and_then(|key| self.devices.get_mut(&key)) {
            account.sub(bytes.device);
        }
        if let Some(account) = share.and_then(|share| self.shares.get_mut(&share.account)) {
            account.sub(bytes.everywhere());
        }
    }

    /// What a claim on the demand adds to the accounts: its own bytes, and its model's unless a live claim has booked them.
    fn missing(&self, demand: &ResourceDemand) -> Bytes {
        let model = demand.model.as_ref().filter(|model| !self.models.contains_key(*model));
        model.map_or_else(|| Bytes::own(demand), |_unbooked| Bytes::whole(demand))
    }

    /// Errors when the demand could not be met even by a worker whose tasks have all ended: `DeviceUnavailable` for a device that is not there, else `DoesNotFit`.
    pub fn check_can_ever_fit(&self, demand: &ResourceDemand) -> Result<(), TaskError> {
        if let Some(device) = device_key(demand.device).filter(|key| !self.devices.contains_key(key)) {
            let known: Vec<&str> = self.devices.keys().map(String::as_str).collect();
            let reason =
                if known.is_empty() { "this worker runs on cpu alone".into() } else { format!("this worker runs on {}", known.join(", ")) };
            return Err(TaskError::DeviceUnavailable { device, reason });
        }
        self.check(demand, Bytes::whole(demand), |account| account.lasting).map_err(|shortage| TaskError::DoesNotFit {
            resource: itemised(&shortage.resource, demand),
            needed_bytes: shortage.needed,
            available_bytes: shortage.free,
        })
    }

    /// A task that wants more threads than there are gets them all.
    fn clamped_threads(&self, demand: &ResourceDemand) -> u64 {
        u64::from(demand.threads).min(self.threads.limit)
    }

    fn check(&self, demand: &ResourceDemand, bytes: Bytes, used: impl Fn(&Account) -> u64) -> Result<(), Shortage> {
        let within = |resource: &dyn Fn() -> String, needed: u64, account: &Account| {
            let free = account.limit.saturating_sub(used(account));
            if needed <= free { Ok(()) } else { Err(Shortage { resource: resource(), needed, free, limit: account.limit }) }
        };
        within(&|| HOST_MEMORY.into(), bytes.host, &self.host)?;
        if let Some(share) = &demand.share {
            // The limit is the demand's own: an executor may have changed it since the account was opened.
            let held = self.shares.get(&share.account).copied().unwrap_or_default();
            let account = Account { limit: share.limit_bytes, ..held };
            within(&|| share_resource(share), bytes.everywhere(), &account)?;
        }
        if let Some(key) = device_key(demand.device) {
            let account = self.devices.get(&key).copied();
            let needed = if account.is_none() { bytes.device.max(1) } else { bytes.device };
            within(&|| device_resource(&key), needed, &account.unwrap_or_default())?;
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

fn share_resource(share: &MemoryShare) -> String {
    format!("executor {} memory", share.account)
}

fn device_resource(key: &str) -> String {
    format!("{key} memory")
}

/// The part of a demand's `bytes` that counts in the account of that name.
fn amount(resource: &str, demand: &ResourceDemand, bytes: Bytes) -> u64 {
    let is_share = || demand.share.as_ref().is_some_and(|share| share_resource(share) == resource);
    let is_device = || device_key(demand.device).is_some_and(|key| device_resource(&key) == resource);
    match resource {
        HOST_MEMORY => bytes.host,
        _ if is_share() => bytes.everywhere(),
        _ if is_device() => bytes.device,
        _ => 0,
    }
}

/// The name of an account with what the task and its model need of it, where both do.
fn itemised(resource: &str, demand: &ResourceDemand) -> String {
    let Some(model) = &demand.model else { return resource.to_owned() };
    match (amount(resource, demand, Bytes::own(demand)), amount(resource, demand, Bytes::model(model))) {
        (_, 0) => resource.to_owned(),
        (own, models) => format!("{resource} ({own} for the task and {models} for model `{}`)", model.name),
    }
}
