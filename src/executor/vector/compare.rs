//! `cosine_similarity`, `similarity` and `distance`.

use tallow_kernels::distance::{self, Metric};

use super::VectorState;
use super::input::{Loaded, Shape, load, read_finite, real_shape, refused, same_dim, shape_of};
use super::output::{array_bytes, cost, emit};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{
    ArrayOutput, CosineSimilarityOutput, CosineSimilarityRequest, DistanceOutput, NonFinite, Numbers, PairwiseRequest, SimilarityOutput,
    VectorInput, VectorMetric,
};
use crate::task::{Dtype, Parts, TaskError};

/// The kernel's word for a metric.
pub(super) fn kernel_metric(metric: VectorMetric) -> Metric {
    match metric {
        VectorMetric::Cosine => Metric::Cosine,
        VectorMetric::Dot => Metric::Dot,
        VectorMetric::L2 => Metric::L2,
        VectorMetric::L2Squared => Metric::L2Squared,
        VectorMetric::L1 => Metric::L1,
        VectorMetric::Hamming => Metric::Hamming,
        VectorMetric::Jaccard => Metric::Jaccard,
    }
}

/// Errors: `InvalidPayload` when the shapes cannot be compared by the metric. The dimension of packed bits counts bytes.
pub(super) fn check_pair(metric: VectorMetric, a: (&str, Shape), b: (&str, Shape)) -> Result<(), TaskError> {
    same_dim(b.0, b.1, a)?;
    let bits = |shape: Shape| shape.dtype == Dtype::U8;
    if bits(a.1) != bits(b.1) {
        return Err(TaskError::invalid(b.0, format!("`{}` and `{}` must both be packed bits (dtype u8) or both be values", a.0, b.0)));
    }
    if bits(a.1) && !kernel_metric(metric).applies_to_bits() {
        return Err(TaskError::invalid("metric", "packed bits (dtype u8) are compared by hamming or jaccard only"));
    }
    Ok(())
}

/// One pair, with the origin's field names.
pub(super) struct CosineSimilarity;

impl Operation<VectorState> for CosineSimilarity {
    type Request = CosineSimilarityRequest;
    type Output = CosineSimilarityOutput;
    const NAME: &'static str = "cosine_similarity";
    const SUMMARY: &'static str = "The cosine of the angle between two vectors, -1 to 1; 0 when one of them is zero.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let a = real_shape("vector_a", &request.vector_a, parts)?;
        let b = real_shape("vector_b", &request.vector_b, parts)?;
        for (field, shape) in [("vector_a", a), ("vector_b", b)] {
            if !shape.single {
                return Err(TaskError::invalid(field, "expected one vector, found rows; `similarity` compares many"));
            }
        }
        same_dim("vector_b", b, ("vector_a", a))?;
        Ok(cost(a.bytes() + b.bytes(), 0))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let a = read_finite("vector_a", &request.vector_a, scope.parts)?;
        let b = read_finite("vector_b", &request.vector_b, scope.parts)?;
        let similarity = distance::pair(Metric::Cosine, &a.values, &b.values);
        Ok(CosineSimilarityOutput { similarity: similarity.map_err(|error| refused("vector_b", error, scope.cancel))? })
    }
}

/// Larger is closer.
pub(super) struct Similarity;

impl Operation<VectorState> for Similarity {
    type Request = PairwiseRequest;
    type Output = SimilarityOutput;
    const NAME: &'static str = "similarity";
    const SUMMARY: &'static str = "Similarity of a pair of vectors, of one with many, or of every row of `a` with every row of `b`.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check_compare(request, "similarities", parts)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let metric = request.metric;
        let (single, array) = compare(request, "similarities", scope, |score, dimensions| similarity_of(metric, score, dimensions))?;
        Ok(SimilarityOutput { metric, similarity: single, similarities: array })
    }
}

/// Smaller is closer.
pub(super) struct Distance;

impl Operation<VectorState> for Distance {
    type Request = PairwiseRequest;
    type Output = DistanceOutput;
    const NAME: &'static str = "distance";
    const SUMMARY: &'static str = "Distance of a pair of vectors, of one to many, or of every row of `a` to every row of `b`.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check_compare(request, "distances", parts)
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let metric = request.metric;
        let (single, array) = compare(request, "distances", scope, |score, _dimensions| distance_of(metric, score))?;
        Ok(DistanceOutput { metric, distance: single, distances: array })
    }
}

/// A kernel's score as a similarity.
fn similarity_of(metric: VectorMetric, score: f64, dimensions: usize) -> f64 {
    match metric {
        VectorMetric::Cosine | VectorMetric::Dot | VectorMetric::Jaccard => score,
        VectorMetric::L2 | VectorMetric::L2Squared | VectorMetric::L1 => 1.0 / (1.0 + score),
        VectorMetric::Hamming => 1.0 - score / dimensions as f64,
    }
}

/// A kernel's score as a distance.
fn distance_of(metric: VectorMetric, score: f64) -> f64 {
    match metric {
        VectorMetric::Cosine | VectorMetric::Jaccard => 1.0 - score,
        // The difference instead of the negation: a dot product of 0.0 is a distance of 0.0, not of -0.0.
        VectorMetric::Dot => 0.0 - score,
        VectorMetric::L2 | VectorMetric::L2Squared | VectorMetric::L1 | VectorMetric::Hamming => score,
    }
}

/// `b`, or `a` where it is absent.
fn right(request: &PairwiseRequest) -> (&'static str, &VectorInput) {
    request.b.as_ref().map_or(("a", &request.a), |b| ("b", b))
}

fn check_compare(request: &PairwiseRequest, answer: &str, parts: &Parts) -> Result<Cost, TaskError> {
    let a = shape_of("a", &request.a, parts)?;
    let (field, right) = right(request);
    let b = shape_of(field, right, parts)?;
    check_pair(request.metric, ("a", a), (field, b))?;
    let pairs = a.rows.saturating_mul(b.rows);
    let out = array_bytes(answer, request.encoding, pairs, 8)?;
    Ok(cost(a.bytes() + b.bytes() + out, (pairs as u64).saturating_mul(a.dim as u64)))
}

/// A single score, or an array that leaves as `answer`.
type Compared = (Option<f64>, Option<ArrayOutput>);

fn compare(
    request: &PairwiseRequest,
    answer: &str,
    scope: &Scope<'_, VectorState>,
    convert: impl Fn(f64, usize) -> f64,
) -> Result<Compared, TaskError> {
    let (field, right) = right(request);
    let (a_shape, b_shape) = (shape_of("a", &request.a, scope.parts)?, shape_of(field, right, scope.parts)?);
    let a = load("a", &request.a, scope.parts, NonFinite::Refuse)?;
    let b: Loaded<'_> = load(field, right, scope.parts, NonFinite::Refuse)?;
    let mut scores = vec![0.0; a_shape.rows * b_shape.rows];
    let dimensions = a.operand().dim();
    let stop = || scope.cancel.is_cancelled();
    distance::scores(kernel_metric(request.metric), a.operand(), b.operand(), &mut scores, &stop)
        .map_err(|error| refused(field, error, scope.cancel))?;
    scores.iter_mut().for_each(|score| *score = convert(*score, dimensions));
    let shape = match (a_shape.single, b_shape.single) {
        (true, true) => return Ok((Some(scores[0]), None)),
        (true, false) => vec![b_shape.rows],
        (false, true) => vec![a_shape.rows],
        (false, false) => vec![a_shape.rows, b_shape.rows],
    };
    Ok((None, emit(scope, (answer, request.encoding), Numbers::F64(scores), shape)?))
}
