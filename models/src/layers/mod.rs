//! The layers that architectures are made of. They know tensors and weights by name, no file format and no family.

mod linear;

use std::sync::Arc;

use candle_core::{D, Device, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use tallow_kernels::attention::{Mask, tensor};
use tallow_kernels::gemm::Precision;
use tallow_kernels::norm;

pub use linear::{Linear, Then};
pub use tallow_kernels::activation::Activation;

use crate::ModelError;
use crate::weights::Weights;

/// Normalises the last dimension to mean 0 and variance 1, then scales and shifts.
pub struct LayerNorm {
    scale: Tensor,
    shift: Tensor,
    /// The same numbers for the host's kernel; none on other devices.
    host: Option<norm::tensor::Norm>,
    epsilon: f32,
}

impl LayerNorm {
    /// Takes `<name>.weight` and `<name>.bias` `[size]` (`gamma` and `beta` in old files). Errors: `Corrupt`.
    pub fn take(weights: &mut Weights, name: &str, size: usize, epsilon: f64) -> Result<Self, ModelError> {
        let old = weights.contains(&format!("{name}.gamma"));
        let (scale, shift) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let scale = weights.take(&format!("{name}.{scale}"), &[size])?;
        let shift = weights.take(&format!("{name}.{shift}"), &[size])?;
        let epsilon = epsilon as f32;
        let host = if scale.device().is_cpu() {
            let (scale, shift) = (Arc::new(scale.to_vec1()?), Some(Arc::new(shift.to_vec1()?)));
            Some(norm::tensor::Norm { scale, shift, is_rms: false, epsilon })
        } else {
            None
        };
        Ok(Self { scale, shift, host, epsilon })
    }

    /// `x` `[.., size]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let x = x.contiguous()?;
        Ok(match &self.host {
            Some(host) => host.forward(&x)?,
            None => layer_norm(&x, &self.scale, &self.shift, self.epsilon)?,
        })
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

/// How the rows of a batch attend to each other.
pub struct AttentionShape {
    /// Where each sequence begins, and the end of the last.
    pub offsets: Arc<Vec<usize>>,
    /// Attention heads.
    pub heads: usize,
    /// Scores are multiplied with it.
    pub scale: f32,
    /// Added to the scores by the distance from query to key, `[heads, 2 * reach + 1]`.
    pub distance_bias: Option<Arc<Vec<f32>>>,
    /// Of the products.
    pub precision: Precision,
}

/// Bidirectional attention inside each sequence of an unpadded batch.
///
/// `qkv` `[tokens, 3 * hidden]`. Result `[tokens, hidden]` f32.
pub fn attention(qkv: &Tensor, shape: &AttentionShape) -> Result<Tensor, ModelError> {
    if qkv.device().is_cpu() {
        let attention = tensor::Attention {
            offsets: shape.offsets.clone(),
            heads: shape.heads,
            kv_heads: shape.heads,
            scale: shape.scale,
            mask: Mask::Full,
            softcap: None,
            distance_bias: shape.distance_bias.clone(),
            precision: shape.precision,
        };
        return Ok(attention.forward(&qkv.contiguous()?)?);
    }
    let size = qkv.dim(D::Minus1)? / (3 * shape.heads);
    let mut mixed = Vec::with_capacity(shape.offsets.len());
    for pair in shape.offsets.windows(2) {
        let seq = pair[1] - pair[0];
        let split = qkv.narrow(0, pair[0], seq)?.reshape((seq, 3, shape.heads, size))?.permute((1, 2, 0, 3))?;
        let (query, key, value) = (split.get(0)?.contiguous()?, split.get(1)?.contiguous()?, split.get(2)?.contiguous()?);
        let scores = (query.matmul(&key.transpose(1, 2)?)? * f64::from(shape.scale))?;
        let scores = match &shape.distance_bias {
            Some(bias) => (scores + bias_of_pairs(bias, (shape.heads, seq), qkv.device())?)?,
            None => scores,
        };
        mixed.push(softmax_last_dim(&scores)?.matmul(&value)?.transpose(0, 1)?.reshape((seq, shape.heads * size))?);
    }
    Ok(Tensor::cat(&mixed, 0)?)
}

/// The bias of every pair of a sequence, `[heads, seq, seq]`.
fn bias_of_pairs(bias: &[f32], (heads, seq): (usize, usize), device: &Device) -> Result<Tensor, ModelError> {
    let width = bias.len() / heads;
    let reach = width / 2;
    let mut values = Vec::with_capacity(heads * seq * seq);
    for of_head in bias.chunks_exact(width) {
        for query in 0..seq {
            values.extend((0..seq).map(|key| of_head[(reach + key).saturating_sub(query).min(2 * reach)]));
        }
    }
    Ok(Tensor::from_vec(values, (heads, seq, seq), device)?)
}
