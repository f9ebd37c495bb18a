//! `random_projection`: D. Achlioptas, "Database-friendly random projections: Johnson-Lindenstrauss with binary coins", J. Comput. Syst. Sci. 66, 2003.

use tallow_kernels::gemm::{Epilogue, GEMM_DIM_MAX, Input, Output, PackedWeights, Precision, gemm};

use super::VectorState;
use super::arithmetic::finite;
use super::input::{Shape, read_finite, real_shape, refused};
use super::output::{array_bytes, cost, emit};
use super::random::SplitMix64;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{ArraysOutput, Numbers, RandomMatrix, RandomProjectionRequest, VECTOR_DIM_MAX, VECTOR_ELEMENTS_MAX};
use crate::task::{Parts, TaskError};

/// Fewer dimensions that keep distances roughly.
pub(super) struct RandomProjection;

impl Operation<VectorState> for RandomProjection {
    type Request = RandomProjectionRequest;
    type Output = ArraysOutput;
    const NAME: &'static str = "random_projection";
    const SUMMARY: &'static str =
        "Vectors in fewer dimensions that keep distances roughly: products with a seeded gaussian or sparse random matrix.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        if request.components == 0 || request.components > VECTOR_DIM_MAX {
            return Err(TaskError::invalid("components", format!("found {}; allowed: 1 to {VECTOR_DIM_MAX}", request.components)));
        }
        let numbers = request.components.saturating_mul(shape.dim);
        if numbers > VECTOR_ELEMENTS_MAX || shape.dim > GEMM_DIM_MAX {
            let reason = format!(
                "{} components of {} dimensions need a matrix of {numbers} numbers; at most {VECTOR_ELEMENTS_MAX} are allowed",
                request.components, shape.dim
            );
            return Err(TaskError::invalid("components", reason));
        }
        if !(request.density > 0.0 && request.density <= 1.0) {
            return Err(TaskError::invalid("density", format!("found {}; allowed: above 0 to 1", request.density)));
        }
        let elements = shape.rows.saturating_mul(request.components);
        let out = array_bytes("vectors", request.encoding, elements, 4)?;
        let matrix = numbers as u64 * 4 + PackedWeights::bytes_for((request.components, shape.dim), Precision::Exact) as u64;
        Ok(cost(shape.bytes() + elements as u64 * 4 + out + matrix, (elements as u64).saturating_mul(shape.dim as u64)))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let shape = matrix.shape;
        let refused = |error| refused("vectors", error, scope.cancel);
        let weights = weights(request, shape.dim, scope)?;
        let packed = PackedWeights::pack(&weights, (request.components, shape.dim), Precision::Exact).map_err(refused)?;
        let mut out = vec![0.0f32; shape.rows * request.components];
        let stop = || scope.cancel.is_cancelled();
        gemm(Input::F32(&matrix.values), &packed, &Epilogue::default(), Output::F32(&mut out), &stop).map_err(refused)?;
        let values = finite("vectors", out, Shape { dim: request.components, ..shape })?;
        let shape = shape.with_dim(request.components);
        let vectors = emit(scope, ("vectors", request.encoding), Numbers::F32(values), shape.clone())?;
        Ok(ArraysOutput { shape, vectors, zero_rows: None })
    }
}

/// The random matrix `[components, dim]`, drawn row after row; its columns have a squared length of 1 on average, so that lengths stay what they are.
fn weights(request: &RandomProjectionRequest, dim: usize, scope: &Scope<'_, VectorState>) -> Result<Vec<f32>, TaskError> {
    let mut random = SplitMix64::new(request.seed);
    let scale = 1.0 / (request.components as f64).sqrt();
    let mut weights = Vec::with_capacity(request.components * dim);
    for _ in 0..request.components {
        scope.cancel.check()?;
        match request.matrix {
            RandomMatrix::Gaussian => weights.extend((0..dim).map(|_| (random.normal() * scale) as f32)),
            RandomMatrix::Sparse => {
                let value = (scale / request.density.sqrt()) as f32;
                weights.extend((0..dim).map(|_| {
                    let place = random.unit();
                    if place < request.density / 2.0 {
                        value
                    } else if place < request.density {
                        -value
                    } else {
                        0.0
                    }
                }));
            }
        }
    }
    Ok(weights)
}
