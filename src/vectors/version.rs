//! One state of a set, as a reader sees it however the set changes meanwhile.

use std::sync::Arc;

use super::metadata::Schema;
use super::segment::{Segment, SetBytes};
use super::{Bits, Filter, MetaValue, RowId, SEGMENT_ROWS, SetError, SetSpec};

/// A segment with which of its rows are dead.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) segment: Arc<Segment>,
    pub(super) dead: Option<Arc<Bits>>,
    pub(super) dead_count: usize,
}

impl Part {
    /// Every row alive.
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        Self { segment, dead: None, dead_count: 0 }
    }

    /// Rows that are alive.
    pub(super) fn live(&self) -> usize {
        self.segment.len() - self.dead_count
    }

    fn is_live(&self, row: usize) -> bool {
        self.dead.as_ref().is_none_or(|dead| !dead.get(row))
    }

    /// The live row of that name.
    fn find(&self, id: &RowId) -> Option<usize> {
        self.segment.ids().find(id).filter(|row| self.is_live(*row))
    }

    /// The same with more rows dead.
    pub(super) fn without(&self, rows: &[usize]) -> Self {
        let mut dead = self.dead.as_ref().map_or_else(|| Bits::none(self.segment.len()), |dead| (**dead).clone());
        let fresh = rows.iter().filter(|row| dead.insert(**row)).count();
        Self { segment: Arc::clone(&self.segment), dead: Some(Arc::new(dead)), dead_count: self.dead_count + fresh }
    }
}

/// Where a row lies in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) part: u32,
    pub(super) row: u32,
}

/// One state of a set: never changes, and is shared by all who read it.
pub struct Version {
    pub(super) number: u64,
    pub(super) parts: Vec<Part>,
    pub(super) schema: Arc<Schema>,
    /// The integer that names the next row which comes without one; `None` when there is none left.
    pub(super) next_id: Option<i64>,
}

impl Version {
    /// A set without rows.
    pub(super) fn empty() -> Self {
        Self { number: 0, parts: Vec::new(), schema: Arc::default(), next_id: Some(0) }
    }

    /// Counts the changes of the set.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Rows that are alive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(Part::live).sum()
    }

    /// True without live rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Deleted rows whose memory is not given back yet.
    #[must_use]
    pub fn dead(&self) -> usize {
        self.parts.iter().map(|part| part.dead_count).sum()
    }

    /// Pieces that the rows lie in.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.parts.len()
    }

    /// The fields of its metadata.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self, spec: &SetSpec) -> SetBytes {
        let mut bytes = SetBytes::default();
        self.parts.iter().for_each(|part| bytes.add(part.segment.bytes(spec)));
        bytes
    }

    /// What is booked for it.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.segment.held_bytes()).sum()
    }

    /// The live row of that name.
    #[must_use]
    pub fn find(&self, id: &RowId) -> Option<Place> {
        // The newest rows are asked for most.
        let parts = self.parts.iter().enumerate().rev();
        parts.filter_map(|(at, part)| Some(Place { part: at as u32, row: part.find(id)? as u32 })).next()
    }

    /// The name of a row. Panics for a place of another version that is not in this, as slices do.
    #[must_use]
    pub fn id(&self, place: Place) -> RowId {
        self.parts[place.part as usize].segment.ids().get(place.row as usize)
    }

    /// What a row carries. Panics as [`Version::id`].
    #[must_use]
    pub fn metadata(&self, place: Place) -> std::collections::BTreeMap<String, MetaValue> {
        self.parts[place.part as usize].segment.metadata().row(place.row as usize)
    }

    /// The values of a row; bits become 1.0 and 0.0. Panics as [`Version::id`], and for an `out` of another length than the set's dimension.
    pub fn widen(&self, place: Place, out: &mut [f32]) {
        self.parts[place.part as usize].segment.vectors().values.widened(place.row as usize, out);
    }

    /// A row as it is kept, and its scale where it has one. Panics as [`Version::id`].
    #[must_use]
    pub fn stored(&self, place: Place) -> (&[u8], Option<f32>) {
        let values = &self.parts[place.part as usize].segment.vectors().values;
        (values.raw_row(place.row as usize), values.scales().get(place.row as usize).copied())
    }

    /// The live rows, oldest first.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.parts.iter().enumerate().flat_map(|(at, part)| {
            (0..part.segment.len()).filter(|row| part.is_live(*row)).map(move |row| Place { part: at as u32, row: row as u32 })
        })
    }

    /// Errors: `Invalid` below `filter` for a condition that the rows cannot answer.
    pub fn check_filter(&self, filter: &Filter) -> Result<(), SetError> {
        if self.parts.is_empty() { Ok(()) } else { filter.check_against(&self.schema) }
    }

    /// The live rows of each part that the filter admits; `None` where that is all rows of the part.
    pub(super) fn admitted(&self, part: &Part, filter: Option<&Filter>) -> Option<Bits> {
        let rows = part.segment.len();
        let mut admitted = match filter {
            None => {
                let dead = part.dead.as_ref()?;
                let mut all = Bits::all(rows);
                all.without(dead);
                return Some(all);
            }
            Some(filter) => filter.rows(part.segment.metadata(), rows),
        };
        if let Some(dead) = &part.dead {
            admitted.without(dead);
        }
        Some(admitted)
    }
}

/// Adjacent parts that are to become one, and whether they must be rewritten at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) live: usize,
    pub(super) rewritten: bool,
}

/// How parts of so many (live, dead) rows are joined: neighbours of like size become one, so that a row is copied a logarithmic number of times
/// on its way into a full segment, and a part that is half dead is rewritten.
pub(super) fn groups(sizes: &[(usize, usize)]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::with_capacity(sizes.len());
    for (at, (live, dead)) in sizes.iter().copied().enumerate() {
        let mut last = Group { from: at, to: at + 1, live, rewritten: dead > 0 && dead >= live };
        // What has no live row goes; there is nothing to join.
        let joins = |before: &Group, last: &Group| {
            before.live.min(last.live) > 0 && before.live < 2 * last.live && before.live + last.live <= SEGMENT_ROWS
        };
        while let Some(before) = groups.last().filter(|before| joins(before, &last)) {
            last = Group { from: before.from, to: last.to, live: before.live + last.live, rewritten: true };
            groups.pop();
        }
        groups.push(last);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_like_size_become_one_and_half_dead_ones_are_rewritten() {
        let mut sizes: Vec<(usize, usize)> = Vec::new();
        let (mut copied, count) = (0, 3 * SEGMENT_ROWS);
        for _ in 0..count {
            sizes.push((1, 0));
            let joined = groups(&sizes);
            copied += joined.iter().filter(|group| group.rewritten).map(|group| group.live).sum::<usize>();
            sizes = joined.iter().map(|group| (group.live, 0)).collect();
            assert!(sizes.len() <= 3 + 15, "{sizes:?}");
        }
        assert!(copied <= count * 15, "{copied} rows copied for {count}");
        assert_eq!(sizes, [(SEGMENT_ROWS, 0); 3]);
        let rewritten = |sizes: &[(usize, usize)]| groups(sizes).iter().map(|group| group.rewritten).collect::<Vec<_>>();
        assert_eq!(rewritten(&[(SEGMENT_ROWS, 0), (9000, 7000), (8000, 8000)]), [false, false, true]);
        assert_eq!(groups(&[(SEGMENT_ROWS, 0), (0, 5)])[1].live, 0);
        assert_eq!(groups(&[(10, 0), (0, 5)]).len(), 2, "an empty part is dropped, not joined");
    }
}
