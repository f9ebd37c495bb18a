//! `pca`, `random_projection`, `center`, `standardize` and `whiten`: what they are asked for and what they answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ArrayEncoding, ArrayOutput, VectorInput};

/// How principal components are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PcaSolver {
    /// `exact` where that takes few seconds at most or most components are wanted, else `randomised`; the answer says which.
    #[default]
    Auto,
    /// All directions, in `f64`. The smaller of rows and dimensions may be at most 1,536.
    Exact,
    /// The directions of greatest variance from a seeded random start, refined by `power_iterations`; products in `f32`. Variances below a millionth of
    /// the largest count as none.
    #[serde(alias = "randomized")]
    Randomised,
}

/// `pca`: the directions of greatest variance.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PcaRequest {
    /// The vectors, at least two.
    pub vectors: VectorInput,
    /// How many directions: 1 to the smaller of rows and dimensions. Those beyond what the vectors span have variance 0.
    pub components: usize,
    /// How they are found.
    #[serde(default)]
    pub solver: PcaSolver,
    /// For `randomised`: how often the random start is multiplied with the covariance before the last time, 0 to 32.
    #[serde(default = "default_power_iterations")]
    pub power_iterations: u32,
    /// For `randomised`: directions that are followed beside those wanted, 0 to 1,000.
    #[serde(default = "default_oversampling")]
    pub oversampling: usize,
    /// For `randomised`: start of the random numbers; the same seed gives the same answer.
    #[serde(default)]
    pub seed: u64,
    /// True answers with the vectors in the new coordinates, too.
    #[serde(default)]
    pub project: bool,
    /// True divides those coordinates by the square root of their variance; coordinates without variance are 0.
    #[serde(default)]
    pub whiten: bool,
    /// How components and projection leave.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

fn default_power_iterations() -> u32 {
    6
}

fn default_oversampling() -> usize {
    10
}

/// Answer of `pca`. The entry of largest magnitude of each component is positive, the first of equals.
///
/// Vectors that span fewer directions than were asked for get the others as well, as scikit-learn's full solver gives them: last, with variance
/// exactly 0, made of coordinate axes at right angles to all before.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PcaOutput {
    /// How the components were found: `exact` or `randomised`.
    pub solver: PcaSolver,
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

/// What the numbers of a random projection are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RandomMatrix {
    /// Normally distributed.
    #[default]
    Gaussian,
    /// 0 but for a share of `density`, which is plus or minus 1 / sqrt(density) (Achlioptas).
    Sparse,
}

/// `random_projection`: fewer dimensions that keep distances roughly (Johnson and Lindenstrauss).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomProjectionRequest {
    /// One vector or many.
    pub vectors: VectorInput,
    /// Dimensions of the answer, 1 to 65,536.
    pub components: usize,
    /// What the projection is made of.
    #[serde(default)]
    pub matrix: RandomMatrix,
    /// For `sparse`: share of numbers that are not 0, above 0 to 1.
    #[serde(default = "default_density")]
    pub density: f64,
    /// Start of the random numbers: the same seed, dimensions and components make the same projection.
    #[serde(default)]
    pub seed: u64,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

fn default_density() -> f64 {
    1.0 / 3.0
}

/// `center`: vectors less their mean.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CenterRequest {
    /// One vector or many.
    pub vectors: VectorInput,
    /// What is subtracted; absent: the mean of the vectors.
    #[serde(default)]
    pub mean: Option<VectorInput>,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// `standardize`: every dimension with mean 0 and standard deviation 1.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StandardizeRequest {
    /// The vectors.
    pub vectors: VectorInput,
    /// 0 divides the variance by the number of rows (default), 1 by one less.
    #[serde(default)]
    pub ddof: u8,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// In which coordinates whitened vectors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhitenMethod {
    /// As close to the vectors as can be: the principal coordinates, scaled and turned back.
    #[default]
    Zca,
    /// The principal coordinates, greatest variance first.
    Pca,
}

/// `whiten`: vectors whose covariance is the identity.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhitenRequest {
    /// The vectors, at least two; at most 1,536 dimensions.
    pub vectors: VectorInput,
    /// In which coordinates they are answered.
    #[serde(default)]
    pub method: WhitenMethod,
    /// Added to every variance, as a share of the largest, 0 to 1. Directions whose variance is then still none become 0.
    #[serde(default)]
    pub epsilon: f64,
    /// How the answer leaves.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

/// Answer of `center`, `standardize` and `whiten`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CenteredOutput {
    /// `[n]` or `[rows, dim]`.
    pub shape: Vec<usize>,
    /// What was subtracted from each dimension.
    pub mean: Vec<f64>,
    /// `standardize`: what each dimension was divided by; 1 where it never changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Vec<f64>>,
    /// `whiten`: directions without variance, which became 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flat_directions: Option<usize>,
    /// The vectors, `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<ArrayOutput>,
}
