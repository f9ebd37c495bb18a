//! Files of rows that other programs read and write: `.npy`, `.safetensors`, `.fvecs`, and `.ivecs` for integers. Where in a file the rows are is known from
//! its beginning and its length, so that rows are read piece by piece; whatever a file claims is held against its length first.

mod read;
mod safetensors;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

use super::npy;
use crate::task::vector::VECTOR_DIM_MAX;
use crate::task::{Dtype, TaskError};

pub(super) use read::{open_ids, open_rows};
pub(super) use write::{write_ids, write_rows};

/// Bytes from the beginning of a file that say where its rows are, at most.
pub const FRONT_BYTES_MAX: usize = 1 << 20;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsFormat {
    /// numpy's array format, C order, little-endian.
    Npy,
    /// Named tensors.
    Safetensors,
    /// Rows of f32 behind their length each, as TEXMEX has them.
    Fvecs,
    /// Rows of i32 behind their length each.
    Ivecs,
}

impl RowsFormat {
    /// What a file is, by its ending. Errors: `InvalidPayload` at `field` for another one.
    pub fn of(path: &Path, field: &str) -> Result<Self, TaskError> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("fvecs") => Ok(Self::Fvecs),
            Some("ivecs") => Ok(Self::Ivecs),
            _ => Err(TaskError::invalid(field, "the name must end with .npy, .safetensors, .fvecs or .ivecs")),
        }
    }
}

/// Rows of one width at fixed distances in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsLayout {
    /// Element type.
    pub dtype: Dtype,
    /// How many.
    pub rows: usize,
    /// Elements of each.
    pub dim: usize,
    /// Where the first begins.
    pub start: u64,
    /// Bytes in front of each row that hold its length.
    pub lead: usize,
}

impl RowsLayout {
    /// Bytes from one row to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.lead + self.dim * self.dtype.size_bytes()
    }
}

/// The rows of a file, and the names that it has for them, from its first bytes (up to [`FRONT_BYTES_MAX`]) and its length. `tensor` is the name of the rows in
/// a file of tensors, whose names are in the tensor `ids`. Pure: reads nothing else.
///
/// Errors: `InvalidPayload` at `file` for a file that is not what its ending says, is longer or shorter than it claims, or whose rows are no rows of values.
pub fn layout(format: RowsFormat, (front, file_bytes): (&[u8], u64), tensor: &str) -> Result<(RowsLayout, Option<RowsLayout>), TaskError> {
    let (rows, ids) = match format {
        RowsFormat::Npy => (npy_layout(front, file_bytes)?, None),
        RowsFormat::Safetensors => safetensors::layout(front, file_bytes, tensor)?,
        RowsFormat::Fvecs => (vecs_layout(front, file_bytes, Dtype::F32)?, None),
        RowsFormat::Ivecs => (vecs_layout(front, file_bytes, Dtype::I32)?, None),
    };
    if rows.dim == 0 || rows.dim > VECTOR_DIM_MAX {
        return Err(broken(format!("its rows have {} dimensions; allowed: 1 to {VECTOR_DIM_MAX}", rows.dim)));
    }
    if let Some(ids) = ids.as_ref().filter(|ids| ids.rows != rows.rows) {
        return Err(broken(format!("it has {} names for {} rows", ids.rows, rows.rows)));
    }
    Ok((rows, ids))
}

fn npy_layout(front: &[u8], file_bytes: u64) -> Result<RowsLayout, TaskError> {
    let (dtype, shape, start) = npy::npy_front(front).map_err(|error| match error {
        TaskError::InvalidPayload { reason, .. } => broken(reason),
        other => other,
    })?;
    let (rows, dim) = match shape[..] {
        [rows] => (rows, 1),
        [rows, dim] => (rows, dim),
        _ => return Err(broken(format!("found shape {shape:?}; rows are [rows, dim], names [rows]"))),
    };
    whole(RowsLayout { dtype, rows, dim, start: start as u64, lead: 0 }, file_bytes)
}

fn vecs_layout(front: &[u8], file_bytes: u64, dtype: Dtype) -> Result<RowsLayout, TaskError> {
    let Some(length) = front.first_chunk::<4>() else { return Err(broken("shorter than the length of its first row")) };
    let dim = i32::from_le_bytes(*length);
    let Some(dim) = usize::try_from(dim).ok().filter(|dim| (1..=VECTOR_DIM_MAX).contains(dim)) else {
        return Err(broken(format!("its first row claims {dim} dimensions; allowed: 1 to {VECTOR_DIM_MAX}")));
    };
    let mut layout = RowsLayout { dtype, rows: 0, dim, start: 0, lead: 4 };
    layout.rows = usize::try_from(file_bytes / layout.stride() as u64).map_err(|_many| broken("too many rows"))?;
    whole(layout, file_bytes)
}

/// Errors: `InvalidPayload` when the rows do not fill the file to its end.
fn whole(layout: RowsLayout, file_bytes: u64) -> Result<RowsLayout, TaskError> {
    let end = (layout.rows as u64).checked_mul(layout.stride() as u64).and_then(|bytes| bytes.checked_add(layout.start));
    if end == Some(file_bytes) {
        return Ok(layout);
    }
    let expected = end.map_or_else(|| "too many".to_owned(), |end| end.to_string());
    let RowsLayout { dtype, rows, dim, .. } = layout;
    Err(broken(format!("{rows} rows of {dim} {} need a file of {expected} bytes, found {file_bytes}", dtype.name())))
}

fn broken(reason: impl Into<String>) -> TaskError {
    TaskError::invalid("file", reason)
}
