//! `nearest_centroid`: the closest of some centroids for each vector.

use tallow_kernels::search::{Hit, nearest};

use super::VectorState;
use super::compare::kernel_metric;
use super::input::{read_finite, real_shape, refused, same_dim};
use super::output::{array_bytes, cost, emit};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{NearestCentroidOutput, NearestCentroidRequest, Numbers};
use crate::task::{Parts, TaskError};

/// The closest centroid of each vector.
pub(super) struct NearestCentroid;

impl Operation<VectorState> for NearestCentroid {
    type Request = NearestCentroidRequest;
    type Output = NearestCentroidOutput;
    const NAME: &'static str = "nearest_centroid";
    const SUMMARY: &'static str = "The closest of some centroids for each vector, exactly, and its score; ties go to the lower one.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let vectors = real_shape("vectors", &request.vectors, parts)?;
        let centroids = real_shape("centroids", &request.centroids, parts)?;
        same_dim("centroids", centroids, ("vectors", vectors))?;
        let assignments = array_bytes("assignments", request.encoding, vectors.rows, 8)?;
        let scores = array_bytes("scores", request.encoding, vectors.rows, 8)?;
        // A hit and a length for every vector; centroids packed, and the search for those of which products say nothing.
        let held = vectors.bytes() + vectors.rows as u64 * 40 + centroids.bytes() * 3 + centroids.rows as u64 * 40;
        Ok(cost(held + assignments + scores, (vectors.elements() as u64).saturating_mul(centroids.rows as u64)))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let vectors = read_finite("vectors", &request.vectors, scope.parts)?;
        let centroids = read_finite("centroids", &request.centroids, scope.parts)?;
        let count = vectors.shape.rows;
        let mut hits = vec![Hit { row: 0, score: 0.0 }; count];
        let stop = || scope.cancel.is_cancelled();
        nearest(kernel_metric(request.metric), (vectors.rows(), centroids.rows()), &mut hits, &stop)
            .map_err(|error| refused("vectors", error, scope.cancel))?;
        let mut sizes = vec![0; centroids.shape.rows];
        hits.iter().for_each(|hit| sizes[hit.row as usize] += 1);
        let assignments = hits.iter().map(|hit| hit.row as i64).collect();
        let scores = hits.iter().map(|hit| hit.score).collect();
        Ok(NearestCentroidOutput {
            metric: request.metric,
            sizes,
            assignments: emit(scope, ("assignments", request.encoding), Numbers::I64(assignments), vec![count])?,
            scores: emit(scope, ("scores", request.encoding), Numbers::F64(scores), vec![count])?,
        })
    }
}
