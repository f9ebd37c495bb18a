//! k-means++: D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
//!
//! A row is drawn with probability proportional to its weight, its distance to the nearest centroid so far. Instead of a pass over all rows for every
//! centroid there is one for many: rows are drawn by the weights of the last pass, which are at least as large as the true ones, and kept with probability
//! true weight / old weight. What is kept is distributed as if the weights were always true (rejection sampling).

use tallow_kernels::Rows;
use tallow_kernels::distance::scores;
use tallow_kernels::search::{Hit, nearest};

use super::clusters::{Measure, NO_HIT};
use crate::executor::operation::Scope;
use crate::executor::vector::VectorState;
use crate::executor::vector::input::refused;
use crate::executor::vector::random::SplitMix64;
use crate::task::{CancelHandle, TaskError};

/// Centroids between two passes over all rows, at most.
const PASS: usize = 128;
/// Rows that are drawn between two passes, at most; where most are refused the weights are out of date.
const DRAWS: usize = 1024;

/// Bytes that the start holds beside the vectors.
pub(super) fn bytes(rows: usize, dim: usize) -> u64 {
    rows as u64 * (16 + 8 + 8 + 1) + (PASS * (dim * 12 + 16)) as u64
}

/// Which rows are the first centroids: `k` different ones.
///
/// The first is any row. Where all weights are zero the first rows that are no centroids yet are taken.
pub(super) fn plus_plus(
    (measure, rows): (&Measure, Rows<'_>),
    k: usize,
    random: &mut SplitMix64,
    scope: &Scope<'_, VectorState>,
) -> Result<Vec<usize>, TaskError> {
    let mut weights = Weights { measure, rows, closest: vec![f64::INFINITY; rows.len()], hits: vec![NO_HIT; rows.len()] };
    let mut chosen = vec![random.below(rows.len())];
    let mut taken = vec![false; rows.len()];
    taken[chosen[0]] = true;
    let mut settled = 0;
    while chosen.len() < k {
        weights.settle(&chosen[settled..], scope.cancel)?;
        settled = chosen.len();
        scope.sink.progress(0.0, &format!("centroid {settled} of {k} is drawn"));
        let up_to = weights.cumulative();
        let total = up_to.last().copied().unwrap_or(0.0);
        if total == 0.0 {
            let rest = (0..rows.len()).filter(|row| !taken[*row]).take(k - chosen.len());
            chosen.extend(rest.collect::<Vec<_>>());
            break;
        }
        for _ in 0..DRAWS {
            scope.cancel.check()?;
            if chosen.len() == k || chosen.len() == settled + PASS {
                break;
            }
            let place = random.unit() * total;
            // The last row with a weight, where rounding leads beyond it.
            let row = up_to.partition_point(|sum| *sum <= place).min(up_to.partition_point(|sum| *sum < total));
            let fresh = &chosen[settled..];
            if taken[row] || !fresh.is_empty() && random.unit() * weights.closest[row] >= weights.now(row, fresh, scope.cancel)? {
                continue;
            }
            taken[row] = true;
            chosen.push(row);
        }
    }
    Ok(chosen)
}

/// How far every row is from its nearest centroid.
struct Weights<'a> {
    measure: &'a Measure,
    rows: Rows<'a>,
    closest: Vec<f64>,
    hits: Vec<Hit>,
}

impl Weights<'_> {
    /// Takes up the centroids `fresh`.
    fn settle(&mut self, fresh: &[usize], cancel: &CancelHandle) -> Result<(), TaskError> {
        let centroids = self.gather(fresh);
        let centroids = Rows::new(&centroids, self.rows.dim()).expect("whole rows were copied");
        let stop = || cancel.is_cancelled();
        nearest(self.measure.metric, (self.rows, centroids), &mut self.hits, &stop).map_err(|error| refused("vectors", error, cancel))?;
        let losses = self.hits.iter().map(|hit| self.measure.loss(hit.score));
        self.closest.iter_mut().zip(losses).for_each(|(closest, loss)| *closest = closest.min(loss));
        fresh.iter().for_each(|row| self.closest[*row] = 0.0);
        Ok(())
    }

    /// The sums of all weights up to each row.
    fn cumulative(&self) -> Vec<f64> {
        let mut sum = 0.0;
        let add = |weight: &f64| {
            sum += weight;
            sum
        };
        self.closest.iter().map(add).collect()
    }

    /// The weight of a row beside the centroids `fresh`, too.
    fn now(&self, row: usize, fresh: &[usize], cancel: &CancelHandle) -> Result<f64, TaskError> {
        let centroids = self.gather(fresh);
        let centroids = Rows::new(&centroids, self.rows.dim()).expect("whole rows were copied");
        let mut out = vec![0.0; fresh.len()];
        let stop = || cancel.is_cancelled();
        let one = self.rows.slice(row..row + 1);
        scores(self.measure.metric, one.into(), centroids.into(), &mut out, &stop).map_err(|error| refused("vectors", error, cancel))?;
        Ok(out.iter().map(|score| self.measure.loss(*score)).fold(self.closest[row], f64::min))
    }

    fn gather(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|row| self.rows.row(*row)).copied().collect()
    }
}
