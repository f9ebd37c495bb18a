//! A file of rows: one segment with all that it holds in memory, so that reading it computes nothing.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tallow_kernels::search::Int8Sketch;

use super::manifest::SavedPart;
use super::{FileError, broken, sealed};
use crate::resource::HostAccount;
use crate::vectors::ids::Ids;
use crate::vectors::metadata::MetaTable;
use crate::vectors::rows::RowValues;
use crate::vectors::segment::{Segment, Vectors, id_bytes, vector_bytes};
use crate::vectors::set::{Watch, busy};
use crate::vectors::{IdKind, RowDtype, RowId, SEGMENT_ROWS, SetSpec, SketchKind};

const KIND: &[u8; 8] = b"TLWROW\r\n";
const HEADER_BYTES_MAX: u32 = 4096;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    rows: usize,
    dim: usize,
    dtype: RowDtype,
    sketch: SketchKind,
    ids: IdKind,
    /// Bytes of the texts that name the rows.
    id_text_bytes: u64,
    /// Bytes of the metadata as JSON, and in memory.
    metadata_bytes: u64,
    metadata_held_bytes: u64,
}

impl Header {
    /// Bytes of the data behind it.
    fn data_bytes(&self) -> Option<u64> {
        let rows = self.rows as u64;
        let mut per_row = self.dtype.row_bytes(self.dim) as u64;
        per_row += if self.dtype == RowDtype::Binary { 0 } else { 4 };
        per_row += if self.sketch == SketchKind::Int8 { self.dim as u64 + 8 } else { 0 };
        per_row += if self.ids == IdKind::Integer { 8 } else { 2 };
        rows.checked_mul(per_row)?.checked_add(self.id_text_bytes)?.checked_add(self.metadata_bytes)
    }
}

/// Writes a segment.
pub(super) fn write(path: &Path, spec: &SetSpec, segment: &Segment, watch: Watch<'_>) -> Result<(), FileError> {
    let Vectors { values, norms, sketch } = segment.vectors();
    let ids: Vec<RowId> = (0..segment.len()).map(|row| segment.ids().get(row)).collect();
    let (lengths, texts) = id_texts(&ids);
    let metadata = serde_json::to_vec(segment.metadata()).map_err(|error| broken(error.to_string()))?;
    let header = Header {
        rows: segment.len(),
        dim: spec.dim,
        dtype: spec.dtype,
        sketch: spec.sketch,
        ids: spec.ids,
        id_text_bytes: texts.len() as u64,
        metadata_bytes: metadata.len() as u64,
        metadata_held_bytes: segment.metadata().bytes(),
    };
    sealed::write(path, (KIND, &header), |file| {
        file.data(values.raw(), watch)?;
        file.data(bytemuck::cast_slice(values.scales()), watch)?;
        file.data(bytemuck::cast_slice(norms), watch)?;
        if let Some(Int8Sketch { values, scales, residuals }) = sketch {
            file.data(bytemuck::cast_slice(values), watch)?;
            file.data(bytemuck::cast_slice(scales), watch)?;
            file.data(bytemuck::cast_slice(residuals), watch)?;
        }
        match spec.ids {
            IdKind::Integer => {
                let integers: Vec<i64> = ids.iter().map(|id| if let RowId::Integer(id) = id { *id } else { 0 }).collect();
                file.data(bytemuck::cast_slice(&integers), watch)?;
            }
            IdKind::Text => {
                file.data(bytemuck::cast_slice(&lengths), watch)?;
                file.data(texts.as_bytes(), watch)?;
            }
        }
        file.data(&metadata, watch)
    })
}

/// Lengths of the texts, and the texts one after the other.
fn id_texts(ids: &[RowId]) -> (Vec<u16>, String) {
    let texts = ids.iter().filter_map(|id| if let RowId::Text(text) = id { Some(text.as_str()) } else { None });
    (texts.clone().map(|text| text.len() as u16).collect(), texts.collect())
}

/// Reads a segment of a set; its bytes are booked before they are read. Errors: `Broken` for anything that no save has written.
pub(super) fn read(
    path: &Path,
    (spec, saved): (&SetSpec, &SavedPart),
    account: &HostAccount,
    watch: Watch<'_>,
) -> Result<Segment, FileError> {
    let (header, mut file): (Header, _) = sealed::open(path, (KIND, HEADER_BYTES_MAX))?;
    let (dim, rows) = (spec.dim, header.rows);
    let is_of_set = (header.dim, header.dtype, header.sketch, header.ids) == (dim, spec.dtype, spec.sketch, spec.ids);
    if !is_of_set || rows != saved.rows || rows > SEGMENT_ROWS {
        return Err(broken("its rows are not those of the manifest"));
    }
    file.expect(header.data_bytes().ok_or_else(|| broken("its header claims too many bytes"))?)?;
    let names = if spec.ids == IdKind::Integer { rows as u64 * 8 } else { (rows as u64 + 1) * 4 };
    let needed = vector_bytes(spec, rows).total().saturating_add(names).saturating_add(header.id_text_bytes);
    let held = account.hold(needed.saturating_add(header.metadata_held_bytes)).map_err(busy)?;
    let mut values = RowValues::zeroed(spec.dtype, dim, rows);
    let (raw, scales) = values.raw_mut();
    file.data(raw, watch)?;
    file.data(bytemuck::cast_slice_mut(scales), watch)?;
    if !values.is_sound() {
        return Err(broken("bits behind the last dimension are set"));
    }
    let mut norms = vec![0f32; if spec.dtype == RowDtype::Binary { 0 } else { rows }];
    file.data(bytemuck::cast_slice_mut(&mut norms), watch)?;
    let sketch = match spec.sketch {
        SketchKind::None => None,
        SketchKind::Int8 => {
            let mut sketch = Int8Sketch { values: vec![0; rows * dim], scales: vec![0.0; rows], residuals: vec![0.0; rows] };
            file.data(bytemuck::cast_slice_mut(&mut sketch.values), watch)?;
            file.data(bytemuck::cast_slice_mut(&mut sketch.scales), watch)?;
            file.data(bytemuck::cast_slice_mut(&mut sketch.residuals), watch)?;
            Some(sketch)
        }
    };
    let ids = read_ids(&mut file, &header, watch)?;
    let metadata = file.bytes(usize::try_from(header.metadata_bytes).map_err(|_long| broken("too much metadata"))?, watch)?;
    // Nothing is believed before the checksum is.
    file.finish()?;
    let metadata: MetaTable = serde_json::from_slice(&metadata).map_err(|error| broken(format!("its metadata: {error}")))?;
    let metadata = metadata.sound(rows).filter(|metadata| metadata.bytes() <= header.metadata_held_bytes);
    let metadata = metadata.ok_or_else(|| broken("its metadata is not that of its rows"))?;
    debug_assert!(id_bytes(spec.ids, &ids) <= names + header.id_text_bytes, "names are booked");
    let ids = Ids::new(spec.ids, &ids);
    if let Some(id) = ids.duplicate() {
        return Err(broken(format!("{id:?} names two rows")));
    }
    Ok(Segment::new(Vectors { values, norms, sketch }, ids, metadata, held))
}

fn read_ids(file: &mut sealed::Sealed, header: &Header, watch: Watch<'_>) -> Result<Vec<RowId>, FileError> {
    if header.ids == IdKind::Integer {
        let bytes = file.bytes(header.rows * 8, watch)?;
        return Ok(bytes.as_chunks::<8>().0.iter().map(|id| RowId::Integer(i64::from_le_bytes(*id))).collect());
    }
    let lengths = file.bytes(header.rows * 2, watch)?;
    let text_bytes = usize::try_from(header.id_text_bytes).map_err(|_long| broken("too many names"))?;
    let texts = String::from_utf8(file.bytes(text_bytes, watch)?).map_err(|_no_text| broken("a name is no text"))?;
    let mut rest = texts.as_str();
    let mut ids = Vec::with_capacity(header.rows);
    for length in lengths.as_chunks::<2>().0 {
        let (id, after) =
            rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or_else(|| broken("a name is longer than the names"))?;
        let id = RowId::Text(id.to_owned());
        id.check(IdKind::Text, ids.len()).map_err(|error| broken(error.to_string()))?;
        ids.push(id);
        rest = after;
    }
    if rest.is_empty() { Ok(ids) } else { Err(broken("the names are longer than their lengths")) }
}
