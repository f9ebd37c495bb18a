//! LayerNorm and RMSNorm of rows.

mod portable;
mod reference;
pub mod tensor;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::{Isa, KernelError};

pub use reference::normalize as reference_norm;

/// Rows below which a second thread does not pay.
const SPLIT_NUMBERS: usize = 1 << 16;

/// A normalisation with its learned numbers, `[dim]` each.
#[derive(Clone, Copy, Debug)]
pub enum Norm<'a> {
    /// Mean 0 and variance 1 (of the population), then scale and shift (Ba et al. 2016, arXiv:1607.06450).
    Layer {
        /// Times this.
        scale: &'a [f32],
        /// Plus this.
        shift: Option<&'a [f32]>,
    },
    /// Root mean square 1, then scale (Zhang and Sennrich 2019, arXiv:1910.07467).
    Rms {
        /// Times this.
        scale: &'a [f32],
    },
}

impl<'a> Norm<'a> {
    fn scale(&self) -> &'a [f32] {
        match self {
            Self::Layer { scale, .. } | Self::Rms { scale } => scale,
        }
    }

    fn shift(&self) -> Option<&'a [f32]> {
        match self {
            Self::Layer { shift, .. } => *shift,
            Self::Rms { .. } => None,
        }
    }
}

/// Normalises every row of `rows` `[rows, dim]` into `out` of the same shape; `epsilon` is added to the variance or the mean square.
///
/// f32 over 16 partial sums, the mean taken off before squares are summed. A NaN or an infinity makes its row NaN. Splits over the rayon pool of the
/// calling thread by rows; a row's result does not depend on the others. Errors: `Mismatch` for sizes that do not fit.
pub fn normalize(rows: &[f32], norm: &Norm<'_>, epsilon: f32, out: &mut [f32]) -> Result<(), KernelError> {
    normalize_on(Isa::active(), (rows, epsilon), norm, out)
}

/// The same for a given level of instructions, for tests and comparisons.
pub fn normalize_on(isa: Isa, (rows, epsilon): (&[f32], f32), norm: &Norm<'_>, out: &mut [f32]) -> Result<(), KernelError> {
    let dim = norm.scale().len();
    let mismatch = |what, expected, got| Err(KernelError::Mismatch { op: "norm", what, expected, got });
    if dim == 0 || !rows.len().is_multiple_of(dim) {
        return mismatch("numbers in the last row", dim, rows.len() % dim.max(1));
    }
    if let Some(shift) = norm.shift().filter(|shift| shift.len() != dim) {
        return mismatch("shifts", dim, shift.len());
    }
    if out.len() != rows.len() {
        return mismatch("outputs", rows.len(), out.len());
    }
    let piece = |(rows, out): (&[f32], &mut [f32])| portable::rows(isa, (rows, epsilon), norm, out);
    if rows.len() < SPLIT_NUMBERS {
        piece((rows, out));
    } else {
        let numbers = SPLIT_NUMBERS.next_multiple_of(dim);
        rows.par_chunks(numbers).zip(out.par_chunks_mut(numbers)).for_each(piece);
    }
    Ok(())
}
