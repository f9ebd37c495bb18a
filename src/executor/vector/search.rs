//! `top_k`.

use tallow_kernels::topk::{self, Hit};

use super::VectorState;
use super::compare::{check_pair, kernel_metric};
use super::input::{load, refused, shape_of};
use super::output::{array_bytes, cost};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{ArrayEncoding, ArrayOutput, HitRows, ItemId, Numbers, RankOrder, TopKOutput, TopKRequest};
use crate::task::{Parts, TaskError};

/// Most hits per query that may be asked for.
const K_MAX: usize = 1_000_000;
/// Parts of the rows that each keep their own best hits: four per thread of a large host.
const PARTIAL_BESTS: usize = 64;

/// The closest vectors of each query.
pub(super) struct TopK;

impl Operation<VectorState> for TopK {
    type Request = TopKRequest;
    type Output = TopKOutput;
    const NAME: &'static str = "top_k";
    const SUMMARY: &'static str = "The k closest vectors of each query, exactly: closest first, ties by lower index, NaN last.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let queries = shape_of("queries", &request.queries, parts)?;
        let vectors = shape_of("vectors", &request.vectors, parts)?;
        check_pair(request.metric, ("vectors", vectors), ("queries", queries))?;
        if request.k == 0 || request.k > K_MAX {
            return Err(TaskError::invalid("k", format!("found {}; allowed: 1 to {K_MAX}", request.k)));
        }
        if request.threshold.is_some_and(|threshold| !threshold.is_finite()) {
            return Err(TaskError::invalid("threshold", "must be finite"));
        }
        if let Some(ids) = &request.ids
            && ids.len() != vectors.rows
        {
            return Err(TaskError::invalid("ids", format!("found {} ids for {} vectors; one each is needed", ids.len(), vectors.rows)));
        }
        let hits = queries.rows.saturating_mul(request.k.min(vectors.rows));
        let out = array_bytes("indices", request.encoding, hits, 8)?.saturating_mul(2);
        let kept = queries.rows.saturating_mul(request.k.saturating_mul(PARTIAL_BESTS).min(vectors.rows)) as u64 * 16;
        let ids = request.ids.as_ref().map_or(0, |_| hits as u64 * 64);
        let held = queries.bytes() + vectors.bytes() + vectors.rows as u64 * 8;
        let work = (vectors.elements() as u64).saturating_mul(queries.rows as u64);
        Ok(cost(held.saturating_add(out).saturating_add(kept).saturating_add(ids), work))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let queries = load("queries", &request.queries, scope.parts, request.non_finite)?;
        let vectors = load("vectors", &request.vectors, scope.parts, request.non_finite)?;
        let metric = kernel_metric(request.metric);
        let wanted = topk::TopK { metric, k: request.k, threshold: request.threshold };
        let stop = || scope.cancel.is_cancelled();
        let hits =
            topk::top_k(queries.operand(), vectors.operand(), wanted, &stop).map_err(|error| refused("queries", error, scope.cancel))?;
        let ids = request.ids.as_ref().map(|ids| hits.iter().map(|hits| names(hits, ids)).collect());
        let (indices, scores) = leave(&hits, request.encoding, scope)?;
        let order = if metric.larger_is_closer() { RankOrder::Descending } else { RankOrder::Ascending };
        Ok(TopKOutput { metric: request.metric, order, counts: hits.iter().map(Vec::len).collect(), indices, scores, ids })
    }
}

fn names(hits: &[Hit], ids: &[ItemId]) -> Vec<ItemId> {
    hits.iter().map(|hit| ids[hit.index as usize].clone()).collect()
}

type Leaving = (Option<HitRows<u32>>, Option<HitRows<Option<f64>>>);

/// Indices and scores the way they shall leave.
fn leave(hits: &[Vec<Hit>], encoding: ArrayEncoding, scope: &Scope<'_, VectorState>) -> Result<Leaving, TaskError> {
    if encoding == ArrayEncoding::Float {
        let indices = hits.iter().map(|hits| hits.iter().map(|hit| hit.index).collect()).collect();
        let score = |hit: &Hit| (!hit.score.is_nan()).then_some(hit.score);
        let scores = hits.iter().map(|hits| hits.iter().map(score).collect()).collect();
        return Ok((Some(HitRows::Rows(indices)), Some(HitRows::Rows(scores))));
    }
    let width = hits.iter().map(Vec::len).max().unwrap_or(0);
    let padded = |hits: &[Hit]| (0..width).map(|place| hits.get(place).copied()).collect::<Vec<_>>();
    let places: Vec<Option<Hit>> = hits.iter().flat_map(|hits| padded(hits)).collect();
    let indices = places.iter().map(|hit| hit.map_or(-1, |hit| i64::from(hit.index))).collect();
    let scores = places.iter().map(|hit| hit.map_or(f64::NAN, |hit| hit.score)).collect();
    let shape = vec![hits.len(), width];
    let indices = ArrayOutput::new(Numbers::I64(indices), shape.clone());
    let scores = ArrayOutput::new(Numbers::F64(scores), shape);
    if encoding == ArrayEncoding::Base64 {
        return Ok((Some(HitRows::Padded(indices.into_base64())), Some(HitRows::Padded(scores.into_base64()))));
    }
    scope.sink.part("indices", indices.into_part()?);
    scope.sink.part("scores", scores.into_part()?);
    Ok((None, None))
}
