//! The values of a segment's rows in the dtype of their set, row after row.

use std::ops::Range;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use tallow_kernels::search::StoredRows;
use tallow_kernels::{BitRows, KernelError, Rows, quantize};

use super::lines::Lines;
use super::{RowDtype, SetError, SetSpec};

/// Rows that are converted at once: bounds what a conversion holds beside its result.
pub(super) const PIECE_ROWS: usize = 256;

/// Rows as they come in: values, or packed bits for binary sets.
#[derive(Clone, Copy, Debug)]
pub enum RowsIn<'a> {
    /// `[rows, dim]`.
    Values(&'a [f32]),
    /// `[rows, dim / 8 rounded up]`, most significant bit first, padding bits zero.
    Bits(&'a [u8]),
}

/// Where rows come from, piece by piece: memory or a file.
pub trait RowFeed: Sync {
    /// How many rows there are of `dim` dimensions; `None` when they are no whole rows.
    fn count(&self, dim: usize) -> Option<usize>;

    /// Some of them, in `buffer` where they do not lie in memory as they are needed. Errors: what is wrong with them.
    fn rows<'a>(&'a self, range: Range<usize>, dim: usize, buffer: &'a mut FeedBuffer) -> Result<RowsIn<'a>, SetError>;
}

/// What a feed may use for one piece.
#[derive(Default)]
pub struct FeedBuffer {
    /// For values.
    pub values: Vec<f32>,
    /// For bytes.
    pub bytes: Vec<u8>,
}

impl RowFeed for RowsIn<'_> {
    fn count(&self, dim: usize) -> Option<usize> {
        let (found, width) = match self {
            Self::Values(values) => (values.len(), dim),
            Self::Bits(bytes) => (bytes.len(), dim.div_ceil(8)),
        };
        found.is_multiple_of(width).then_some(found / width)
    }

    fn rows<'a>(&'a self, range: Range<usize>, dim: usize, _unused: &'a mut FeedBuffer) -> Result<RowsIn<'a>, SetError> {
        Ok(self.slice(range.start, range.end, dim))
    }
}

impl RowsIn<'_> {
    /// Errors: `Invalid` at `vectors` when these are no whole rows of the set.
    pub(super) fn count_of(self, spec: &SetSpec) -> Result<usize, SetError> {
        let (found, width) = match self {
            Self::Values(values) => (values.len(), spec.dim),
            Self::Bits(bytes) => (bytes.len(), spec.dim.div_ceil(8)),
        };
        if matches!(self, Self::Bits(_)) && spec.dtype != RowDtype::Binary {
            return Err(SetError::invalid("vectors", format!("found packed bits; the set keeps {}", spec.dtype.name())));
        }
        if !found.is_multiple_of(width) {
            return Err(SetError::invalid("vectors", format!("found {found} numbers; the set's rows have {width}")));
        }
        Ok(found / width)
    }

    fn slice(self, from: usize, to: usize, dim: usize) -> Self {
        match self {
            Self::Values(values) => Self::Values(&values[from * dim..to * dim]),
            Self::Bits(bytes) => Self::Bits(&bytes[from * dim.div_ceil(8)..to * dim.div_ceil(8)]),
        }
    }
}

/// A fixed number of rows.
pub(super) struct RowValues {
    dtype: RowDtype,
    dim: usize,
    count: usize,
    lines: Lines,
    /// One a row for int8, else empty.
    scales: Vec<f32>,
}

impl RowValues {
    /// So many rows of zeros.
    pub(super) fn zeroed(dtype: RowDtype, dim: usize, count: usize) -> Self {
        let scales = if dtype == RowDtype::Int8 { vec![0.0; count] } else { Vec::new() };
        Self { dtype, dim, count, lines: Lines::zeroed(dtype.value_bytes(dim) * count), scales }
    }

    /// Heap bytes of so many rows.
    pub(super) fn bytes_of(dtype: RowDtype, dim: usize, count: usize) -> u64 {
        let scales = if dtype == RowDtype::Int8 { count as u64 * 4 } else { 0 };
        Lines::bytes_of(dtype.value_bytes(dim) * count) + scales
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(super) fn raw(&self) -> &[u8] {
        self.lines.bytes()
    }

    pub(super) fn raw_mut(&mut self) -> (&mut [u8], &mut [f32]) {
        (self.lines.bytes_mut(), &mut self.scales)
    }

    pub(super) fn f32(&self) -> &[f32] {
        self.lines.values()
    }

    pub(super) fn f16(&self) -> &[f16] {
        self.lines.values()
    }

    pub(super) fn bf16(&self) -> &[bf16] {
        self.lines.values()
    }

    /// Bits as the kernels take them: the first byte of a row is the lowest of its first word.
    pub(super) fn stored(&self) -> StoredRows<'_> {
        match self.dtype {
            RowDtype::F32 => StoredRows::F32(self.f32()),
            RowDtype::F16 => StoredRows::F16(self.f16()),
            RowDtype::Bf16 => StoredRows::Bf16(self.bf16()),
            RowDtype::Int8 => StoredRows::Int8 { values: self.i8(), scales: &self.scales },
            RowDtype::Binary => StoredRows::Binary(self.lines.values()),
        }
    }

    pub(super) fn i8(&self) -> &[i8] {
        self.lines.values()
    }

    /// Converts rows into the places from `at`. `first` is the number of the first of them for errors.
    ///
    /// Errors: `Invalid` at `vectors[row][column]` for a value that the dtype cannot hold; `Stopped`.
    pub(super) fn write(&mut self, at: usize, rows: RowsIn<'_>, (first, stop): (usize, &dyn Fn() -> bool)) -> Result<(), SetError> {
        let count = match rows {
            RowsIn::Values(values) => values.len() / self.dim,
            RowsIn::Bits(bytes) => bytes.len() / self.dim.div_ceil(8),
        };
        for from in (0..count).step_by(PIECE_ROWS) {
            if stop() {
                return Err(SetError::Stopped);
            }
            let to = count.min(from + PIECE_ROWS);
            let written = self.write_piece(at + from, rows.slice(from, to, self.dim));
            written.map_err(|error| refused(&error, first + from))?;
        }
        Ok(())
    }

    fn write_piece(&mut self, at: usize, rows: RowsIn<'_>) -> Result<(), KernelError> {
        let dim = self.dim;
        let values = match rows {
            RowsIn::Bits(bytes) => {
                self.write_bits(at, BitRows::new(bytes, dim)?);
                return Ok(());
            }
            RowsIn::Values(values) => Rows::new(values, dim)?,
        };
        let place = at * dim..at * dim + values.values().len();
        match self.dtype {
            RowDtype::F32 => self.lines.values_mut::<f32>()[place].copy_from_slice(values.values()),
            RowDtype::F16 => self.lines.values_mut::<f16>()[place].copy_from_slice(&quantize::to_f16(values)?),
            RowDtype::Bf16 => self.lines.values_mut::<bf16>()[place].copy_from_slice(&quantize::to_bf16(values)?),
            RowDtype::Int8 => {
                let rows = quantize::to_int8(values)?;
                self.lines.values_mut::<i8>()[place].copy_from_slice(&rows.values);
                self.scales[at..at + rows.scales.len()].copy_from_slice(&rows.scales);
            }
            RowDtype::Binary => {
                let bits = quantize::to_bits(values)?;
                self.write_bits(at, BitRows::new(&bits, dim)?);
            }
        }
        Ok(())
    }

    /// Bits lie in whole words; those behind the last dimension stay zero.
    fn write_bits(&mut self, at: usize, bits: BitRows<'_>) {
        let width = self.dtype.value_bytes(self.dim);
        for row in 0..bits.len() {
            self.lines.bytes_mut()[(at + row) * width..][..bits.stride()].copy_from_slice(bits.row(row));
        }
    }

    /// True when no bit behind the last dimension is set: what comes from a file may say anything.
    pub(super) fn is_sound(&self) -> bool {
        self.dtype != RowDtype::Binary
            || (0..self.count).all(|row| {
                let (bytes, used) = (self.raw_row(row), self.dim % 8);
                let whole = self.dim / 8;
                let part = bytes.get(whole).copied().unwrap_or(0) & (0xffu16 >> used) as u8;
                let behind = if used == 0 { whole } else { whole + 1 };
                (used == 0 || part == 0) && bytes[behind..].iter().all(|byte| *byte == 0)
            })
    }

    /// Takes one row of another of the same dtype and dimension.
    pub(super) fn take(&mut self, at: usize, other: &Self, row: usize) {
        let width = self.dtype.value_bytes(self.dim);
        self.lines.bytes_mut()[at * width..][..width].copy_from_slice(&other.lines.bytes()[row * width..][..width]);
        if let Some(scale) = self.scales.get_mut(at) {
            *scale = other.scales[row];
        }
    }

    /// A row as values: exact for all but bits, which become 1.0 and 0.0.
    pub(super) fn widened(&self, row: usize, out: &mut [f32]) {
        let place = row * self.dim..(row + 1) * self.dim;
        match self.dtype {
            RowDtype::F32 => out.copy_from_slice(&self.f32()[place]),
            RowDtype::F16 => self.f16()[place].convert_to_f32_slice(out),
            RowDtype::Bf16 => self.bf16()[place].convert_to_f32_slice(out),
            RowDtype::Int8 => {
                out.iter_mut().zip(&self.i8()[place]).for_each(|(out, value)| *out = f32::from(*value) * self.scales[row]);
            }
            RowDtype::Binary => {
                let bytes = self.raw_row(row);
                out.iter_mut().enumerate().for_each(|(bit, out)| *out = f32::from(bytes[bit / 8] >> (7 - bit % 8) & 1));
            }
        }
    }

    /// The bytes of a row as they are kept.
    pub(super) fn raw_row(&self, row: usize) -> &[u8] {
        let width = self.dtype.value_bytes(self.dim);
        &self.raw()[row * width..][..width]
    }
}

/// A kernel's refusal, told at its place among all rows of the call.
fn refused(error: &KernelError, first: usize) -> SetError {
    match error {
        KernelError::Stopped => SetError::Stopped,
        KernelError::NotRepresentable { row, column, .. } => {
            SetError::invalid(format!("vectors[{}][{column}]", first + row), error.to_string())
        }
        other => SetError::invalid("vectors", other.to_string()),
    }
}
