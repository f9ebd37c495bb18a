//! Floor 5, loaded models: each is loaded once however many ask, pinned while in use, evicted least recently used first, and accounted in the ledger.
//!
//! Invariants: a model's bytes are claimed before it is read and given back when its memory is; a model is never loaded twice at once.
//!
//! A task that a manager runs has claimed its model's bytes together with its own, so that its load finds them booked. Only a caller who holds
//! nothing (a preload, a direct `execute`) waits here for memory; so nobody who waits holds what another waits for.

mod choice;
mod errors;
mod load;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use tallow_models::source::SourceOptions;
use tallow_models::{EmbedderInfo, Model, PrecisionPolicy};

pub use choice::{Candidate, choose_evictions};
pub use errors::{find_error, incomplete_error, task_error};
pub use load::{BatchRoom, ModelSketch};
pub use slot::Pinned;
use slot::{Loaded, Pages, Pin, Slot};

use crate::resource::{Claim, ComputePool, Ledger, Shortage};
use crate::task::{DeviceClass, MemoryShare, ModelDemand, ResourceDemand, TaskError};

/// Models that may be loaded or loading at once.
pub const SHELF_MODELS_MAX: usize = 64;

/// How a shelf finds, places and bounds models.
#[derive(Clone, Debug)]
pub struct ShelfOptions {
    /// Where models lie.
    pub source: SourceOptions,
    /// Where they run.
    pub device: DeviceClass,
    /// What encoders compute with on the host.
    pub precision: PrecisionPolicy,
    /// What is computed at once with each of them.
    pub room: BatchRoom,
    /// The bound that models and tasks of the executor hold together, if it declares one.
    pub share: Option<MemoryShare>,
}

/// The loaded models of an executor. Cloning shares them.
#[derive(Clone)]
pub struct Shelf {
    inner: Arc<Inner>,
}

struct Inner {
    /// Tells its models from those of the same name on another shelf.
    owner: u64,
    options: ShelfOptions,
    pool: ComputePool,
    ledger: Ledger,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    uses: AtomicU64,
    /// Loads that were made.
    loads: AtomicU64,
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
    /// The arithmetic of its linear layers.
    pub precision: String,
    /// Why that one, with what was measured.
    pub precision_reason: String,
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
        let inner = Inner {
            owner: rand::random(),
            options,
            pool,
            ledger,
            slots: Mutex::default(),
            uses: AtomicU64::new(0),
            loads: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The model of that name, loaded if it is not: one load at a time, whose end all callers share. `priced` is what the caller's demand says of it.
    ///
    /// Where that is not claimed yet the load waits for memory: idle models are evicted where that helps, and every release is a new chance.
    /// While [`SHELF_MODELS_MAX`] models are in use another one waits for a place.
    /// Errors: `ModelMissing`, `ModelUnsupported`, `ModelCorrupt` (also for files that grew since they were priced); `DoesNotFit` when it never fits.
    /// Dropping the future gives up the wait; a load that has begun ends and is kept.
    pub async fn get(&self, name: &str, priced: Option<&ModelDemand>) -> Result<Pinned, TaskError> {
        let pin = loop {
            // Made before the attempt, so that no place is missed that is free between the two.
            let released = self.inner.ledger.released();
            match self.pin(name) {
                Some(pin) => break pin,
                None => released.await,
            }
        };
        match self.model_of(name, &pin, priced).await {
            Ok(model) => Ok(Pinned::new(pin, model)),
            Err(error) => {
                self.forget_if_idle(name, pin);
                Err(error)
            }
        }
    }

    async fn model_of(&self, name: &str, pin: &Pin, priced: Option<&ModelDemand>) -> Result<(Arc<Model>, u64), TaskError> {
        let failures = match pin.look(None) {
            Ok(model) => return Ok(model),
            Err(failures) => failures.count,
        };
        let turn = pin.turn().await?;
        match pin.look(Some(failures)) {
            Ok(model) => return Ok(model),
            Err(failures) => failures.since.map_or(Ok(()), Err)?,
        }
        let (shelf, owned_name) = (self.clone(), name.to_owned());
        let found = self.inner.pool.run(move || load::find(&owned_name, &shelf.inner.options)).await?;
        let asked = self.model_demand(name, &found.sketch);
        let demand = match priced {
            Some(priced) if found.sketch.fits_into(priced) => priced.clone(),
            Some(_) => return Err(errors::changed_error(name)),
            None => asked,
        };
        let claim = self.claim(&self.demand_of(demand)).await?;
        let (shelf, name, loading) = (self.clone(), name.to_owned(), pin.clone());
        // The load owns its place and its turn from here on: whoever waits for it may go.
        let load = move || {
            let _turn = turn;
            let outcome = load::load(&name, &found, &shelf.inner.options);
            let number = shelf.inner.loads.fetch_add(1, Ordering::Relaxed);
            let outcome = outcome.map(|model| Loaded { model: Arc::new(model), load: number, _pages: Pages, claim });
            // What reading and packing took beside the model.
            tallow_models::give_back_memory();
            let answer = loading.store(outcome);
            shelf.forget_if_idle(&name, loading);
            answer
        };
        self.inner.pool.run(load).await
    }

    /// What is known of a model without loading it. Reads small files when it is not loaded. Errors: as [`Shelf::get`] gives before the weights are read.
    pub fn sketch(&self, name: &str) -> Result<ModelSketch, TaskError> {
        let loaded = {
            let slots = self.inner.slots.lock();
            slots.get(name).and_then(|slot| slot.with(|loaded| ModelSketch::of(&loaded.model, loaded.claim.demand())))
        };
        match loaded {
            Some(sketch) => Ok(sketch),
            None => load::find(name, &self.inner.options).map(|found| found.sketch),
        }
    }

    /// What a task claims for a model that was sketched.
    #[must_use]
    pub fn model_demand(&self, name: &str, sketch: &ModelSketch) -> ModelDemand {
        ModelDemand { owner: self.inner.owner, name: name.into(), host_bytes: sketch.host_bytes, device_bytes: sketch.device_bytes }
    }

    /// A claim on a model and nothing else.
    fn demand_of(&self, model: ModelDemand) -> ResourceDemand {
        let options = &self.inner.options;
        ResourceDemand { device: options.device, share: options.share.clone(), model: Some(model), ..ResourceDemand::default() }
    }

    /// The description of a loaded model.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<EmbedderInfo> {
        let slots = self.inner.slots.lock();
        slots.get(name)?.with(|loaded| loaded.model.info().clone())
    }

    /// Everything that is loaded, by name.
    #[must_use]
    pub fn loaded(&self) -> Vec<LoadedModel> {
        let slots = self.inner.slots.lock();
        let listed = slots.iter().filter_map(|(name, slot)| {
            slot.with(|loaded| {
                let info = loaded.model.info();
                LoadedModel {
                    name: name.clone(),
                    digest: info.digest.clone(),
                    architecture: info.architecture.clone(),
                    operations: info.abilities.operations(),
                    dimensions: info.dimensions,
                    max_tokens: info.max_tokens,
                    precision: info.precision.clone(),
                    precision_reason: info.precision_reason.clone(),
                    bytes: claimed_bytes(loaded),
                    in_use: slot.pin_count(),
                }
            })
        });
        listed.collect()
    }

    /// Unloads a model that no task uses; its memory is given back before this returns.
    #[must_use]
    pub fn unload(&self, name: &str) -> Unload {
        let mut slots = self.inner.slots.lock();
        let Some(slot) = slots.get(name) else { return Unload::NotLoaded };
        let Some((bytes, in_use)) = slot.with(|loaded| (claimed_bytes(loaded), self.in_use(slot, loaded))) else {
            return Unload::NotLoaded;
        };
        if in_use {
            return Unload::InUse;
        }
        let gone = slots.remove(name);
        drop(slots);
        drop(gone);
        Unload::Unloaded(bytes)
    }

    /// The slot of a name with one more pin; `None` while every place is in use. The first pin of a slot is taken only under the lock, so what is unpinned under it may go.
    fn pin(&self, name: &str) -> Option<Pin> {
        let mut slots = self.inner.slots.lock();
        if slots.len() >= SHELF_MODELS_MAX {
            // Places of loads that nobody waits for any more.
            slots.retain(|_, slot| slot.pin_count() > 0 || slot.with(|_| ()).is_some());
        }
        if !slots.contains_key(name) && slots.len() >= SHELF_MODELS_MAX && !self.evict(&mut slots, &|_| 1, 1) {
            return None;
        }
        let slot = slots.entry(name.to_owned()).or_insert_with(|| Arc::new(Slot::new(self.inner.ledger.clone())));
        Some(Slot::pin(slot, self.inner.uses.fetch_add(1, Ordering::Relaxed)))
    }

    /// Lets go of a place; if nothing came of it and nobody else wants it, it is free again.
    fn forget_if_idle(&self, name: &str, pin: Pin) {
        let mut slots = self.inner.slots.lock();
        let same = slots.get(name).is_some_and(|kept| pin.is_of(kept));
        drop(pin);
        if same && slots.get(name).is_some_and(|slot| slot.pin_count() == 0 && slot.with(|_| ()).is_none()) {
            slots.remove(name);
        }
    }

    /// True while a task uses a loaded model, or has claimed it and is about to.
    fn in_use(&self, slot: &Slot, loaded: &Loaded) -> bool {
        let claims = loaded.claim.demand().model.as_ref().map_or(0, |model| self.inner.ledger.model_claims(model));
        // One claim is the shelf's own.
        slot.pin_count() > 0 || claims > 1
    }

    /// Books a model as soon as there is room for it, evicting others where that helps.
    async fn claim(&self, demand: &ResourceDemand) -> Result<Claim, TaskError> {
        loop {
            // Made before the attempt, so that no release between the two is missed.
            let released = self.inner.ledger.released();
            // Asked again each time: what outlasts tasks may have grown meanwhile.
            self.inner.ledger.check_can_ever_fit(demand)?;
            match self.inner.ledger.try_claim(demand) {
                Ok(claim) => return Ok(claim),
                Err(shortage) if self.evict_for(demand, &shortage) => {}
                Err(_) => released.await,
            }
        }
    }

    /// Evicts idle models for a task that waits for `demand`. Nothing is evicted where that would not help.
    pub fn make_room(&self, demand: &ResourceDemand) {
        if let Some(shortage) = self.inner.ledger.shortage(demand) {
            // Where idle models are not enough the task waits on.
            let _enough = self.evict_for(demand, &shortage);
        }
    }

    /// Evicts idle models so that the shortage is over; false, and nothing evicted, when they cannot end it. The model of `demand` itself stays.
    fn evict_for(&self, demand: &ResourceDemand, shortage: &Shortage) -> bool {
        let mut slots = self.inner.slots.lock();
        let bytes = |loaded: &Loaded| {
            let held = loaded.claim.demand();
            if held.model == demand.model { 0 } else { shortage.relieved_by(held) }
        };
        self.evict(&mut slots, &bytes, shortage.needed.saturating_sub(shortage.free))
    }

    /// Evicts so that `needed` of what `given_back` counts come back; false, and nothing evicted, when they cannot.
    fn evict(&self, slots: &mut BTreeMap<String, Arc<Slot>>, given_back: &dyn Fn(&Loaded) -> u64, needed: u64) -> bool {
        let loaded: Vec<(String, Candidate)> = slots
            .iter()
            .filter_map(|(name, slot)| {
                let candidate = slot.with(|loaded| Candidate {
                    bytes: given_back(loaded),
                    pinned: self.in_use(slot, loaded),
                    last_use: slot.last_use(),
                })?;
                // What gives nothing back stays.
                (candidate.bytes > 0).then(|| (name.clone(), candidate))
            })
            .collect();
        let candidates: Vec<Candidate> = loaded.iter().map(|(_, candidate)| *candidate).collect();
        let chosen = choose_evictions(&candidates, needed).unwrap_or_default();
        for index in &chosen {
            slots.remove(&loaded[*index].0);
        }
        !chosen.is_empty()
    }
}

fn claimed_bytes(loaded: &Loaded) -> u64 {
    let model = loaded.claim.demand().model.as_ref();
    model.map_or(0, |model| model.host_bytes.max(model.device_bytes))
}
