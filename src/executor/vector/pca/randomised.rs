//! The directions of greatest variance from a random start: N. Halko, P. Martinsson and J. Tropp, "Finding structure with randomness: probabilistic
//! algorithms for constructing approximate matrix decompositions", SIAM Review 53, 2011 (algorithm 4.4, on the covariance).
//!
//! Where dimensions are few the covariance is computed once and multiplied with the directions; else every multiplication is a pass over the rows.

use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::centred::{Centred, make_orthogonal};
use super::eigen::{Eigen, decompose};
use super::{Principal, products};
use crate::executor::operation::Scope;
use crate::executor::vector::VectorState;
use crate::executor::vector::input::Shape;
use crate::executor::vector::random::SplitMix64;
use crate::task::vector::PcaRequest;
use crate::task::{CancelHandle, TaskError};

/// A variance below this share of the largest is rounding of `f32` products, not a direction.
pub(super) const RANK_TOLERANCE: f64 = 1e-6;
/// Most dimensions of a covariance that is held.
const COVARIANCE_DIM_MAX: usize = 4096;
/// Directions that one thread multiplies with the covariance.
const STRIP: usize = 16;

/// Directions that are followed.
fn followed(request: &PcaRequest, rows: usize, dim: usize) -> usize {
    (request.components + request.oversampling).min(rows.min(dim))
}

/// Multiplications of the covariance with directions.
fn multiplications(request: &PcaRequest) -> usize {
    request.power_iterations as usize + 2
}

/// Whether the covariance costs less than as many passes over the rows, of two products each.
fn uses_covariance(request: &PcaRequest, rows: usize, dim: usize) -> bool {
    dim <= COVARIANCE_DIM_MAX && dim <= 2 * multiplications(request) * followed(request, rows, dim)
}

/// Bytes that are held beside the vectors and the answer.
pub(super) fn bytes(request: &PcaRequest, shape: Shape) -> u64 {
    let count = followed(request, shape.rows, shape.dim);
    let products = if uses_covariance(request, shape.rows, shape.dim) {
        products::covariance_bytes(shape.dim)
    } else {
        products::pass_bytes(shape.dim, count)
    };
    // Directions before and after a multiplication, and as they are projected on; the decomposition of their products.
    products + (3 * count * shape.dim + 4 * count * count + shape.rows) as u64 * 8
}

/// Multiply-adds.
pub(super) fn work(request: &PcaRequest, shape: Shape) -> u64 {
    (shape.elements() as u64).saturating_mul(followed(request, shape.rows, shape.dim) as u64)
}

/// The request's directions of greatest variance.
pub(super) fn solve(data: &mut Centred<'_>, request: &PcaRequest, scope: &Scope<'_, VectorState>) -> Result<Principal, TaskError> {
    let (rows, dim) = (data.rows.len(), data.rows.dim());
    let cancel = scope.cancel;
    let total = data.total_variance(cancel)?;
    data.scale_by(total);
    let data = &*data;
    let covariance = if uses_covariance(request, rows, dim) {
        Some(products::covariance(data, cancel, &|share| scope.sink.progress(0.8 * share, "multiplying"))?)
    } else {
        None
    };
    let multiply = |directions: &Array2<f64>| match &covariance {
        Some(covariance) => by_covariance(covariance, directions, cancel),
        None => products::multiply(data, directions, cancel),
    };
    let mut random = SplitMix64::new(request.seed);
    let mut directions = Array2::from_shape_simple_fn((followed(request, rows, dim), dim), || random.normal());
    orthonormalise(&mut directions, cancel)?;
    for round in 1..multiplications(request) {
        directions = multiply(&directions)?;
        orthonormalise(&mut directions, cancel)?;
        scope.sink.progress(0.8 * round as f32 / multiplications(request) as f32, "iterating");
    }
    let multiplied = multiply(&directions)?;
    let small = directions.dot(&multiplied.t());
    // The two triangles differ by rounding.
    let small = (&small + &small.t()) / 2.0;
    let Eigen { values, vectors } = decompose(&small, request.components, cancel)?;
    Ok(Principal { directions: vectors.dot(&directions), variances: values, total })
}

fn by_covariance(covariance: &Array2<f64>, directions: &Array2<f64>, cancel: &CancelHandle) -> Result<Array2<f64>, TaskError> {
    let mut out = Array2::zeros(directions.dim());
    let strips = out.axis_chunks_iter_mut(Axis(0), STRIP).into_par_iter().zip(directions.axis_chunks_iter(Axis(0), STRIP));
    strips.try_for_each(|(mut out, directions)| {
        cancel.check()?;
        out.assign(&directions.dot(covariance));
        Ok::<_, TaskError>(())
    })?;
    Ok(out)
}

fn orthonormalise(directions: &mut Array2<f64>, cancel: &CancelHandle) -> Result<(), TaskError> {
    for index in 0..directions.nrows() {
        cancel.check()?;
        let (done, mut rest) = directions.view_mut().split_at(Axis(0), index);
        make_orthogonal(rest.row_mut(0), done.view());
    }
    Ok(())
}
