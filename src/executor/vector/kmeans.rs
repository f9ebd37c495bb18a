//! `kmeans`: Lloyd's rounds from k-means++ starts.
//!
//! Sources: D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007; S. Lloyd, "Least squares quantization in PCM",
//! IEEE Trans. Inf. Theory 28, 1982. Random numbers: SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators",
//! OOPSLA 2014), written out here because an answer must not change with the release of a library. Sums are `f64` in the order of the rows.

use rayon::prelude::*;
use tallow_kernels::Rows;
use tallow_kernels::distance::{Metric, scores};
use tallow_kernels::topk::{Hit, nearest};

use super::VectorState;
use super::input::{read_finite, real_shape, refused};
use super::output::{array_bytes, cost, emit};
use super::reduce::fold_columns;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{KmeansOutput, KmeansRequest, Numbers};
use crate::task::{CancelHandle, Parts, TaskError};

/// Most rounds that may be asked for.
const ITERATIONS_MAX: u32 = 10_000;
/// Dimensions that one thread sums over all rows.
const STRIP: usize = 16;
/// Rows between two looks at the cancellation token.
const CHECK_ROWS: usize = 4096;

/// Clusters of vectors.
pub(super) struct Kmeans;

impl Operation<VectorState> for Kmeans {
    type Request = KmeansRequest;
    type Output = KmeansOutput;
    const NAME: &'static str = "kmeans";
    const SUMMARY: &'static str = "Clusters by Lloyd's algorithm from seeded k-means++ starts; the same seed gives the same answer.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        if request.k == 0 || request.k > shape.rows {
            return Err(TaskError::invalid("k", format!("found {}; allowed: 1 to the number of vectors, {}", request.k, shape.rows)));
        }
        if request.iterations_max == 0 || request.iterations_max > ITERATIONS_MAX {
            return Err(TaskError::invalid("iterations_max", format!("found {}; allowed: 1 to {ITERATIONS_MAX}", request.iterations_max)));
        }
        if !(0.0..=1.0).contains(&request.tolerance) {
            return Err(TaskError::invalid("tolerance", format!("found {}; allowed: 0 to 1", request.tolerance)));
        }
        let out = array_bytes("assignments", request.encoding, shape.rows, 8)?;
        let centroids = array_bytes("centroids", request.encoding, request.k * shape.dim, 4)?;
        let held = shape.bytes() + shape.rows as u64 * 48 + (request.k * shape.dim) as u64 * 16;
        Ok(cost(held + out + centroids, (shape.elements() as u64).saturating_mul(request.k as u64)))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let rows = matrix.rows();
        let mut clusters = Clusters::start(rows, request, scope.cancel)?;
        let movement_max = request.tolerance * mean_variance(rows, scope.cancel)?;
        let mut iterations = 0;
        let mut converged = false;
        while !converged && iterations < request.iterations_max {
            iterations += 1;
            let before: Vec<u32> = clusters.hits.iter().map(|hit| hit.index).collect();
            let movement = clusters.move_centroids(scope.cancel)?;
            clusters.assign(scope.cancel)?;
            let still = clusters.hits.iter().zip(&before).all(|(hit, before)| hit.index == *before);
            converged = still || movement <= movement_max;
            scope.sink.progress(iterations as f32 / request.iterations_max as f32, "clustering");
        }
        let mut sizes = vec![0; request.k];
        clusters.hits.iter().for_each(|hit| sizes[hit.index as usize] += 1);
        let assignments = clusters.hits.iter().map(|hit| i64::from(hit.index)).collect();
        Ok(KmeansOutput {
            k: request.k,
            inertia: clusters.hits.iter().map(|hit| hit.score).sum(),
            iterations,
            converged,
            sizes,
            assignments: emit(scope, ("assignments", request.encoding), Numbers::I64(assignments), vec![rows.len()])?,
            centroids: emit(scope, ("centroids", request.encoding), Numbers::F32(clusters.centroids), vec![request.k, rows.dim()])?,
        })
    }
}

/// The state between rounds: each row's nearest centroid and its squared distance.
struct Clusters<'a> {
    rows: Rows<'a>,
    centroids: Vec<f32>,
    hits: Vec<Hit>,
}

impl<'a> Clusters<'a> {
    /// k-means++: the first centroid is any row, each further one a row drawn with probability proportional to its squared distance to the
    /// nearest centroid so far. Where all distances are zero the first row that is no centroid yet is taken.
    fn start(rows: Rows<'a>, request: &KmeansRequest, cancel: &CancelHandle) -> Result<Self, TaskError> {
        let mut random = SplitMix64(request.seed);
        let mut chosen = vec![false; rows.len()];
        let mut closest = vec![f64::INFINITY; rows.len()];
        let mut latest = vec![0.0; rows.len()];
        let mut centroids = Vec::with_capacity(request.k * rows.dim());
        let stop = || cancel.is_cancelled();
        while centroids.len() < request.k * rows.dim() {
            let index = if centroids.is_empty() { random.below(rows.len()) } else { draw(&closest, &chosen, &mut random) };
            chosen[index] = true;
            centroids.extend_from_slice(rows.row(index));
            scores(Metric::L2Squared, rows.slice(index..index + 1).into(), rows.into(), &mut latest, &stop)
                .map_err(|error| refused("vectors", error, cancel))?;
            closest.iter_mut().zip(&latest).for_each(|(closest, latest)| *closest = closest.min(*latest));
        }
        let mut clusters = Self { rows, centroids, hits: vec![Hit { index: 0, score: 0.0 }; rows.len()] };
        clusters.assign(cancel)?;
        Ok(clusters)
    }

    /// Gives every row its nearest centroid, ties to the lower one.
    fn assign(&mut self, cancel: &CancelHandle) -> Result<(), TaskError> {
        let centroids = Rows::new(&self.centroids, self.rows.dim()).expect("centroids are whole rows");
        let stop = || cancel.is_cancelled();
        nearest(Metric::L2Squared, (self.rows, centroids), &mut self.hits, &stop).map_err(|error| refused("vectors", error, cancel))
    }

    /// Moves every centroid to the mean of its rows and answers with the sum of squared movements.
    ///
    /// An empty cluster takes the row that is farthest from its centroid out of a cluster that keeps others (ties to the lower row).
    fn move_centroids(&mut self, cancel: &CancelHandle) -> Result<f64, TaskError> {
        let (dim, k) = (self.rows.dim(), self.centroids.len() / self.rows.dim());
        let mut counts = vec![0usize; k];
        self.hits.iter().for_each(|hit| counts[hit.index as usize] += 1);
        self.fill_empty(&mut counts);
        let (rows, hits) = (self.rows, &self.hits);
        let strips = (0..dim.div_ceil(STRIP)).into_par_iter().map(|strip| {
            let columns = strip * STRIP..dim.min((strip + 1) * STRIP);
            let mut sums = vec![0.0f64; k * columns.len()];
            for (index, (row, hit)) in rows.iter().zip(hits).enumerate() {
                if index % CHECK_ROWS == 0 {
                    cancel.check()?;
                }
                let sums = &mut sums[hit.index as usize * columns.len()..][..columns.len()];
                sums.iter_mut().zip(&row[columns.clone()]).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            Ok(sums)
        });
        let strips: Vec<Vec<f64>> = strips.collect::<Result<_, TaskError>>()?;
        let mut movement = 0.0;
        for (strip, sums) in strips.iter().enumerate() {
            let width = sums.len() / k;
            for (cluster, sums) in sums.chunks_exact(width).enumerate() {
                for (offset, sum) in sums.iter().enumerate() {
                    let place = &mut self.centroids[cluster * dim + strip * STRIP + offset];
                    let moved = (sum / counts[cluster] as f64) as f32;
                    movement += (f64::from(moved) - f64::from(*place)).powi(2);
                    *place = moved;
                }
            }
        }
        Ok(movement)
    }

    /// Hands rows to empty clusters. There are at least as many rows as clusters, so a row to give always exists.
    fn fill_empty(&mut self, counts: &mut [usize]) {
        if counts.iter().all(|count| *count > 0) {
            return;
        }
        let mut farthest: Vec<usize> = (0..self.hits.len()).collect();
        farthest.sort_by(|a, b| self.hits[*b].score.total_cmp(&self.hits[*a].score).then(a.cmp(b)));
        let mut farthest = farthest.into_iter();
        for empty in 0..counts.len() {
            if counts[empty] > 0 {
                continue;
            }
            if let Some(row) = farthest.by_ref().find(|row| counts[self.hits[*row].index as usize] > 1) {
                counts[self.hits[row].index as usize] -= 1;
                counts[empty] = 1;
                self.hits[row] = Hit { index: empty as u32, score: 0.0 };
            }
        }
    }
}

/// Draws a row with probability proportional to its weight; the first row not chosen yet when all weights are zero.
fn draw(weights: &[f64], chosen: &[bool], random: &mut SplitMix64) -> usize {
    let total: f64 = weights.iter().sum();
    let mut left = random.unit() * total;
    let mut last = None;
    for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        last = Some(index);
        left -= weight;
        if left < 0.0 {
            break;
        }
    }
    last.or_else(|| chosen.iter().position(|chosen| !chosen)).unwrap_or(0)
}

/// The mean of the variances of all dimensions.
fn mean_variance(rows: Rows<'_>, cancel: &CancelHandle) -> Result<f64, TaskError> {
    let count = rows.len() as f64;
    let mut means = fold_columns(rows, 0.0, cancel, |sum, value, _row| *sum += value)?;
    means.iter_mut().for_each(|mean| *mean /= count);
    let dim = rows.dim();
    let squares = |row: &[f32]| row.iter().zip(&means).map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum::<f64>();
    // Collected before it is summed, so that the order of additions does not depend on the threads.
    let rows: Vec<f64> = rows.values().par_chunks(dim).map(squares).collect();
    Ok(rows.iter().sum::<f64>() / count / dim as f64)
}

/// SplitMix64.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0.0 to below 1.0.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// 0 to below `count`, which is at least 1.
    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }
}
