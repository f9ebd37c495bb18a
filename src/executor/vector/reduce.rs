//! `mean`, `centroid`, `sum` and `statistics`: many rows become one. Sums run in `f64` in the order of the rows, whatever the threads.

use rayon::prelude::*;
use tallow_kernels::Rows;
use tallow_kernels::normalize::{Norm, norm};

use super::VectorState;
use super::input::{Matrix, Shape, read_finite, real_shape};
use super::output::{array_bytes, cost, emit};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{
    ArrayEncoding, CentroidOutput, MeanOutput, MeanRequest, NormStatistics, Numbers, StatisticsOutput, StatisticsRequest, SumOutput,
    SumRequest, VectorInput,
};
use crate::task::{CancelHandle, Parts, TaskError};

/// Dimensions that one thread sums over all rows.
const STRIP: usize = 64;
/// Rows between two looks at the cancellation token.
const CHECK_ROWS: usize = 4096;

/// For every dimension, folds the column from top to bottom; strips of columns run in parallel, so no order depends on the threads.
pub(super) fn fold_columns<T: Copy + Send + Sync>(
    rows: Rows<'_>,
    start: T,
    cancel: &CancelHandle,
    step: impl Fn(&mut T, f64, usize) + Sync,
) -> Result<Vec<T>, TaskError> {
    let mut folded = vec![start; rows.dim()];
    folded.par_chunks_mut(STRIP).enumerate().try_for_each(|(strip, folded)| {
        for (index, row) in rows.iter().enumerate() {
            if index % CHECK_ROWS == 0 {
                cancel.check()?;
            }
            for (folded, value) in folded.iter_mut().zip(&row[strip * STRIP..]) {
                step(folded, f64::from(*value), index);
            }
        }
        Ok(())
    })?;
    Ok(folded)
}

fn check_reduce(
    (answer, encoding): (&str, ArrayEncoding),
    vectors: &VectorInput,
    weights: Option<&Vec<f64>>,
    parts: &Parts,
) -> Result<Cost, TaskError> {
    let shape = real_shape("vectors", vectors, parts)?;
    if let Some(weights) = weights {
        check_weights(weights, shape)?;
    }
    let out = array_bytes(answer, encoding, shape.dim, 4)?;
    Ok(cost(shape.bytes() + out + shape.dim as u64 * 8, shape.elements() as u64))
}

fn check_weights(weights: &[f64], shape: Shape) -> Result<(), TaskError> {
    if weights.len() != shape.rows {
        return Err(TaskError::invalid(
            "weights",
            format!("found {} weights for {} vectors; one each is needed", weights.len(), shape.rows),
        ));
    }
    Ok(())
}

/// The weighted sum of all rows in `f64`.
fn weighted_sum(matrix: &Matrix<'_>, weights: Option<&Vec<f64>>, cancel: &CancelHandle) -> Result<Vec<f64>, TaskError> {
    match weights {
        None => fold_columns(matrix.rows(), 0.0, cancel, |sum, value, _row| *sum += value),
        Some(weights) => fold_columns(matrix.rows(), 0.0, cancel, |sum, value, row| *sum += value * weights[row]),
    }
}

/// Rounds to `f32`. Errors: `InvalidPayload` when a value overflows.
fn narrow(values: Vec<f64>) -> Result<Vec<f32>, TaskError> {
    let narrow: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    match narrow.iter().position(|value| !value.is_finite()) {
        None => Ok(narrow),
        Some(column) => {
            Err(TaskError::invalid("vectors", format!("the result at dimension {column} does not fit f32: {:e}", values[column])))
        }
    }
}

fn check_mean(request: &MeanRequest, answer: &str, parts: &Parts) -> Result<Cost, TaskError> {
    if let Some(weights) = &request.weights {
        if let Some(index) = weights.iter().position(|weight| *weight < 0.0) {
            return Err(TaskError::invalid(format!("weights[{index}]"), format!("found {}; no weight may be negative", weights[index])));
        }
        let total: f64 = weights.iter().sum();
        if total <= 0.0 || !total.is_finite() {
            return Err(TaskError::invalid("weights", format!("their sum is {total}; it must be above zero and finite")));
        }
    }
    check_reduce((answer, request.encoding), &request.vectors, request.weights.as_ref(), parts)
}

fn mean(request: &MeanRequest, scope: &Scope<'_, VectorState>) -> Result<(usize, Vec<f32>), TaskError> {
    let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
    let total = request.weights.as_ref().map_or(matrix.shape.rows as f64, |weights| weights.iter().sum());
    // Weights are divided first, so that neither tiny nor huge ones leave the range of f64.
    let shares = request.weights.as_ref().map(|weights| weights.iter().map(|weight| weight / total).collect::<Vec<f64>>());
    let mut mean = weighted_sum(&matrix, shares.as_ref(), scope.cancel)?;
    if shares.is_none() {
        mean.iter_mut().for_each(|value| *value /= total);
    }
    if request.normalize {
        let length = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length > 0.0 {
            mean.iter_mut().for_each(|value| *value /= length);
        }
    }
    Ok((matrix.shape.rows, narrow(mean)?))
}

/// The average of the rows.
pub(super) struct Mean;

impl Operation<VectorState> for Mean {
    type Request = MeanRequest;
    type Output = MeanOutput;
    const NAME: &'static str = "mean";
    const SUMMARY: &'static str = "The (weighted) average of vectors, optionally scaled to length one.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check_mean(request, "mean", parts)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let (count, mean) = mean(request, scope)?;
        let dim = mean.len();
        Ok(MeanOutput { count, mean: emit(scope, ("mean", request.encoding), Numbers::F32(mean), vec![dim])? })
    }
}

/// The average of the rows under its geometric name.
pub(super) struct Centroid;

impl Operation<VectorState> for Centroid {
    type Request = MeanRequest;
    type Output = CentroidOutput;
    const NAME: &'static str = "centroid";
    const SUMMARY: &'static str = "The (weighted) centre of vectors: the same as `mean`.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check_mean(request, "centroid", parts)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let (count, mean) = mean(request, scope)?;
        let dim = mean.len();
        Ok(CentroidOutput { count, centroid: emit(scope, ("centroid", request.encoding), Numbers::F32(mean), vec![dim])? })
    }
}

/// The sum of the rows.
pub(super) struct Sum;

impl Operation<VectorState> for Sum {
    type Request = SumRequest;
    type Output = SumOutput;
    const NAME: &'static str = "sum";
    const SUMMARY: &'static str = "The (weighted) sum of vectors.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check_reduce(("sum", request.encoding), &request.vectors, request.weights.as_ref(), parts)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let sum = narrow(weighted_sum(&matrix, request.weights.as_ref(), scope.cancel)?)?;
        let dim = sum.len();
        Ok(SumOutput { count: matrix.shape.rows, sum: emit(scope, ("sum", request.encoding), Numbers::F32(sum), vec![dim])? })
    }
}

/// Errors: `InvalidPayload` at `ddof` for what is neither 0 nor 1, or leaves nothing to divide by.
pub(super) fn check_ddof(ddof: u8, rows: usize) -> Result<(), TaskError> {
    if ddof > 1 {
        return Err(TaskError::invalid("ddof", format!("found {ddof}; allowed: 0 or 1")));
    }
    if rows <= usize::from(ddof) {
        return Err(TaskError::invalid("ddof", "a ddof of 1 needs at least two vectors"));
    }
    Ok(())
}

/// What the values of each dimension and the lengths of the rows are like.
pub(super) struct Statistics;

impl Operation<VectorState> for Statistics {
    type Request = StatisticsRequest;
    type Output = StatisticsOutput;
    const NAME: &'static str = "statistics";
    const SUMMARY: &'static str = "Mean, standard deviation, smallest and largest value of each dimension, and the lengths of the vectors.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        check_ddof(request.ddof, shape.rows)?;
        let out = array_bytes("mean", ArrayEncoding::Float, shape.dim, 8)?;
        Ok(cost(shape.bytes() + out * 4 + shape.rows as u64 * 8, shape.elements() as u64 * 2))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let columns = columns(matrix.rows(), request.ddof, scope.cancel)?;
        let lengths: Vec<f64> = matrix.rows().values().par_chunks(matrix.shape.dim).map(|row| norm(Norm::L2, row)).collect();
        let norms = Column::of(&lengths, request.ddof);
        Ok(StatisticsOutput {
            count: matrix.shape.rows,
            dimensions: matrix.shape.dim,
            mean: columns.iter().map(|column| column.mean).collect(),
            std: columns.iter().map(|column| column.std).collect(),
            min: columns.iter().map(|column| column.min).collect(),
            max: columns.iter().map(|column| column.max).collect(),
            norms: NormStatistics { min: norms.min, max: norms.max, mean: norms.mean, std: norms.std },
            zero_rows: lengths.iter().filter(|length| **length == 0.0).count(),
        })
    }
}

/// A dimension in four numbers.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) mean: f64,
    pub(super) std: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Column {
    /// The column of plain numbers.
    fn of(values: &[f64], ddof: u8) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { mean, std: (squares / (count - f64::from(ddof))).sqrt(), min: smallest, max: largest }
    }
}

/// All dimensions in two passes: the deviations are taken from the final mean, so large means cost no digits.
pub(super) fn columns(rows: Rows<'_>, ddof: u8, cancel: &CancelHandle) -> Result<Vec<Column>, TaskError> {
    let count = rows.len() as f64;
    let start = Column { mean: 0.0, std: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };
    let mut columns = fold_columns(rows, start, cancel, |column, value, _row| {
        column.mean += value;
        column.min = column.min.min(value);
        column.max = column.max.max(value);
    })?;
    columns.iter_mut().for_each(|column| column.mean /= count);
    columns.par_chunks_mut(STRIP).enumerate().try_for_each(|(strip, columns)| {
        for (index, row) in rows.iter().enumerate() {
            if index % CHECK_ROWS == 0 {
                cancel.check()?;
            }
            for (column, value) in columns.iter_mut().zip(&row[strip * STRIP..]) {
                let deviation = f64::from(*value) - column.mean;
                column.std += deviation * deviation;
            }
        }
        Ok(())
    })?;
    columns.iter_mut().for_each(|column| column.std = (column.std / (count - f64::from(ddof))).sqrt());
    Ok(columns)
}
