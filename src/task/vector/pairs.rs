//! `similarity_join` and `near_duplicates`: what they are asked for and what they answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ArrayEncoding, ArrayOutput, RankOrder, VectorInput, VectorMetric};

/// `similarity_join`: every pair of vectors at least this close.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimilarityJoinRequest {
    /// The vectors.
    #[serde(alias = "vectors")]
    pub a: VectorInput,
    /// Vectors of the same dimension, each of which is compared with each of `a`; absent: the pairs of `a`, each once.
    #[serde(default)]
    pub b: Option<VectorInput>,
    /// Scores `>=` it count for cosine, dot and Jaccard, `<=` it for the others.
    pub threshold: f64,
    /// How they are compared.
    #[serde(default)]
    pub metric: VectorMetric,
    /// Most pairs of the answer, 1 to 10,000,000; more are an error.
    #[serde(default = "default_join_pairs_max")]
    pub pairs_max: usize,
    /// How the pairs leave.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

fn default_join_pairs_max() -> usize {
    1_000_000
}

/// `near_duplicates`: all pairs at least this close, and the groups they form.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NearDuplicatesRequest {
    /// The vectors.
    pub vectors: VectorInput,
    /// Scores `>=` it count for cosine, dot and Jaccard, `<=` it for the others.
    pub threshold: f64,
    /// How they are compared.
    #[serde(default)]
    pub metric: VectorMetric,
    /// Most pairs in the answer, 0 to 1,000,000: the closest, ties by index. The groups always count all pairs.
    #[serde(default = "default_pairs_max")]
    pub pairs_max: usize,
}

fn default_pairs_max() -> usize {
    100_000
}

/// Answer of `similarity_join`: all pairs by `a`, then closest first, ties by `b`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SimilarityJoinOutput {
    /// How the vectors were compared.
    pub metric: VectorMetric,
    /// Which end of the scores is closest.
    pub order: RankOrder,
    /// How many pairs there are.
    pub pair_count: usize,
    /// Indices `[pairs, 2]` of `i64`: a row of `a` and a row of `b`, or two rows of `a` of which the first is the lower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<ArrayOutput>,
    /// Their scores by the metric `[pairs]`, `f64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<ArrayOutput>,
}

/// Two vectors that are close to each other, `a < b`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DuplicatePair {
    /// Index of the first.
    pub a: usize,
    /// Index of the second.
    pub b: usize,
    /// Their score by the metric.
    pub score: f64,
}

/// Answer of `near_duplicates`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NearDuplicatesOutput {
    /// How many vectors were compared.
    pub count: usize,
    /// How many pairs pass the threshold.
    pub pair_count: u64,
    /// True when there are more pairs than `pairs_max`; then only the closest are in `pairs`.
    pub truncated: bool,
    /// The pairs, closest first, ties by `a`, then `b`.
    pub pairs: Vec<DuplicatePair>,
    /// Indices joined by chains of pairs, each ascending, ordered by their first; single vectors are left out.
    pub groups: Vec<Vec<usize>>,
}
