//! The closest rows of resident sets: top-k for one query and for batches, all rows within a threshold, the nearest of a few centers.
//!
//! Rows stay in the width they are stored in ([`StoredRows`]); a set is any number of [`Block`]s, and rows are counted over all of them. The score of
//! a pair is that of [`Metric`] on the stored values, its terms summed in f64 in one fixed order over sixteen lanes, so it is the same on every level of
//! instructions and for any split into blocks, batches or threads. Closest first; ties go to the lower row; rows whose score is NaN come last.

#[cfg(target_arch = "x86_64")]
mod amx;
mod batch;
mod bound;
mod candidates;
mod exact;
mod goal;
mod near;
mod packed;
mod pieces;
mod reference;
mod scan;
mod sieve;
mod stored;
mod stream;
mod strip;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::best::Best;
use crate::distance::Metric;
use crate::{DIM_MAX, Isa, KernelError, Rows, Stop};
use goal::Goal;
use near::Wanted;
use pieces::Place;

pub use reference::{nearest as reference_nearest, range as reference_range, search as reference_search};
pub use stored::{Block, Int8Sketch, Sketch, StoredRows, norms};

/// One row of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Which row, counted over all blocks.
    pub row: u64,
    /// Its score by the metric.
    pub score: f64,
}

/// How sure an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The same rows as a comparison of all pairs in f64. Compressed forms are used only as far as their error is bounded.
    Exact,
    /// Where a block has a sketch, only the `k * oversample` rows that are closest by it are compared in f64.
    Fast {
        /// Rows compared in f64 for each row wanted, at least 1.
        oversample: usize,
    },
}

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// How rows are compared.
    pub metric: Metric,
    /// How many rows are wanted, at least 1; above the number of rows all are given.
    pub k: usize,
    /// Only rows at least this close: scores `>=` it for similarities, `<=` it for distances. NaN scores never pass.
    pub threshold: Option<f64>,
    /// Whether every row that belongs to the answer must be in it.
    pub certainty: Certainty,
}

/// All rows within a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Within {
    /// How rows are compared.
    pub metric: Metric,
    /// Rows at least this close: scores `>=` it for similarities, `<=` it for distances. NaN scores never pass.
    pub threshold: f64,
    /// Most rows of all queries together; more are an error.
    pub hits_max: usize,
}

/// The answers to a batch of queries.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// For each query its rows, closest first.
    pub hits: Vec<Vec<Hit>>,
    /// True where the rows are those of a comparison of all pairs; false where a sketch chose which rows were compared.
    pub is_exact: bool,
}

/// The closest admitted rows for each query `[queries, dim]`, at most `k` each.
///
/// Zero rows score 0.0 by cosine; a query with NaN scores NaN everywhere but by Hamming and Jaccard. Packed rows are compared with a query's bits, which are
/// set where a value is above zero. Splits over the rayon pool of the calling thread; asks `stop` every few milliseconds.
/// Errors: `Mismatch` for a block that is no whole rows or whose parts do not fit each other, `OutOfRange` for `k` or an oversampling of 0, `Unsupported` for
/// a metric that does not apply to a block's rows, `Stopped`.
pub fn search(queries: Rows<'_>, blocks: &[Block<'_>], plan: &Search, stop: Stop<'_>) -> Result<Found, KernelError> {
    search_on(Isa::active(), (queries, blocks), plan, stop)
}

/// [`search`] on a chosen level of instructions.
pub fn search_on(isa: Isa, pair: (Rows<'_>, &[Block<'_>]), plan: &Search, stop: Stop<'_>) -> Result<Found, KernelError> {
    let (queries, blocks) = pair;
    let is_oversampled = !matches!(plan.certainty, Certainty::Fast { oversample: 0 });
    for (what, got) in [("k", plan.k), ("oversampling", usize::from(is_oversampled))] {
        if got == 0 {
            return Err(KernelError::OutOfRange { op: "search", what, max: usize::MAX, got });
        }
    }
    let places = places("search", plan.metric, (queries.dim(), blocks))?;
    let has_sketch = blocks.iter().any(|block| block.sketch.is_some());
    let oversample = match plan.certainty {
        Certainty::Fast { oversample } if has_sketch && goal::may_guess(isa, plan.metric) => Some(oversample),
        _ => None,
    };
    let goal = Goal { metric: plan.metric, k: plan.k, threshold: plan.threshold, oversample, counter: None };
    let best = goal.reach(isa, (queries, &places), stop)?;
    Ok(Found { hits: best.into_iter().map(hits).collect(), is_exact: oversample.is_none() })
}

/// Every admitted row within the threshold for each query `[queries, dim]`, closest first.
///
/// As [`search`] otherwise. Errors: also `OutOfRange` when there are more than `hits_max` such rows over all queries, as soon as that is known; it tells how many
/// were found by then.
pub fn range(queries: Rows<'_>, blocks: &[Block<'_>], plan: &Within, stop: Stop<'_>) -> Result<Vec<Vec<Hit>>, KernelError> {
    range_on(Isa::active(), (queries, blocks), plan, stop)
}

/// [`range`] on a chosen level of instructions.
pub fn range_on(isa: Isa, pair: (Rows<'_>, &[Block<'_>]), plan: &Within, stop: Stop<'_>) -> Result<Vec<Vec<Hit>>, KernelError> {
    let (queries, blocks) = pair;
    let places = places("range", plan.metric, (queries.dim(), blocks))?;
    // One more than is allowed tells that there are more.
    let counter = Arc::new(AtomicUsize::new(0));
    let goal = Goal {
        metric: plan.metric,
        k: plan.hits_max.saturating_add(1),
        threshold: Some(plan.threshold),
        oversample: None,
        counter: Some(Arc::clone(&counter)),
    };
    let are_too_many = || counter.load(Ordering::Relaxed) > plan.hits_max;
    let best = goal.reach(isa, (queries, &places), &|| stop() || are_too_many());
    if are_too_many() {
        return Err(KernelError::OutOfRange { op: "range", what: "hits", max: plan.hits_max, got: counter.load(Ordering::Relaxed) });
    }
    Ok(best?.into_iter().map(hits).collect())
}

/// The closest of `centers` for each of `points`, into `out` `[points]`; ties go to the lower center, NaN comes last.
///
/// The row of a hit is the center's. Splits over the rayon pool of the calling thread; asks `stop` every few milliseconds. Errors: `Mismatch` for different
/// dimensions or an `out` of another length, `OutOfRange` without centers, `Stopped`.
pub fn nearest(metric: Metric, pair: (Rows<'_>, Rows<'_>), out: &mut [Hit], stop: Stop<'_>) -> Result<(), KernelError> {
    nearest_on(Isa::active(), metric, pair, (out, stop))
}

/// [`nearest`] on a chosen level of instructions.
pub fn nearest_on(
    isa: Isa,
    metric: Metric,
    (points, centers): (Rows<'_>, Rows<'_>),
    (out, stop): (&mut [Hit], Stop<'_>),
) -> Result<(), KernelError> {
    check_nearest((points, centers), out)?;
    near::run(isa, (metric, points, centers), (out, Wanted::Score), stop)
}

/// [`nearest`] for who wants to know the center alone, and asks often: the score is NaN where products tell which it is, which spares most comparisons in
/// f64, and `lengths` `[points]` are what [`norms`] gave for the points; other numbers lead to wrong answers. Errors: also `Mismatch` for other than one each.
pub fn assign(metric: Metric, pair: (Rows<'_>, Rows<'_>), (out, lengths): (&mut [Hit], &[f32]), stop: Stop<'_>) -> Result<(), KernelError> {
    assign_on(Isa::active(), (metric, pair), (out, lengths), stop)
}

/// [`assign`] on a chosen level of instructions.
pub fn assign_on(
    isa: Isa,
    (metric, (points, centers)): (Metric, (Rows<'_>, Rows<'_>)),
    (out, lengths): (&mut [Hit], &[f32]),
    stop: Stop<'_>,
) -> Result<(), KernelError> {
    check_nearest((points, centers), out)?;
    if lengths.len() != points.len() {
        return Err(KernelError::Mismatch { op: "nearest", what: "lengths", expected: points.len(), got: lengths.len() });
    }
    near::run(isa, (metric, points, centers), (out, Wanted::Center(lengths)), stop)
}

fn check_nearest((points, centers): (Rows<'_>, Rows<'_>), out: &[Hit]) -> Result<(), KernelError> {
    if points.dim() != centers.dim() {
        return Err(KernelError::Mismatch { op: "nearest", what: "dimensions", expected: points.dim(), got: centers.dim() });
    }
    if centers.is_empty() {
        return Err(KernelError::OutOfRange { op: "nearest", what: "centers", max: usize::MAX, got: 0 });
    }
    if out.len() != points.len() {
        return Err(KernelError::Mismatch { op: "nearest", what: "outputs", expected: points.len(), got: out.len() });
    }
    Ok(())
}

/// What was kept, as an answer.
fn hits(best: Best) -> Vec<Hit> {
    best.into_ranked().map(|(row, score)| Hit { row, score }).collect()
}

/// Checks all blocks and counts their rows.
fn places<'a>(op: &'static str, metric: Metric, (dim, blocks): (usize, &[Block<'a>])) -> Result<Vec<Place<'a>>, KernelError> {
    if dim == 0 || dim > DIM_MAX {
        return Err(KernelError::OutOfRange { op, what: "dimensions", max: DIM_MAX, got: dim });
    }
    let mut first = 0;
    blocks
        .iter()
        .map(|block| {
            let len = block.check(op, metric, dim)?;
            let place = Place { block: *block, first, len };
            first += len as u64;
            Ok(place)
        })
        .collect()
}
