//! The sets of a worker by name: resident ones, and saved ones that are read when they are first asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::files::{SetFolder, StoreFolder};
use super::set::{VectorSet, Watch};
use super::spec::check_name;
use super::version::Version;
use super::{SETS_MAX, SetBytes, SetError, SetSpec};
use crate::resource::HostAccount;

/// How long a caller waits for a set that another reads, between two questions whether to stop.
const READ_WAIT: Duration = Duration::from_millis(20);

/// All sets of a worker. Cloning shares them.
#[derive(Clone)]
pub struct SetStore {
    inner: Arc<Inner>,
}

struct Inner {
    account: HostAccount,
    folder: Option<StoreFolder>,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
}

/// A place for one set.
struct Slot {
    /// Held while a set is read from the store, in which no rayon call is made.
    state: Mutex<State>,
}

enum State {
    Resident(Arc<VectorSet>),
    /// In the store alone.
    Saved(Box<Saved>),
    /// In the store, and not what was written.
    Damaged(String),
    /// Dropped while a caller held the place.
    Gone,
}

/// What is known of a set that is in the store alone.
struct Saved {
    spec: SetSpec,
    rows: usize,
    version: u64,
    bytes: u64,
}

/// Where a set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetState {
    /// In memory; the version that a restart would find, if any.
    Resident {
        /// The saved version.
        saved_version: Option<u64>,
    },
    /// In the store alone.
    Saved,
    /// In the store, and not what was written: why.
    Damaged(String),
}

/// A set as listings show it.
#[derive(Clone, Debug, PartialEq)]
pub struct SetListing {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub state: SetState,
    /// What it is; `None` for a damaged one.
    pub spec: Option<SetSpec>,
    /// Live rows.
    pub rows: usize,
    /// Deleted rows that still hold memory.
    pub dead: usize,
    /// Counts its changes.
    pub version: u64,
    /// What it holds in memory; of a saved one, what it would.
    pub bytes: SetBytes,
    /// What is booked for it.
    pub held_bytes: u64,
    /// Pieces of its rows.
    pub segments: usize,
}

impl SetStore {
    /// The sets of a folder; none of them is read yet. Without a folder nothing can be saved. Blocks for some reads of the directory.
    ///
    /// A folder that cannot be read is no set and an error at the first use of it: a worker starts without its store, too.
    #[must_use]
    pub fn open(account: HostAccount, folder: Option<PathBuf>) -> Self {
        let folder = folder.map(StoreFolder::new);
        let found = folder.as_ref().map(StoreFolder::sets).unwrap_or_default();
        let slot = |state| Arc::new(Slot { state: Mutex::new(state) });
        let slots = found.into_iter().take(SETS_MAX).map(|(name, head)| {
            let state = match head {
                Ok(head) => State::Saved(Box::new(Saved { rows: head.rows, version: head.version, bytes: head.bytes, spec: head.spec })),
                Err(error) => State::Damaged(error.to_string()),
            };
            (name, slot(state))
        });
        let slots = Mutex::new(slots.collect());
        Self { inner: Arc::new(Inner { account, folder, slots }) }
    }

    /// Where sets are saved.
    #[must_use]
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.inner.folder.as_ref().map(StoreFolder::path)
    }

    /// Makes an empty set. Errors: `Invalid` for a wrong name or a contradictory spec, at `set` when the name is taken or there are too many; at
    /// `persistent` without a store; `Store`.
    pub fn create(&self, name: &str, spec: SetSpec, watch: Watch<'_>) -> Result<Arc<VectorSet>, SetError> {
        check_name(name)?;
        spec.check()?;
        let mut folder = if spec.persistent { Some(self.folder_of(name, "persistent")?) } else { None };
        let mut slots = self.inner.slots.lock();
        if slots.contains_key(name) {
            return Err(SetError::invalid("set", format!("a set named `{name}` is there already; `set.drop` takes it away")));
        }
        if slots.len() >= SETS_MAX {
            return Err(SetError::invalid("set", format!("there are {SETS_MAX} sets, the most allowed; `set.drop` makes room")));
        }
        let version = Version::empty();
        if let Some(folder) = &mut folder {
            folder.save(&spec, &version, watch)?;
        }
        let set = Arc::new(VectorSet::new(name, spec, self.inner.account.clone(), (version, folder)));
        slots.insert(name.to_owned(), Arc::new(Slot { state: Mutex::new(State::Resident(Arc::clone(&set))) }));
        Ok(set)
    }

    /// The set of that name, read from the store where it is there alone. Makes no rayon call.
    ///
    /// Errors: `Missing`, `Damaged`, `DoesNotFit`, `Busy`, `Store`, `Stopped`.
    pub fn get(&self, name: &str, watch: Watch<'_>) -> Result<Arc<VectorSet>, SetError> {
        let slot = self.slot(name)?;
        let mut state = locked(&slot.state, watch)?;
        match &*state {
            State::Resident(set) => Ok(Arc::clone(set)),
            State::Gone => Err(self.missing(name)),
            State::Damaged(reason) => Err(SetError::Damaged { name: name.into(), reason: reason.clone() }),
            State::Saved(_) => {
                let folder = self.folder_of(name, "set")?;
                match folder.load(&self.inner.account, watch) {
                    Ok((folder, spec, version)) => {
                        let set = Arc::new(VectorSet::new(name, spec, self.inner.account.clone(), (version, Some(folder))));
                        *state = State::Resident(Arc::clone(&set));
                        Ok(set)
                    }
                    Err(SetError::Damaged { name, reason }) => {
                        *state = State::Damaged(reason.clone());
                        Err(SetError::Damaged { name, reason })
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// What a set is, without reading its rows and without waiting; `None` while another reads it. Errors: `Missing`, `Damaged`.
    pub fn spec(&self, name: &str) -> Result<Option<SetSpec>, SetError> {
        let slot = self.slot(name)?;
        let Some(state) = slot.state.try_lock() else { return Ok(None) };
        match &*state {
            State::Resident(set) => Ok(Some(set.spec().clone())),
            State::Saved(saved) => Ok(Some(saved.spec.clone())),
            State::Damaged(reason) => Err(SetError::Damaged { name: name.into(), reason: reason.clone() }),
            State::Gone => Err(self.missing(name)),
        }
    }

    /// The set if it is in memory, without waiting.
    #[must_use]
    pub fn resident(&self, name: &str) -> Option<Arc<VectorSet>> {
        let slot = self.inner.slots.lock().get(name).cloned()?;
        let state = slot.state.try_lock()?;
        if let State::Resident(set) = &*state { Some(Arc::clone(set)) } else { None }
    }

    /// Saves a set as it is now. Errors: `Invalid` at `set` without a store; those of [`SetStore::get`]; `Store`.
    pub fn save(&self, name: &str, watch: Watch<'_>) -> Result<Arc<VectorSet>, SetError> {
        let set = self.get(name, watch)?;
        let mut writing = set.turn(watch)?;
        let version = set.version();
        if writing.saved == Some(version.number()) {
            drop(writing);
            return Ok(set);
        }
        if writing.folder.is_none() {
            writing.folder = Some(self.folder_of(name, "set")?);
        }
        if let Some(folder) = writing.folder.as_mut() {
            folder.save(set.spec(), &version, watch)?;
            writing.saved = Some(version.number());
        }
        drop(writing);
        Ok(set)
    }

    /// Takes a set out of memory and, unless `keep_saved`, out of the store. Its bytes come back when the last reader lets go.
    ///
    /// Gives the bytes that were booked. Errors: `Missing`; `Invalid` at `keep_saved` when it was never saved; `Store`; `Stopped`.
    pub fn drop_set(&self, name: &str, keep_saved: bool, watch: Watch<'_>) -> Result<u64, SetError> {
        let slot = self.slot(name)?;
        let mut state = locked(&slot.state, watch)?;
        let held = match &*state {
            State::Gone => return Err(self.missing(name)),
            State::Resident(set) => {
                let mut writing = set.turn(watch)?;
                let version = set.version();
                if keep_saved && writing.saved != Some(version.number()) {
                    let reason = "the set has changes that are not saved; `set.save` saves them, and without `keep_saved` all of it goes";
                    return Err(SetError::invalid("keep_saved", reason));
                }
                writing.dropped = true;
                version.held_bytes()
            }
            State::Saved(_) | State::Damaged(_) => 0,
        };
        if keep_saved {
            if let State::Resident(set) = &*state {
                let version = set.version();
                let bytes = version.bytes(set.spec()).total();
                let saved = Saved { spec: set.spec().clone(), rows: version.len(), version: version.number(), bytes };
                *state = State::Saved(Box::new(saved));
            }
            return Ok(held);
        }
        if let Some(folder) = &self.inner.folder {
            folder.remove(name)?;
        }
        *state = State::Gone;
        drop(state);
        self.inner.slots.lock().remove(name);
        Ok(held)
    }

    /// Every set, by name. Waits for nobody: one that is being read is listed without figures.
    #[must_use]
    pub fn list(&self) -> Vec<SetListing> {
        let slots: Vec<(String, Arc<Slot>)> = self.inner.slots.lock().iter().map(|(name, slot)| (name.clone(), Arc::clone(slot))).collect();
        slots
            .into_iter()
            .filter_map(|(name, slot)| {
                slot.state.try_lock().map_or_else(|| Some(bare(&name, SetState::Saved)), |state| listing(&name, &state))
            })
            .collect()
    }

    fn slot(&self, name: &str) -> Result<Arc<Slot>, SetError> {
        check_name(name)?;
        let slot = self.inner.slots.lock().get(name).cloned();
        slot.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> SetError {
        SetError::missing(name, self.inner.slots.lock().keys().map(String::as_str))
    }

    fn folder_of(&self, name: &str, field: &str) -> Result<SetFolder, SetError> {
        let folder = self.inner.folder.as_ref();
        folder
            .map(|folder| folder.set(name))
            .ok_or_else(|| SetError::invalid(field, "this worker has no folder to save sets in (`--vectors-dir`)"))
    }
}

fn bare(name: &str, state: SetState) -> SetListing {
    let bytes = SetBytes::default();
    SetListing { name: name.into(), state, spec: None, rows: 0, dead: 0, version: 0, bytes, held_bytes: 0, segments: 0 }
}

fn listing(name: &str, state: &State) -> Option<SetListing> {
    match state {
        State::Gone => None,
        State::Damaged(reason) => Some(bare(name, SetState::Damaged(reason.clone()))),
        State::Saved(saved) => {
            let bytes = SetBytes { rows: saved.bytes, ..SetBytes::default() };
            let spec = Some(saved.spec.clone());
            Some(SetListing { spec, rows: saved.rows, version: saved.version, bytes, ..bare(name, SetState::Saved) })
        }
        State::Resident(set) => {
            let version = set.version();
            Some(SetListing {
                name: name.into(),
                state: SetState::Resident { saved_version: set.saved_version() },
                spec: Some(set.spec().clone()),
                rows: version.len(),
                dead: version.dead(),
                version: version.number(),
                bytes: version.bytes(set.spec()),
                held_bytes: version.held_bytes(),
                segments: version.segment_count(),
            })
        }
    }
}

fn locked<'a>(state: &'a Mutex<State>, watch: Watch<'_>) -> Result<MutexGuard<'a, State>, SetError> {
    loop {
        if let Some(state) = state.try_lock_for(READ_WAIT) {
            return Ok(state);
        }
        watch.check()?;
    }
}
