//! All directions through the covariance (or, with fewer rows than dimensions, the Gram matrix) in `f64`.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::Principal;
use super::centred::{BLOCK_ROWS, Centred};
use super::eigen::{Eigen, decompose};
use crate::executor::vector::input::Shape;
use crate::task::{CancelHandle, TaskError};

/// Largest side of the matrix that is decomposed: the smaller of rows and dimensions.
pub(in crate::executor::vector) const SIDE_MAX: usize = 1536;
/// A variance below this share of the largest is rounding, not a direction.
pub(in crate::executor::vector) const RANK_TOLERANCE: f64 = 1e-12;
/// Columns of the covariance that one thread computes.
const STRIP: usize = 64;

/// Bytes that are held beside the vectors and the answer.
pub(in crate::executor::vector) fn bytes(shape: Shape) -> u64 {
    // The decomposition holds the matrix, a work copy, its reflections and its vectors twice; the Gram matrix needs all rows centred in f64.
    let side = shape.rows.min(shape.dim) as u64;
    let centred = if uses_gram(shape.rows, shape.dim) { shape.elements() } else { BLOCK_ROWS * shape.dim };
    side * side * 8 * 5 + centred as u64 * 8
}

/// With fewer rows than dimensions the rows' products have the same variances and a smaller side.
fn uses_gram(rows: usize, dim: usize) -> bool {
    rows < dim
}

/// The `count` directions of greatest variance.
pub(in crate::executor::vector) fn solve(data: &Centred<'_>, count: usize, cancel: &CancelHandle) -> Result<Principal, TaskError> {
    if uses_gram(data.rows.len(), data.rows.dim()) { by_gram(data, count, cancel) } else { by_covariance(data, count, cancel) }
}

fn by_covariance(data: &Centred<'_>, count: usize, cancel: &CancelHandle) -> Result<Principal, TaskError> {
    let dim = data.rows.dim();
    let mut covariance = Array2::<f64>::zeros((dim, dim));
    for from in data.starts() {
        cancel.check()?;
        let block = data.block(from);
        // Each strip is summed over the blocks in their order, so the threads do not change the result.
        covariance.axis_chunks_iter_mut(Axis(0), STRIP).into_par_iter().enumerate().for_each(|(strip, mut out)| {
            let columns = block.slice_axis(Axis(1), (strip * STRIP..strip * STRIP + out.nrows()).into());
            general_mat_mul(1.0, &columns.t(), &block, 1.0, &mut out);
        });
    }
    covariance /= data.rows.len() as f64 - 1.0;
    let total = covariance.diag().sum();
    let Eigen { values, vectors } = decompose(&covariance, count, cancel)?;
    Ok(Principal { directions: vectors, variances: values, total })
}

fn by_gram(data: &Centred<'_>, count: usize, cancel: &CancelHandle) -> Result<Principal, TaskError> {
    let blocks: Vec<Array2<f64>> = data.starts().map(|from| data.block(from)).collect();
    let views: Vec<_> = blocks.iter().map(|block| block.view()).collect();
    let rows = ndarray::concatenate(Axis(0), &views)
        .map_err(|error| TaskError::internal("blocks of equal width did not join", error.to_string()))?;
    let row_count = rows.nrows();
    let mut gram = Array2::<f64>::zeros((row_count, row_count));
    let strips = gram.axis_chunks_iter_mut(Axis(0), STRIP).into_par_iter().enumerate();
    strips.try_for_each(|(strip, mut out)| {
        cancel.check()?;
        let left = rows.slice_axis(Axis(0), (strip * STRIP..strip * STRIP + out.nrows()).into());
        general_mat_mul(1.0, &left, &rows.t(), 0.0, &mut out);
        Ok::<_, TaskError>(())
    })?;
    gram /= row_count as f64 - 1.0;
    let total = gram.diag().sum();
    let Eigen { values, vectors } = decompose(&gram, count, cancel)?;
    // A direction is the combination of the rows that the Gram matrix's vector says; its length is settled with the rank.
    Ok(Principal { directions: vectors.dot(&rows), variances: values, total })
}
