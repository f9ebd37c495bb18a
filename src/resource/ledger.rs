//! The budget behind a lock, handed out as claims that give back what they hold when they are dropped.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Account, Budget, BudgetLimits, Shortage};
use crate::task::{MemoryShare, ModelDemand, ResourceDemand, TaskError};

/// The worker's accounts, shared by the manager (tasks) and the shelf (models). Cloning shares them.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    budget: Mutex<Budget>,
    released: Notify,
}

impl Ledger {
    /// A ledger with nothing claimed.
    #[must_use]
    pub fn new(limits: &BudgetLimits) -> Self {
        Self { inner: Arc::new(Inner { budget: Mutex::new(Budget::new(limits)), released: Notify::new() }) }
    }

    /// Claims the whole demand or nothing. Never waits. Errors: the account that is too full now.
    pub fn try_claim(&self, demand: &ResourceDemand) -> Result<Claim, Shortage> {
        self.inner.budget.lock().claim(demand)?;
        Ok(Claim { ledger: self.clone(), demand: demand.clone() })
    }

    /// The account that is too full for the demand now. Claims nothing, so that nobody is woken.
    #[must_use]
    pub fn shortage(&self, demand: &ResourceDemand) -> Option<Shortage> {
        self.inner.budget.lock().shortage(demand)
    }

    /// Errors when even a worker whose tasks have all ended could not meet the demand: `DoesNotFit`, or `DeviceUnavailable` for a device that is not there.
    pub fn check_can_ever_fit(&self, demand: &ResourceDemand) -> Result<(), TaskError> {
        self.inner.budget.lock().check_can_ever_fit(demand)
    }

    /// How many live claims name this model.
    #[must_use]
    pub fn model_claims(&self, model: &ModelDemand) -> u64 {
        self.inner.budget.lock().model_claims(model)
    }

    /// Wakes whoever waits for a release: memory that was in use may now be had from its holder.
    pub fn wake(&self) {
        self.inner.released.notify_waiters();
    }

    /// A copy of the accounts.
    #[must_use]
    pub fn snapshot(&self) -> Budget {
        self.inner.budget.lock().clone()
    }

    /// Waits until some claim is released after this call; wakes every waiter.
    ///
    /// It counts from the call, not from the first poll: made before a [`Ledger::try_claim`] that fails and awaited after it, no release between
    /// the two is missed.
    pub fn released(&self) -> impl Future<Output = ()> + Send + '_ {
        self.inner.released.notified()
    }
}

/// Host memory on one executor's account, for what outlasts tasks: resident sets and the like. Cloning shares the account.
#[derive(Clone)]
pub struct HostAccount {
    ledger: Ledger,
    share: Option<MemoryShare>,
    relief: Option<Relief>,
}

/// Asks whoever holds idle memory to give back so many bytes; called without a lock.
type Relief = Arc<dyn Fn(u64) + Send + Sync>;

impl HostAccount {
    /// An account whose bytes count in the share as well, if there is one.
    #[must_use]
    pub fn new(ledger: Ledger, share: Option<MemoryShare>) -> Self {
        Self { ledger, share, relief: None }
    }

    /// The same with somebody to ask for idle memory before bytes are refused.
    #[must_use]
    pub fn with_relief(self, relief: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { relief: Some(Arc::new(relief)), ..self }
    }

    /// Books so many bytes or none. Never waits. Errors: the account that is too full now.
    pub fn hold(&self, bytes: u64) -> Result<HeldBytes, Shortage> {
        let hold = || self.ledger.inner.budget.lock().hold(bytes, self.share.as_ref());
        match (hold(), &self.relief) {
            (Ok(()), _) => {}
            (Err(_), Some(relief)) => {
                relief(bytes);
                hold()?;
            }
            (Err(shortage), None) => return Err(shortage),
        }
        Ok(HeldBytes { account: self.clone(), bytes })
    }

    /// Bytes that could be booked if every task ended and every idle model left: the limit without what is held here already.
    #[must_use]
    pub fn free_of_tasks(&self) -> u64 {
        let budget = self.ledger.inner.budget.lock();
        let left = |account: &Account| account.limit.saturating_sub(account.lasting);
        let share = self.share.as_ref().map(|share| {
            let lasting = budget.shares.get(&share.account).map_or(0, |account| account.lasting);
            share.limit_bytes.saturating_sub(lasting)
        });
        left(&budget.host).min(share.unwrap_or(u64::MAX))
    }
}

/// Bytes that are held beyond tasks; dropping it gives them back.
pub struct HeldBytes {
    account: HostAccount,
    bytes: u64,
}

impl HeldBytes {
    /// How many.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes so many out of these as bytes of their own; all that there are where that is fewer.
    #[must_use]
    pub fn split_off(&mut self, bytes: u64) -> Self {
        let taken = bytes.min(self.bytes);
        self.bytes -= taken;
        Self { account: self.account.clone(), bytes: taken }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        let ledger = &self.account.ledger.inner;
        ledger.budget.lock().let_go(self.bytes, self.account.share.as_ref());
        ledger.released.notify_waiters();
    }
}

/// What was claimed; dropping it gives it back.
pub struct Claim {
    ledger: Ledger,
    demand: ResourceDemand,
}

impl Claim {
    /// What is held.
    #[must_use]
    pub fn demand(&self) -> &ResourceDemand {
        &self.demand
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.ledger.inner.budget.lock().release(&self.demand);
        self.ledger.inner.released.notify_waiters();
    }
}
