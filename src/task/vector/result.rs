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
