//! Rows and names out of a file, piece by piece.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;

use parking_lot::Mutex;
use tallow_kernels::first_non_finite;

use super::{FRONT_BYTES_MAX, RowsFormat, RowsLayout, broken, layout};
use crate::executor::vector::input::widen_into;
use crate::task::{Dtype, TaskError};
use crate::vectors::{FeedBuffer, RowFeed, RowId, RowsIn, SetError};

/// Names that are read at once.
const IDS_PIECE: usize = 1 << 16;

/// The rows of a file.
pub(in crate::executor::vector) struct FileRows {
    file: Mutex<File>,
    layout: RowsLayout,
    ids: Option<RowsLayout>,
}

/// Opens a file of rows; `tensor` is theirs in a file of tensors.
///
/// Errors: `InvalidPayload` at `file` for one that cannot be read, is no file of rows, or holds integers where values are needed.
pub(in crate::executor::vector) fn open_rows(path: &Path, tensor: &str) -> Result<FileRows, TaskError> {
    let (file, layout, ids) = open("file", path, tensor)?;
    if matches!(layout.dtype, Dtype::I32 | Dtype::U32 | Dtype::I64) {
        return Err(broken(format!("its rows are {}; allowed: f32, f64, f16, bf16, i8, u8 (packed bits)", layout.dtype.name())));
    }
    Ok(FileRows { file: Mutex::new(file), layout, ids })
}

/// The names in a file of integers. Errors: `InvalidPayload` at `ids_file`.
pub(in crate::executor::vector) fn open_ids(path: &Path, stop: &dyn Fn() -> bool) -> Result<Vec<RowId>, TaskError> {
    let (file, layout, _) = open("ids_file", path, super::safetensors::IDS)?;
    if layout.dim != 1 || !matches!(layout.dtype, Dtype::I64 | Dtype::I32) {
        let found = format!("found {} with {} numbers a row; names are integers, one a row", layout.dtype.name(), layout.dim);
        return Err(TaskError::invalid("ids_file", found));
    }
    let rows = FileRows { file: Mutex::new(file), layout: layout.clone(), ids: None };
    rows.integers(&layout, stop).map_err(|error| TaskError::invalid("ids_file", error.to_string()))
}

fn open(field: &str, path: &Path, tensor: &str) -> Result<(File, RowsLayout, Option<RowsLayout>), TaskError> {
    let format = RowsFormat::of(path, field)?;
    let failed = |error: std::io::Error| TaskError::invalid(field, format!("cannot be read: {error}"));
    let mut file = File::open(path).map_err(failed)?;
    let file_bytes = file.metadata().map_err(failed)?.len();
    let mut front = Vec::new();
    file.by_ref().take(FRONT_BYTES_MAX as u64).read_to_end(&mut front).map_err(failed)?;
    let at_field = |error| match error {
        TaskError::InvalidPayload { reason, .. } => TaskError::invalid(field, reason),
        other => other,
    };
    let (rows, ids) = layout(format, (&front, file_bytes), tensor).map_err(at_field)?;
    Ok((file, rows, ids))
}

impl FileRows {
    /// Where and what they are.
    pub(in crate::executor::vector) fn layout(&self) -> &RowsLayout {
        &self.layout
    }

    /// The names in the same file, if it has any.
    pub(in crate::executor::vector) fn ids(&self, stop: &dyn Fn() -> bool) -> Result<Option<Vec<RowId>>, TaskError> {
        let ids = self.ids.as_ref().map(|ids| self.integers(ids, stop)).transpose();
        ids.map_err(|error| broken(error.to_string()))
    }

    fn integers(&self, layout: &RowsLayout, stop: &dyn Fn() -> bool) -> Result<Vec<RowId>, SetError> {
        let mut ids = Vec::with_capacity(layout.rows);
        let mut bytes = Vec::new();
        for from in (0..layout.rows).step_by(IDS_PIECE) {
            if stop() {
                return Err(SetError::Stopped);
            }
            self.bytes(layout, from..layout.rows.min(from + IDS_PIECE), &mut bytes)?;
            let integer = |bytes: &[u8]| match bytes {
                [a, b, c, d] => i64::from(i32::from_le_bytes([*a, *b, *c, *d])),
                _ => bytes.first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes)),
            };
            ids.extend(bytes.chunks_exact(layout.dtype.size_bytes()).map(integer).map(RowId::Integer));
        }
        Ok(ids)
    }

    /// The bytes of some rows without what stands in front of each.
    fn bytes(&self, layout: &RowsLayout, range: Range<usize>, out: &mut Vec<u8>) -> Result<(), SetError> {
        let (stride, lead) = (layout.stride(), layout.lead);
        out.resize(range.len() * stride, 0);
        let failed = |error: std::io::Error| SetError::invalid("file", format!("cannot be read: {error}"));
        {
            let mut file = self.file.lock();
            file.seek(SeekFrom::Start(layout.start + range.start as u64 * stride as u64)).map_err(failed)?;
            file.read_exact(out).map_err(failed)?;
        }
        if lead == 0 {
            return Ok(());
        }
        let width = stride - lead;
        for row in 0..range.len() {
            let claimed = out[row * stride..].first_chunk::<4>().map_or(0, |length| i32::from_le_bytes(*length));
            if usize::try_from(claimed) != Ok(layout.dim) {
                let reason = format!("row {} claims {claimed} dimensions; the first has {}", range.start + row, layout.dim);
                return Err(SetError::invalid("file", reason));
            }
            out.copy_within(row * stride + lead..(row + 1) * stride, row * width);
        }
        out.truncate(range.len() * width);
        Ok(())
    }
}

impl RowFeed for FileRows {
    fn count(&self, dim: usize) -> Option<usize> {
        let width = if self.layout.dtype == Dtype::U8 { dim.div_ceil(8) } else { dim };
        (self.layout.dim == width).then_some(self.layout.rows)
    }

    fn rows<'a>(&'a self, range: Range<usize>, dim: usize, buffer: &'a mut FeedBuffer) -> Result<RowsIn<'a>, SetError> {
        let FeedBuffer { values, bytes } = buffer;
        self.bytes(&self.layout, range.clone(), bytes)?;
        if self.layout.dtype == Dtype::U8 {
            return Ok(RowsIn::Bits(bytes));
        }
        values.resize(range.len() * dim, 0.0);
        widen_into(self.layout.dtype, bytes, values);
        if let Some(at) = first_non_finite(values) {
            let reason = format!("row {}, column {}: found {}; values must be finite f32", range.start + at / dim, at % dim, values[at]);
            return Err(SetError::invalid("file", reason));
        }
        Ok(RowsIn::Values(values))
    }
}
