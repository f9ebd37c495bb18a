//! Rows as a set stores them, and what was computed of each row when it was stored.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::exact;
use crate::distance::Metric;
use crate::{DIM_MAX, Isa, KernelError, Rows, quantize};

/// Rows per piece of parallel work.
const PIECE_ROWS: usize = 256;

/// Row-major rows in the width they are stored in, any alignment of their type.
#[derive(Clone, Copy, Debug)]
pub enum StoredRows<'a> {
    /// Single precision, `[rows, dim]`.
    F32(&'a [f32]),
    /// binary16, `[rows, dim]`.
    F16(&'a [f16]),
    /// bfloat16, `[rows, dim]`.
    Bf16(&'a [bf16]),
    /// 8-bit integers; a value is its integer times its row's scale, rounded to f32, as [`crate::quantize::from_int8`] has it.
    Int8 {
        /// -127..=127, `[rows, dim]`.
        values: &'a [i8],
        /// `[rows]`.
        scales: &'a [f32],
    },
    /// Packed bits, `[rows, dim / 64 rounded up]`: eight bytes of [`crate::BitRows`] to a word, the first the lowest, and zeros behind the last dimension.
    Binary(&'a [u64]),
}

/// A smaller form of the same rows, from which most rows can be told not to belong to an answer.
#[derive(Clone, Copy, Debug)]
pub enum Sketch<'a> {
    /// 8-bit integers with what they leave out.
    Int8 {
        /// -127..=127, `[rows, dim]`.
        values: &'a [i8],
        /// `[rows]`.
        scales: &'a [f32],
        /// Upper bounds on the Euclidean length of the row minus its sketch, `[rows]`.
        residuals: &'a [f32],
    },
}

/// An [`Sketch::Int8`] that owns its memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Sketch {
    /// `[rows, dim]`.
    pub values: Vec<i8>,
    /// `[rows]`.
    pub scales: Vec<f32>,
    /// `[rows]`.
    pub residuals: Vec<f32>,
}

/// Some rows of a set.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The rows.
    pub rows: StoredRows<'a>,
    /// What [`norms`] gave for them, `[rows]`; empty for packed bits. Other numbers lead to wrong answers.
    pub norms: &'a [f32],
    /// What [`Int8Sketch::of`] made of them; others lead to wrong answers.
    pub sketch: Option<Sketch<'a>>,
    /// One bit a row, the lowest of a word first: rows that may be in an answer. All may without it.
    pub admitted: Option<&'a [u64]>,
}

impl StoredRows<'_> {
    /// Number of rows of `dim` dimensions. Errors: `Mismatch` when there are no whole rows, or other than one scale per row.
    pub fn len(self, dim: usize) -> Result<usize, KernelError> {
        if dim == 0 || dim > DIM_MAX {
            return Err(KernelError::OutOfRange { op: "stored rows", what: "dimensions", max: DIM_MAX, got: dim });
        }
        let (numbers, row) = match self {
            Self::F32(values) => (values.len(), dim),
            Self::F16(values) => (values.len(), dim),
            Self::Bf16(values) => (values.len(), dim),
            Self::Int8 { values, .. } => (values.len(), dim),
            Self::Binary(words) => (words.len(), dim.div_ceil(64)),
        };
        if !numbers.is_multiple_of(row) {
            return Err(KernelError::Mismatch { op: "stored rows", what: "numbers in the last row", expected: row, got: numbers % row });
        }
        let len = numbers / row;
        match self {
            Self::Int8 { scales, .. } => same("stored rows", "scales", len, scales.len()).map(|()| len),
            _ => Ok(len),
        }
    }

    /// Bytes of a row as it is stored, its scale included.
    #[must_use]
    pub fn row_bytes(self, dim: usize) -> usize {
        match self {
            Self::F32(_) => dim * 4,
            Self::F16(_) | Self::Bf16(_) => dim * 2,
            Self::Int8 { .. } => dim + 4,
            Self::Binary(_) => dim.div_ceil(64) * 8,
        }
    }

    /// Where a row of `dim` dimensions lies, and its bytes; a row that is not there lies somewhere, too.
    pub(super) fn address(self, row: usize, dim: usize) -> (*const u8, usize) {
        let (start, bytes) = match self {
            Self::F32(values) => (values.as_ptr().cast::<u8>(), dim * 4),
            Self::F16(values) => (values.as_ptr().cast(), dim * 2),
            Self::Bf16(values) => (values.as_ptr().cast(), dim * 2),
            Self::Int8 { values, .. } => (values.as_ptr().cast(), dim),
            Self::Binary(words) => (words.as_ptr().cast(), dim.div_ceil(64) * 8),
        };
        (start.wrapping_add(row * bytes), bytes)
    }

    /// Fetches a row into the cache; reads nothing.
    pub(super) fn fetch(self, row: usize, dim: usize) {
        let (start, bytes) = self.address(row, dim);
        (0..bytes).step_by(64).for_each(|at| fetch(start.wrapping_add(at)));
    }

    /// Writes one row as f32; bits become 1.0 and 0.0. Panics when there is no such row, as slices do.
    pub fn widen(self, row: usize, out: &mut [f32]) {
        let dim = out.len();
        let range = row * dim..(row + 1) * dim;
        match self {
            Self::F32(values) => out.copy_from_slice(&values[range]),
            Self::F16(values) => values[range].convert_to_f32_slice(out),
            Self::Bf16(values) => out.iter_mut().zip(&values[range]).for_each(|(out, value)| *out = value.to_f32()),
            Self::Int8 { values, scales } => {
                let scale = scales[row];
                out.iter_mut().zip(&values[range]).for_each(|(out, value)| *out = f32::from(*value) * scale);
            }
            Self::Binary(words) => {
                let words = &words[row * dim.div_ceil(64)..][..dim.div_ceil(64)];
                out.iter_mut().enumerate().for_each(|(at, out)| *out = f32::from(u8::from(bit(words, at))));
            }
        }
    }
}

/// Fetches a line into the cache; reads nothing, so any address will do.
#[inline(always)]
pub(super) fn fetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, for whatever address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _hint_of_another_processor = address;
}

/// The bit of a dimension.
fn bit(words: &[u64], at: usize) -> bool {
    words[at / 64] >> (at % 64 / 8 * 8 + 7 - at % 8) & 1 == 1
}

impl Block<'_> {
    /// The number of rows, when all parts fit each other and the metric.
    pub(super) fn check(&self, op: &'static str, metric: Metric, dim: usize) -> Result<usize, KernelError> {
        let len = self.rows.len(dim)?;
        let is_binary = matches!(self.rows, StoredRows::Binary(_));
        if is_binary && !metric.applies_to_bits() {
            return Err(KernelError::Unsupported { op, reason: "packed bits are compared by hamming or jaccard only" });
        }
        same(op, "norms", if is_binary { 0 } else { len }, self.norms.len())?;
        if let Some(admitted) = self.admitted {
            same(op, "words of admitted rows", len.div_ceil(64), admitted.len())?;
        }
        match self.sketch {
            Some(_) if is_binary => Err(KernelError::Unsupported { op, reason: "packed bits have no sketch; leave it out" }),
            Some(Sketch::Int8 { values, scales, residuals }) => {
                same(op, "numbers of the sketch", len * dim, values.len())?;
                same(op, "scales of the sketch", len, scales.len())?;
                same(op, "residuals of the sketch", len, residuals.len()).map(|()| len)
            }
            None => Ok(len),
        }
    }

    /// True for a row that may be in an answer.
    #[inline]
    pub(super) fn admits(&self, row: usize) -> bool {
        self.admitted.is_none_or(|words| words[row / 64] >> (row % 64) & 1 == 1)
    }
}

fn same(op: &'static str, what: &'static str, expected: usize, got: usize) -> Result<(), KernelError> {
    if expected == got { Ok(()) } else { Err(KernelError::Mismatch { op, what, expected, got }) }
}

/// The Euclidean length of every row, `[rows]`, summed in f64 and rounded to f32: NaN for rows with NaN, infinite beyond the range of f32. None for packed bits.
///
/// Splits over the rayon pool. Errors: as [`StoredRows::len`].
pub fn norms(rows: StoredRows<'_>, dim: usize) -> Result<Vec<f32>, KernelError> {
    let len = rows.len(dim)?;
    if matches!(rows, StoredRows::Binary(_)) {
        return Ok(Vec::new());
    }
    let isa = Isa::active();
    let mut out = vec![0f32; len];
    out.par_chunks_mut(PIECE_ROWS).enumerate().for_each(|(piece, out)| {
        let mut scorer = exact::Scorer::new(isa, rows, dim);
        for (at, out) in out.iter_mut().enumerate() {
            scorer.load(piece * PIECE_ROWS + at);
            *out = scorer.square().sqrt() as f32;
        }
    });
    Ok(out)
}

impl Int8Sketch {
    /// Rounds every row to 8-bit integers as [`crate::quantize::to_int8`] does, and measures what that leaves. A row that is not finite has a sketch of zeros and
    /// an infinite residual.
    ///
    /// Splits over the rayon pool. Errors: as [`StoredRows::len`]; `Unsupported` for packed bits.
    pub fn of(rows: StoredRows<'_>, dim: usize) -> Result<Self, KernelError> {
        let len = rows.len(dim)?;
        if matches!(rows, StoredRows::Binary(_)) {
            return Err(KernelError::Unsupported { op: "int8 sketch", reason: "packed bits are smaller than the sketch" });
        }
        let (mut values, mut scales, mut residuals) = (vec![0i8; len * dim], vec![0f32; len], vec![0f32; len]);
        let pieces =
            values.par_chunks_mut(PIECE_ROWS * dim).zip(scales.par_chunks_mut(PIECE_ROWS)).zip(residuals.par_chunks_mut(PIECE_ROWS));
        pieces.enumerate().for_each(|(piece, ((values, scales), residuals))| {
            let mut row = vec![0f32; dim];
            for (at, values) in values.chunks_exact_mut(dim).enumerate() {
                rows.widen(piece * PIECE_ROWS + at, &mut row);
                (scales[at], residuals[at]) = sketch_row(&row, values);
            }
        });
        Ok(Self { values, scales, residuals })
    }

    /// The sketch of a block.
    #[must_use]
    pub fn sketch(&self) -> Sketch<'_> {
        Sketch::Int8 { values: &self.values, scales: &self.scales, residuals: &self.residuals }
    }
}

/// Writes the sketch of one row; gives its scale, and an upper bound on the length of what it leaves.
fn sketch_row(row: &[f32], out: &mut [i8]) -> (f32, f32) {
    let finite = Rows::new(row, row.len()).and_then(quantize::to_int8);
    let Ok(rounded) = finite else {
        out.fill(0);
        return (0.0, f32::INFINITY);
    };
    out.copy_from_slice(&rounded.values);
    let scale = rounded.scales[0];
    (scale, residual(row, out, scale))
}

/// An upper bound on the length of `row` minus `scale` times `rounded`.
pub(super) fn residual(row: &[f32], rounded: &[i8], scale: f32) -> f32 {
    let left = |(value, rounded): (&f32, &i8)| f64::from(*value) - f64::from(*rounded) * f64::from(scale);
    let square: f64 = row.iter().zip(rounded).map(left).map(|left| left * left).sum();
    // A sum in f64 errs by less than a millionth for any number of dimensions that is allowed, and so does the rounding to f32.
    (square.sqrt() * (1.0 + 1e-6)) as f32 + f32::MIN_POSITIVE
}
