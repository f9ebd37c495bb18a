//! A place for one model: who uses it, whose turn it is to load it, and what came of that. Knows neither names nor other places.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tallow_models::{Embedder, Model};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::resource::{Claim, Ledger};
use crate::task::TaskError;

/// A model with its claim; its memory goes before the claim does.
pub(super) struct Loaded {
    pub(super) model: Arc<Model>,
    /// A number that no other load on the shelf has.
    pub(super) load: u64,
    pub(super) _pages: Pages,
    pub(super) claim: Claim,
}

/// What a model took of the heap goes back to the system between the model and its claim.
pub(super) struct Pages;

impl Drop for Pages {
    fn drop(&mut self) {
        tallow_models::give_back_memory();
    }
}

/// A place for one model, loaded or loading.
pub(super) struct Slot {
    state: Mutex<State>,
    /// One permit: a caller holds it while it sees to the load, then the load itself.
    turn: Arc<Semaphore>,
    pins: AtomicUsize,
    last_use: AtomicU64,
    ledger: Ledger,
}

#[derive(Default)]
struct State {
    loaded: Option<Loaded>,
    /// Loads that failed.
    failures: u64,
    /// Why the last of them did.
    error: Option<TaskError>,
}

/// Loads that failed in a place.
pub(super) struct Failures {
    pub(super) count: u64,
    /// Why the last one did, if it was after the count that was asked about.
    pub(super) since: Option<TaskError>,
}

impl Slot {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { state: Mutex::default(), turn: Arc::new(Semaphore::new(1)), pins: AtomicUsize::new(0), last_use: AtomicU64::new(0), ledger }
    }

    /// One more use of the place.
    pub(super) fn pin(slot: &Arc<Self>, use_number: u64) -> Pin {
        slot.pins.fetch_add(1, Ordering::AcqRel);
        slot.last_use.store(use_number, Ordering::Relaxed);
        Pin(Arc::clone(slot))
    }

    /// Looks at what is loaded; `None` when nothing is.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Loaded) -> T) -> Option<T> {
        self.state.lock().loaded.as_ref().map(look)
    }

    pub(super) fn pin_count(&self) -> usize {
        self.pins.load(Ordering::Acquire)
    }

    pub(super) fn last_use(&self) -> u64 {
        self.last_use.load(Ordering::Relaxed)
    }
}

/// A use of a place: it is kept as long as this lives.
pub(super) struct Pin(Arc<Slot>);

impl Pin {
    /// The model and the number of its load, or the loads that failed.
    pub(super) fn look(&self, before: Option<u64>) -> Result<(Arc<Model>, u64), Failures> {
        let state = self.0.state.lock();
        match &state.loaded {
            Some(loaded) => Ok((Arc::clone(&loaded.model), loaded.load)),
            None => {
                let since = before.filter(|before| state.failures > *before).and_then(|_| state.error.clone());
                Err(Failures { count: state.failures, since })
            }
        }
    }

    /// Waits for the turn to load. Errors: never, as the semaphore is not closed.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, TaskError> {
        let turn = Arc::clone(&self.0.turn).acquire_owned().await;
        turn.map_err(|closed| TaskError::internal("the model's place was closed", closed.to_string()))
    }

    /// Keeps what a load came to, for everybody who waits.
    pub(super) fn store(&self, outcome: Result<Loaded, TaskError>) -> Result<(Arc<Model>, u64), TaskError> {
        let mut state = self.0.state.lock();
        match outcome {
            Ok(loaded) => {
                let kept = (Arc::clone(&loaded.model), loaded.load);
                state.loaded = Some(loaded);
                Ok(kept)
            }
            Err(error) => {
                state.failures += 1;
                state.error = Some(error.clone());
                Err(error)
            }
        }
    }

    pub(super) fn is_of(&self, slot: &Arc<Slot>) -> bool {
        Arc::ptr_eq(&self.0, slot)
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        self.0.pins.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if self.0.pins.fetch_sub(1, Ordering::AcqRel) == 1 {
            // What nobody uses may make room for those who wait.
            self.0.ledger.wake();
        }
    }
}

/// A model in use: it stays loaded as long as this lives.
pub struct Pinned {
    // Goes before the pin: what is unpinned may be counted as gone.
    model: Arc<Model>,
    load: u64,
    _pin: Pin,
}

impl Pinned {
    pub(super) fn new(pin: Pin, (model, load): (Arc<Model>, u64)) -> Self {
        Self { model, load, _pin: pin }
    }

    /// A number that no other load on its shelf has: after the model was unloaded and loaded again it is another one.
    #[must_use]
    pub fn load(&self) -> u64 {
        self.load
    }

    /// The model with all that it offers.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its tokens and vectors.
    #[must_use]
    pub fn embedder(&self) -> &dyn Embedder {
        self.model.embedder()
    }
}

impl AsRef<Model> for Pinned {
    fn as_ref(&self) -> &Model {
        &self.model
    }
}
