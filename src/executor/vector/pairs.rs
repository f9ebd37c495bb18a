//! `similarity_join`: every pair of vectors that is close enough.

use tallow_kernels::KernelError;

use super::VectorState;
use super::compare::{check_pair, kernel_metric};
use super::input::{load, refused, shape_of};
use super::join::{self, Join, JoinEnd};
use super::output::{array_bytes, cost, emit};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{NonFinite, Numbers, RankOrder, SimilarityJoinOutput, SimilarityJoinRequest};
use crate::task::{CancelHandle, Parts, TaskError};

/// Most pairs that may be asked for.
const PAIRS_MAX: usize = 10_000_000;

/// Every pair that is close enough.
pub(super) struct SimilarityJoin;

impl Operation<VectorState> for SimilarityJoin {
    type Request = SimilarityJoinRequest;
    type Output = SimilarityJoinOutput;
    const NAME: &'static str = "similarity_join";
    const SUMMARY: &'static str =
        "All pairs of vectors, of one set or between two, at least this close, exactly; more than `pairs_max` are an error.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let a = shape_of("a", &request.a, parts)?;
        let b = request.b.as_ref().map_or(Ok(a), |b| shape_of("b", b, parts))?;
        check_pair(request.metric, ("a", a), ("b", b))?;
        if !request.threshold.is_finite() {
            return Err(TaskError::invalid("threshold", "must be finite"));
        }
        if request.pairs_max == 0 || request.pairs_max > PAIRS_MAX {
            return Err(TaskError::invalid("pairs_max", format!("found {}; allowed: 1 to {PAIRS_MAX}", request.pairs_max)));
        }
        let most = match request.b {
            Some(_) => a.rows.saturating_mul(b.rows),
            None => a.rows.saturating_mul(a.rows - 1) / 2,
        };
        let pairs = request.pairs_max.min(most);
        let indices = array_bytes("pairs", request.encoding, pairs * 2, 8)?;
        let scores = array_bytes("scores", request.encoding, pairs, 8)?;
        let rows = if request.b.is_some() { a.bytes() + b.bytes() } else { a.bytes() };
        let held = rows + join::bytes(a.rows, b.rows, a.dim) + pairs as u64 * 24;
        Ok(cost(held + indices + scores, (a.elements() as u64).saturating_mul(b.rows as u64)))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let a = load("a", &request.a, scope.parts, NonFinite::Refuse)?;
        let b = request.b.as_ref().map(|b| load("b", b, scope.parts, NonFinite::Refuse)).transpose()?;
        let metric = kernel_metric(request.metric);
        let join = Join { metric, threshold: request.threshold, a: a.operand(), b: b.as_ref().map(|b| b.operand()) };
        let (mut pairs, mut scores): (Vec<i64>, Vec<f64>) = (Vec::new(), Vec::new());
        let mut visit = |row: usize, hits: &[tallow_kernels::search::Hit]| {
            let fits = scores.len() + hits.len() <= request.pairs_max;
            if fits {
                pairs.extend(hits.iter().flat_map(|hit| [row as i64, hit.row as i64]));
                scores.extend(hits.iter().map(|hit| hit.score));
            }
            fits
        };
        let stop = || scope.cancel.is_cancelled();
        let progress = |share: f32| scope.sink.progress(share, "joining");
        join.run(&mut visit, &progress, &stop).map_err(|end| ended(end, request.pairs_max, scope.cancel))?;
        let pair_count = scores.len();
        Ok(SimilarityJoinOutput {
            metric: request.metric,
            order: if metric.larger_is_closer() { RankOrder::Descending } else { RankOrder::Ascending },
            pair_count,
            pairs: emit(scope, ("pairs", request.encoding), Numbers::I64(pairs), vec![pair_count, 2])?,
            scores: emit(scope, ("scores", request.encoding), Numbers::F64(scores), vec![pair_count])?,
        })
    }
}

/// The task's error for a join that ended early.
pub(super) fn ended(end: JoinEnd, pairs_max: usize, cancel: &CancelHandle) -> TaskError {
    match end {
        JoinEnd::Enough => TaskError::invalid(
            "pairs_max",
            format!(
                "more than {pairs_max} pairs are this close; choose a stricter `threshold`, or a larger `pairs_max` of at most {PAIRS_MAX}"
            ),
        ),
        JoinEnd::Kernel(KernelError::Stopped) => cancel.cause(),
        JoinEnd::Kernel(error) => refused("a", error, cancel),
    }
}
