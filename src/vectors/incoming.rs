//! Rows on their way into a set: checked, booked and converted before they wait for their turn.

use std::collections::HashSet;

use super::ids::Ids;
use super::metadata::{MetaColumns, MetaTable, Schema, extended};
use super::rows::FeedBuffer;
use super::segment::{ColumnSlices, Segment, Vectors, id_bytes, vector_bytes};
use super::set::{NewRows, VectorSet, Watch};
use super::version::{Place, Version};
use super::{IdKind, RowId, SEGMENT_ROWS, SetError, SetSpec};
use crate::resource::HeldBytes;

/// Names that are looked up between two questions whether to stop.
const LOOKUPS: usize = 4096;

/// Rows that wait for their turn.
pub(super) struct Incoming<'a> {
    count: usize,
    /// Checked names, each once; `None` for rows that are to be numbered.
    ids: Option<&'a [RowId]>,
    metadata: &'a MetaColumns,
    vectors: Vec<Vectors>,
    held: HeldBytes,
}

impl<'a> Incoming<'a> {
    /// Everything that takes time and needs no turn. Splits over the rayon pool. Errors: as [`VectorSet::write`].
    pub(super) fn new(set: &VectorSet, rows: NewRows<'a>, watch: Watch<'_>) -> Result<Self, SetError> {
        let spec = set.spec();
        let count = rows
            .values
            .count(spec.dim)
            .ok_or_else(|| SetError::invalid("vectors", format!("these are no whole rows of {} dimensions", spec.dim)))?;
        check_ids(spec, rows.ids, count)?;
        // Told early; what the set has learned by then is asked again in turn.
        extended(&set.version().schema, rows.metadata, count)?;
        let pieces = count.div_ceil(SEGMENT_ROWS) as u64;
        let names = rows.ids.map_or(count as u64 * 8, |ids| id_bytes(spec.ids, ids)) + pieces * 4;
        let mut carried = names;
        for from in (0..count).step_by(SEGMENT_ROWS) {
            carried += MetaTable::bytes_max(&columns(rows.metadata, from..count.min(from + SEGMENT_ROWS)));
        }
        let held = set.book(count, carried)?;
        let (mut vectors, mut buffer) = (Vec::new(), FeedBuffer::default());
        for from in (0..count).step_by(SEGMENT_ROWS) {
            watch.check()?;
            let to = count.min(from + SEGMENT_ROWS);
            let piece = rows.values.rows(from..to, spec.dim, &mut buffer)?;
            vectors.push(Vectors::new(spec, piece, (from, watch.stop))?);
            (watch.progress)(to as f32 / count as f32);
        }
        Ok(Self { count, ids: rows.ids, metadata: rows.metadata, vectors, held })
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Where rows of the same names lie in a version; nothing where there can be none. Errors: `Stopped`.
    pub(super) fn places(&self, before: &Version, watch: Watch<'_>) -> Result<Vec<Option<Place>>, SetError> {
        let Some(ids) = self.ids else { return Ok(Vec::new()) };
        // Names that are greater than every integer of the set need not be looked for.
        let follow = |next: i64| ids.iter().all(|id| matches!(id, RowId::Integer(id) if *id >= next));
        if before.next_id.is_some_and(follow) {
            return Ok(Vec::new());
        }
        let mut places = Vec::with_capacity(ids.len());
        for ids in ids.chunks(LOOKUPS) {
            watch.check()?;
            places.extend(ids.iter().map(|id| before.find(id)));
        }
        Ok(places)
    }

    /// What names the first row where rows come without names. Errors: `Invalid` when the integers are used up.
    pub(super) fn first_id(&self, before: &Version) -> Result<Option<i64>, SetError> {
        if self.ids.is_some() {
            return Ok(None);
        }
        let first = before.next_id.filter(|first| first.checked_add(self.count as i64).is_some());
        first.map(Some).ok_or_else(|| SetError::invalid("ids", "missing; the greatest integer names a row already"))
    }

    /// What names the next row after these.
    pub(super) fn next_id(&self, before: &Version, first_id: Option<i64>) -> Option<i64> {
        let Some(ids) = self.ids else { return first_id.map(|first| first + self.count as i64) };
        let greatest = ids.iter().filter_map(|id| if let RowId::Integer(id) = id { Some(*id) } else { None }).max();
        let Some(greatest) = greatest else { return before.next_id };
        Some(before.next_id?.max(greatest.checked_add(1)?))
    }

    /// Segments of the rows, in order. Makes no rayon call: a turn is held.
    pub(super) fn into_segments(self, spec: &SetSpec, schema: &Schema, first_id: Option<i64>) -> Vec<Segment> {
        let Self { ids, metadata, vectors, mut held, .. } = self;
        let mut from = 0;
        let mut segments = Vec::with_capacity(vectors.len());
        for vectors in vectors {
            let range = from..from + vectors.count();
            let numbered: Vec<RowId>;
            let ids = match ids {
                Some(ids) => &ids[range.clone()],
                None => {
                    numbered = range.clone().map(|at| RowId::Integer(first_id.unwrap_or_default() + at as i64)).collect();
                    &numbered
                }
            };
            let metadata = MetaTable::new(schema, &columns(metadata, range.clone()));
            let bytes = vector_bytes(spec, vectors.count()).total() + id_bytes(spec.ids, ids) + metadata.bytes();
            segments.push(Segment::new(vectors, Ids::new(spec.ids, ids), metadata, held.split_off(bytes)));
            from = range.end;
        }
        segments
    }
}

/// The columns of a range of rows; those that are shorter give what they have, and are refused elsewhere.
fn columns(metadata: &MetaColumns, rows: std::ops::Range<usize>) -> ColumnSlices<'_> {
    metadata.iter().map(|(name, values)| (name.as_str(), values.get(rows.clone()).unwrap_or_default())).collect()
}

/// Errors: `Invalid` at `ids` for names that are missing, too many or too few, of the wrong kind, or twice there.
fn check_ids(spec: &SetSpec, ids: Option<&[RowId]>, count: usize) -> Result<(), SetError> {
    let Some(ids) = ids else {
        return match spec.ids {
            IdKind::Integer => Ok(()),
            IdKind::Text => Err(SetError::invalid("ids", "missing; the rows of this set are named by texts, one each")),
        };
    };
    if ids.len() != count {
        return Err(SetError::invalid("ids", format!("found {} ids for {count} vectors; one each is needed", ids.len())));
    }
    let mut seen = HashSet::with_capacity(count);
    for (at, id) in ids.iter().enumerate() {
        id.check(spec.ids, at)?;
        if !seen.insert(id) {
            return Err(SetError::invalid(format!("ids[{at}]"), "stands twice in this list"));
        }
    }
    Ok(())
}
