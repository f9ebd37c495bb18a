//! Up to [`SEGMENT_ROWS`] rows that never change: their values, names and metadata, and what was computed of each when it came.

use std::collections::BTreeMap;

use tallow_kernels::search::{Block, Int8Sketch, norms};

use super::ids::Ids;
use super::metadata::MetaTable;
use super::rows::{RowValues, RowsIn};
use super::{Bits, IdKind, MetaValue, RowDtype, RowId, SEGMENT_ROWS, SetError, SetSpec, SketchKind};
use crate::resource::HeldBytes;

/// Bytes of a segment's own fields and of its place in lists.
const SEGMENT_BYTES: u64 = 1024;

/// Columns of metadata of a segment's rows, by field.
pub(super) type ColumnSlices<'a> = BTreeMap<&'a str, &'a [Option<MetaValue>]>;

/// Values with what is computed of them: the part of a segment that takes time to make.
pub(super) struct Vectors {
    pub(super) values: RowValues,
    /// Euclidean lengths `[rows]`; empty for bits.
    pub(super) norms: Vec<f32>,
    pub(super) sketch: Option<Int8Sketch>,
}

/// Rows that never change.
pub(super) struct Segment {
    /// Tells it from every other segment, also in files.
    pub(super) key: u64,
    vectors: Vectors,
    ids: Ids,
    metadata: MetaTable,
    /// Given back after everything above is gone.
    held: HeldBytes,
}

/// Heap bytes by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetBytes {
    /// Values and scales.
    pub rows: u64,
    /// Names.
    pub ids: u64,
    /// Metadata.
    pub metadata: u64,
    /// The copy that single queries run over first.
    pub sketch: u64,
    /// Lengths, what finds rows by their names, which rows are dead, and what the parts take themselves.
    pub overhead: u64,
}

impl SetBytes {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows + self.ids + self.metadata + self.sketch + self.overhead
    }

    pub(super) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.ids += other.ids;
        self.metadata += other.metadata;
        self.sketch += other.sketch;
        self.overhead += other.overhead;
    }
}

/// What so many rows hold beside their names and metadata.
pub(super) fn vector_bytes(spec: &SetSpec, rows: usize) -> SetBytes {
    let sketched = spec.sketch == SketchKind::Int8;
    let lengths = if spec.dtype == RowDtype::Binary { 0 } else { rows as u64 * 4 };
    SetBytes {
        rows: RowValues::bytes_of(spec.dtype, spec.dim, rows),
        sketch: if sketched { rows as u64 * (spec.dim as u64 + 8) } else { 0 },
        // Two bytes a row order the names, a bit says that it is dead.
        overhead: lengths + rows as u64 * 2 + rows.div_ceil(64) as u64 * 8 + SEGMENT_BYTES,
        ..SetBytes::default()
    }
}

/// Bytes of so many names: texts with where each begins.
pub(super) fn id_bytes(kind: IdKind, ids: &[RowId]) -> u64 {
    let text = |id: &RowId| if let RowId::Text(text) = id { text.len() as u64 } else { 0 };
    match kind {
        IdKind::Integer => ids.len() as u64 * 8,
        IdKind::Text => ids.iter().map(text).sum::<u64>() + (ids.len() as u64 + 1) * 4,
    }
}

impl Vectors {
    /// Converts rows and measures them. Splits over the rayon pool: not to be called with a lock held.
    ///
    /// Errors: `Invalid` at `vectors[row][column]`, counted from `first`; `Stopped`.
    pub(super) fn new(spec: &SetSpec, rows: RowsIn<'_>, (first, stop): (usize, &dyn Fn() -> bool)) -> Result<Self, SetError> {
        let mut values = RowValues::zeroed(spec.dtype, spec.dim, rows.count_of(spec)?);
        values.write(0, rows, (first, stop))?;
        Self::of(spec, values)
    }

    fn of(spec: &SetSpec, values: RowValues) -> Result<Self, SetError> {
        let unmeasured = |error: tallow_kernels::KernelError| SetError::invalid("vectors", error.to_string());
        let norms = norms(values.stored(), spec.dim).map_err(unmeasured)?;
        let sketch = match spec.sketch {
            SketchKind::None => None,
            SketchKind::Int8 => Some(Int8Sketch::of(values.stored(), spec.dim).map_err(unmeasured)?),
        };
        Ok(Self { values, norms, sketch })
    }

    pub(super) fn count(&self) -> usize {
        self.values.count()
    }
}

impl Segment {
    /// Joins vectors with names and metadata, one each. `held` was booked for all of it.
    pub(super) fn new(vectors: Vectors, ids: Ids, metadata: MetaTable, held: HeldBytes) -> Self {
        debug_assert_eq!(vectors.count(), ids.len(), "every row has a name");
        Self { key: rand::random(), vectors, ids, metadata, held }
    }

    /// The same with the key that it has in files.
    pub(super) fn with_key(self, key: u64) -> Self {
        Self { key, ..self }
    }

    /// One segment of the live rows of several, in their order. On the calling thread; asks `stop` every few thousand rows.
    ///
    /// `held` was booked for it. Errors: `Stopped`.
    pub(super) fn joined(
        spec: &SetSpec,
        parts: &[(&Self, Option<&Bits>)],
        (held, stop): (HeldBytes, &dyn Fn() -> bool),
    ) -> Result<Self, SetError> {
        let live: Vec<(usize, usize)> = parts
            .iter()
            .enumerate()
            .flat_map(|(part, (segment, dead))| {
                (0..segment.len()).filter(|row| dead.is_none_or(|dead| !dead.get(*row))).map(move |row| (part, row))
            })
            .collect();
        debug_assert!(live.len() <= SEGMENT_ROWS, "segments that are joined fit into one");
        let dim = spec.dim;
        let mut values = RowValues::zeroed(spec.dtype, dim, live.len());
        let mut norms = Vec::with_capacity(live.len());
        let sketched = spec.sketch == SketchKind::Int8;
        let mut sketch =
            sketched.then(|| Int8Sketch { values: Vec::with_capacity(live.len() * dim), scales: Vec::new(), residuals: Vec::new() });
        let mut ids = Vec::with_capacity(live.len());
        for (at, (part, row)) in live.iter().copied().enumerate() {
            if at % 2048 == 0 && stop() {
                return Err(SetError::Stopped);
            }
            let from = &parts[part].0.vectors;
            values.take(at, &from.values, row);
            norms.extend(from.norms.get(row));
            if let (Some(sketch), Some(from)) = (&mut sketch, &from.sketch) {
                sketch.values.extend_from_slice(&from.values[row * dim..(row + 1) * dim]);
                sketch.scales.push(from.scales[row]);
                sketch.residuals.push(from.residuals[row]);
            }
            ids.push(parts[part].0.ids.get(row));
        }
        norms.shrink_to_fit();
        if let Some(sketch) = &mut sketch {
            sketch.scales.shrink_to_fit();
            sketch.residuals.shrink_to_fit();
        }
        let metadata = joined_metadata(parts, &live);
        let mut joined = Self::new(Vectors { values, norms, sketch }, Ids::new(spec.ids, &ids), metadata, held);
        // What was booked for names and metadata of dead rows comes back.
        let surplus = joined.held.bytes().saturating_sub(joined.bytes(spec).total());
        drop(joined.held.split_off(surplus));
        Ok(joined)
    }

    /// Rows, dead or alive.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(super) fn metadata(&self) -> &MetaTable {
        &self.metadata
    }

    pub(super) fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// The fields of its metadata.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.metadata.fields().map(|(name, _)| name)
    }

    /// Bytes that are booked for it.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held.bytes()
    }

    /// What it holds.
    pub(super) fn bytes(&self, spec: &SetSpec) -> SetBytes {
        let (names, order) = self.ids.bytes();
        let vectors = vector_bytes(spec, self.len());
        debug_assert!(order <= self.len() as u64 * 2, "two bytes a row");
        SetBytes { ids: names, metadata: self.metadata.bytes(), ..vectors }
    }

    /// The rows as the kernels search them.
    pub(super) fn block<'a>(&'a self, admitted: Option<&'a Bits>) -> Block<'a> {
        let Vectors { values, norms, sketch } = &self.vectors;
        Block { rows: values.stored(), norms, sketch: sketch.as_ref().map(Int8Sketch::sketch), admitted: admitted.map(Bits::words) }
    }
}

/// The metadata of rows of several segments.
fn joined_metadata(parts: &[(&Segment, Option<&Bits>)], live: &[(usize, usize)]) -> MetaTable {
    let schema: super::Schema =
        parts.iter().flat_map(|(segment, _)| segment.metadata.fields()).map(|(name, kind)| (name.into(), kind)).collect();
    let column = |name: &str| live.iter().map(|(part, row)| parts[*part].0.metadata.value(name, *row)).collect::<Vec<_>>();
    let columns: Vec<(&str, Vec<Option<MetaValue>>)> = schema.keys().map(|name| (&**name, column(name))).collect();
    MetaTable::new(&schema, &columns.iter().map(|(name, values)| (*name, values.as_slice())).collect())
}
