//! `mmr` and `reciprocal_rank_fusion`.
//!
//! Sources: J. Carbonell and J. Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998; G. Cormack, C. Clarke and S. Büttcher, "Reciprocal
//! rank fusion outperforms Condorcet and individual rank learning methods", SIGIR 2009.

use std::collections::HashMap;

use tallow_kernels::Rows;
use tallow_kernels::distance::{Metric, scores};

use super::VectorState;
use super::input::{read_finite, real_shape, refused, same_dim};
use super::output::cost;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{FusedItem, FusionOutput, FusionRequest, ItemId, MmrOutput, MmrRequest};
use crate::task::{CancelHandle, Parts, TaskError};

/// Most rows that may be chosen.
const K_MAX: usize = 10_000;
/// Most rankings that are fused.
const RANKINGS_MAX: usize = 1_000;
/// Most ids of all rankings together.
const IDS_MAX: usize = 1_000_000;

/// Close to the query and unlike each other.
pub(super) struct Mmr;

impl Operation<VectorState> for Mmr {
    type Request = MmrRequest;
    type Output = MmrOutput;
    const NAME: &'static str = "mmr";
    const SUMMARY: &'static str = "Vectors close to a query and unlike each other (maximal marginal relevance, cosine).";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let query = real_shape("query", &request.query, parts)?;
        let vectors = real_shape("vectors", &request.vectors, parts)?;
        if query.rows != 1 {
            return Err(TaskError::invalid("query", format!("found {} rows; expected one vector", query.rows)));
        }
        same_dim("query", query, ("vectors", vectors))?;
        if request.k == 0 || request.k > K_MAX {
            return Err(TaskError::invalid("k", format!("found {}; allowed: 1 to {K_MAX}", request.k)));
        }
        if !(0.0..=1.0).contains(&request.lambda) {
            return Err(TaskError::invalid("lambda", format!("found {}; allowed: 0 to 1", request.lambda)));
        }
        let chosen = request.k.min(vectors.rows) as u64;
        Ok(cost(vectors.bytes() + vectors.rows as u64 * 40 + chosen * 200, (vectors.elements() as u64).saturating_mul(chosen)))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let query = read_finite("query", &request.query, scope.parts)?;
        let vectors = read_finite("vectors", &request.vectors, scope.parts)?;
        let rows = vectors.rows();
        let relevance = cosines(query.rows(), rows, scope.cancel)?;
        let mut likeness: Vec<f64> = vec![f64::NEG_INFINITY; rows.len()];
        let mut taken = vec![false; rows.len()];
        let mut output = MmrOutput { indices: Vec::new(), scores: Vec::new(), relevance: Vec::new() };
        for place in 0..request.k.min(rows.len()) {
            // The first one has nothing to be unlike: it is the most relevant.
            let score = |row: usize| {
                if place == 0 { relevance[row] } else { request.lambda * relevance[row] - (1.0 - request.lambda) * likeness[row] }
            };
            let best = (0..rows.len()).filter(|row| !taken[*row]).reduce(|best, row| if score(row) > score(best) { row } else { best });
            let Some(best) = best else { break };
            output.indices.push(best);
            output.scores.push(score(best));
            output.relevance.push(relevance[best]);
            taken[best] = true;
            let latest = cosines(rows.slice(best..best + 1), rows, scope.cancel)?;
            likeness.iter_mut().zip(latest).for_each(|(likeness, latest)| *likeness = likeness.max(latest));
        }
        Ok(output)
    }
}

/// Cosines of one row with all rows.
fn cosines(one: Rows<'_>, rows: Rows<'_>, cancel: &CancelHandle) -> Result<Vec<f64>, TaskError> {
    let mut out = vec![0.0; rows.len()];
    let stop = || cancel.is_cancelled();
    scores(Metric::Cosine, one.into(), rows.into(), &mut out, &stop).map_err(|error| refused("vectors", error, cancel))?;
    Ok(out)
}

/// One ranking from many.
pub(super) struct Fusion;

impl Operation<VectorState> for Fusion {
    type Request = FusionRequest;
    type Output = FusionOutput;
    const NAME: &'static str = "reciprocal_rank_fusion";
    const SUMMARY: &'static str = "One ranking from many: each id scores the sum of weight / (constant + rank).";

    fn check(request: &Self::Request, _state: &VectorState, _parts: &Parts) -> Result<Cost, TaskError> {
        let count = request.rankings.len();
        if count == 0 || count > RANKINGS_MAX {
            return Err(TaskError::invalid("rankings", format!("found {count} rankings; allowed: 1 to {RANKINGS_MAX}")));
        }
        let ids: usize = request.rankings.iter().map(Vec::len).sum();
        // Every fused id answers with its rank in every ranking.
        if ids > IDS_MAX || ids.saturating_mul(count) > 16 * IDS_MAX {
            return Err(TaskError::invalid(
                "rankings",
                format!("found {ids} ids in {count} rankings; at most {IDS_MAX} ids are allowed, and 16 million places"),
            ));
        }
        if let Some(weights) = &request.weights {
            if weights.len() != count {
                return Err(TaskError::invalid(
                    "weights",
                    format!("found {} weights for {count} rankings; one each is needed", weights.len()),
                ));
            }
            if let Some(index) = weights.iter().position(|weight| *weight < 0.0 || !weight.is_finite()) {
                return Err(TaskError::invalid(format!("weights[{index}]"), format!("found {}; allowed: 0 or more", weights[index])));
            }
        }
        if !(0.0..=1e9).contains(&request.constant) {
            return Err(TaskError::invalid("constant", format!("found {}; allowed: 0 to 1e9", request.constant)));
        }
        if request.limit == Some(0) {
            return Err(TaskError::invalid("limit", "found 0; at least 1 is needed"));
        }
        Ok(cost(ids as u64 * (400 + count as u64 * 48), 0))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let count = request.rankings.len();
        let mut places: HashMap<&ItemId, usize> = HashMap::new();
        let mut results: Vec<FusedItem> = Vec::new();
        for (ranking, ids) in request.rankings.iter().enumerate() {
            scope.cancel.check()?;
            let weight = request.weights.as_ref().map_or(1.0, |weights| weights[ranking]);
            for (index, id) in ids.iter().enumerate() {
                let place = *places.entry(id).or_insert_with(|| {
                    results.push(FusedItem { id: id.clone(), score: 0.0, ranks: vec![None; count] });
                    results.len() - 1
                });
                let item = &mut results[place];
                if let Some(first) = item.ranks[ranking] {
                    let reason =
                        format!("found the id of `rankings[{ranking}][{}]` again; an id appears at most once in a ranking", first - 1);
                    return Err(TaskError::invalid(format!("rankings[{ranking}][{index}]"), reason));
                }
                item.ranks[ranking] = Some(index + 1);
                item.score += weight / (request.constant + (index + 1) as f64);
            }
        }
        // The sort is stable: ties stay in the order of first appearance.
        results.sort_by(|a, b| b.score.total_cmp(&a.score));
        let count = results.len();
        results.truncate(request.limit.unwrap_or(usize::MAX));
        Ok(FusionOutput { results, count })
    }
}
