//! The names of a segment's rows, and finding a row by its name: two bytes a row beside the names themselves.

use super::{ID_BYTES_MAX, IdKind, SEGMENT_ROWS, SetError};

/// The name of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowId {
    /// In sets of [`IdKind::Integer`].
    Integer(i64),
    /// In sets of [`IdKind::Text`].
    Text(String),
}

impl RowId {
    /// Errors: `Invalid` at `ids[at]` when sets of this kind name no row so.
    pub(super) fn check(&self, kind: IdKind, at: usize) -> Result<(), SetError> {
        let refused = |reason: String| Err(SetError::invalid(format!("ids[{at}]"), reason));
        match (self, kind) {
            (Self::Integer(_), IdKind::Integer) => Ok(()),
            (Self::Text(text), IdKind::Text) if (1..=ID_BYTES_MAX).contains(&text.len()) => Ok(()),
            (Self::Text(text), IdKind::Text) => refused(format!("found a text of {} bytes; allowed: 1 to {ID_BYTES_MAX}", text.len())),
            (Self::Integer(_), IdKind::Text) => refused("found an integer; the rows of this set are named by texts".into()),
            (Self::Text(_), IdKind::Integer) => refused("found a text; the rows of this set are named by integers".into()),
        }
    }
}

/// The names of up to [`SEGMENT_ROWS`] rows, each once.
pub(super) struct Ids {
    names: Names,
    /// Rows ordered by name.
    order: Vec<u16>,
}

enum Names {
    Integers(Vec<i64>),
    /// Texts one after the other, and where each begins; one more for the end.
    Texts(Box<str>, Vec<u32>),
}

impl Ids {
    /// Names in the order of their rows. They are of one kind and checked.
    pub(super) fn new(kind: IdKind, ids: &[RowId]) -> Self {
        debug_assert!(ids.len() <= SEGMENT_ROWS, "a segment has {} rows", ids.len());
        let names = match kind {
            IdKind::Integer => Names::Integers(ids.iter().map(|id| if let RowId::Integer(id) = id { *id } else { 0 }).collect()),
            IdKind::Text => {
                let mut text = String::with_capacity(ids.iter().map(|id| if let RowId::Text(id) = id { id.len() } else { 0 }).sum());
                let mut starts = Vec::with_capacity(ids.len() + 1);
                for id in ids {
                    starts.push(text.len() as u32);
                    text.push_str(if let RowId::Text(id) = id { id } else { "" });
                }
                starts.push(text.len() as u32);
                Names::Texts(text.into_boxed_str(), starts)
            }
        };
        let mut ids = Self { names, order: (0..ids.len() as u16).collect() };
        let mut order = std::mem::take(&mut ids.order);
        match &ids.names {
            Names::Integers(names) => order.sort_unstable_by_key(|row| names[usize::from(*row)]),
            Names::Texts(..) => order.sort_unstable_by_key(|row| ids.text(usize::from(*row))),
        }
        ids.order = order;
        ids
    }

    /// Heap bytes: of the names, and of what finds them.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let names = match &self.names {
            Names::Integers(names) => names.capacity() as u64 * 8,
            Names::Texts(text, starts) => text.len() as u64 + starts.capacity() as u64 * 4,
        };
        (names, self.order.capacity() as u64 * 2)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The name of a row.
    pub(super) fn get(&self, row: usize) -> RowId {
        match &self.names {
            Names::Integers(names) => RowId::Integer(names[row]),
            Names::Texts(..) => RowId::Text(self.text(row).to_owned()),
        }
    }

    fn text(&self, row: usize) -> &str {
        match &self.names {
            Names::Texts(text, starts) => &text[starts[row] as usize..starts[row + 1] as usize],
            Names::Integers(_) => "",
        }
    }

    /// The row of that name.
    pub(super) fn find(&self, id: &RowId) -> Option<usize> {
        let place = match (&self.names, id) {
            (Names::Integers(names), RowId::Integer(id)) => {
                let (first, last) = (*self.order.first()?, *self.order.last()?);
                if *id < names[usize::from(first)] || *id > names[usize::from(last)] {
                    return None;
                }
                self.order.binary_search_by_key(id, |row| names[usize::from(*row)]).ok()?
            }
            (Names::Texts(..), RowId::Text(id)) => {
                self.order.binary_search_by_key(&id.as_str(), |row| self.text(usize::from(*row))).ok()?
            }
            _ => return None,
        };
        Some(usize::from(self.order[place]))
    }

    /// The greatest integer; `None` for texts and without rows.
    pub(super) fn greatest(&self) -> Option<i64> {
        match &self.names {
            Names::Integers(names) => self.order.last().map(|row| names[usize::from(*row)]),
            Names::Texts(..) => None,
        }
    }

    /// The first name that stands twice.
    pub(super) fn duplicate(&self) -> Option<RowId> {
        let same = |pair: &&[u16]| self.get(usize::from(pair[0])) == self.get(usize::from(pair[1]));
        self.order.windows(2).find(same).map(|pair| self.get(usize::from(pair[0])))
    }
}
