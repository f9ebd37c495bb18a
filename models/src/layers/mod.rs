//! The layers that architectures are made of. They know tensors and weights by name, no file format and no family.
//!
//! An architecture calls nothing below this door: what is fused, quantised or written by hand later is changed in here alone. Rows are the tokens of an
//! unpadded batch; every tensor is f32, but for those between two products.

mod activation;
mod attention;
mod convolution;
mod disentangled;
mod embedding;
mod linear;
mod mlp;
mod norm;
mod rotary;
#[cfg(test)]
mod tests;

pub use activation::{Activation, activate, activation_named};
pub use attention::{AttentionMask, AttentionSpec, DistanceBias, SCORE_ROWS, attention};
pub use convolution::Convolution;
pub use disentangled::{DisentangledSpec, DistanceBuckets, RelativePositions, disentangled_attention};
pub use embedding::Embedding;
pub use linear::Linear;
pub use mlp::{GatedMlp, GatedMlpSpec, GatedNames, Mlp};
pub use norm::{LayerNorm, QkNorm, RmsNorm};
pub use rotary::{Rotary, RotaryScaling, RotarySpec, RotaryTable};
