//! Requests and results of vector computation, one pair of types per operation. No I/O, no arithmetic.
//!
//! Conventions: rows are vectors; a one-dimensional input is one row and gives a one-dimensional answer. Values are held as `f32` (a JSON number is
//! rounded to the nearest; one that overflows is refused), sums accumulate as the `tallow-kernels` crate documents, scores are `f64`.

mod clustering;
mod input;
mod output;
mod pairs;
mod reduction;
mod request;
mod result;
pub mod set;

#[cfg(test)]
mod tests;

pub use clustering::{
    ClusterMetric, ClusterSilhouette, KmeansMethod, KmeansOutput, KmeansRequest, KmeansStart, NearestCentroidOutput,
    NearestCentroidRequest, SilhouetteOutput, SilhouetteRequest,
};
pub use input::{InputDocument, VECTOR_DIM_MAX, VECTOR_ELEMENTS_MAX, VectorInput};
pub use output::{ArrayEncoding, ArrayOutput, Numbers};
pub use pairs::{DuplicatePair, NearDuplicatesOutput, NearDuplicatesRequest, SimilarityJoinOutput, SimilarityJoinRequest};
pub use reduction::{
    CenterRequest, CenteredOutput, PcaOutput, PcaRequest, PcaSolver, RandomMatrix, RandomProjectionRequest, StandardizeRequest,
    WhitenMethod, WhitenRequest,
};
pub use request::{
    ArithmeticRequest, CosineSimilarityRequest, DequantizeRequest, FusionRequest, ItemId, MatmulRequest, MeanRequest, MmrRequest,
    NonFinite, NormalizeRequest, PairwiseRequest, Quantization, QuantizeRequest, ScaleRequest, StatisticsRequest, SumRequest, TopKRequest,
    TransposeRequest, VectorMetric, VectorNorm,
};
pub use result::{
    ArraysOutput, CentroidOutput, CosineSimilarityOutput, DistanceOutput, FusedItem, FusionOutput, HitRows, MeanOutput, MmrOutput,
    NormStatistics, ProductOutput, QuantizeOutput, RankOrder, SimilarityOutput, StatisticsOutput, SumOutput, TopKOutput,
};
