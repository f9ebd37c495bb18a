//! Centroids, who belongs to them, and how they move. Sums are `f64` in the order of the rows, whatever the threads.

use rayon::prelude::*;
use tallow_kernels::Rows;
use tallow_kernels::distance::Metric;
use tallow_kernels::normalize::{Norm, norm};
use tallow_kernels::search::{Hit, StoredRows, assign, nearest, norms};
use tallow_kernels::sums;

use super::kernel_metric;
use crate::executor::vector::input::refused;
use crate::executor::vector::reduce::fold_columns;
use crate::task::vector::ClusterMetric;
use crate::task::{CancelHandle, TaskError};

/// Rows between two looks at the cancellation token.
const CHECK_ROWS: usize = 4096;
/// No row yet.
pub(super) const NO_HIT: Hit = Hit { row: 0, score: 0.0 };

/// Bytes that the rounds hold beside the vectors.
pub(super) fn bytes(rows: usize, k: usize, dim: usize) -> u64 {
    let (rows, k) = (rows as u64, k as u64);
    // A hit, a length, two lists of assignments, and the order of rows; centroids as they are, as sums, and packed twice.
    rows * (16 + 8 + 8 + 8 + 8) + k * dim as u64 * (4 + 8 + 16) + k * 32
}

/// How far a row is from a centroid.
pub(super) struct Measure {
    pub(super) metric: Metric,
    /// For cosine what brings each row to length one, 0 for rows of zeros.
    scales: Option<Vec<f64>>,
}

impl Measure {
    pub(super) fn new(metric: ClusterMetric, rows: Rows<'_>) -> Self {
        let metric = kernel_metric(metric);
        let scale = |row: &[f32]| match norm(Norm::L2, row) {
            0.0 => 0.0,
            length => 1.0 / length,
        };
        let scales = match metric {
            Metric::Cosine => Some(rows.values().par_chunks(rows.dim()).map(scale).collect()),
            _ => None,
        };
        Self { metric, scales }
    }

    /// What a row adds to the inertia.
    pub(super) fn loss(&self, score: f64) -> f64 {
        if self.metric == Metric::Cosine { (1.0 - score).max(0.0) } else { score }
    }
}

/// The state between rounds: each row's nearest centroid.
pub(super) struct Clusters<'a> {
    pub(super) measure: Measure,
    rows: Rows<'a>,
    pub(super) centroids: Vec<f32>,
    hits: Vec<Hit>,
    /// Of all rows, once they were needed.
    lengths: Vec<f32>,
    /// Whether the scores of all hits are known.
    is_scored: bool,
    /// How often an empty cluster was given a row.
    pub(super) refilled: usize,
}

impl<'a> Clusters<'a> {
    /// Rows that belong to nobody yet.
    pub(super) fn new(measure: Measure, rows: Rows<'a>, centroids: Vec<f32>) -> Self {
        Self { measure, rows, centroids, hits: vec![NO_HIT; rows.len()], lengths: Vec::new(), is_scored: false, refilled: 0 }
    }

    pub(super) fn dim(&self) -> usize {
        self.rows.dim()
    }

    pub(super) fn rows(&self) -> Rows<'a> {
        self.rows
    }

    fn k(&self) -> usize {
        self.centroids.len() / self.dim()
    }

    /// The cluster of each row.
    pub(super) fn assignments(&self) -> impl Iterator<Item = u32> {
        self.hits.iter().map(|hit| hit.row as u32)
    }

    /// Sum of the losses, in the order of the rows.
    pub(super) fn inertia(&self) -> f64 {
        self.hits.iter().map(|hit| self.measure.loss(hit.score)).sum()
    }

    /// Gives every row its nearest centroid, ties to the lower one, without its score.
    fn assign_only(&mut self, cancel: &CancelHandle) -> Result<(), TaskError> {
        self.is_scored = false;
        let centroids = Rows::new(&self.centroids, self.rows.dim()).expect("centroids are whole rows");
        let stop = || cancel.is_cancelled();
        let refused = |error| refused("vectors", error, cancel);
        if self.lengths.is_empty() {
            self.lengths = norms(StoredRows::F32(self.rows.values()), self.rows.dim()).map_err(refused)?;
        }
        assign(self.measure.metric, (self.rows, centroids), (&mut self.hits, &self.lengths), &stop).map_err(refused)
    }

    /// Gives every row its nearest centroid. Scores are known where a cluster is empty, since only then a round needs them.
    pub(super) fn assign_for_round(&mut self, cancel: &CancelHandle) -> Result<(), TaskError> {
        self.assign_only(cancel)?;
        if self.counts().contains(&0) { self.assign(cancel) } else { Ok(()) }
    }

    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0usize; self.k()];
        self.assignments().for_each(|cluster| counts[cluster as usize] += 1);
        counts
    }

    /// Gives every row its nearest centroid, ties to the lower one, and its score.
    pub(super) fn assign(&mut self, cancel: &CancelHandle) -> Result<(), TaskError> {
        let centroids = Rows::new(&self.centroids, self.rows.dim()).expect("centroids are whole rows");
        let stop = || cancel.is_cancelled();
        nearest(self.measure.metric, (self.rows, centroids), &mut self.hits, &stop).map_err(|error| refused("vectors", error, cancel))?;
        self.is_scored = true;
        Ok(())
    }

    /// Makes scores known after the last round.
    pub(super) fn score(&mut self, cancel: &CancelHandle) -> Result<(), TaskError> {
        if self.is_scored { Ok(()) } else { self.assign(cancel) }
    }

    /// What a movement is measured against: the mean variance of the dimensions, or what it is at most for rows of length one.
    pub(super) fn spread(&self, cancel: &CancelHandle) -> Result<f64, TaskError> {
        if self.measure.metric == Metric::Cosine {
            return Ok(1.0 / self.dim() as f64);
        }
        let count = self.rows.len() as f64;
        let mut means = fold_columns(self.rows, 0.0, cancel, |sum, value, _row| *sum += value)?;
        means.iter_mut().for_each(|mean| *mean /= count);
        let squares = |row: &[f32]| row.iter().zip(&means).map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum::<f64>();
        // Collected before it is summed, so that the order of additions does not depend on the threads.
        let pieces = self.rows.values().par_chunks(self.dim() * CHECK_ROWS).map(|rows| {
            cancel.check()?;
            Ok(rows.chunks_exact(self.dim()).map(squares).collect::<Vec<f64>>())
        });
        let rows: Vec<Vec<f64>> = pieces.collect::<Result<_, TaskError>>()?;
        Ok(rows.iter().flatten().sum::<f64>() / count / self.dim() as f64)
    }

    /// Moves every centroid to the mean of its rows and answers with the sum of squared movements.
    ///
    /// An empty cluster takes the row that is farthest from its centroid out of a cluster that keeps others (ties to the lower row).
    pub(super) fn move_centroids(&mut self, cancel: &CancelHandle) -> Result<f64, TaskError> {
        self.fill_empty();
        let dim = self.dim();
        let Members { starts, order } = self.members();
        let sums = sums(self.rows, (&self.measure, &starts, &order), cancel)?;
        let mut movement = 0.0;
        for (cluster, (place, sums)) in self.centroids.chunks_exact_mut(dim).zip(sums.chunks_exact(dim)).enumerate() {
            movement += settle(place, sums, self.measure.metric, (starts[cluster + 1] - starts[cluster]) as f64);
        }
        Ok(movement)
    }

    /// The rows of each cluster.
    pub(super) fn members(&self) -> Members {
        Members::of(&self.hits, self.k())
    }

    /// All rows, those farthest from their centroids first, ties to the lower row.
    pub(super) fn farthest(&self) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..self.hits.len() as u32).collect();
        let loss = |row: u32| self.measure.loss(self.hits[row as usize].score);
        rows.par_sort_by(|a, b| loss(*b).total_cmp(&loss(*a)).then(a.cmp(b)));
        rows
    }

    /// Hands rows to empty clusters. There are at least as many rows as clusters, so a row to give always exists.
    fn fill_empty(&mut self) {
        let mut counts = self.counts();
        if counts.iter().all(|count| *count > 0) {
            return;
        }
        let mut farthest = self.farthest().into_iter().map(|row| row as usize);
        for empty in 0..counts.len() {
            if counts[empty] > 0 {
                continue;
            }
            if let Some(row) = farthest.by_ref().find(|row| counts[self.hits[*row].row as usize] > 1) {
                counts[self.hits[row].row as usize] -= 1;
                counts[empty] = 1;
                self.hits[row].row = empty as u64;
                self.refilled += 1;
            }
        }
    }
}

/// Puts a centroid where the sum of its `count` rows says, and answers with its squared movement. Without a direction it stays where it is.
pub(super) fn settle(place: &mut [f32], sums: &[f64], metric: Metric, count: f64) -> f64 {
    let divisor = match metric {
        Metric::Cosine => sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt(),
        _ => count,
    };
    if divisor == 0.0 {
        return 0.0;
    }
    let mut movement = 0.0;
    for (place, sum) in place.iter_mut().zip(sums) {
        let moved = (sum / divisor) as f32;
        movement += (f64::from(moved) - f64::from(*place)).powi(2);
        *place = moved;
    }
    movement
}

/// The rows of each cluster, in their order.
pub(super) struct Members {
    /// Where each cluster begins in `order`, and the end of the last.
    pub(super) starts: Vec<usize>,
    pub(super) order: Vec<u32>,
}

impl Members {
    fn of(hits: &[Hit], k: usize) -> Self {
        let mut starts = vec![0usize; k + 1];
        hits.iter().for_each(|hit| starts[hit.row as usize + 1] += 1);
        for cluster in 0..k {
            starts[cluster + 1] += starts[cluster];
        }
        let mut next = starts.clone();
        let mut order = vec![0u32; hits.len()];
        for (row, hit) in hits.iter().enumerate() {
            order[next[hit.row as usize]] = row as u32;
            next[hit.row as usize] += 1;
        }
        Self { starts, order }
    }
}

/// The (scaled) sum of the rows of each cluster `[k, dim]`.
pub(super) fn sums(
    rows: Rows<'_>,
    (measure, starts, order): (&Measure, &[usize], &[u32]),
    cancel: &CancelHandle,
) -> Result<Vec<f64>, TaskError> {
    let dim = rows.dim();
    let mut sums = vec![0.0f64; (starts.len() - 1) * dim];
    sums.par_chunks_mut(dim).enumerate().try_for_each(|(cluster, sums)| {
        for members in order[starts[cluster]..starts[cluster + 1]].chunks(CHECK_ROWS) {
            cancel.check()?;
            sums::sums(rows, members, measure.scales.as_deref(), sums).map_err(|error| refused("vectors", error, cancel))?;
        }
        Ok::<_, TaskError>(())
    })?;
    Ok(sums)
}
