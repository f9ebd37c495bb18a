//! The layers that architectures are made of. They know tensors and weights by name, no file format and no family.

use std::collections::BTreeMap;

use candle_core::{D, Device, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use crate::ModelError;
use crate::weights::Weights;

/// `x · wᵀ + b`; `w` `[out, in]` f32.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Takes `<name>.weight` `[out, in]` and, with `has_bias`, `<name>.bias` `[out]`. Errors: `Corrupt` for a missing tensor or another shape.
    pub fn take(weights: &mut Weights, name: &str, inputs: usize, outputs: usize, has_bias: bool) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = has_bias.then(|| weights.take(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Self { weight, bias })
    }

    /// A layer of `weight` `[out, in]` and `bias` `[out]` that are here already, as a decoder that shares the word embedding.
    #[must_use]
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// Several layers on the same input as one: their outputs side by side. Every part needs a bias.
    pub fn joined(parts: &[Self]) -> Result<Self, ModelError> {
        let weights: Vec<&Tensor> = parts.iter().map(|part| &part.weight).collect();
        let biases: Vec<&Tensor> = parts.iter().filter_map(|part| part.bias.as_ref()).collect();
        if biases.len() != parts.len() {
            return Err(ModelError::Internal { reason: "layers without bias cannot be joined".into() });
        }
        Ok(Self { weight: Tensor::cat(&weights, 0)?, bias: Some(Tensor::cat(&biases, 0)?) })
    }

    /// The same layer with weights and bias times `factor`.
    pub fn scaled(self, factor: f64) -> Result<Self, ModelError> {
        let bias = self.bias.map(|bias| bias * factor).transpose()?;
        Ok(Self { weight: (self.weight * factor)?, bias })
    }

    /// Where the weights lie.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.weight.device()
    }

    /// `x` `[n, in]` f32 to `[n, out]` f32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let product = x.matmul(&self.weight.t()?)?;
        Ok(match &self.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        })
    }
}

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

/// The activation between the two linear layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x·Φ(x) with the exact error function.
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// max(0, x).
    Relu,
    /// x·sigmoid(x).
    Silu,
}

impl Activation {
    /// The activation of a `hidden_act` value. Errors: `Unsupported` naming what is known.
    pub fn named(name: &str) -> Result<Self, ModelError> {
        match name {
            "gelu" => Ok(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Self::GeluTanh),
            "relu" => Ok(Self::Relu),
            "silu" | "swish" => Ok(Self::Silu),
            other => Err(ModelError::unsupported(format!("activation `{}`; supported: gelu, gelu_new, relu, silu", other.escape_debug()))),
        }
    }

    /// Applies it to every element.
    pub fn forward(self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match self {
            Self::Gelu => x.gelu_erf()?,
            Self::GeluTanh => x.gelu()?,
            Self::Relu => x.relu()?,
            Self::Silu => x.silu()?,
        })
    }
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
