//! `pca`: principal components, exactly or from a random start.
//!
//! All ways keep one rule for vectors that span fewer directions than are asked for, which is that of scikit-learn with its full solver: up to
//! the smaller of rows and dimensions, components are returned and the superfluous ones have variance 0. Where scikit-learn leaves their
//! directions to the solver, here they are the coordinate axes, the most independent one first, made orthogonal to all before.

mod centred;
mod eigen;
pub(super) mod exact;
mod products;
mod randomised;

use ndarray::{Array2, Axis};

use super::VectorState;
use super::input::{Shape, read_finite, real_shape};
use super::output::{array_bytes, cost, emit};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{Numbers, PcaOutput, PcaRequest, PcaSolver};
use crate::task::{CancelHandle, Parts, TaskError};
pub(super) use centred::Centred;
pub(super) use exact::SIDE_MAX;

/// Numbers of a direction that are this close are equal: the first one is taken.
const AXIS_TIE: f64 = 1e-9;
/// Multiply-adds up to which `auto` computes exactly: a few seconds.
const AUTO_WORK_MAX: u64 = 20_000_000_000;
/// Multiply-adds of the exact decomposition, for each element of a cube of its side.
const DECOMPOSITION_WORK: u64 = 10;
/// Most rounds of power iteration.
const POWER_ITERATIONS_MAX: u32 = 32;
/// Most directions beside those wanted.
const OVERSAMPLING_MAX: usize = 1000;

/// The directions of greatest variance.
pub(super) struct Pca;

impl Operation<VectorState> for Pca {
    type Request = PcaRequest;
    type Output = PcaOutput;
    const NAME: &'static str = "pca";
    const SUMMARY: &'static str =
        "Principal components with their variance, exactly or randomised, and optionally the (whitened) vectors in the new coordinates.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        if shape.rows < 2 {
            return Err(TaskError::invalid("vectors", "found one vector; at least two are needed"));
        }
        let side = shape.rows.min(shape.dim);
        if request.components == 0 || request.components > side {
            let reason = format!("found {}; {} rows of {} allow 1 to {side}", request.components, shape.rows, shape.dim);
            return Err(TaskError::invalid("components", reason));
        }
        if request.power_iterations > POWER_ITERATIONS_MAX {
            let reason = format!("found {}; allowed: 0 to {POWER_ITERATIONS_MAX}", request.power_iterations);
            return Err(TaskError::invalid("power_iterations", reason));
        }
        if request.oversampling > OVERSAMPLING_MAX {
            return Err(TaskError::invalid("oversampling", format!("found {}; allowed: 0 to {OVERSAMPLING_MAX}", request.oversampling)));
        }
        let solver = solver(request, shape);
        check_side(request, (solver, shape))?;
        let components = array_bytes("components", request.encoding, request.components * shape.dim, 4)?;
        let projected = if projects(request) { array_bytes("projected", request.encoding, request.components * shape.rows, 4)? } else { 0 };
        let (held, work) = match solver {
            PcaSolver::Randomised => (randomised::bytes(request, shape), randomised::work(request, shape)),
            _ => (exact::bytes(shape), exact_work(shape)),
        };
        let wide = (request.components * (shape.dim + shape.rows)) as u64 * 8;
        Ok(cost(shape.bytes() + components + projected + held + wide, work))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let shape = matrix.shape;
        let mut data = Centred::new(matrix.rows(), scope.cancel)?;
        let solver = solver(request, shape);
        let (mut principal, rank_tolerance) = match solver {
            PcaSolver::Randomised => (randomised::solve(&mut data, request, scope)?, randomised::RANK_TOLERANCE),
            _ => (exact::solve(&data, request.components, scope.cancel)?, exact::RANK_TOLERANCE),
        };
        principal.settle_rank(rank_tolerance, scope.cancel)?;
        let Principal { directions, variances, total } = principal;
        scope.sink.progress(0.9, "projecting");
        let projected = if projects(request) {
            let mut scaled = directions.clone();
            if request.whiten {
                let lengths = variances.iter().map(|variance| if *variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 });
                scaled.axis_iter_mut(Axis(0)).zip(lengths).for_each(|(mut direction, length)| direction *= length);
            }
            let values = match solver {
                PcaSolver::Randomised => products::project(&data, &scaled, scope.cancel)?,
                _ => data.project(&scaled, scope.cancel)?,
            };
            emit(scope, ("projected", request.encoding), Numbers::F32(values), vec![shape.rows, request.components])?
        } else {
            None
        };
        let components = directions.iter().map(|value| *value as f32).collect();
        Ok(PcaOutput {
            solver,
            explained_variance_ratio: variances.iter().map(|variance| if total > 0.0 { variance / total } else { 0.0 }).collect(),
            explained_variance: variances,
            mean: data.mean,
            components: emit(scope, ("components", request.encoding), Numbers::F32(components), vec![request.components, shape.dim])?,
            projected,
        })
    }
}

/// Whether the vectors in the new coordinates are part of the answer.
fn projects(request: &PcaRequest) -> bool {
    request.project || request.whiten
}

fn exact_work(shape: Shape) -> u64 {
    let side = shape.rows.min(shape.dim) as u64;
    (shape.elements() as u64).saturating_mul(side).saturating_add(side.saturating_pow(3).saturating_mul(DECOMPOSITION_WORK))
}

/// The solver that is used: what was asked for, or what `auto` decides from the shape.
fn solver(request: &PcaRequest, shape: Shape) -> PcaSolver {
    let side = shape.rows.min(shape.dim);
    let is_cheap = side <= SIDE_MAX && (exact_work(shape) <= AUTO_WORK_MAX || request.components > side / 2);
    match request.solver {
        PcaSolver::Auto if is_cheap => PcaSolver::Exact,
        PcaSolver::Auto => PcaSolver::Randomised,
        asked => asked,
    }
}

/// Errors: `InvalidPayload` when the matrix that is decomposed would be too large.
fn check_side(request: &PcaRequest, (solver, shape): (PcaSolver, Shape)) -> Result<(), TaskError> {
    let side = shape.rows.min(shape.dim);
    if solver == PcaSolver::Exact && side > SIDE_MAX {
        let reason = format!(
            "found {} rows of {}; the smaller of both may be at most {SIDE_MAX} with the solver `exact`; use `randomised`",
            shape.rows, shape.dim
        );
        return Err(TaskError::invalid("vectors", reason));
    }
    if solver == PcaSolver::Randomised && request.components > SIDE_MAX {
        return Err(TaskError::invalid("components", format!("found {}; `randomised` finds at most {SIDE_MAX}", request.components)));
    }
    Ok(())
}

/// Unit directions `[components, dim]`, the variance along each, and the variance of everything.
pub(super) struct Principal {
    pub(super) directions: Array2<f64>,
    pub(super) variances: Vec<f64>,
    pub(super) total: f64,
}

impl Principal {
    /// Makes the directions of some variance orthonormal, in their order, and replaces the others by axes; their variance is 0. Then fixes the signs.
    ///
    /// A way through products of rows gives directions of little variance only roughly; what is left of each beside those before is exact enough.
    /// `tolerance` is the share of the largest variance below which one is rounding.
    pub(super) fn settle_rank(&mut self, tolerance: f64, cancel: &CancelHandle) -> Result<(), TaskError> {
        let (directions, variances) = (&mut self.directions, &mut self.variances);
        let largest = variances.first().copied().unwrap_or(0.0);
        let rank = variances.iter().take_while(|variance| **variance > tolerance * largest).count();
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
            centred::make_orthogonal(direction.view_mut(), done.view());
            uncovered.iter_mut().zip(&direction).for_each(|(left, value)| *left -= value * value);
        }
        directions.axis_iter_mut(Axis(0)).for_each(fix_sign);
        Ok(())
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
