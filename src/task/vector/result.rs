//! What vector operations answer. An array is absent where it left as a binary part of the same name.

use schemars::JsonSchema;
use serde::Serialize;

use super::{ArrayOutput, ItemId, Quantization, VectorMetric};

/// Answer of `cosine_similarity`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CosineSimilarityOutput {
    /// Cosine, -1 to 1; 0 when a vector is zero.
    pub similarity: f64,
}

/// Answer of `similarity`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SimilarityOutput {
    /// How the vectors were compared.
    pub metric: VectorMetric,
    /// For a pair of single vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// For one to many `[n]` and for many to many `[rows of a, rows of b]`; `f64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarities: Option<ArrayOutput>,
}

/// Answer of `distance`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DistanceOutput {
    /// How the vectors were compared.
    pub metric: VectorMetric,
    /// For a pair of single vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// For one to many `[n]` and for many to many `[rows of a, rows of b]`; `f64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distances: Option<ArrayOutput>,
}

/// Which end of the scores is closest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RankOrder {
    /// The largest score is first: cosine, dot, Jaccard.
    Descending,
    /// The smallest score is first: the distances.
    Ascending,
}

/// Hits as rows of different lengths in JSON, or as one padded array in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum HitRows<T> {
    /// One row per query, as long as it has hits.
    Rows(Vec<Vec<T>>),
    /// `[queries, most hits]`.
    Padded(ArrayOutput),
}

/// Answer of `top_k`: one row per query, closest first, ties by lower index.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TopKOutput {
    /// How the vectors were compared.
    pub metric: VectorMetric,
    /// Which end of the scores is first.
    pub order: RankOrder,
    /// Hits of each query.
    pub counts: Vec<usize>,
    /// Row indices. As bytes `[queries, most hits]` of `i64`, -1 after a query's last hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indices: Option<HitRows<u32>>,
    /// Scores, null for NaN. As bytes `[queries, most hits]` of `f64`, NaN after a query's last hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<HitRows<Option<f64>>>,
    /// The names of the hits, when names were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<Vec<ItemId>>>,
}

/// Answer of operations that give vectors for vectors.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ArraysOutput {
    /// `[n]` or `[rows, dim]`.
    pub shape: Vec<usize>,
    /// The vectors, `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<ArrayOutput>,
    /// `normalize`: rows that are zero and stay so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_rows: Option<usize>,
}

/// Answer of `mean`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MeanOutput {
    /// How many vectors went in.
    pub count: usize,
    /// `[dim]`, `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<ArrayOutput>,
}

/// Answer of `centroid`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CentroidOutput {
    /// How many vectors went in.
    pub count: usize,
    /// `[dim]`, `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centroid: Option<ArrayOutput>,
}

/// Answer of `sum`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SumOutput {
    /// How many vectors went in.
    pub count: usize,
    /// `[dim]`, `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum: Option<ArrayOutput>,
}

/// Answer of `statistics`; everything is computed in `f64`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct StatisticsOutput {
    /// Rows.
    pub count: usize,
    /// Values per row.
    pub dimensions: usize,
    /// Mean of each dimension.
    pub mean: Vec<f64>,
    /// Standard deviation of each dimension.
    pub std: Vec<f64>,
    /// Smallest value of each dimension.
    pub min: Vec<f64>,
    /// Largest value of each dimension.
    pub max: Vec<f64>,
    /// Euclidean lengths of the rows.
    pub norms: NormStatistics,
    /// Rows of length zero.
    pub zero_rows: usize,
}

/// Euclidean lengths of many rows.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NormStatistics {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Average.
    pub mean: f64,
    /// Standard deviation with the request's `ddof`.
    pub std: f64,
}

/// Answer of `matmul`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ProductOutput {
    /// `[rows of a, columns]`, or `[columns]` for a single vector.
    pub shape: Vec<usize>,
    /// The product, `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<ArrayOutput>,
}

/// Answer of `quantize`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct QuantizeOutput {
    /// The form.
    pub to: Quantization,
    /// Values per row before packing.
    pub dimensions: usize,
    /// The values; for `binary` bytes of eight bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<ArrayOutput>,
    /// For `int8`: what one step of each row is worth, `[rows]`, `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scales: Option<ArrayOutput>,
}

/// Answer of `kmeans`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct KmeansOutput {
    /// How many clusters.
    pub k: usize,
    /// Sum of squared distances of the vectors to their centroids.
    pub inertia: f64,
    /// Rounds that were made.
    pub iterations: u32,
    /// True when the tolerance was reached, or nothing moved, before the rounds ran out.
    pub converged: bool,
    /// Vectors of each cluster.
    pub sizes: Vec<usize>,
    /// Cluster of each vector `[n]`, `i64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignments: Option<ArrayOutput>,
    /// `[k, dim]`, `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centroids: Option<ArrayOutput>,
}

/// Answer of `pca`. The entry of largest magnitude of each component is positive, the first of equals.
///
/// Vectors that span fewer directions than were asked for get the others as well, as scikit-learn's full solver gives them: last, with variance
/// exactly 0, made of coordinate axes at right angles to all before.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PcaOutput {
    /// Variance along each component, divided by the number of rows less one.
    pub explained_variance: Vec<f64>,
    /// The same as a share of the total variance; 0 when there is none.
    pub explained_variance_ratio: Vec<f64>,
    /// Mean of each dimension, which the components are relative to.
    pub mean: Vec<f64>,
    /// Unit directions `[components, dim]`, `f32`, greatest variance first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<ArrayOutput>,
    /// The vectors in the new coordinates `[rows, components]`, `f32`, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projected: Option<ArrayOutput>,
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

/// Answer of `mmr`, in the order of choice.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MmrOutput {
    /// Row indices.
    pub indices: Vec<usize>,
    /// What each row scored when it was chosen.
    pub scores: Vec<f64>,
    /// Cosine of each row to the query.
    pub relevance: Vec<f64>,
}

/// One entry of a fused ranking.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FusedItem {
    /// The caller's name.
    pub id: ItemId,
    /// Sum of weight / (constant + rank) over the rankings that have it.
    pub score: f64,
    /// Its rank in each ranking, from 1; null where it is absent.
    pub ranks: Vec<Option<usize>>,
}

/// Answer of `reciprocal_rank_fusion`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FusionOutput {
    /// Best first; ties in the order of first appearance.
    pub results: Vec<FusedItem>,
    /// How many different ids there are.
    pub count: usize,
}
