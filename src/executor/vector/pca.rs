//! `pca`: exact principal components through the covariance (or, with fewer rows than dimensions, the Gram matrix) in `f64`.
//!
//! Both ways keep one rule for vectors that span fewer directions than are asked for, which is that of scikit-learn with its full solver: up to
//! the smaller of rows and dimensions, components are returned and the superfluous ones have variance 0. Where scikit-learn leaves their
//! directions to the solver, here they are the coordinate axes, the most independent one first, made orthogonal to all before.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::VectorState;
use super::input::{Matrix, Shape, read_finite, real_shape};
use super::output::{array_bytes, cost, emit};
use super::reduce::fold_columns;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{Numbers, PcaOutput, PcaRequest};
use crate::task::{CancelHandle, Parts, TaskError};

/// Largest side of the matrix that is decomposed: the smaller of rows and dimensions. The decomposition is one step that cannot be stopped.
pub(super) const SIDE_MAX: usize = 1536;
/// Rows that are centred and multiplied together.
const BLOCK_ROWS: usize = 256;
/// Columns of the covariance that one thread computes.
const STRIP: usize = 64;
/// A variance below this share of the largest is rounding, not a direction.
const RANK_TOLERANCE: f64 = 1e-12;

/// Numbers of a direction that are this close are equal: the first one is taken.
const AXIS_TIE: f64 = 1e-9;

/// The directions of greatest variance.
pub(super) struct Pca;

impl Operation<VectorState> for Pca {
    type Request = PcaRequest;
    type Output = PcaOutput;
    const NAME: &'static str = "pca";
    const SUMMARY: &'static str = "Principal components with their variance, exactly, and optionally the vectors in the new coordinates.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        if shape.rows < 2 {
            return Err(TaskError::invalid("vectors", "found one vector; at least two are needed"));
        }
        let side = shape.rows.min(shape.dim);
        if side > SIDE_MAX {
            let reason = format!("found {} rows of {}; the smaller of both may be at most {SIDE_MAX}", shape.rows, shape.dim);
            return Err(TaskError::invalid("vectors", reason));
        }
        if request.components == 0 || request.components > side {
            let reason = format!("found {}; {} rows of {} allow 1 to {side}", request.components, shape.rows, shape.dim);
            return Err(TaskError::invalid("components", reason));
        }
        let components = array_bytes("components", request.encoding, request.components * shape.dim, 4)?;
        let projected = if request.project { array_bytes("projected", request.encoding, request.components * shape.rows, 4)? } else { 0 };
        // The decomposition holds the matrix, its vectors and a work copy; the Gram matrix needs all rows centred in f64.
        let square = (side * side) as u64 * 8 * 4;
        let centred = if uses_gram(shape) { shape.elements() as u64 * 8 } else { (BLOCK_ROWS * shape.dim) as u64 * 8 };
        let wide = (request.components * (shape.dim + shape.rows)) as u64 * 8;
        let work = (shape.elements() as u64).saturating_mul(side as u64).saturating_add((side as u64).pow(3) * 10);
        Ok(cost(shape.bytes() + components + projected + square + centred + wide, work))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let shape = matrix.shape;
        let data = Centred::new(&matrix, scope.cancel)?;
        let Principal { mut directions, mut variances, total } =
            if uses_gram(shape) { by_gram(&data, request, scope.cancel)? } else { by_covariance(&data, request, scope.cancel)? };
        settle_rank(&mut directions, &mut variances, scope.cancel)?;
        directions.axis_iter_mut(Axis(0)).for_each(fix_sign);
        scope.sink.progress(0.9, "projecting");
        let projected = if request.project {
            let values = data.project(&directions, scope.cancel)?;
            emit(scope, ("projected", request.encoding), Numbers::F32(values), vec![shape.rows, request.components])?
        } else {
            None
        };
        let components = directions.iter().map(|value| *value as f32).collect();
        Ok(PcaOutput {
            explained_variance_ratio: variances.iter().map(|variance| if total > 0.0 { variance / total } else { 0.0 }).collect(),
            explained_variance: variances,
            mean: data.mean.clone(),
            components: emit(scope, ("components", request.encoding), Numbers::F32(components), vec![request.components, shape.dim])?,
            projected,
        })
    }
}

/// With fewer rows than dimensions the rows' products have the same variances and a smaller side.
fn uses_gram(shape: Shape) -> bool {
    shape.rows < shape.dim
}

/// Unit directions `[components, dim]`, the variance along each, and the variance of everything.
struct Principal {
    directions: Array2<f64>,
    variances: Vec<f64>,
    total: f64,
}

/// Rows from which the mean is taken block by block.
struct Centred<'a> {
    rows: ArrayView2<'a, f32>,
    mean: Vec<f64>,
}

impl<'a> Centred<'a> {
    fn new(matrix: &'a Matrix<'_>, cancel: &CancelHandle) -> Result<Self, TaskError> {
        let count = matrix.shape.rows as f64;
        // Summed as distances from the first row, so that a dimension that never changes has no variance at all.
        let distances = fold_columns(matrix.rows(), (0.0, 0.0), cancel, |(first, sum), value, row| match row {
            0 => *first = value,
            _ => *sum += value - *first,
        })?;
        let mean = distances.into_iter().map(|(first, sum)| first + sum / count).collect();
        let rows = ArrayView2::from_shape((matrix.shape.rows, matrix.shape.dim), matrix.rows().values())
            .map_err(|error| TaskError::internal("a checked shape did not fit its values", error.to_string()))?;
        Ok(Self { rows, mean })
    }

    /// Some rows less the mean, in `f64`.
    fn block(&self, from: usize) -> Array2<f64> {
        let to = self.rows.nrows().min(from + BLOCK_ROWS);
        let mut block = self.rows.slice_axis(Axis(0), (from..to).into()).mapv(f64::from);
        block.axis_iter_mut(Axis(0)).for_each(|mut row| row.iter_mut().zip(&self.mean).for_each(|(value, mean)| *value -= mean));
        block
    }

    /// The first row of each block.
    fn starts(&self) -> std::iter::StepBy<std::ops::Range<usize>> {
        (0..self.rows.nrows()).step_by(BLOCK_ROWS)
    }

    /// The rows in the coordinates of `directions`, row after row.
    fn project(&self, directions: &Array2<f64>, cancel: &CancelHandle) -> Result<Vec<f32>, TaskError> {
        let starts: Vec<usize> = self.starts().collect();
        let blocks = starts.into_par_iter().map(|from| {
            cancel.check()?;
            Ok(self.block(from).dot(&directions.t()).iter().map(|value| *value as f32).collect::<Vec<f32>>())
        });
        let blocks: Vec<Vec<f32>> = blocks.collect::<Result<_, TaskError>>()?;
        Ok(blocks.concat())
    }
}

fn by_covariance(data: &Centred<'_>, request: &PcaRequest, cancel: &CancelHandle) -> Result<Principal, TaskError> {
    let dim = data.rows.ncols();
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
    covariance /= data.rows.nrows() as f64 - 1.0;
    let total = covariance.diag().sum();
    let Eigen { values, vectors } = decompose(&covariance, request.components, cancel)?;
    Ok(Principal { directions: vectors, variances: values, total })
}

fn by_gram(data: &Centred<'_>, request: &PcaRequest, cancel: &CancelHandle) -> Result<Principal, TaskError> {
    let blocks: Vec<Array2<f64>> = data.starts().map(|from| data.block(from)).collect();
    let views: Vec<_> = blocks.iter().map(|block| block.view()).collect();
    let rows = ndarray::concatenate(Axis(0), &views)
        .map_err(|error| TaskError::internal("blocks of equal width did not join", error.to_string()))?;
    let count = rows.nrows();
    let mut gram = Array2::<f64>::zeros((count, count));
    let strips = gram.axis_chunks_iter_mut(Axis(0), STRIP).into_par_iter().enumerate();
    strips.try_for_each(|(strip, mut out)| {
        cancel.check()?;
        let left = rows.slice_axis(Axis(0), (strip * STRIP..strip * STRIP + out.nrows()).into());
        general_mat_mul(1.0, &left, &rows.t(), 0.0, &mut out);
        Ok::<_, TaskError>(())
    })?;
    gram /= count as f64 - 1.0;
    let total = gram.diag().sum();
    let Eigen { values, vectors } = decompose(&gram, request.components, cancel)?;
    // A direction is the combination of the rows that the Gram matrix's vector says; its length is settled with the rank.
    Ok(Principal { directions: vectors.dot(&rows), variances: values, total })
}

/// The largest eigenvalues, greatest first, and their unit vectors as rows.
struct Eigen {
    values: Vec<f64>,
    vectors: Array2<f64>,
}

fn decompose(symmetric: &Array2<f64>, count: usize, cancel: &CancelHandle) -> Result<Eigen, TaskError> {
    cancel.check()?;
    let side = symmetric.nrows();
    let eigen = SymmetricEigen::new(DMatrix::from_fn(side, side, |row, column| symmetric[[row, column]]));
    cancel.check()?;
    let mut order: Vec<usize> = (0..side).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]).then(a.cmp(b)));
    order.truncate(count);
    // Rounding may leave a variance slightly below zero.
    let values = order.iter().map(|index| eigen.eigenvalues[*index].max(0.0)).collect();
    let vectors = Array2::from_shape_fn((count, side), |(row, column)| eigen.eigenvectors[(column, order[row])]);
    Ok(Eigen { values, vectors })
}

/// Makes the directions of some variance orthonormal, in their order, and replaces the others by axes; their variance is 0.
///
/// The Gram matrix gives directions of little variance only roughly; what is left of each beside those before is exact enough.
fn settle_rank(directions: &mut Array2<f64>, variances: &mut [f64], cancel: &CancelHandle) -> Result<(), TaskError> {
    let largest = variances.first().copied().unwrap_or(0.0);
    let rank = variances.iter().take_while(|variance| **variance > RANK_TOLERANCE * largest).count();
    variances[rank..].fill(0.0);
    // What of each axis no direction covers yet, squared.
    let mut uncovered = vec![1.0; directions.ncols()];
    for index in 0..directions.nrows() {
        cancel.check()?;
        let (done, mut rest) = directions.view_mut().split_at(Axis(0), index);
        let mut direction = rest.row_mut(0);
        if index >= rank {
            let most = uncovered.iter().copied().fold(f64::MIN, f64::max);
            let axis = uncovered.iter().position(|left| *left >= most - AXIS_TIE).unwrap_or(0);
            direction.fill(0.0);
            direction[axis] = 1.0;
        }
        // Twice, since what the first pass leaves of a nearly dependent direction is mostly rounding.
        for _pass in 0..2 {
            scale_to_one(direction.view_mut());
            for before in done.rows() {
                let share = before.dot(&direction);
                direction.scaled_add(-share, &before);
            }
        }
        scale_to_one(direction.view_mut());
        uncovered.iter_mut().zip(&direction).for_each(|(left, value)| *left -= value * value);
    }
    Ok(())
}

fn scale_to_one(mut direction: ndarray::ArrayViewMut1<'_, f64>) {
    let length = direction.dot(&direction).sqrt();
    if length > 0.0 {
        direction /= length;
    }
}

/// Turns a direction so that its entry of largest magnitude (the first of equals, as far as rounding can tell) is positive.
fn fix_sign(mut direction: ndarray::ArrayViewMut1<'_, f64>) {
    let largest =
        direction.iter().fold(0.0f64, |largest, value| if value.abs() > largest.abs() * (1.0 + AXIS_TIE) { *value } else { largest });
    if largest < 0.0 {
        direction.mapv_inplace(|value| -value);
    }
}
