//! The layers that architectures are made of. They know tensors and weights by name, no file format and no family.

mod linear;

use std::collections::BTreeMap;

use candle_core::{D, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

pub use linear::{Linear, Then};
pub use tallow_kernels::activation::Activation;

use crate::ModelError;
use crate::weights::Weights;

/// Normalises the last dimension to mean 0 and variance 1, then scales and shifts.
pub struct LayerNorm {
    scale: Tensor,
    shift: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    /// Takes `<name>.weight` and `<name>.bias` `[size]` (`gamma` and `beta` in old files). Errors: `Corrupt`.
    pub fn take(weights: &mut Weights, name: &str, size: usize, epsilon: f64) -> Result<Self, ModelError> {
        let old = weights.contains(&format!("{name}.gamma"));
        let (scale, shift) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(Self {
            scale: weights.take(&format!("{name}.{scale}"), &[size])?,
            shift: weights.take(&format!("{name}.{shift}"), &[size])?,
            epsilon: epsilon as f32,
        })
    }

    /// `x` `[.., size]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(layer_norm(&x.contiguous()?, &self.scale, &self.shift, self.epsilon)?)
    }
}

/// The activation of a `hidden_act` value. Errors: `Unsupported` naming what is known.
pub fn activation_named(name: &str) -> Result<Activation, ModelError> {
    match name {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        other => Err(ModelError::unsupported(format!("activation `{}`; supported: gelu, gelu_new, relu, silu", other.escape_debug()))),
    }
}

/// Applies an activation to every element of a tensor on any device.
pub fn activate(activation: Activation, x: &Tensor) -> Result<Tensor, ModelError> {
    Ok(match activation {
        Activation::Identity => x.clone(),
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::Relu => x.relu()?,
        Activation::Silu => x.silu()?,
        Activation::Tanh => x.tanh()?,
        Activation::Sigmoid => candle_nn::ops::sigmoid(x)?,
    })
}

/// What is added to the attention scores, by length of sequence.
#[derive(Default)]
pub struct AttentionBias(BTreeMap<usize, Tensor>);

impl AttentionBias {
    /// Asks `bias` for `[heads, seq, seq]` once per length that occurs. Errors: those of `bias`.
    pub fn by_length(offsets: &[usize], bias: impl Fn(usize) -> Result<Option<Tensor>, ModelError>) -> Result<Self, ModelError> {
        let mut all = BTreeMap::new();
        for seq in offsets.windows(2).map(|pair| pair[1] - pair[0]) {
            if !all.contains_key(&seq)
                && let Some(tensor) = bias(seq)?
            {
                all.insert(seq, tensor);
            }
        }
        Ok(Self(all))
    }
}

/// How the rows of a batch attend to each other.
pub struct AttentionShape<'a> {
    /// Where each sequence begins, and the end of the last.
    pub offsets: &'a [usize],
    /// Attention heads.
    pub heads: usize,
    /// Added to the scores.
    pub bias: &'a AttentionBias,
}

/// Bidirectional attention inside each sequence of an unpadded batch.
///
/// `qkv` `[tokens, 3 * hidden]`, the query already scaled by 1/√head size. Result `[tokens, hidden]` f32.
pub fn attention(qkv: &Tensor, shape: &AttentionShape<'_>) -> Result<Tensor, ModelError> {
    let size = qkv.dim(D::Minus1)? / (3 * shape.heads);
    let mut mixed = Vec::with_capacity(shape.offsets.len());
    for pair in shape.offsets.windows(2) {
        let seq = pair[1] - pair[0];
        let split = qkv.narrow(0, pair[0], seq)?.reshape((seq, 3, shape.heads, size))?.permute((1, 2, 0, 3))?;
        let (query, key, value) = (split.get(0)?.contiguous()?, split.get(1)?.contiguous()?, split.get(2)?.contiguous()?);
        let scores = query.matmul(&key.transpose(1, 2)?)?;
        let scores = match shape.bias.0.get(&seq) {
            Some(bias) => (scores + bias)?,
            None => scores,
        };
        mixed.push(softmax_last_dim(&scores)?.matmul(&value)?.transpose(0, 1)?.reshape((seq, shape.heads * size))?);
    }
    Ok(Tensor::cat(&mixed, 0)?)
}
