//! A named set of rows: read through versions that never change, written by one change at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::files::SetFolder;
use super::incoming::Incoming;
use super::metadata::{COLUMN_ROW_BYTES, MetaColumns, extended};
use super::rows::RowFeed;
use super::segment::{Segment, vector_bytes};
use super::version::{Group, Part, Place, Version, groups};
use super::{Filter, RowId, SEGMENT_ROWS, SET_ROWS_MAX, SetError, SetSpec};
use crate::resource::{HeldBytes, HostAccount, Shortage};

/// How long a writer waits for another between two questions whether to stop.
const TURN_WAIT: Duration = Duration::from_millis(20);

/// How long work on a set may go on, and whom it tells how far it is.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Asked every few milliseconds; `true` ends the work and leaves the set as it was.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Told the share that is done.
    pub progress: &'a (dyn Fn(f32) + Sync),
}

/// Rows on their way into a set.
#[derive(Clone, Copy)]
pub struct NewRows<'a> {
    /// Their values.
    pub values: &'a dyn RowFeed,
    /// Their names, one each; absent only in sets named by integers.
    pub ids: Option<&'a [RowId]>,
    /// What they carry: a place in each column for each row.
    pub metadata: &'a MetaColumns,
}

/// What rows with a name that is there already mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// An error; nothing is changed.
    Refuse,
    /// The new row takes the place of the old one, at the end of the set.
    Replace,
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The version that has it.
    pub version: u64,
    /// Rows that came.
    pub added: usize,
    /// Rows that went: deleted or replaced.
    pub removed: usize,
    /// The integer that names the first new row, where rows came without names.
    pub first_id: Option<i64>,
    /// Live rows afterwards.
    pub len: usize,
}

/// Which rows a deletion is about.
#[derive(Clone, Copy)]
pub enum Doomed<'a> {
    /// Those of these names.
    Ids(&'a [RowId]),
    /// Those that a filter admits.
    Filter(&'a Filter),
}

/// A set of rows. Readers take a [`Version`] and see nothing of later changes; a change is there as a whole or not at all.
pub struct VectorSet {
    name: Arc<str>,
    spec: SetSpec,
    account: HostAccount,
    current: Mutex<Arc<Version>>,
    /// Held by the one who writes. No rayon call is made under it: a thread that waits for a piece of its work might begin another write.
    writing: Mutex<Writing>,
}

/// What only a writer needs.
pub(super) struct Writing {
    /// Where the set is saved, once it is.
    pub(super) folder: Option<SetFolder>,
    /// The version that is in the folder.
    pub(super) saved: Option<u64>,
    /// True once the set was dropped: what is still written goes nowhere.
    pub(super) dropped: bool,
}

impl VectorSet {
    /// A set in this version.
    pub(super) fn new(name: &str, spec: SetSpec, account: HostAccount, (version, folder): (Version, Option<SetFolder>)) -> Self {
        let saved = folder.as_ref().map(|_| version.number);
        let writing = Mutex::new(Writing { folder, saved, dropped: false });
        Self { name: name.into(), spec, account, current: Mutex::new(Arc::new(version)), writing }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &SetSpec {
        &self.spec
    }

    /// Its state now.
    #[must_use]
    pub fn version(&self) -> Arc<Version> {
        Arc::clone(&self.current.lock())
    }

    /// The version that a restart would find, if there is one. Waits for nobody: `None` also while someone writes.
    #[must_use]
    pub fn saved_version(&self) -> Option<u64> {
        self.writing.try_lock()?.saved
    }

    /// Bytes that so many rows will book.
    ///
    /// Errors: `DoesNotFit` when that is more than can be had even when all tasks have ended.
    pub fn price(&self, rows: usize, ids_and_metadata: u64) -> Result<u64, SetError> {
        let pieces = rows.div_ceil(SEGMENT_ROWS) as u64;
        let needed = vector_bytes(&self.spec, rows).total() + pieces * vector_bytes(&self.spec, 0).total() + ids_and_metadata;
        let free = self.account.free_of_tasks();
        if needed > free {
            return Err(SetError::DoesNotFit { resource: "host memory".into(), needed_bytes: needed, free_bytes: free });
        }
        Ok(needed)
    }

    /// Books memory for rows that are about to come. Errors: `DoesNotFit`, `Busy`.
    pub(super) fn book(&self, rows: usize, ids_and_metadata: u64) -> Result<HeldBytes, SetError> {
        let needed = self.price(rows, ids_and_metadata)?;
        self.account.hold(needed).map_err(busy)
    }

    /// Adds rows, all of them or none. Splits over the rayon pool of the calling thread.
    ///
    /// Errors: `Invalid` for rows of another shape, values that the dtype cannot hold, names that are wrong, twice there or there already, metadata of
    /// another kind than the field's; `DoesNotFit` and `Busy` before anything is allocated; `Store` where the set is persistent; `Stopped`.
    pub fn write(&self, rows: NewRows<'_>, on_conflict: OnConflict, watch: Watch<'_>) -> Result<Written, SetError> {
        let incoming = Incoming::new(self, rows, watch)?;
        let mut writing = self.turn(watch)?;
        let before = self.version();
        let places = incoming.places(&before, watch)?;
        let taken = places.iter().position(Option::is_some);
        if let (Some(at), OnConflict::Refuse) = (taken, on_conflict) {
            return Err(SetError::invalid(format!("ids[{at}]"), "a row of this name is there already; `set.upsert` replaces it"));
        }
        let schema = extended(&before.schema, rows.metadata, incoming.count())?;
        if before.parts.iter().map(|part| part.segment.len()).sum::<usize>() + incoming.count() > SET_ROWS_MAX {
            return Err(SetError::invalid("vectors", format!("a set has at most {SET_ROWS_MAX} rows")));
        }
        let (mut parts, removed) = without(&before, places.into_iter().flatten());
        let first_id = incoming.first_id(&before)?;
        let next_id = incoming.next_id(&before, first_id);
        let added = incoming.count();
        parts.extend(incoming.into_segments(&self.spec, &schema, first_id).into_iter().map(|segment| Part::new(Arc::new(segment))));
        let next = Version { number: before.number + 1, parts: self.tidied(parts, watch)?, schema, next_id };
        let len = next.len();
        self.publish(&mut writing, next, watch)?;
        Ok(Written { version: before.number + 1, added, removed, first_id, len })
    }

    /// Deletes rows. Names that are not there are no error; the answer counts those that were.
    ///
    /// Errors: `Invalid` for names of the wrong kind and filters that the rows cannot answer; `Store` where the set is persistent; `Stopped`.
    pub fn delete(&self, doomed: Doomed<'_>, watch: Watch<'_>) -> Result<Written, SetError> {
        if let Doomed::Ids(ids) = doomed {
            ids.iter().enumerate().try_for_each(|(at, id)| id.check(self.spec.ids, at))?;
        }
        let mut writing = self.turn(watch)?;
        let before = self.version();
        let places: Vec<Place> = match doomed {
            Doomed::Ids(ids) => ids.iter().filter_map(|id| before.find(id)).collect(),
            Doomed::Filter(filter) => {
                before.check_filter(filter)?;
                let mut places = Vec::new();
                for (at, part) in before.parts.iter().enumerate() {
                    watch.check()?;
                    let admitted = before.admitted(part, Some(filter));
                    places.extend(admitted.iter().flat_map(super::Bits::iter).map(|row| Place { part: at as u32, row: row as u32 }));
                }
                places
            }
        };
        let (parts, removed) = without(&before, places.into_iter());
        let unchanged = Written { version: before.number, added: 0, removed: 0, first_id: None, len: before.len() };
        if removed == 0 {
            return Ok(unchanged);
        }
        let (schema, next_id) = (Arc::clone(&before.schema), before.next_id);
        let next = Version { number: before.number + 1, parts: self.tidied(parts, watch)?, schema, next_id };
        let len = next.len();
        self.publish(&mut writing, next, watch)?;
        Ok(Written { version: before.number + 1, removed, len, ..unchanged })
    }

    /// Waits for other writers. Errors: `Stopped`; `Missing` when the set was dropped meanwhile.
    pub(super) fn turn(&self, watch: Watch<'_>) -> Result<MutexGuard<'_, Writing>, SetError> {
        loop {
            if let Some(writing) = self.writing.try_lock_for(TURN_WAIT) {
                if writing.dropped {
                    return Err(SetError::missing(&self.name, std::iter::empty()));
                }
                return Ok(writing);
            }
            watch.check()?;
        }
    }

    /// Makes a version the current one, in the store first where the set is persistent.
    fn publish(&self, writing: &mut Writing, next: Version, watch: Watch<'_>) -> Result<(), SetError> {
        if let Some(folder) = writing.folder.as_mut().filter(|_| self.spec.persistent) {
            folder.save(&self.spec, &next, watch)?;
            writing.saved = Some(next.number);
        }
        *self.current.lock() = Arc::new(next);
        Ok(())
    }

    /// Joins parts that are small or half dead. What there is no memory for now stays as it is: it costs speed, not correctness.
    fn tidied(&self, parts: Vec<Part>, watch: Watch<'_>) -> Result<Vec<Part>, SetError> {
        let sizes: Vec<(usize, usize)> = parts.iter().map(|part| (part.live(), part.dead_count)).collect();
        let mut tidied = Vec::with_capacity(parts.len());
        for group in groups(&sizes) {
            watch.check()?;
            let old = &parts[group.from..group.to];
            match self.joined(&group, old, watch)? {
                Some(joined) => tidied.extend(joined),
                None => tidied.extend_from_slice(old),
            }
        }
        Ok(tidied)
    }

    /// What a group becomes; `None` where it stays.
    fn joined(&self, group: &Group, old: &[Part], watch: Watch<'_>) -> Result<Option<Option<Part>>, SetError> {
        if group.live == 0 {
            return Ok(Some(None));
        }
        if !group.rewritten {
            return Ok(None);
        }
        // Names and metadata of the rows that stay are at most those of all rows; but a column that some of the parts have not takes room for their rows too.
        let carried: u64 = old.iter().map(|part| part.segment.bytes(&self.spec)).map(|bytes| bytes.ids + bytes.metadata).sum();
        let fields: BTreeSet<&str> = old.iter().flat_map(|part| part.segment.fields()).collect();
        let widened = COLUMN_ROW_BYTES * fields.len() as u64 * (group.live as u64 + 1);
        let needed = vector_bytes(&self.spec, group.live).total() + carried + widened;
        let Ok(held) = self.account.hold(needed) else { return Ok(None) };
        let sources: Vec<_> = old.iter().map(|part| (&*part.segment, part.dead.as_deref())).collect();
        let segment = Segment::joined(&self.spec, &sources, (held, watch.stop))?;
        Ok(Some(Some(Part::new(Arc::new(segment)))))
    }
}

impl Watch<'_> {
    /// Errors: `Stopped` once the caller wants to.
    pub(super) fn check(&self) -> Result<(), SetError> {
        if (self.stop)() { Err(SetError::Stopped) } else { Ok(()) }
    }
}

/// What is booked by others now.
pub(super) fn busy(shortage: Shortage) -> SetError {
    SetError::Busy { resource: shortage.resource, needed_bytes: shortage.needed, free_bytes: shortage.free }
}

/// The parts without these rows, and how many went.
fn without(version: &Version, places: impl Iterator<Item = Place>) -> (Vec<Part>, usize) {
    let mut doomed: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    places.for_each(|place| doomed.entry(place.part).or_default().push(place.row as usize));
    let mut parts = version.parts.clone();
    let mut removed = 0;
    for (part, rows) in doomed {
        let part = &mut parts[part as usize];
        let fewer = part.without(&rows);
        removed += fewer.dead_count - part.dead_count;
        *part = fewer;
    }
    (parts, removed)
}
