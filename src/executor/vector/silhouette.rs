//! `silhouette`: P. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis", J. Comput. Appl. Math. 20, 1987.

use rayon::prelude::*;
use tallow_kernels::Rows;
use tallow_kernels::distance::{Metric, scores};

use super::VectorState;
use super::input::{read_finite, read_integers, real_shape, refused};
use super::output::cost;
use super::random::SplitMix64;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{ClusterMetric, ClusterSilhouette, SilhouetteOutput, SilhouetteRequest};
use crate::task::{CancelHandle, Parts, TaskError};

/// Most vectors that are compared with each other.
const SAMPLE_MAX: usize = 50_000;
/// Vectors whose distances to all others are held together.
const GROUP: usize = 64;

/// How well vectors lie in their clusters.
pub(super) struct Silhouette;

impl Operation<VectorState> for Silhouette {
    type Request = SilhouetteRequest;
    type Output = SilhouetteOutput;
    const NAME: &'static str = "silhouette";
    const SUMMARY: &'static str =
        "How well vectors lie in their clusters, -1 to 1: exactly, on all of them or on a seeded sample, which the answer says.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        if shape.rows < 2 {
            return Err(TaskError::invalid("vectors", "found one vector; at least two are needed"));
        }
        if request.sample_max < 2 || request.sample_max > SAMPLE_MAX {
            return Err(TaskError::invalid("sample_max", format!("found {}; allowed: 2 to {SAMPLE_MAX}", request.sample_max)));
        }
        super::input::check_integers("assignments", &request.assignments, parts, shape.rows)?;
        let sample = request.sample_max.min(shape.rows);
        // Every thread adds up distances by cluster, of which there are at most as many as vectors.
        let held = shape.bytes() + shape.rows as u64 * 8 + (sample * (shape.dim * 4 + GROUP * 16 + 120)) as u64;
        Ok(cost(held, ((sample * sample) as u64).saturating_mul(shape.dim as u64)))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let labels = read_integers("assignments", &request.assignments, scope.parts)?;
        let count = matrix.shape.rows;
        let sample = SplitMix64::new(request.seed).sample(request.sample_max, count);
        let values: Vec<f32> = sample.iter().flat_map(|row| matrix.rows().row(*row)).copied().collect();
        let rows = Rows::new(&values, matrix.shape.dim).expect("whole rows were copied");
        let labels: Vec<i64> = sample.iter().map(|row| labels[*row]).collect();
        let clusters = Clusters::of(&labels);
        if clusters.names.len() < 2 {
            let reason = format!(
                "the {} vectors that are compared are all in cluster {}; at least two clusters are needed",
                labels.len(),
                labels[0]
            );
            return Err(TaskError::invalid("assignments", reason));
        }
        let values = silhouettes((rows, request.metric), &clusters, &|share| scope.sink.progress(share, "comparing"), scope.cancel)?;
        let mut sums = vec![0.0; clusters.names.len()];
        clusters.members.iter().zip(&values).for_each(|(cluster, value)| sums[*cluster] += value);
        let of_cluster = |(index, name): (usize, &i64)| ClusterSilhouette {
            cluster: *name,
            size: clusters.sizes[index],
            silhouette: sums[index] / clusters.sizes[index] as f64,
        };
        Ok(SilhouetteOutput {
            silhouette: values.iter().sum::<f64>() / values.len() as f64,
            count,
            sample_count: values.len(),
            sampled: values.len() < count,
            clusters: clusters.names.iter().enumerate().map(of_cluster).collect(),
        })
    }
}

/// Clusters numbered from 0.
struct Clusters {
    names: Vec<i64>,
    sizes: Vec<usize>,
    /// The cluster of each row.
    members: Vec<usize>,
}

impl Clusters {
    fn of(labels: &[i64]) -> Self {
        let mut names = labels.to_vec();
        names.sort_unstable();
        names.dedup();
        let members: Vec<usize> = labels.iter().map(|label| names.partition_point(|name| name < label)).collect();
        let mut sizes = vec![0; names.len()];
        members.iter().for_each(|cluster| sizes[*cluster] += 1);
        Self { names, sizes, members }
    }
}

/// The silhouette of each row. Sums are `f64` in the order of the rows.
fn silhouettes(
    (rows, metric): (Rows<'_>, ClusterMetric),
    clusters: &Clusters,
    progress: &dyn Fn(f32),
    cancel: &CancelHandle,
) -> Result<Vec<f64>, TaskError> {
    let metric = if metric == ClusterMetric::L2 { Metric::L2 } else { Metric::Cosine };
    let mut distances = vec![0.0; GROUP.min(rows.len()) * rows.len()];
    let mut values = Vec::with_capacity(rows.len());
    let stop = || cancel.is_cancelled();
    for from in (0..rows.len()).step_by(GROUP) {
        let to = rows.len().min(from + GROUP);
        let distances = &mut distances[..(to - from) * rows.len()];
        scores(metric, rows.slice(from..to).into(), rows.into(), distances, &stop).map_err(|error| refused("vectors", error, cancel))?;
        let of_row = |(at, distances): (usize, &mut [f64])| {
            if metric == Metric::Cosine {
                distances.iter_mut().for_each(|score| *score = 1.0 - *score);
            }
            silhouette(from + at, distances, clusters)
        };
        values.par_extend(distances.par_chunks_mut(rows.len()).enumerate().map(of_row));
        progress(to as f32 / rows.len() as f32);
    }
    Ok(values)
}

/// The silhouette of one row from its distances to all.
fn silhouette(row: usize, distances: &[f64], clusters: &Clusters) -> f64 {
    let own = clusters.members[row];
    if clusters.sizes[own] == 1 {
        return 0.0;
    }
    let mut sums = vec![0.0; clusters.sizes.len()];
    for (at, (cluster, distance)) in clusters.members.iter().zip(distances).enumerate() {
        // Its distance to itself is nothing, whatever rounding says.
        sums[*cluster] += if at == row { 0.0 } else { *distance };
    }
    let inside = sums[own] / (clusters.sizes[own] - 1) as f64;
    let others = (0..sums.len()).filter(|cluster| *cluster != own).map(|cluster| sums[cluster] / clusters.sizes[cluster] as f64);
    let outside = others.fold(f64::INFINITY, f64::min);
    let largest = inside.max(outside);
    if largest > 0.0 { (outside - inside) / largest } else { 0.0 }
}
