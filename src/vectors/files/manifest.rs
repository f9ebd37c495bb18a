//! The manifest of a saved set: what it is, which segments it has, which of their rows are dead.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FileError, broken, sealed};
use crate::vectors::metadata::Schema;
use crate::vectors::set::Watch;
use crate::vectors::spec::{metric_name, metric_of};
use crate::vectors::version::Version;
use crate::vectors::{Bits, FIELDS_MAX, FieldKind, IdKind, RowDtype, SEGMENT_ROWS, SET_ROWS_MAX, SetSpec, SketchKind};

const KIND: &[u8; 8] = b"TLWSET\r\n";
/// Longest header: a hundred bytes a segment of the largest set and its fields.
const HEADER_BYTES_MAX: u32 = 64 << 20;

/// What a listing needs of a saved set.
pub(in crate::vectors) struct Head {
    pub(in crate::vectors) spec: SetSpec,
    pub(in crate::vectors) rows: usize,
    pub(in crate::vectors) version: u64,
    /// What it holds in memory.
    pub(in crate::vectors) bytes: u64,
}

/// A manifest that was read.
pub(super) struct Manifest {
    pub(super) head: Head,
    pub(super) next_id: Option<i64>,
    pub(super) schema: Arc<Schema>,
    pub(super) parts: Vec<SavedPart>,
}

/// A segment with its dead rows.
pub(super) struct SavedPart {
    pub(super) key: u64,
    pub(super) rows: usize,
    pub(super) dead: Option<Bits>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    dim: usize,
    metric: String,
    dtype: RowDtype,
    ids: IdKind,
    sketch: SketchKind,
    persistent: bool,
    version: u64,
    bytes: u64,
    next_id: Option<i64>,
    fields: BTreeMap<String, FieldKind>,
    segments: Vec<SegmentEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentEntry {
    key: u64,
    rows: usize,
    /// True when a mask of dead rows follows among the data.
    dead: bool,
}

/// Writes the manifest of a version.
pub(super) fn write(path: &Path, spec: &SetSpec, version: &Version, watch: Watch<'_>) -> Result<(), FileError> {
    let header = Header {
        dim: spec.dim,
        metric: metric_name(spec.metric).into(),
        dtype: spec.dtype,
        ids: spec.ids,
        sketch: spec.sketch,
        persistent: spec.persistent,
        version: version.number,
        bytes: version.bytes(spec).total(),
        next_id: version.next_id,
        fields: version.schema.iter().map(|(name, kind)| (name.to_string(), *kind)).collect(),
        segments: version
            .parts
            .iter()
            .map(|part| SegmentEntry { key: part.segment.key, rows: part.segment.len(), dead: part.dead.is_some() })
            .collect(),
    };
    sealed::write(path, (KIND, &header), |file| {
        for mask in version.parts.iter().filter_map(|part| part.dead.as_deref()) {
            file.data(bytemuck::cast_slice(mask.words()), watch)?;
        }
        Ok(())
    })
}

/// Reads a manifest. Errors: `Broken` for anything that no save has written.
pub(super) fn read(path: &Path, watch: Watch<'_>) -> Result<Manifest, FileError> {
    let (header, mut file): (Header, _) = sealed::open(path, (KIND, HEADER_BYTES_MAX))?;
    let metric = metric_of(&header.metric).ok_or_else(|| broken("its metric is unknown"))?;
    let Header { dim, dtype, ids, sketch, persistent, .. } = header;
    let spec = SetSpec { dim, metric, dtype, ids, sketch, persistent };
    spec.check().map_err(|error| broken(error.to_string()))?;
    let rows: usize = header.segments.iter().map(|entry| entry.rows.min(SEGMENT_ROWS)).sum();
    if header.segments.iter().any(|entry| entry.rows == 0 || entry.rows > SEGMENT_ROWS) || rows > SET_ROWS_MAX {
        return Err(broken(format!("a segment has 1 to {SEGMENT_ROWS} rows, a set at most {SET_ROWS_MAX}")));
    }
    if header.fields.len() > FIELDS_MAX {
        return Err(broken(format!("it has {} fields; at most {FIELDS_MAX} are allowed", header.fields.len())));
    }
    let mask_bytes = |rows: usize| rows.div_ceil(64) * 8;
    file.expect(header.segments.iter().filter(|entry| entry.dead).map(|entry| mask_bytes(entry.rows) as u64).sum())?;
    let mut parts = Vec::with_capacity(header.segments.len());
    let mut live = rows;
    for SegmentEntry { key, rows, dead } in header.segments {
        let dead = if dead {
            let bytes = file.bytes(mask_bytes(rows), watch)?;
            let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
            Some(Bits::from_words(words, rows).ok_or_else(|| broken("a row beyond the last is dead"))?)
        } else {
            None
        };
        live -= dead.as_ref().map_or(0, Bits::count);
        parts.push(SavedPart { key, rows, dead });
    }
    file.finish()?;
    let schema: Schema = header.fields.into_iter().map(|(name, kind)| (name.into(), kind)).collect();
    let head = Head { spec, rows: live, version: header.version, bytes: header.bytes };
    Ok(Manifest { head, next_id: header.next_id, schema: Arc::new(schema), parts })
}
