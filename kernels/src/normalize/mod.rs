//! Rows scaled to length one, in place. Norms accumulate in `f64`, each element is divided in `f64` and rounded once to `f32`.

mod portable;
mod reference;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::{KernelError, Rows};

pub use reference::normalize as reference_normalize;

/// What becomes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Norm {
    /// Square root of the sum of squares.
    L2,
    /// Sum of absolute values.
    L1,
    /// Largest absolute value.
    Max,
}

/// Scales every row of `values` `[rows, dim]` to norm one; returns how many rows were zero and stay so.
///
/// A row with NaN or an infinity becomes NaN where the division says so. Splits over the rayon pool; no row depends on another.
/// Errors: as [`Rows::new`].
pub fn normalize(norm: Norm, values: &mut [f32], dim: usize) -> Result<usize, KernelError> {
    Rows::new(values, dim)?;
    // Whole rows of at least a few thousand values keep the cost of splitting small.
    let rows_per_piece = (1usize << 14).div_ceil(dim);
    let zero_rows = |piece: &mut [f32]| piece.chunks_exact_mut(dim).filter_map(|row| portable::row(norm, row).then_some(())).count();
    Ok(values.par_chunks_mut(rows_per_piece * dim).map(zero_rows).sum())
}

/// The norm of one row, accumulated in `f64`. Empty: 0.0. NaN: NaN (for [`Norm::Max`] too).
#[must_use]
pub fn norm(norm: Norm, row: &[f32]) -> f64 {
    portable::norm(norm, row)
}
