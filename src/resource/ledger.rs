//! The budget behind a lock, handed out as claims that give back what they hold when they are dropped.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Budget, BudgetLimits, Shortage};
use crate::task::{ModelDemand, ResourceDemand, TaskError};

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

    /// Errors when even an idle worker could not meet the demand: `DoesNotFit`, or `DeviceUnavailable` for a device that is not there.
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
