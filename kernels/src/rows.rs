//! Borrowed row-major matrices whose shape is checked once, at construction.

use std::ops::Range;

use rayon::prelude::*;

use crate::KernelError;

/// Largest number of dimensions of a row of values; packed bits may have eight times as many.
pub const DIM_MAX: usize = 1 << 24;

/// Asked between blocks of work (a few milliseconds apart); `true` ends the kernel with [`KernelError::Stopped`].
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// A [`Stop`] for callers that never stop.
#[must_use]
pub fn never_stop() -> bool {
    false
}

/// Where the first NaN or infinity is. Splits over the rayon pool; runs at the speed of memory where there is none.
#[must_use]
pub fn first_non_finite(values: &[f32]) -> Option<usize> {
    const PIECE: usize = 1 << 14;
    // A piece is judged whole, without a way out, because only then the compiler vectorises the loop.
    let fails = |piece: &[f32]| piece.iter().fold(0u32, |fails, value| fails | u32::from(value.to_bits() << 1 >= 0xFF00_0000)) != 0;
    let piece = values.par_chunks(PIECE).position_first(fails)?;
    values[piece * PIECE..].iter().position(|value| !value.is_finite()).map(|index| piece * PIECE + index)
}

/// `f32` rows `[rows, dim]`, contiguous, any alignment of 4. `dim` is at least 1; the number of rows may be 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rows<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Rows<'a> {
    /// Ties values to a row length. Errors: `OutOfRange` for `dim` 0 or above [`DIM_MAX`], `Mismatch` when the values are no whole rows.
    pub fn new(values: &'a [f32], dim: usize) -> Result<Self, KernelError> {
        if dim == 0 || dim > DIM_MAX {
            return Err(KernelError::OutOfRange { op: "rows", what: "dimensions", max: DIM_MAX, got: dim });
        }
        if !values.len().is_multiple_of(dim) {
            return Err(KernelError::Mismatch { op: "rows", what: "dimensions", expected: dim, got: values.len() % dim });
        }
        Ok(Self { values, dim })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(self) -> usize {
        self.values.len() / self.dim
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.values.is_empty()
    }

    /// Values per row.
    #[must_use]
    pub fn dim(self) -> usize {
        self.dim
    }

    /// All values, row after row.
    #[must_use]
    pub fn values(self) -> &'a [f32] {
        self.values
    }

    /// One row. Panics when `row` is not below [`Self::len`], as slices do.
    #[must_use]
    pub fn row(self, row: usize) -> &'a [f32] {
        &self.values[row * self.dim..][..self.dim]
    }

    /// The rows of a range. Panics when the range ends beyond [`Self::len`], as slices do.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Self {
        Self { values: &self.values[range.start * self.dim..range.end * self.dim], dim: self.dim }
    }

    /// Row after row.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.dim)
    }
}

/// Rows of packed bits `[rows, bits / 8 rounded up]`, most significant bit first as `numpy.packbits` writes them.
/// Bits beyond `bits` in the last byte of a row must be zero; [`BitRows::new`] checks it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BitRows<'a> {
    bytes: &'a [u8],
    bits: usize,
}

impl<'a> BitRows<'a> {
    /// Ties bytes to a number of bits per row. Errors: `OutOfRange`, `Mismatch` when the bytes are no whole rows,
    /// `Unsupported` when a padding bit is set.
    pub fn new(bytes: &'a [u8], bits: usize) -> Result<Self, KernelError> {
        if bits == 0 || bits > DIM_MAX * 8 {
            return Err(KernelError::OutOfRange { op: "bit rows", what: "bits", max: DIM_MAX * 8, got: bits });
        }
        let stride = bits.div_ceil(8);
        if !bytes.len().is_multiple_of(stride) {
            return Err(KernelError::Mismatch { op: "bit rows", what: "bytes per row", expected: stride, got: bytes.len() % stride });
        }
        let padding = (1u16 << (stride * 8 - bits)) as u8;
        let padding_mask = padding.wrapping_sub(1);
        if padding_mask != 0 && bytes.chunks_exact(stride).any(|row| row[stride - 1] & padding_mask != 0) {
            return Err(KernelError::Unsupported {
                op: "bit rows",
                reason: "a padding bit after the last dimension is set; it must be zero",
            });
        }
        Ok(Self { bytes, bits })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(self) -> usize {
        self.bytes.len() / self.stride()
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// Bits per row.
    #[must_use]
    pub fn bits(self) -> usize {
        self.bits
    }

    /// Bytes per row.
    #[must_use]
    pub fn stride(self) -> usize {
        self.bits.div_ceil(8)
    }

    /// One row of bytes. Panics when `row` is not below [`Self::len`], as slices do.
    #[must_use]
    pub fn row(self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.stride()..][..self.stride()]
    }

    /// The rows of a range. Panics when the range ends beyond [`Self::len`], as slices do.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Self {
        let stride = self.stride();
        Self { bytes: &self.bytes[range.start * stride..range.end * stride], bits: self.bits }
    }
}

/// Rows of either kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operand<'a> {
    /// `f32` values.
    Real(Rows<'a>),
    /// Packed bits.
    Bits(BitRows<'a>),
}

impl Operand<'_> {
    /// Number of rows.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Real(rows) => rows.len(),
            Self::Bits(rows) => rows.len(),
        }
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Dimensions of a row: values, or bits.
    #[must_use]
    pub fn dim(self) -> usize {
        match self {
            Self::Real(rows) => rows.dim(),
            Self::Bits(rows) => rows.bits(),
        }
    }

    /// The rows of a range. Panics when the range ends beyond [`Self::len`], as slices do.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Self {
        match self {
            Self::Real(rows) => Self::Real(rows.slice(range)),
            Self::Bits(rows) => Self::Bits(rows.slice(range)),
        }
    }
}

impl<'a> From<Rows<'a>> for Operand<'a> {
    fn from(rows: Rows<'a>) -> Self {
        Self::Real(rows)
    }
}

impl<'a> From<BitRows<'a>> for Operand<'a> {
    fn from(rows: BitRows<'a>) -> Self {
        Self::Bits(rows)
    }
}
