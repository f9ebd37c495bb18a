//! Rounds that look at a few random rows each.

use tallow_kernels::Rows;

use super::Rounds;
use super::clusters::{Clusters, Measure, Members, settle, sums};
use crate::executor::operation::Scope;
use crate::executor::vector::VectorState;
use crate::executor::vector::input::Shape;
use crate::executor::vector::random::SplitMix64;
use crate::task::TaskError;
use crate::task::vector::KmeansRequest;

/// Rows of the start for each row of a batch and each cluster.
const START_SHARE: usize = 3;
/// Rounds without progress after which it ends.
const PATIENCE: u32 = 10;

/// Bytes that batches hold beside the vectors.
pub(super) fn bytes(request: &KmeansRequest, shape: Shape) -> u64 {
    let sample = start_rows(request, shape.rows) as u64 * shape.dim as u64 * 4;
    let sums = (request.k * shape.dim) as u64 * 16;
    request.batch_rows as u64 * (shape.dim as u64 * 4 + 48) + sample + sums
}

fn start_rows(request: &KmeansRequest, rows: usize) -> usize {
    request.batch_rows.max(request.k).saturating_mul(START_SHARE).min(rows)
}

/// The rows among which the first centroids are found.
pub(super) fn sample(request: &KmeansRequest, rows: Rows<'_>, random: &mut SplitMix64) -> Vec<f32> {
    random.sample(start_rows(request, rows.len()), rows.len()).into_iter().flat_map(|row| rows.row(row)).copied().collect()
}

/// Rounds of random batches. A centroid is the mean of all rows that it was ever given. Each time that as many rows were drawn as there are, those that were
/// never given one take the rows of the batch that are farthest from their centroids.
pub(super) fn run(
    clusters: &mut Clusters<'_>,
    request: &KmeansRequest,
    random: &mut SplitMix64,
    scope: &Scope<'_, VectorState>,
) -> Result<Rounds, TaskError> {
    let (rows, dim) = (clusters.rows(), clusters.dim());
    let mut given = Given { sums: vec![0.0; clusters.centroids.len()], counts: vec![0; request.k] };
    let rounds_of_all = rows.len().div_ceil(request.batch_rows) as u32;
    let mut progress = Progress::new(request, rows.len());
    let mut rounds = Rounds { iterations: 0, converged: false };
    while !rounds.converged && rounds.iterations < request.iterations_max {
        scope.cancel.check()?;
        rounds.iterations += 1;
        let batch: Vec<f32> = (0..request.batch_rows).flat_map(|_| rows.row(random.below(rows.len()))).copied().collect();
        let batch = Rows::new(&batch, dim).expect("whole rows were copied");
        let mut of_batch = Clusters::new(Measure::new(request.metric, batch), batch, std::mem::take(&mut clusters.centroids));
        of_batch.assign(scope.cancel)?;
        let loss = of_batch.inertia() / batch.len() as f64;
        given.take(&mut of_batch, scope)?;
        if rounds.iterations.is_multiple_of(rounds_of_all) {
            clusters.refilled += given.refill(&mut of_batch);
        }
        clusters.centroids = of_batch.centroids;
        rounds.converged = progress.ends(loss);
        scope.sink.progress(rounds.iterations as f32 / request.iterations_max as f32, "clustering");
    }
    Ok(rounds)
}

/// What every centroid was given so far.
struct Given {
    sums: Vec<f64>,
    counts: Vec<u64>,
}

impl Given {
    /// Adds a batch and moves the centroids that it has rows of.
    fn take(&mut self, batch: &mut Clusters<'_>, scope: &Scope<'_, VectorState>) -> Result<(), TaskError> {
        let dim = batch.dim();
        let Members { starts, order } = batch.members();
        let added = sums(batch.rows(), (&batch.measure, &starts, &order), scope.cancel)?;
        self.sums.iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
        let metric = batch.measure.metric;
        for (cluster, place) in batch.centroids.chunks_exact_mut(dim).enumerate() {
            let count = (starts[cluster + 1] - starts[cluster]) as u64;
            if count > 0 {
                self.counts[cluster] += count;
                settle(place, &self.sums[cluster * dim..][..dim], metric, self.counts[cluster] as f64);
            }
        }
        Ok(())
    }

    /// Puts centroids that were given nothing on rows of the batch, the farthest first, and answers with their number.
    fn refill(&mut self, batch: &mut Clusters<'_>) -> usize {
        let dim = batch.dim();
        let empty: Vec<usize> = (0..self.counts.len()).filter(|cluster| self.counts[*cluster] == 0).collect();
        if empty.is_empty() {
            return 0;
        }
        let (source, farthest) = (batch.rows(), batch.farthest());
        for (cluster, row) in empty.iter().zip(&farthest) {
            batch.centroids[cluster * dim..][..dim].copy_from_slice(source.row(*row as usize));
        }
        empty.len().min(farthest.len())
    }
}

/// When a smoothed mean loss has not fallen for long enough.
struct Progress {
    share: f64,
    tolerance: f64,
    smoothed: Option<f64>,
    best: f64,
    patience: u32,
}

impl Progress {
    fn new(request: &KmeansRequest, rows: usize) -> Self {
        // As far back as all rows are seen once.
        let share = (2.0 * request.batch_rows as f64 / (rows as f64 + 1.0)).min(1.0);
        Self { share, tolerance: request.tolerance, smoothed: None, best: f64::INFINITY, patience: PATIENCE }
    }

    /// Takes up the mean loss of a batch; true when it is time to end.
    fn ends(&mut self, loss: f64) -> bool {
        let smoothed = self.smoothed.map_or(loss, |before| before * (1.0 - self.share) + loss * self.share);
        self.smoothed = Some(smoothed);
        if smoothed < self.best * (1.0 - self.tolerance) {
            self.best = smoothed;
            self.patience = PATIENCE;
        } else {
            self.patience -= 1;
        }
        smoothed == 0.0 || self.patience == 0
    }
}
