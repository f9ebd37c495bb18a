//! What vector operations are asked for. Bounds are checked by the executor, which answers with the field's path.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ArrayEncoding, VectorInput};

/// How vectors are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VectorMetric {
    /// Cosine of the angle, -1 to 1; a zero vector scores 0. As a distance: 1 - cosine.
    #[default]
    Cosine,
    /// Sum of products. As a distance: its negative.
    Dot,
    /// Euclidean distance `d`. As a similarity: 1 / (1 + d).
    L2,
    /// Squared Euclidean distance `d`. As a similarity: 1 / (1 + d).
    L2Squared,
    /// Sum of absolute differences `d`. As a similarity: 1 / (1 + d).
    L1,
    /// Number of positions (of packed bits: bits) that differ, `h`. As a similarity: 1 - h / dimensions.
    Hamming,
    /// Positions set (not zero) in both over positions set in either; 1 when nothing is set. As a distance: 1 - it.
    Jaccard,
}

/// What happens to NaN and infinities, which only bytes can bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NonFinite {
    /// The task is refused with the index of the first one.
    #[default]
    Refuse,
    /// They are computed with; a row whose score is NaN ranks last and its score is null.
    Allow,
}

/// Which norm becomes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VectorNorm {
    /// Euclidean length.
    #[default]
    L2,
    /// Sum of absolute values.
    L1,
    /// Largest absolute value.
    Max,
}

/// A smaller form of `f32` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// Integers -127 to 127 with one scale per row.
    Int8,
    /// One bit per value (above zero), most significant bit first.
    Binary,
}

/// `cosine_similarity`: the cosine of two vectors.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CosineSimilarityRequest {
    /// One vector.
    pub vector_a: VectorInput,
    /// The other, of the same dimension.
    pub vector_b: VectorInput,
}

/// `similarity` and `distance`: a pair, one to many, or every row of `a` with every row of `b`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairwiseRequest {
    /// One vector or many.
    #[serde(alias = "vector_a")]
    pub a: VectorInput,
    /// One vector or many of the same dimension; absent: `a` with itself.
    #[serde(default, alias = "vector_b")]
    pub b: Option<VectorInput>,
    /// How they are compared.
    #[serde(default)]
    pub metric: VectorMetric,
    /// How the answer leaves when it is no single number; scores are `f64`.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `top_k`: the closest vectors of each query.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopKRequest {
    /// One query or many.
    #[serde(alias = "query")]
    pub queries: VectorInput,
    /// The vectors that are searched.
    pub vectors: VectorInput,
    /// How many are wanted, 1 to 1,000,000; above the number of vectors all are given.
    pub k: usize,
    /// How they are compared.
    #[serde(default)]
    pub metric: VectorMetric,
    /// Only vectors at least this close: scores `>=` it for cosine, dot and Jaccard, `<=` it for the others.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// Names of the vectors, one each, given back with the hits.
    #[serde(default)]
    pub ids: Option<Vec<ItemId>>,
    /// What happens to NaN and infinities.
    #[serde(default)]
    pub non_finite: NonFinite,
    /// How indices and scores leave.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// A caller's name for something: a string or an integer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ItemId {
    /// An integer.
    Integer(i64),
    /// A string.
    Text(String),
}

/// `normalize`: rows scaled to norm one; zero rows stay zero.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormalizeRequest {
    /// One vector or many.
    #[serde(alias = "vector")]
    pub vectors: VectorInput,
    /// Which norm.
    #[serde(default)]
    pub norm: VectorNorm,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `mean` and `centroid`: the (weighted) average of the rows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeanRequest {
    /// The vectors.
    pub vectors: VectorInput,
    /// One weight per vector, none negative, not all zero.
    #[serde(default)]
    pub weights: Option<Vec<f64>>,
    /// True scales the answer to Euclidean length one.
    #[serde(default)]
    pub normalize: bool,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `sum`: the (weighted) sum of the rows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SumRequest {
    /// The vectors.
    pub vectors: VectorInput,
    /// One weight per vector.
    #[serde(default)]
    pub weights: Option<Vec<f64>>,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `scale`: every value times a factor.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// One vector or many.
    #[serde(alias = "vector")]
    pub vectors: VectorInput,
    /// The factor, finite.
    pub factor: f64,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `add`, `subtract` and `multiply`: element by element; a single vector `b` goes with every row of `a`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArithmeticRequest {
    /// One vector or many.
    #[serde(alias = "vector_a")]
    pub a: VectorInput,
    /// One vector, or as many as `a`.
    #[serde(alias = "vector_b")]
    pub b: VectorInput,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `statistics`: per dimension and per row.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatisticsRequest {
    /// One vector or many.
    pub vectors: VectorInput,
    /// 0 divides the variance by the number of rows (default), 1 by one less.
    #[serde(default)]
    pub ddof: u8,
}

/// `matmul`: `a [n, inner]` times `b [inner, m]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MatmulRequest {
    /// The left matrix; a single vector is one row.
    pub a: VectorInput,
    /// The right matrix.
    pub b: VectorInput,
    /// True: `b` is `[m, inner]` and is used transposed.
    #[serde(default)]
    pub transpose_b: bool,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `transpose`: columns become rows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransposeRequest {
    /// The matrix.
    pub vectors: VectorInput,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `quantize`: the same vectors in fewer bits.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuantizeRequest {
    /// One vector or many.
    pub vectors: VectorInput,
    /// The form.
    pub to: Quantization,
    /// How the answer leaves; as JSON numbers, f16 and bf16 are widened.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `dequantize`: back to `f32`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DequantizeRequest {
    /// The values: dtype `f16`, `bf16`, `i8` or `u8`, or JSON numbers.
    pub values: VectorInput,
    /// The form they are in.
    pub from: Quantization,
    /// For `int8`: one scale per row.
    #[serde(default)]
    pub scales: Option<VectorInput>,
    /// For `binary`: bits per row, at most 8 per byte; absent: all bits. Set bits become 1, others -1.
    #[serde(default)]
    pub dimensions: Option<usize>,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `mmr`: close to the query and unlike each other (maximal marginal relevance).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MmrRequest {
    /// One vector.
    pub query: VectorInput,
    /// The vectors that are chosen from.
    pub vectors: VectorInput,
    /// How many are wanted, 1 to 10,000; above the number of vectors all are given.
    pub k: usize,
    /// Weight of closeness, 0 to 1; the rest is the weight of being unlike what is already chosen.
    #[serde(default = "default_lambda")]
    pub lambda: f64,
}

fn default_lambda() -> f64 {
    0.5
}

/// `reciprocal_rank_fusion`: one ranking from many.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FusionRequest {
    /// Rankings, best first; an id appears at most once in each.
    pub rankings: Vec<Vec<ItemId>>,
    /// One weight per ranking, none negative; absent: all 1.
    #[serde(default)]
    pub weights: Option<Vec<f64>>,
    /// Added to every rank; softens the lead of the first ones.
    #[serde(default = "default_constant")]
    pub constant: f64,
    /// Most results; absent: all.
    #[serde(default)]
    pub limit: Option<usize>,
}

fn default_constant() -> f64 {
    60.0
}
