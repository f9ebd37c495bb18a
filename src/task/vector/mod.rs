//! Requests and results of vector computation, one pair of types per operation. No I/O, no arithmetic.
//!
//! Conventions: rows are vectors; a one-dimensional input is one row and gives a one-dimensional answer. Values are held as `f32` (a JSON number is
//! rounded to the nearest; one that overflows is refused), sums accumulate as the `tallow-kernels` crate documents, scores are `f64`.

mod input;
mod output;
mod request;
mod result;
pub mod set;

#[cfg(test)]
mod tests;

pub use input::{InputDocument, VECTOR_DIM_MAX, VECTOR_ELEMENTS_MAX, VectorInput};
pub use output::{ArrayEncoding, ArrayOutput, Numbers};
pub use request::{
    ArithmeticRequest, CosineSimilarityRequest, DequantizeRequest, FusionRequest, ItemId, KmeansRequest, MatmulRequest, MeanRequest,
    MmrRequest, NearDuplicatesRequest, NonFinite, NormalizeRequest, PairwiseRequest, PcaRequest, Quantization, QuantizeRequest,
    ScaleRequest, StatisticsRequest, SumRequest, TopKRequest, TransposeRequest, VectorMetric, VectorNorm,
};
pub use result::{
    ArraysOutput, CentroidOutput, CosineSimilarityOutput, DistanceOutput, DuplicatePair, FusedItem, FusionOutput, HitRows, KmeansOutput,
    MeanOutput, MmrOutput, NearDuplicatesOutput, NormStatistics, PcaOutput, ProductOutput, QuantizeOutput, RankOrder, SimilarityOutput,
    StatisticsOutput, SumOutput, TopKOutput,
};
