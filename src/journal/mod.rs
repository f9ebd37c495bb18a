//! Floor 3, what survives: the port through which the manager writes every state change before it acts on it or acknowledges it.
//!
//! A journal knows records, not rules: which move is legal is the manager's business. Invariant: what `load` returns is exactly what the
//! appended records say, in the order of acceptance.

mod memory;
mod record;

#[cfg(test)]
pub(crate) mod contract;

use async_trait::async_trait;

use crate::task::TaskError;

pub use memory::{ENDED_KEPT_MAX, MemoryJournal};
pub use record::{Accepted, Outcome, OutcomeKind, Record, Replayed};

/// Where state changes are written.
///
/// `append` fixes the order of records and never blocks (it is called under the manager's lock); `commit` waits until everything appended
/// before the call is durable. A journal in memory is durable at once and says so with `is_immediate`.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Takes records in order. Errors: `Internal` when the journal can take no more; then nothing of this call was taken.
    fn append(&self, records: &[Record]) -> Result<(), TaskError>;

    /// Returns when all that was appended before this call is durable. Errors: `Internal` when it could not be written.
    async fn commit(&self) -> Result<(), TaskError> {
        Ok(())
    }

    /// True when an appended record needs no `commit`.
    fn is_immediate(&self) -> bool {
        true
    }

    /// Every task that is open, and ended tasks that the journal still keeps, in the order of acceptance. Errors: `Internal` when unreadable.
    fn load(&self) -> Result<Vec<Replayed>, TaskError>;
}
