//! LayerNorm and RMSNorm of rows, alone or behind the addition of a residual.
//!
//! Statistics: `f32` over the lanes of the level in four chains, around a first mean whose own rounding is then taken off, joined in `f64`; so an
//! offset of the row costs no accuracy. A row is computed by itself, so no result depends on batch or threads.

mod reference;
mod rows;
pub mod tensor;

#[cfg(test)]
mod tests;

use half::bf16;
use rayon::prelude::*;

use crate::gemm::Output;
use crate::{Isa, KernelError, threads};
use rows::Place;

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

/// Where normalised rows go when a residual is added first.
#[derive(Debug)]
pub enum Target<'a> {
    /// Over the rows (as behind a block of BERT), and rounded to bf16 beside them where the next product reads it.
    InPlace(Option<&'a mut [bf16]>),
    /// Elsewhere; the rows keep the sum (as before a block of Llama).
    Beside(Output<'a>),
}

/// Normalises every row of `rows` `[rows, dim]` into `out` of the same shape; `epsilon` is added to the variance or the mean square.
///
/// A NaN or an infinity makes its row NaN. Splits over the rayon pool of the calling thread by rows; a row's result does not depend on the others.
/// Errors: `Mismatch` for sizes that do not fit.
pub fn normalize(rows: &[f32], norm: &Norm<'_>, epsilon: f32, out: &mut [f32]) -> Result<(), KernelError> {
    normalize_on(Isa::active(), (rows, epsilon), norm, Output::F32(out))
}

/// The same for a given level of instructions and either type of output.
pub fn normalize_on(isa: Isa, (rows, epsilon): (&[f32], f32), norm: &Norm<'_>, out: Output<'_>) -> Result<(), KernelError> {
    check(rows.len(), norm, &[("outputs", Some(out.len()))])?;
    let (single, half) = addresses(out);
    let place = Place { source: rows.as_ptr(), added: std::ptr::null(), sum: std::ptr::null_mut(), single, half };
    // SAFETY: rows and output are as long as each other, and both borrows last until the end.
    unsafe { split(isa, (place, rows.len()), norm, epsilon) };
    Ok(())
}

/// Adds `residual` `[rows, dim]`, if any, to `rows` `[rows, dim]` in place, and normalises the sum into the target of the same shape.
///
/// As [`normalize`] in one pass over memory.
pub fn add_normalize(
    (rows, residual): (&mut [f32], Option<&[f32]>),
    norm: &Norm<'_>,
    epsilon: f32,
    target: Target<'_>,
) -> Result<(), KernelError> {
    add_normalize_on(Isa::active(), (rows, residual), (norm, epsilon), target)
}

/// The same for a given level of instructions, for tests and comparisons.
pub fn add_normalize_on(
    isa: Isa,
    (rows, residual): (&mut [f32], Option<&[f32]>),
    (norm, epsilon): (&Norm<'_>, f32),
    target: Target<'_>,
) -> Result<(), KernelError> {
    let outputs = match &target {
        Target::InPlace(half) => half.as_ref().map(|half| half.len()),
        Target::Beside(out) => Some(out.len()),
    };
    check(rows.len(), norm, &[("outputs", outputs), ("residuals", residual.map(<[f32]>::len))])?;
    let sum = rows.as_mut_ptr();
    let (single, half) = match target {
        Target::InPlace(half) => (sum, half.map_or(std::ptr::null_mut(), |half| half.as_mut_ptr())),
        Target::Beside(out) => addresses(out),
    };
    let place = Place { source: sum, added: residual.map_or(std::ptr::null(), <[f32]>::as_ptr), sum, single, half };
    // SAFETY: all operands are as long as the rows, and their borrows last until the end.
    unsafe { split(isa, (place, rows.len()), norm, epsilon) };
    Ok(())
}

/// Errors of operands that do not fit `numbers` numbers of rows.
fn check(numbers: usize, norm: &Norm<'_>, others: &[(&'static str, Option<usize>)]) -> Result<(), KernelError> {
    let dim = norm.scale().len();
    let mismatch = |what, expected, got| Err(KernelError::Mismatch { op: "norm", what, expected, got });
    if dim == 0 || !numbers.is_multiple_of(dim) {
        return mismatch("numbers in the last row", dim, numbers % dim.max(1));
    }
    if let Some(shift) = norm.shift().filter(|shift| shift.len() != dim) {
        return mismatch("shifts", dim, shift.len());
    }
    match others.iter().find(|(_, len)| len.is_some_and(|len| len != numbers)) {
        Some((what, len)) => mismatch(what, numbers, len.unwrap_or(0)),
        None => Ok(()),
    }
}

fn addresses(out: Output<'_>) -> (*mut f32, *mut bf16) {
    match out {
        Output::F32(out) => (out.as_mut_ptr(), std::ptr::null_mut()),
        Output::Bf16(out) => (std::ptr::null_mut(), out.as_mut_ptr()),
    }
}

/// Normalises on as many threads as pay.
///
/// # Safety
/// Every address of the place that is not null is good for `numbers` numbers, which are whole rows, until this returns; the norm was checked.
unsafe fn split(isa: Isa, (place, numbers): (Place, usize), norm: &Norm<'_>, epsilon: f32) {
    let dim = norm.scale().len();
    if numbers < SPLIT_NUMBERS || threads::count() == 1 {
        // SAFETY: granted by the caller.
        return unsafe { rows::rows(isa, place, numbers / dim, norm, epsilon) };
    }
    let piece = SPLIT_NUMBERS.next_multiple_of(dim);
    (0..numbers.div_ceil(piece)).into_par_iter().for_each(|index| {
        let from = index * piece;
        // SAFETY: the pieces are disjoint and end at the last row; the rest is granted by the caller.
        unsafe { rows::rows(isa, place.at(from), piece.min(numbers - from) / dim, norm, epsilon) }
    });
}
