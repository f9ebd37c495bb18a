//! `kmeans`: Lloyd's rounds, or rounds of random batches, from k-means++ or other starts.
//!
//! Sources: S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28, 1982; D. Sculley, "Web-scale k-means clustering", WWW 2010;
//! I. Dhillon and D. Modha, "Concept decompositions for large sparse text data using clustering", Machine Learning 42, 2001 (cosine).

mod batches;
mod clusters;
mod start;

use tallow_kernels::Rows;

use super::VectorState;
use super::input::{Matrix, Shape, read_finite, real_shape, same_dim};
use super::output::{array_bytes, cost, emit};
use super::random::SplitMix64;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{ClusterMetric, KmeansMethod, KmeansOutput, KmeansRequest, KmeansStart, Numbers};
use crate::task::{Parts, TaskError};
use clusters::{Clusters, Measure};

/// Most rounds that may be asked for.
const ITERATIONS_MAX: u32 = 10_000;
/// Most vectors of a batch.
const BATCH_ROWS_MAX: usize = 1_000_000;

/// Clusters of vectors.
pub(super) struct Kmeans;

impl Operation<VectorState> for Kmeans {
    type Request = KmeansRequest;
    type Output = KmeansOutput;
    const NAME: &'static str = "kmeans";
    const SUMMARY: &'static str = "Clusters by k-means (Euclidean or cosine, all vectors or batches) from seeded k-means++ starts; the same seed gives the same answer.";

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
        if request.batch_rows == 0 || request.batch_rows > BATCH_ROWS_MAX {
            return Err(TaskError::invalid("batch_rows", format!("found {}; allowed: 1 to {BATCH_ROWS_MAX}", request.batch_rows)));
        }
        check_given(request, shape, parts)?;
        let assignments = array_bytes("assignments", request.encoding, shape.rows, 8)?;
        let centroids = array_bytes("centroids", request.encoding, request.k * shape.dim, 4)?;
        let held = shape.bytes() + clusters::bytes(shape.rows, request.k, shape.dim) + start::bytes(shape.rows, shape.dim);
        let batch = if request.method == KmeansMethod::MiniBatch { batches::bytes(request, shape) } else { 0 };
        Ok(cost(held + batch + assignments + centroids, (shape.elements() as u64).saturating_mul(request.k as u64)))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let rows = matrix.rows();
        let given = request.centroids.as_ref().map(|input| read_finite("centroids", input, scope.parts)).transpose()?;
        let mut random = SplitMix64::new(request.seed);
        let measure = Measure::new(request.metric, rows);
        let (clusters, rounds) = match request.method {
            KmeansMethod::Full => {
                let centroids = beginning(request, (&measure, rows), (given.as_ref(), &mut random), scope)?;
                let mut clusters = Clusters::new(measure, rows, centroids);
                let rounds = lloyd(&mut clusters, request, scope)?;
                (clusters, rounds)
            }
            KmeansMethod::MiniBatch => {
                let sample = batches::sample(request, rows, &mut random);
                let begin = Rows::new(&sample, rows.dim()).expect("whole rows were copied");
                let centroids = beginning(request, (&Measure::new(request.metric, begin), begin), (given.as_ref(), &mut random), scope)?;
                let mut clusters = Clusters::new(measure, rows, centroids);
                let rounds = batches::run(&mut clusters, request, &mut random, scope)?;
                clusters.assign(scope.cancel)?;
                (clusters, rounds)
            }
        };
        answer(request, clusters, rounds, scope)
    }
}

/// Errors: `InvalidPayload` when the given centroids do not fit the request.
fn check_given(request: &KmeansRequest, shape: Shape, parts: &Parts) -> Result<(), TaskError> {
    let Some(centroids) = &request.centroids else { return Ok(()) };
    let given = real_shape("centroids", centroids, parts)?;
    same_dim("centroids", given, ("vectors", shape))?;
    if given.rows != request.k {
        return Err(TaskError::invalid("centroids", format!("found {} rows; `k` is {} and both must agree", given.rows, request.k)));
    }
    Ok(())
}

/// What the rounds came to.
struct Rounds {
    iterations: u32,
    converged: bool,
}

/// The centroids before the first round.
fn beginning(
    request: &KmeansRequest,
    (measure, rows): (&Measure, Rows<'_>),
    (given, random): (Option<&Matrix<'_>>, &mut SplitMix64),
    scope: &Scope<'_, VectorState>,
) -> Result<Vec<f32>, TaskError> {
    if let Some(given) = given {
        return Ok(given.values.to_vec());
    }
    let chosen = match request.start {
        KmeansStart::Random => random.sample(request.k, rows.len()),
        KmeansStart::PlusPlus | KmeansStart::Given => start::plus_plus((measure, rows), request.k, random, scope)?,
    };
    Ok(chosen.into_iter().flat_map(|index| rows.row(index)).copied().collect())
}

/// Rounds over all vectors until nothing moves.
fn lloyd(clusters: &mut Clusters<'_>, request: &KmeansRequest, scope: &Scope<'_, VectorState>) -> Result<Rounds, TaskError> {
    let movement_max = request.tolerance * clusters.spread(scope.cancel)?;
    clusters.assign_for_round(scope.cancel)?;
    let mut rounds = Rounds { iterations: 0, converged: false };
    while !rounds.converged && rounds.iterations < request.iterations_max {
        rounds.iterations += 1;
        let before: Vec<u32> = clusters.assignments().collect();
        let movement = clusters.move_centroids(scope.cancel)?;
        let is_last = rounds.iterations == request.iterations_max;
        if is_last {
            clusters.assign(scope.cancel)?
        } else {
            clusters.assign_for_round(scope.cancel)?
        };
        let still = clusters.assignments().eq(before);
        rounds.converged = still || movement <= movement_max;
        scope.sink.progress(rounds.iterations as f32 / request.iterations_max as f32, "clustering");
    }
    clusters.score(scope.cancel)?;
    Ok(rounds)
}

fn answer(
    request: &KmeansRequest,
    clusters: Clusters<'_>,
    rounds: Rounds,
    scope: &Scope<'_, VectorState>,
) -> Result<KmeansOutput, TaskError> {
    let mut sizes = vec![0; request.k];
    clusters.assignments().for_each(|cluster| sizes[cluster as usize] += 1);
    let assignments: Vec<i64> = clusters.assignments().map(i64::from).collect();
    let (count, dim) = (assignments.len(), clusters.dim());
    Ok(KmeansOutput {
        k: request.k,
        metric: request.metric,
        method: request.method,
        start: if request.centroids.is_some() { KmeansStart::Given } else { request.start },
        inertia: clusters.inertia(),
        iterations: rounds.iterations,
        converged: rounds.converged,
        refilled: clusters.refilled,
        sizes,
        assignments: emit(scope, ("assignments", request.encoding), Numbers::I64(assignments), vec![count])?,
        centroids: emit(scope, ("centroids", request.encoding), Numbers::F32(clusters.centroids), vec![request.k, dim])?,
    })
}

/// The kernel's metric behind a metric of clusters.
pub(super) fn kernel_metric(metric: ClusterMetric) -> tallow_kernels::distance::Metric {
    match metric {
        ClusterMetric::L2 => tallow_kernels::distance::Metric::L2Squared,
        ClusterMetric::Cosine => tallow_kernels::distance::Metric::Cosine,
    }
}
