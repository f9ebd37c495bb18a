//! Products of activations with weights that are packed once: `x · wᵀ`, with bias, activation and residual fused behind the product.
//!
//! Weights are packed for the instructions in use when the model is loaded; nothing is re-packed per call. The packed form decides the arithmetic:
//! see [`Precision`]. Work is cut into strips of [`STRIP_ROWS`] rows whose result depends on nothing but their own rows, so a row of the product is
//! the same for any batch and any number of threads.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx_steps;
pub(crate) mod convert;
mod epilogue;
#[cfg(target_arch = "x86_64")]
mod finish_avx512;
pub(crate) mod pack;
pub(crate) mod portable;
mod reference;
pub(crate) mod rows;
pub(crate) mod strip;
pub mod tensor;
#[cfg(target_arch = "x86_64")]
mod vnni_avx512;

#[cfg(test)]
mod tests;

use half::bf16;
use rayon::prelude::*;

use crate::{Isa, KernelError, Stop, threads};
pub use epilogue::Epilogue;
pub use pack::{PackedWeights, Precision};
pub use reference::gemm as reference_gemm;
use strip::Strips;

/// Rows that are computed together.
pub const STRIP_ROWS: usize = 32;
/// Columns that are computed together.
pub const PANEL_COLUMNS: usize = 32;
/// Largest inner dimension or number of columns: offsets and `int8` sums stay far from their limits.
pub const GEMM_DIM_MAX: usize = 1 << 17;
/// Multiplications below which a product is not worth a second thread.
const SPLIT_PRODUCTS: usize = 1 << 21;
/// Rows of one piece of work for a thread.
const PIECE_ROWS: usize = 256;

/// Activations row by row.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half the bytes, as an earlier product may have left them.
    Bf16(&'a [bf16]),
}

impl<'a> Input<'a> {
    /// Numbers.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// True without a number.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn rows(self, range: std::ops::Range<usize>, inner: usize) -> Self {
        let range = range.start * inner..range.end * inner;
        match self {
            Self::F32(values) => Self::F32(&values[range]),
            Self::Bf16(values) => Self::Bf16(&values[range]),
        }
    }
}

/// Where a product goes.
#[derive(Debug)]
pub enum Output<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Rounded to nearest, ties to even.
    Bf16(&'a mut [bf16]),
}

impl Output<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Cuts it into pieces of whole rows.
    fn pieces(&mut self, numbers: usize) -> Vec<Output<'_>> {
        match self {
            Self::F32(values) => values.chunks_mut(numbers).map(Output::F32).collect(),
            Self::Bf16(values) => values.chunks_mut(numbers).map(Output::Bf16).collect(),
        }
    }
}

/// `x · wᵀ`, then bias, activation and residual, into `out`.
///
/// Shapes: `x` `[rows, inner]`, `weights` `[columns, inner]` as they were packed, `out` and the residual `[rows, columns]`, bias `[columns]`.
/// Accumulates in f32 (`int8`: in i32, exactly). NaN and infinities in `x` make the results they touch NaN or infinite with `Exact` and `Bf16`; with `Int8`
/// a row that holds one becomes NaN. Splits over the rayon pool of the calling thread where that pays.
/// Errors: `Mismatch` for sizes that do not fit each other, `Stopped` soon after `stop` says so.
pub fn gemm(
    x: Input<'_>,
    weights: &PackedWeights,
    epilogue: &Epilogue<'_>,
    mut out: Output<'_>,
    stop: Stop<'_>,
) -> Result<(), KernelError> {
    let (inner, columns) = (weights.inner(), weights.columns());
    let rows = x.len() / inner;
    let mismatch = |what, expected, got| Err(KernelError::Mismatch { op: "gemm", what, expected, got });
    if !x.len().is_multiple_of(inner) {
        return mismatch("inputs in the last row", inner, x.len() % inner);
    }
    if out.len() != rows * columns {
        return mismatch("outputs", rows * columns, out.len());
    }
    if let Some(bias) = epilogue.bias.filter(|bias| bias.len() != columns) {
        return mismatch("biases", columns, bias.len());
    }
    if let Some(residual) = epilogue.residual.filter(|residual| residual.len() != rows * columns) {
        return mismatch("residuals", rows * columns, residual.len());
    }
    let strips = Strips { weights, epilogue, stop };
    let count = threads::count();
    if count == 1 || rows * columns * inner < SPLIT_PRODUCTS {
        return strips.run((x, 0..rows), &mut out);
    }
    if rows < STRIP_ROWS * count {
        return by_columns(&strips, (x, rows), &mut out, count);
    }
    let piece_rows = rows.div_ceil(count).next_multiple_of(STRIP_ROWS).min(PIECE_ROWS);
    let pieces = out.pieces(piece_rows * columns);
    pieces.into_par_iter().enumerate().try_for_each(|(index, mut piece)| {
        let from = index * piece_rows;
        let range = from..from + piece.len() / columns;
        strips.run((x.rows(range.clone(), inner), range), &mut piece)
    })
}

/// Few rows: every thread computes some panels of columns into a buffer of its own.
fn by_columns(strips: &Strips<'_>, (x, rows): (Input<'_>, usize), out: &mut Output<'_>, threads: usize) -> Result<(), KernelError> {
    let columns = strips.weights.columns();
    let width = columns.div_ceil(threads).next_multiple_of(PANEL_COLUMNS);
    let starts: Vec<usize> = (0..columns).step_by(width).collect();
    match out {
        Output::F32(out) => {
            let computed: Vec<Vec<f32>> = starts
                .par_iter()
                .map(|&from| {
                    let range = from..(from + width).min(columns);
                    let mut part = vec![0f32; rows * range.len()];
                    strips.run_columns((x, 0..rows), range, &mut Output::F32(&mut part)).map(|()| part)
                })
                .collect::<Result<_, _>>()?;
            join(&computed, (&starts, columns), out);
        }
        Output::Bf16(out) => {
            let computed: Vec<Vec<bf16>> = starts
                .par_iter()
                .map(|&from| {
                    let range = from..(from + width).min(columns);
                    let mut part = vec![bf16::ZERO; rows * range.len()];
                    strips.run_columns((x, 0..rows), range, &mut Output::Bf16(&mut part)).map(|()| part)
                })
                .collect::<Result<_, _>>()?;
            join(&computed, (&starts, columns), out);
        }
    }
    Ok(())
}

/// Puts column ranges side by side.
fn join<T: Copy>(computed: &[Vec<T>], (starts, columns): (&[usize], usize), out: &mut [T]) {
    for (part, (&from, to)) in computed.iter().zip(starts.iter().zip(starts.iter().skip(1).copied().chain([columns]))) {
        for (row, part) in out.chunks_exact_mut(columns).zip(part.chunks_exact(to - from)) {
            row[from..to].copy_from_slice(part);
        }
    }
}

/// True where products of int8 have instructions of their own, so that they are faster than those of f32.
#[must_use]
pub fn has_int8_products(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return vnni_avx512::is_there(isa);
    #[cfg(not(target_arch = "x86_64"))]
    matches!(isa, Isa::Amx(_))
}

/// The level whose packed form and instructions a product uses.
fn level() -> Isa {
    Isa::active()
}
