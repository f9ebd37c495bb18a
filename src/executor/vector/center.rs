//! `center` and `standardize`: dimensions with mean 0, and with standard deviation 1. Computed in `f64` and rounded once.

use rayon::prelude::*;

use super::VectorState;
use super::arithmetic::finite;
use super::input::{Shape, read_finite, real_shape, same_dim};
use super::output::{array_bytes, cost, emit};
use super::reduce::{Column, check_ddof, columns};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{ArrayEncoding, CenterRequest, CenteredOutput, Numbers, StandardizeRequest, VectorInput};
use crate::task::{Parts, TaskError};

/// Values of a piece of parallel work, at least.
const PIECE: usize = 1 << 14;

/// The cost of an answer of the input's size with its mean.
pub(super) fn price((shape, encoding): (Shape, ArrayEncoding), work: u64) -> Result<Cost, TaskError> {
    let vectors = array_bytes("vectors", encoding, shape.elements(), 4)?;
    let mean = array_bytes("mean", ArrayEncoding::Float, shape.dim, 8)?;
    Ok(cost(shape.bytes() * 2 + vectors + mean * 4, work))
}

/// Vectors less their mean.
pub(super) struct Center;

impl Operation<VectorState> for Center {
    type Request = CenterRequest;
    type Output = CenteredOutput;
    const NAME: &'static str = "center";
    const SUMMARY: &'static str = "Vectors less their mean, or less a mean that is given.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        if let Some(mean) = &request.mean {
            let mean = real_shape("mean", mean, parts)?;
            same_dim("mean", mean, ("vectors", shape))?;
            if mean.rows != 1 {
                return Err(TaskError::invalid("mean", format!("found {} rows; expected one vector", mean.rows)));
            }
        }
        price((shape, request.encoding), shape.elements() as u64 * 2)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let given = request.mean.as_ref().map(|mean| read_finite("mean", mean, scope.parts)).transpose()?;
        let given = given.map(|mean| mean.values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>());
        change((&request.vectors, request.encoding), scope, |columns| Change {
            mean: given.unwrap_or_else(|| columns.iter().map(mean_of).collect()),
            scale: None,
        })
    }
}

/// Dimensions with mean 0 and standard deviation 1.
pub(super) struct Standardize;

impl Operation<VectorState> for Standardize {
    type Request = StandardizeRequest;
    type Output = CenteredOutput;
    const NAME: &'static str = "standardize";
    const SUMMARY: &'static str = "Every dimension with mean 0 and standard deviation 1; one that never changes becomes 0.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        check_ddof(request.ddof, shape.rows)?;
        price((shape, request.encoding), shape.elements() as u64 * 3)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let count = scope_rows(&request.vectors, scope)? as f64;
        let correction = (count / (count - f64::from(request.ddof))).sqrt();
        change((&request.vectors, request.encoding), scope, |columns| Change {
            mean: columns.iter().map(mean_of).collect(),
            scale: Some(columns.iter().map(|column| if column.min == column.max { 1.0 } else { column.std * correction }).collect()),
        })
    }
}

fn scope_rows(vectors: &VectorInput, scope: &Scope<'_, VectorState>) -> Result<usize, TaskError> {
    real_shape("vectors", vectors, scope.parts).map(|shape| shape.rows)
}

/// The mean of a dimension. That of one that never changes is its value, from which rounding may have moved the sum.
fn mean_of(column: &Column) -> f64 {
    if column.min == column.max { column.min } else { column.mean }
}

/// What every value is subtracted and divided by.
struct Change {
    mean: Vec<f64>,
    scale: Option<Vec<f64>>,
}

/// Changes all vectors as their columns say.
fn change(
    (vectors, encoding): (&VectorInput, ArrayEncoding),
    scope: &Scope<'_, VectorState>,
    decide: impl FnOnce(&[Column]) -> Change,
) -> Result<CenteredOutput, TaskError> {
    let matrix = read_finite("vectors", vectors, scope.parts)?;
    let shape = matrix.shape;
    let Change { mean, scale } = decide(&columns(matrix.rows(), 0, scope.cancel)?);
    let mut out = vec![0.0f32; shape.elements()];
    let pieces = out.par_chunks_mut(shape.dim).with_min_len(PIECE.div_ceil(shape.dim)).enumerate();
    pieces.try_for_each(|(row, out)| {
        scope.cancel.check()?;
        let values = out.iter_mut().zip(matrix.rows().row(row)).zip(&mean);
        match &scale {
            None => values.for_each(|((out, value), mean)| *out = (f64::from(*value) - mean) as f32),
            Some(scale) => values.zip(scale).for_each(|(((out, value), mean), scale)| *out = ((f64::from(*value) - mean) / scale) as f32),
        }
        Ok::<_, TaskError>(())
    })?;
    let values = finite("vectors", out, shape)?;
    let vectors = emit(scope, ("vectors", encoding), Numbers::F32(values), shape.with_dim(shape.dim))?;
    Ok(CenteredOutput { shape: shape.with_dim(shape.dim), mean, scale, flat_directions: None, vectors })
}
