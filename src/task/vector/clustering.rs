//! `kmeans`, `nearest_centroid` and `silhouette`: what they are asked for and what they answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ArrayEncoding, ArrayOutput, VectorInput, VectorMetric};

/// How the distance of a vector to its centroid is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClusterMetric {
    /// Euclidean distance; centroids are means.
    #[default]
    L2,
    /// 1 - cosine; centroids are means of vectors of length one, scaled to length one (spherical k-means). A zero vector has distance 1 to everything.
    Cosine,
}

/// How clusters are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KmeansMethod {
    /// Lloyd's algorithm: every round looks at all vectors.
    #[default]
    Full,
    /// Every round looks at `batch_rows` vectors drawn at random (with replacement); a centroid is the mean of all vectors that it was ever given.
    MiniBatch,
}

/// Where centroids begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KmeansStart {
    /// k-means++: vectors drawn one after the other with probability proportional to their squared distance to the nearest one drawn so far (for
    /// cosine: to 1 - cosine).
    #[default]
    PlusPlus,
    /// Different vectors drawn at random.
    Random,
    /// The request's `centroids`.
    #[serde(skip_deserializing)]
    Given,
}

/// `kmeans`: clusters from seeded starts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KmeansRequest {
    /// The vectors.
    pub vectors: VectorInput,
    /// How many clusters, 1 to the number of vectors.
    pub k: usize,
    /// How distances are taken.
    #[serde(default)]
    pub metric: ClusterMetric,
    /// How clusters are found.
    #[serde(default)]
    pub method: KmeansMethod,
    /// Where centroids begin.
    #[serde(default)]
    pub start: KmeansStart,
    /// `k` centroids to begin with, instead of `start`.
    #[serde(default)]
    pub centroids: Option<VectorInput>,
    /// For `mini_batch`: vectors of a round, 1 to 1,000,000.
    #[serde(default = "default_batch_rows")]
    pub batch_rows: usize,
    /// Most rounds, 1 to 10,000.
    #[serde(default = "default_iterations_max")]
    pub iterations_max: u32,
    /// `full` ends when the centroids' total squared movement is at most this share of the mean variance of the dimensions (of vectors scaled to length
    /// one for cosine: of 1 / dimensions). `mini_batch` ends when the smoothed mean distance has not fallen by more than this share for ten rounds.
    #[serde(default = "default_tolerance")]
    pub tolerance: f64,
    /// Start of the random numbers; the same seed gives the same answer, whatever the number of threads.
    #[serde(default)]
    pub seed: u64,
    /// How assignments and centroids leave.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

fn default_batch_rows() -> usize {
    4096
}

fn default_iterations_max() -> u32 {
    300
}

fn default_tolerance() -> f64 {
    1e-4
}

/// Answer of `kmeans`.
///
/// A cluster that loses its last vector in a round takes the vector that is farthest from its centroid out of a cluster that keeps others. A cluster of
/// the answer may be empty only where the last look at all vectors left it so, and its size is 0 then.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct KmeansOutput {
    /// How many clusters.
    pub k: usize,
    /// How distances were taken.
    pub metric: ClusterMetric,
    /// How clusters were found.
    pub method: KmeansMethod,
    /// Where centroids began.
    pub start: KmeansStart,
    /// Sum of the vectors' squared distances to their centroids, for cosine of 1 - cosine; in `f64`.
    pub inertia: f64,
    /// Rounds that were made.
    pub iterations: u32,
    /// True when the tolerance was reached, or nothing moved, before the rounds ran out.
    pub converged: bool,
    /// How often an empty cluster was given a vector.
    pub refilled: usize,
    /// Vectors of each cluster.
    pub sizes: Vec<usize>,
    /// Cluster of each vector `[n]`, `i64`; ties go to the lower one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignments: Option<ArrayOutput>,
    /// `[k, dim]`, `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centroids: Option<ArrayOutput>,
}

/// `nearest_centroid`: the closest of some centroids for each vector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NearestCentroidRequest {
    /// One vector or many.
    pub vectors: VectorInput,
    /// The centroids, of the same dimension.
    pub centroids: VectorInput,
    /// How they are compared.
    #[serde(default = "default_nearest_metric")]
    pub metric: VectorMetric,
    /// How assignments and scores leave.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

fn default_nearest_metric() -> VectorMetric {
    VectorMetric::L2
}

/// Answer of `nearest_centroid`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NearestCentroidOutput {
    /// How the vectors were compared.
    pub metric: VectorMetric,
    /// Vectors of each centroid.
    pub sizes: Vec<usize>,
    /// The closest centroid of each vector `[n]`, `i64`; ties go to the lower one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignments: Option<ArrayOutput>,
    /// Its score by the metric `[n]`, `f64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<ArrayOutput>,
}

/// `silhouette`: how well vectors lie in their clusters.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SilhouetteRequest {
    /// The vectors, at least two.
    pub vectors: VectorInput,
    /// Cluster of each vector `[n]`: whole numbers, in JSON or as bytes of dtype `i64`, `i32` or `u32`.
    pub assignments: VectorInput,
    /// How distances are taken.
    #[serde(default)]
    pub metric: ClusterMetric,
    /// Most vectors that are compared with each other, 2 to 50,000; of more, so many are drawn at random and nothing else is looked at.
    #[serde(default = "default_sample_max")]
    pub sample_max: usize,
    /// Start of the random numbers.
    #[serde(default)]
    pub seed: u64,
}

fn default_sample_max() -> usize {
    10_000
}

/// Answer of `silhouette`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SilhouetteOutput {
    /// Mean silhouette of the vectors that were compared, -1 to 1: (b - a) / max(a, b), in which a is the mean distance to the others of the own cluster
    /// and b the smallest mean distance to those of another one; 0 for a vector that is alone in its cluster, and where a and b are 0.
    pub silhouette: f64,
    /// How many vectors there are.
    pub count: usize,
    /// How many of them were compared.
    pub sample_count: usize,
    /// True when that was a sample.
    pub sampled: bool,
    /// What each cluster of the compared vectors is like, in the order of their numbers.
    pub clusters: Vec<ClusterSilhouette>,
}

/// A cluster in `silhouette`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ClusterSilhouette {
    /// Its number.
    pub cluster: i64,
    /// Its vectors among those that were compared.
    pub size: usize,
    /// Their mean silhouette.
    pub silhouette: f64,
}
