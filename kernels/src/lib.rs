//! Arithmetic on hardware: one folder per family of operations, one contract, one plain reference, many implementations.
//!
//! Knows no models, tasks, tokio or serde. Hardware conditions live here and nowhere above. Work is split over the rayon pool of the calling
//! thread; no result depends on how it was split.

pub mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
pub mod attention;
mod best;
pub mod device;
pub mod distance;
mod error;
pub mod gather;
pub mod gemm;
mod gpu;
pub mod heap;
pub mod isa;
mod lanes;
pub mod matmul;
#[cfg(test)]
mod noise;
pub mod norm;
pub mod normalize;
pub mod pool;
pub mod quantize;
pub mod rotary;
mod rows;
pub mod search;
pub mod sums;
mod tensor;
pub mod threads;
pub mod tolerance;
pub mod topk;

pub use error::KernelError;
pub use isa::Isa;
pub use rows::{BitRows, DIM_MAX, Operand, Rows, Stop, first_non_finite, never_stop};
