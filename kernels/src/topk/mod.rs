//! The k closest rows for a batch of queries, without ever holding the whole score matrix.
//!
//! Scores are those of [`crate::distance`], so they do not depend on batch or threads, and neither does the order: closest first, ties by lower
//! index, rows whose score is NaN last.

mod reference;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::best::Best;
use crate::distance::{self, LEFT_BLOCK, Metric, RIGHT_BLOCK, Squares, part, score_block, squares};
use crate::{Isa, KernelError, Operand, Stop};

pub use reference::top_k as reference_top_k;

/// Most rows that can be searched: indices are 32 bits.
pub const ROWS_MAX: usize = u32::MAX as usize;
/// Rows below which a search is not split further.
const SPLIT_ROWS: usize = 1024;

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopK {
    /// How rows are compared.
    pub metric: Metric,
    /// How many rows are wanted, at least 1; above the number of rows all are given.
    pub k: usize,
    /// Only rows at least this close: scores `>=` it for similarities, `<=` it for distances. NaN scores never pass.
    pub threshold: Option<f64>,
}

/// One row of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Which row.
    pub index: u32,
    /// Its score by the metric.
    pub score: f64,
}

/// The closest rows of `rows` for each query, at most `k` each, closest first; ties go to the lower index, NaN ranks last.
///
/// Splits over the rayon pool; asks `stop` between blocks. Memory beside the answer: at most four parts per thread of `k` hits per query.
/// Errors: `Mismatch` for different dimensions, `OutOfRange` for `k` 0 or more than [`ROWS_MAX`] rows, `Unsupported`, `Stopped`.
pub fn top_k(queries: Operand<'_>, rows: Operand<'_>, wanted: TopK, stop: Stop<'_>) -> Result<Vec<Vec<Hit>>, KernelError> {
    top_k_on(Isa::active(), (queries, rows), wanted, stop)
}

/// [`top_k`] on a chosen level of instructions.
pub fn top_k_on(isa: Isa, pair: (Operand<'_>, Operand<'_>), wanted: TopK, stop: Stop<'_>) -> Result<Vec<Vec<Hit>>, KernelError> {
    let (queries, rows) = pair;
    distance::check("top k", wanted.metric, queries, rows)?;
    if wanted.k == 0 {
        return Err(KernelError::OutOfRange { op: "top k", what: "k", max: ROWS_MAX, got: 0 });
    }
    if rows.len() > ROWS_MAX {
        return Err(KernelError::OutOfRange { op: "top k", what: "rows", max: ROWS_MAX, got: rows.len() });
    }
    let plan = Plan::new(queries.len(), rows.len());
    let left = squares(isa, wanted.metric, queries);
    // Lengths of rows are worth keeping when more than one block of queries passes over them.
    let right = if plan.query_blocks > 1 { squares(isa, wanted.metric, rows) } else { Vec::new() };
    let search = Search { isa, wanted, rows, row_squares: &right };
    let parts: Vec<Vec<Best>> = (0..plan.query_blocks * plan.row_parts)
        .into_par_iter()
        .map(|index| {
            let query_range = plan.queries(index / plan.row_parts);
            let row_range = plan.rows(index % plan.row_parts);
            let squares = part(&left, query_range.clone());
            search.scan((queries.slice(query_range), squares), row_range, stop)
        })
        .collect::<Result<_, _>>()?;
    let mut parts = parts.into_iter();
    let mut answers = Vec::with_capacity(queries.len());
    while let Some(mut best) = parts.next() {
        for other in parts.by_ref().take(plan.row_parts - 1) {
            best.iter_mut().zip(other).for_each(|(best, other)| best.merge(other));
        }
        let hits = |best: Best| best.into_ranked().map(|(row, score)| Hit { index: row as u32, score }).collect();
        answers.extend(best.into_iter().map(hits));
    }
    Ok(answers)
}

/// How a search is cut: blocks of queries times parts of the rows.
struct Plan {
    query_count: usize,
    row_count: usize,
    query_blocks: usize,
    row_parts: usize,
}

impl Plan {
    fn new(query_count: usize, row_count: usize) -> Self {
        let query_blocks = query_count.div_ceil(LEFT_BLOCK);
        // Four pieces per thread even out threads of different speed.
        let pieces = 4 * rayon::current_num_threads();
        let row_parts = pieces.div_ceil(query_blocks.max(1)).min(row_count.div_ceil(SPLIT_ROWS)).max(1);
        Self { query_count, row_count, query_blocks, row_parts }
    }

    fn queries(&self, block: usize) -> std::ops::Range<usize> {
        block * LEFT_BLOCK..self.query_count.min((block + 1) * LEFT_BLOCK)
    }

    fn rows(&self, part: usize) -> std::ops::Range<usize> {
        let size = self.row_count.div_ceil(self.row_parts);
        (part * size).min(self.row_count)..((part + 1) * size).min(self.row_count)
    }
}

/// A search over all rows, shared by the threads.
struct Search<'a> {
    isa: Isa,
    wanted: TopK,
    rows: Operand<'a>,
    row_squares: &'a [f64],
}

impl Search<'_> {
    /// The best rows of a range for each of a few queries.
    fn scan(&self, queries: (Operand<'_>, &[f64]), range: std::ops::Range<usize>, stop: Stop<'_>) -> Result<Vec<Best>, KernelError> {
        let (queries, query_squares) = queries;
        let mut best: Vec<Best> =
            (0..queries.len()).map(|_| Best::new(self.wanted.metric, (self.wanted.k, self.wanted.threshold))).collect();
        let mut scores = [0.0f64; LEFT_BLOCK * RIGHT_BLOCK];
        let mut lengths = [0.0f64; RIGHT_BLOCK];
        for from in range.clone().step_by(RIGHT_BLOCK) {
            if stop() {
                return Err(KernelError::Stopped);
            }
            let block = from..range.end.min(from + RIGHT_BLOCK);
            let width = block.len();
            let rows = self.rows.slice(block.clone());
            let right = match (self.wanted.metric, rows) {
                (Metric::Cosine, Operand::Real(rows)) if self.row_squares.is_empty() => {
                    distance::squared_lengths_on(self.isa, rows, &mut lengths[..width]);
                    &lengths[..width]
                }
                _ => part(self.row_squares, block),
            };
            let scores = &mut scores[..queries.len() * width];
            score_block(self.isa, self.wanted.metric, (queries, rows), Squares { left: query_squares, right }, scores);
            for (best, scores) in best.iter_mut().zip(scores.chunks_exact(width)) {
                (from as u64..).zip(scores).for_each(|(row, score)| best.offer(row, *score));
            }
        }
        Ok(best)
    }
}
