//! The plainest version: every score in f64 by the reference of [`crate::distance`], one full sort per query.

use std::cmp::Ordering;

use super::{Block, Hit, Search, StoredRows, Within};
use crate::Rows;
use crate::distance::{Metric, reference_score};

/// Every admitted row with its score, closest first.
fn ranked(metric: Metric, query: &[f32], blocks: &[Block<'_>]) -> Vec<Hit> {
    let dim = query.len();
    let (mut hits, mut first) = (Vec::new(), 0u64);
    for block in blocks {
        let count = block.rows.len(dim).expect("whole rows");
        let is_binary = matches!(block.rows, StoredRows::Binary(_));
        let query: Vec<f32> = query.iter().map(|value| if is_binary { f32::from(u8::from(*value > 0.0)) } else { *value }).collect();
        let mut row = vec![0f32; dim];
        for at in (0..count).filter(|at| block.admitted.is_none_or(|words| words[at / 64] >> (at % 64) & 1 == 1)) {
            block.rows.widen(at, &mut row);
            // The sum turns -0.0 into 0.0.
            hits.push(Hit { row: first + at as u64, score: reference_score(metric, &query, &row) + 0.0 });
        }
        first += count as u64;
    }
    // Two that do not compare are NaN, or a number and NaN, which the first comparison has told apart.
    let closer = |a: f64, b: f64| if metric.larger_is_closer() { b.partial_cmp(&a) } else { a.partial_cmp(&b) };
    hits.sort_by(|a, b| {
        let numbers = closer(a.score, b.score).unwrap_or(Ordering::Equal);
        a.score.is_nan().cmp(&b.score.is_nan()).then(numbers).then(a.row.cmp(&b.row))
    });
    hits
}

fn passes(metric: Metric, score: f64, threshold: f64) -> bool {
    if metric.larger_is_closer() { score >= threshold } else { score <= threshold }
}

/// The closest rows of each query.
#[must_use]
pub fn search(queries: Rows<'_>, blocks: &[Block<'_>], plan: &Search) -> Vec<Vec<Hit>> {
    let one = |query: &[f32]| {
        let mut hits = ranked(plan.metric, query, blocks);
        hits.retain(|hit| plan.threshold.is_none_or(|threshold| passes(plan.metric, hit.score, threshold)));
        hits.truncate(plan.k);
        hits
    };
    queries.iter().map(one).collect()
}

/// Every row within the threshold.
#[must_use]
pub fn range(queries: Rows<'_>, blocks: &[Block<'_>], plan: &Within) -> Vec<Vec<Hit>> {
    let one = |query: &[f32]| {
        let mut hits = ranked(plan.metric, query, blocks);
        hits.retain(|hit| passes(plan.metric, hit.score, plan.threshold));
        hits
    };
    queries.iter().map(one).collect()
}

/// The closest center of each point.
#[must_use]
pub fn nearest(metric: Metric, points: Rows<'_>, centers: Rows<'_>) -> Vec<Hit> {
    let block = Block { rows: StoredRows::F32(centers.values()), norms: &[], sketch: None, admitted: None };
    points.iter().map(|point| ranked(metric, point, &[block])[0]).collect()
}
