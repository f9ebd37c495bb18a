//! Every query with every row in f64: for metrics that products say nothing about, and for queries whose products cannot be bounded.

use std::ops::Range;

use super::StoredRows;
use super::exact::{Query, Scorer, bit_scores};
use super::pieces::{Place, spread};
use crate::best::Best;
use crate::{Isa, KernelError, Stop};

/// Rows between two questions whether to stop.
const ROWS: usize = 256;

/// The best rows of each query. `new` makes those of a query before any row.
pub(super) fn run(
    isa: Isa,
    (queries, places): (&[Query<'_>], &[Place<'_>]),
    new: &(dyn Fn() -> Best + Sync),
    stop: Stop<'_>,
) -> Result<Vec<Best>, KernelError> {
    let empty = || -> Vec<Best> { queries.iter().map(|_| new()).collect() };
    let work = |best: &mut Vec<Best>, place: &Place<'_>, rows: Range<usize>| {
        let Some(dim) = queries.first().map(|query| query.values().len()) else { return Ok(()) };
        let mut scorer = Scorer::new(isa, place.block.rows, dim);
        for from in rows.clone().step_by(ROWS) {
            if stop() {
                return Err(KernelError::Stopped);
            }
            let rows = from..rows.end.min(from + ROWS);
            if let StoredRows::Binary(words) = place.block.rows {
                let stride = dim.div_ceil(64);
                bits((isa, place), (rows.clone(), &words[rows.start * stride..rows.end * stride]), (queries, best));
                continue;
            }
            for row in rows.filter(|row| place.block.admits(*row)) {
                scorer.load(row);
                for (query, best) in queries.iter().zip(&mut *best) {
                    best.offer(place.first + row as u64, scorer.score(query));
                }
            }
        }
        Ok(())
    };
    let parts = spread(places, &empty, &work, stop)?;
    let join = |mut left: Vec<Best>, right: Vec<Best>| {
        left.iter_mut().zip(right).for_each(|(left, right)| left.merge(right));
        left
    };
    Ok(parts.into_iter().reduce(join).unwrap_or_else(empty))
}

/// Scores a few packed rows.
fn bits((isa, place): (Isa, &Place<'_>), (rows, words): (Range<usize>, &[u64]), (queries, best): (&[Query<'_>], &mut [Best])) {
    let mut scores = [0f64; ROWS];
    for (query, best) in queries.iter().zip(best) {
        bit_scores(isa, query, words, &mut scores[..rows.len()]);
        for (row, score) in rows.clone().zip(scores).filter(|(row, _)| place.block.admits(*row)) {
            best.offer(place.first + row as u64, score);
        }
    }
}
