//! Floor 5, loaded models: each is loaded once however many ask, pinned while in use, evicted least recently used first, and accounted in the ledger.
//!
//! Invariant: a model's bytes are claimed before it is read and given back when its memory is.

mod choice;
mod load;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tallow_models::source::SourceOptions;
use tallow_models::{Embedder, EmbedderInfo, Model};
use tokio::sync::OnceCell;

pub use choice::{Candidate, choose_evictions};
pub use load::{ModelSketch, task_error};

use crate::resource::{Claim, ComputePool, Ledger};
use crate::task::{DeviceClass, MemoryShare, ResourceDemand, TaskError};

/// Models that may be loaded or loading at once.
pub const SHELF_MODELS_MAX: usize = 64;
/// When to ask again while other work holds the memory a model needs.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How a shelf finds, places and bounds models.
#[derive(Clone, Debug)]
pub struct ShelfOptions {
    /// Where models lie.
    pub source: SourceOptions,
    /// Where they run.
    pub device: DeviceClass,
    /// The bound that models and tasks of the executor hold together, if it declares one.
    pub share: Option<MemoryShare>,
}

/// The loaded models of an executor. Cloning shares them.
#[derive(Clone)]
pub struct Shelf {
    inner: Arc<Inner>,
}

struct Inner {
    options: ShelfOptions,
    pool: ComputePool,
    ledger: Ledger,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    uses: AtomicU64,
}

/// A place for one model, loaded or loading.
struct Slot {
    cell: OnceCell<Loaded>,
    pins: AtomicUsize,
    last_use: AtomicU64,
}

struct Loaded {
    model: Arc<Model>,
    claim: Claim,
}

/// A model in use: it stays loaded as long as this lives.
pub struct Pinned {
    slot: Arc<Slot>,
    model: Arc<Model>,
}

impl Pinned {
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

impl Drop for Pinned {
    fn drop(&mut self) {
        self.slot.pins.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts a caller that waits for a slot, so that the slot is not evicted under it.
struct Waiting<'a>(&'a Slot);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A loaded model as listings show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadedModel {
    /// Its name.
    pub name: String,
    /// Hex sha256 of its weights.
    pub digest: String,
    /// Its family.
    pub architecture: String,
    /// The operations it serves.
    pub operations: Vec<&'static str>,
    /// Numbers per vector.
    pub dimensions: usize,
    /// The longest sequence in tokens, if there is a limit.
    pub max_tokens: Option<usize>,
    /// Bytes claimed for it.
    pub bytes: u64,
    /// Tasks that use it now.
    pub in_use: usize,
}

/// What became of a wish to unload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unload {
    /// It is gone; so many bytes came back.
    Unloaded(u64),
    /// Tasks use it; nothing was done.
    InUse,
    /// It was not loaded.
    NotLoaded,
}

impl Shelf {
    /// An empty shelf that loads on `pool` and books in `ledger`.
    #[must_use]
    pub fn new(pool: ComputePool, ledger: Ledger, options: ShelfOptions) -> Self {
        let inner = Inner { options, pool, ledger, slots: Mutex::default(), uses: AtomicU64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// The model of that name, loaded if it is not: the first caller loads, others wait for the same load.
    ///
    /// Errors: `ModelMissing`, `ModelUnsupported`, `ModelCorrupt`; `DoesNotFit` when it never fits, `Overloaded` when it would fit without the work
    /// that runs now. Dropping the future gives up the wait; a load that has begun ends and is kept if another caller waits for it.
    pub async fn get(&self, name: &str) -> Result<Pinned, TaskError> {
        let slot = self.slot(name)?;
        let waiting = Waiting(&slot);
        let outcome = slot.cell.get_or_try_init(|| self.load(name)).await;
        let model = match outcome {
            Ok(loaded) => Arc::clone(&loaded.model),
            Err(error) => {
                drop(waiting);
                self.forget_if_idle(name, &slot);
                return Err(error);
            }
        };
        // The count of the waiter becomes the pin's.
        std::mem::forget(waiting);
        Ok(Pinned { slot, model })
    }

    /// What is known of a model without loading it. Reads small files when it is not loaded. Errors: as [`Shelf::get`] gives before the weights are read.
    pub fn sketch(&self, name: &str) -> Result<ModelSketch, TaskError> {
        if let Some(info) = self.info(name) {
            return Ok(ModelSketch::of(&info));
        }
        load::sketch(name, &self.inner.options.source)
    }

    /// The description of a loaded model.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<EmbedderInfo> {
        let slots = self.inner.slots.lock();
        slots.get(name)?.cell.get().map(|loaded| loaded.model.info().clone())
    }

    /// Everything that is loaded, by name.
    #[must_use]
    pub fn loaded(&self) -> Vec<LoadedModel> {
        let slots = self.inner.slots.lock();
        let listed = slots.iter().filter_map(|(name, slot)| {
            let loaded = slot.cell.get()?;
            let info = loaded.model.info();
            Some(LoadedModel {
                name: name.clone(),
                digest: info.digest.clone(),
                architecture: info.architecture.clone(),
                operations: info.abilities.operations(),
                dimensions: info.dimensions,
                max_tokens: info.max_tokens,
                bytes: claimed_bytes(loaded),
                in_use: slot.pins.load(Ordering::Acquire),
            })
        });
        listed.collect()
    }

    /// Unloads a model that no task uses; its memory is given back before this returns.
    #[must_use]
    pub fn unload(&self, name: &str) -> Unload {
        let mut slots = self.inner.slots.lock();
        let Some(slot) = slots.get(name) else { return Unload::NotLoaded };
        let Some(bytes) = slot.cell.get().map(claimed_bytes) else { return Unload::NotLoaded };
        if slot.pins.load(Ordering::Acquire) > 0 {
            return Unload::InUse;
        }
        let gone = slots.remove(name);
        drop(slots);
        drop(gone);
        Unload::Unloaded(bytes)
    }

    /// The slot of a name with one more pin. Pins rise only under the lock, so what is unpinned under it may go.
    fn slot(&self, name: &str) -> Result<Arc<Slot>, TaskError> {
        let mut slots = self.inner.slots.lock();
        if slots.len() >= SHELF_MODELS_MAX {
            // Places of loads that nobody waits for any more.
            slots.retain(|_, slot| slot.cell.get().is_some() || slot.pins.load(Ordering::Acquire) > 0);
        }
        if !slots.contains_key(name) && slots.len() >= SHELF_MODELS_MAX && self.evict(&mut slots, 1).is_none() {
            return Err(TaskError::Overloaded { retry_after: RETRY_AFTER, reason: format!("{SHELF_MODELS_MAX} models are in use") });
        }
        let slot = slots
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Slot { cell: OnceCell::new(), pins: AtomicUsize::new(0), last_use: AtomicU64::new(0) }));
        slot.pins.fetch_add(1, Ordering::AcqRel);
        slot.last_use.store(self.inner.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Ok(Arc::clone(slot))
    }

    fn forget_if_idle(&self, name: &str, slot: &Arc<Slot>) {
        let mut slots = self.inner.slots.lock();
        let same = slots.get(name).is_some_and(|kept| Arc::ptr_eq(kept, slot));
        if same && slot.cell.get().is_none() && slot.pins.load(Ordering::Acquire) == 0 {
            slots.remove(name);
        }
    }

    async fn load(&self, name: &str) -> Result<Loaded, TaskError> {
        let (shelf, name) = (self.clone(), name.to_owned());
        self.inner.pool.run(move || load::load(&shelf, &name)).await
    }

    /// Books a model, evicting others where that helps.
    fn claim(&self, demand: &ResourceDemand) -> Result<Claim, TaskError> {
        self.inner.ledger.check_can_ever_fit(demand)?;
        loop {
            let shortage = match self.inner.ledger.try_claim(demand) {
                Ok(claim) => return Ok(claim),
                Err(shortage) => shortage,
            };
            let mut slots = self.inner.slots.lock();
            if self.evict(&mut slots, shortage.needed.saturating_sub(shortage.free)).is_none() {
                return Err(TaskError::Overloaded {
                    retry_after: RETRY_AFTER,
                    reason: format!("{} has {} bytes free, the model needs {}", shortage.resource, shortage.free, shortage.needed),
                });
            }
        }
    }

    /// Evicts idle models for a task that waits for `demand` and whom nothing that runs could make room for. Nothing is evicted where that would not help.
    pub fn make_room(&self, demand: &ResourceDemand) {
        if let Err(shortage) = self.inner.ledger.try_claim(demand).map(drop) {
            let mut slots = self.inner.slots.lock();
            // Where idle models are not enough the task waits on.
            let _enough = self.evict(&mut slots, shortage.needed.saturating_sub(shortage.free));
        }
    }

    /// Evicts so that `needed_bytes` come back; `None`, and nothing evicted, when they cannot.
    fn evict(&self, slots: &mut BTreeMap<String, Arc<Slot>>, needed_bytes: u64) -> Option<()> {
        let loaded: Vec<(String, Candidate)> = slots
            .iter()
            .filter_map(|(name, slot)| {
                let candidate = Candidate {
                    bytes: claimed_bytes(slot.cell.get()?),
                    pinned: slot.pins.load(Ordering::Acquire) > 0,
                    last_use: slot.last_use.load(Ordering::Relaxed),
                };
                Some((name.clone(), candidate))
            })
            .collect();
        let candidates: Vec<Candidate> = loaded.iter().map(|(_, candidate)| *candidate).collect();
        let chosen = choose_evictions(&candidates, needed_bytes).filter(|chosen| !chosen.is_empty())?;
        for index in chosen {
            slots.remove(&loaded[index].0);
        }
        Some(())
    }
}

fn claimed_bytes(loaded: &Loaded) -> u64 {
    let demand = loaded.claim.demand();
    demand.host_bytes.max(demand.device_bytes)
}
