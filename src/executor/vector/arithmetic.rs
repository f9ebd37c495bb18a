//! `normalize`, `scale`, `add`, `subtract`, `multiply`, `transpose`: vectors for vectors.
//!
//! Element results are computed in `f64` and rounded once to `f32`; one that overflows `f32` is refused, not turned into an infinity.

use rayon::prelude::*;
use tallow_kernels::first_non_finite;
use tallow_kernels::normalize::{Norm, normalize};

use super::VectorState;
use super::input::{Matrix, Shape, read_finite, real_shape, refused, same_dim};
use super::output::{array_bytes, cost, emit};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{
    ArithmeticRequest, ArrayEncoding, ArraysOutput, NormalizeRequest, Numbers, ScaleRequest, TransposeRequest, VectorNorm,
};
use crate::task::{Parts, TaskError};

/// The cost of an answer of the input's size.
fn same_size(shape: Shape, encoding: ArrayEncoding) -> Result<Cost, TaskError> {
    let out = array_bytes("vectors", encoding, shape.elements(), 4)?;
    Ok(cost(shape.bytes() * 2 + out, shape.elements() as u64))
}

/// Lets computed vectors leave.
fn answer(scope: &Scope<'_, VectorState>, encoding: ArrayEncoding, values: Vec<f32>, shape: Vec<usize>) -> Result<ArraysOutput, TaskError> {
    let vectors = emit(scope, ("vectors", encoding), Numbers::F32(values), shape.clone())?;
    Ok(ArraysOutput { shape, vectors, zero_rows: None })
}

/// Rows scaled to norm one.
pub(super) struct Normalize;

impl Operation<VectorState> for Normalize {
    type Request = NormalizeRequest;
    type Output = ArraysOutput;
    const NAME: &'static str = "normalize";
    const SUMMARY: &'static str = "Vectors scaled to norm one (l2, l1 or max); zero vectors stay zero and are counted.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        same_size(real_shape("vectors", &request.vectors, parts)?, request.encoding)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let Matrix { values, shape } = read_finite("vectors", &request.vectors, scope.parts)?;
        let mut values = values.into_owned();
        let norm = match request.norm {
            VectorNorm::L2 => Norm::L2,
            VectorNorm::L1 => Norm::L1,
            VectorNorm::Max => Norm::Max,
        };
        let zero_rows = normalize(norm, &mut values, shape.dim).map_err(|error| refused("vectors", error, scope.cancel))?;
        let answer = answer(scope, request.encoding, values, shape.with_dim(shape.dim))?;
        Ok(ArraysOutput { zero_rows: Some(zero_rows), ..answer })
    }
}

/// Every value times a factor.
pub(super) struct Scale;

impl Operation<VectorState> for Scale {
    type Request = ScaleRequest;
    type Output = ArraysOutput;
    const NAME: &'static str = "scale";
    const SUMMARY: &'static str = "Every value times a factor.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        if !request.factor.is_finite() {
            return Err(TaskError::invalid("factor", "must be finite"));
        }
        same_size(real_shape("vectors", &request.vectors, parts)?, request.encoding)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let Matrix { values, shape } = read_finite("vectors", &request.vectors, scope.parts)?;
        let scaled = values.par_iter().with_min_len(1 << 14).map(|value| (f64::from(*value) * request.factor) as f32).collect();
        let scaled = finite("vectors", scaled, shape)?;
        answer(scope, request.encoding, scaled, shape.with_dim(shape.dim))
    }
}

/// `a + b`.
pub(super) struct Add;
/// `a - b`.
pub(super) struct Subtract;
/// `a b`, element by element.
pub(super) struct Multiply;

/// Declares an operation on two inputs, element by element.
macro_rules! elementwise {
    ($operation:ident, $name:literal, $summary:literal, $combine:expr) => {
        impl Operation<VectorState> for $operation {
            type Request = ArithmeticRequest;
            type Output = ArraysOutput;
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = $summary;

            fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
                check_elementwise(request, parts)
            }

            fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
                run_elementwise(request, scope, $combine)
            }
        }
    };
}

elementwise!(Add, "add", "The sum of two inputs, element by element; one vector goes with every row.", |a, b| a + b);
elementwise!(Subtract, "subtract", "The difference of two inputs, element by element; one vector goes with every row.", |a, b| a - b);
elementwise!(Multiply, "multiply", "The product of two inputs, element by element; one vector goes with every row.", |a, b| a * b);

fn check_elementwise(request: &ArithmeticRequest, parts: &Parts) -> Result<Cost, TaskError> {
    let a = real_shape("a", &request.a, parts)?;
    let b = real_shape("b", &request.b, parts)?;
    same_dim("b", b, ("a", a))?;
    if b.rows != 1 && b.rows != a.rows {
        return Err(TaskError::invalid("b", format!("found {} rows; allowed: 1 or as many as `a` has, {}", b.rows, a.rows)));
    }
    let own = same_size(a, request.encoding)?;
    Ok(Cost { host_bytes: own.host_bytes + b.bytes(), ..own })
}

fn run_elementwise(
    request: &ArithmeticRequest,
    scope: &Scope<'_, VectorState>,
    combine: fn(f64, f64) -> f64,
) -> Result<ArraysOutput, TaskError> {
    let a = read_finite("a", &request.a, scope.parts)?;
    let b = read_finite("b", &request.b, scope.parts)?;
    let shape = a.shape;
    let mut out = vec![0.0f32; shape.elements()];
    let rows = out.par_chunks_mut(shape.dim).with_min_len((1usize << 14).div_ceil(shape.dim)).enumerate();
    rows.for_each(|(row, out)| {
        let right = b.rows().row(if b.shape.rows == 1 { 0 } else { row });
        for ((out, a), b) in out.iter_mut().zip(a.rows().row(row)).zip(right) {
            *out = combine(f64::from(*a), f64::from(*b)) as f32;
        }
    });
    let out = finite("a", out, shape)?;
    answer(scope, request.encoding, out, shape.with_dim(shape.dim))
}

/// Errors: `InvalidPayload` with the index of the first result that overflows `f32`.
pub(super) fn finite(field: &str, values: Vec<f32>, shape: Shape) -> Result<Vec<f32>, TaskError> {
    match first_non_finite(&values) {
        None => Ok(values),
        Some(index) => {
            let (row, column) = (index / shape.dim, index % shape.dim);
            Err(TaskError::invalid(format!("{field}[{row}][{column}]"), "the result does not fit f32"))
        }
    }
}

/// Columns become rows.
pub(super) struct Transpose;

impl Operation<VectorState> for Transpose {
    type Request = TransposeRequest;
    type Output = ArraysOutput;
    const NAME: &'static str = "transpose";
    const SUMMARY: &'static str = "A matrix with its columns as rows.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        same_size(real_shape("vectors", &request.vectors, parts)?, request.encoding)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let (rows, columns) = (matrix.shape.rows, matrix.shape.dim);
        let mut out = vec![0.0f32; rows * columns];
        // A strip of output rows reads neighbouring columns, so each cache line of the input serves the whole strip.
        out.par_chunks_mut(rows * 16).enumerate().for_each(|(strip, out)| {
            for (row, values) in matrix.rows().iter().enumerate() {
                for (line, out) in out.chunks_exact_mut(rows).enumerate() {
                    out[row] = values[strip * 16 + line];
                }
            }
        });
        answer(scope, request.encoding, out, vec![columns, rows])
    }
}
