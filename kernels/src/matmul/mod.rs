//! Matrix products through the `gemm` crate, cut so that no row of the product depends on the other rows of its batch.

mod portable;
mod reference;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::{KernelError, Rows, Stop};
use portable::{BLOCK_ROWS, Right};

pub use reference::matmul as reference_matmul;

/// How the right operand lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightLayout {
    /// `[inner, columns]`: an ordinary product.
    AsIs,
    /// `[columns, inner]`: the product with the transpose.
    Transposed,
}

/// The product of `a` `[rows, inner]` and `b` into `out` `[rows, columns]`; `f32` products accumulated in `f32`.
///
/// NaN and infinities follow IEEE 754. Splits over the rayon pool by blocks of rows of equal height (the last one padded with zero rows), so a
/// row's result does not depend on batch or threads. Asks `stop` between blocks.
/// Errors: `Mismatch` when the inner lengths differ or `out` has another size, `Stopped`.
pub fn matmul(a: Rows<'_>, right: (Rows<'_>, RightLayout), out: &mut [f32], stop: Stop<'_>) -> Result<(), KernelError> {
    let (b, layout) = right;
    let (inner, columns) = match layout {
        RightLayout::AsIs => (b.len(), b.dim()),
        RightLayout::Transposed => (b.dim(), b.len()),
    };
    if a.dim() != inner {
        return Err(KernelError::Mismatch { op: "matmul", what: "inner dimensions", expected: a.dim(), got: inner });
    }
    let expected = a.len().saturating_mul(columns);
    if out.len() != expected {
        return Err(KernelError::Mismatch { op: "matmul", what: "outputs", expected, got: out.len() });
    }
    if out.is_empty() {
        return Ok(());
    }
    let right = Right::new(b, layout, columns);
    out.par_chunks_mut(BLOCK_ROWS * columns).enumerate().try_for_each(|(index, out)| {
        let from = index * BLOCK_ROWS;
        let rows = a.slice(from..from + out.len() / columns);
        portable::block(rows, right, out, stop)
    })
}
