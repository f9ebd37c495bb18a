//! `whiten`: vectors whose covariance is the identity, through all principal directions in `f64`.
//!
//! A. Kessy, A. Lewin and K. Strimmer, "Optimal whitening and decorrelation", The American Statistician 72, 2018.

use ndarray::{Array2, Axis};

use super::VectorState;
use super::arithmetic::finite;
use super::center::price;
use super::input::{read_finite, real_shape};
use super::output::{cost, emit};
use super::pca::{Centred, SIDE_MAX, exact};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{CenteredOutput, Numbers, WhitenMethod, WhitenRequest};
use crate::task::{Parts, TaskError};

/// Vectors whose covariance is the identity.
pub(super) struct Whiten;

impl Operation<VectorState> for Whiten {
    type Request = WhitenRequest;
    type Output = CenteredOutput;
    const NAME: &'static str = "whiten";
    const SUMMARY: &'static str = "Vectors whose covariance is the identity (ZCA or PCA whitening); directions without variance become 0.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        if shape.rows < 2 {
            return Err(TaskError::invalid("vectors", "found one vector; at least two are needed"));
        }
        if shape.dim > SIDE_MAX {
            let reason = format!("found {} dimensions; at most {SIDE_MAX} are allowed; `pca` with `whiten` keeps fewer", shape.dim);
            return Err(TaskError::invalid("vectors", reason));
        }
        if !(0.0..=1.0).contains(&request.epsilon) {
            return Err(TaskError::invalid("epsilon", format!("found {}; allowed: 0 to 1", request.epsilon)));
        }
        let side = shape.dim as u64;
        let work = (shape.elements() as u64).saturating_mul(2 * side).saturating_add(side.pow(3) * 10);
        let same = price((shape, request.encoding), work)?;
        Ok(cost(same.host_bytes + exact::bytes(shape) + side * side * 8 * 3, work))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let shape = matrix.shape;
        let data = Centred::new(matrix.rows(), scope.cancel)?;
        let mut principal = exact::solve(&data, shape.dim.min(shape.rows), scope.cancel)?;
        principal.settle_rank(exact::RANK_TOLERANCE, scope.cancel)?;
        scope.sink.progress(0.7, "whitening");
        let added = request.epsilon * principal.variances.first().copied().unwrap_or(0.0);
        let variances: Vec<f64> = principal.variances.iter().map(|variance| variance + added).collect();
        let mut scaled = principal.directions.clone();
        for (mut direction, variance) in scaled.axis_iter_mut(Axis(0)).zip(&variances) {
            direction *= if *variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
        }
        let turned: Array2<f64> = match request.method {
            // Symmetric: as rows or as columns it is the same.
            WhitenMethod::Zca => principal.directions.t().dot(&scaled),
            WhitenMethod::Pca => padded(scaled, shape.dim),
        };
        let values = finite("vectors", data.project(&turned, scope.cancel)?, shape)?;
        Ok(CenteredOutput {
            shape: shape.with_dim(shape.dim),
            mean: data.mean,
            scale: None,
            // Fewer vectors than dimensions leave the directions beyond them without variance.
            flat_directions: Some(variances.iter().filter(|variance| **variance == 0.0).count() + shape.dim - variances.len()),
            vectors: emit(scope, ("vectors", request.encoding), Numbers::F32(values), shape.with_dim(shape.dim))?,
        })
    }
}

/// Directions with zeros behind them, so that there are as many as dimensions.
fn padded(directions: Array2<f64>, count: usize) -> Array2<f64> {
    let mut all = Array2::zeros((count, directions.ncols()));
    all.slice_axis_mut(Axis(0), (0..directions.nrows()).into()).assign(&directions);
    all
}
