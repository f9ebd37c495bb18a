//! The plainest version: every score in `f64`, one full sort per query.

use super::{Hit, TopK};
use crate::Rows;
use crate::distance::reference_score;

/// The closest rows of each query by sorting all of them.
#[must_use]
pub fn top_k(queries: Rows<'_>, rows: Rows<'_>, wanted: TopK) -> Vec<Vec<Hit>> {
    let closer = |a: f64, b: f64| if wanted.metric.larger_is_closer() { b.total_cmp(&a) } else { a.total_cmp(&b) };
    let search = |query: &[f32]| {
        let scored = rows
            .iter()
            .enumerate()
            .map(|(index, row)| Hit { index: index as u32, score: reference_score(wanted.metric, query, row) + 0.0 });
        let passes = |score: f64| match wanted.threshold {
            None => true,
            Some(threshold) if wanted.metric.larger_is_closer() => score >= threshold,
            Some(threshold) => score <= threshold,
        };
        let mut hits: Vec<Hit> = scored.filter(|hit| passes(hit.score)).collect();
        hits.sort_by(|a, b| {
            let nan = a.score.is_nan().cmp(&b.score.is_nan());
            nan.then(closer(a.score, b.score)).then(a.index.cmp(&b.index))
        });
        hits.truncate(wanted.k);
        hits
    };
    queries.iter().map(search).collect()
}
