//! Every query with every row in f64: for metrics that products say nothing about, and for queries whose products cannot be bounded.

use std::ops::Range;

use super::best::Best;
use super::exact::{Query, Scorer};
use super::pieces::{Place, spread};
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
        for row in rows {
            if row % ROWS == 0 && stop() {
                return Err(KernelError::Stopped);
            }
            if place.block.admits(row) {
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
