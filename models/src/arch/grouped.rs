//! Attention as decoders spell it: queries, keys and values apart, fewer heads for the latter two, norms on heads, rotated.

use candle_core::Tensor;

use super::config::Facts;
use super::config_file::{ConfigFile, FILE, HIDDEN_MAX, POSITIONS_MAX};
use super::reach::Reach;
use crate::ModelError;
use crate::layers::{
    Activation, AttentionMask, AttentionSpec, GatedMlp, GatedMlpSpec, GatedNames, Linear, QkNorm, RmsNorm, RotaryTable, attention,
};
use crate::weights::Weights;

/// What all layers of a model share.
pub(super) struct GroupedPlan {
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) scale: f32,
    pub(super) bias: bool,
    pub(super) epsilon: f64,
    /// The scales of its norms are stored as their distance from 1.
    pub(super) offset_norms: bool,
}

/// One layer's attention with the linear layer behind it.
pub(super) struct GroupedAttention {
    qkv: Linear,
    norm: QkNorm,
    spec: AttentionSpec,
    out: Linear,
}

/// Reads `num_key_value_heads` and `head_dim` (`dim_default` without one). Errors: `Corrupt` for heads that cannot be grouped or rotated in pairs.
pub(super) fn head_counts(file: &ConfigFile, facts: &Facts, dim_default: usize) -> Result<(usize, usize), ModelError> {
    let kv_heads = file.size_or("num_key_value_heads", facts.heads, 1..=facts.heads)?;
    if !facts.heads.is_multiple_of(kv_heads) {
        return Err(ModelError::corrupt(FILE, "num_key_value_heads", format!("{kv_heads} do not divide {} heads", facts.heads)));
    }
    let dim = file.size_or("head_dim", dim_default, 2..=HIDDEN_MAX)?;
    if !dim.is_multiple_of(2) {
        return Err(ModelError::corrupt(FILE, "head_dim", format!("heads of {dim} dimensions cannot be rotated in pairs")));
    }
    Ok((kv_heads, dim))
}

/// `sliding_window` where a layer needs it. Errors: `Corrupt` when it is missing.
pub(super) fn sliding_window(file: &ConfigFile, reaches: &[Reach]) -> Result<usize, ModelError> {
    if reaches.contains(&Reach::Sliding) { file.size("sliding_window", 1..=POSITIONS_MAX) } else { Ok(0) }
}

impl GroupedPlan {
    /// Takes the norm `name` over `size` values. Errors: `Corrupt`.
    pub(super) fn norm(&self, weights: &mut Weights, name: &str, size: usize) -> Result<RmsNorm, ModelError> {
        let norm = RmsNorm::take(weights, name, size, self.epsilon)?;
        if self.offset_norms { norm.offset_by_one() } else { Ok(norm) }
    }

    /// Takes the attention under `prefix`. Errors: `Corrupt` for a missing tensor or another shape.
    pub(super) fn attention(&self, weights: &mut Weights, prefix: &str, mask: AttentionMask) -> Result<GroupedAttention, ModelError> {
        let (wide, narrow) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut part = |name: &str, inputs, outputs| Linear::take(weights, &format!("{prefix}{name}"), inputs, outputs, self.bias);
        let query = part("q_proj", self.hidden, wide)?;
        let qkv = Linear::joined(&[query, part("k_proj", self.hidden, narrow)?, part("v_proj", self.hidden, narrow)?])?;
        let out = part("o_proj", wide, self.hidden)?;
        let spec = AttentionSpec {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.scale,
            mask,
            softcap: None,
            distance_bias: None,
            precision: weights.precision(),
        };
        let norm = QkNorm::Heads {
            query: self.norm(weights, &format!("{prefix}q_norm"), self.head_dim)?,
            key: self.norm(weights, &format!("{prefix}k_norm"), self.head_dim)?,
        };
        Ok(GroupedAttention { qkv, norm, spec, out })
    }

    /// Takes the gated layers under `prefix`, `wide` numbers between them. Errors: as [`Self::attention`].
    pub(super) fn mlp(&self, weights: &mut Weights, prefix: &str, (wide, activation): (usize, Activation)) -> Result<GatedMlp, ModelError> {
        let names = GatedNames::Apart { gate: "gate_proj", up: "up_proj" };
        let spec = GatedMlpSpec { prefix, names, down: "down_proj", hidden: self.hidden, wide, biases: (false, false), activation };
        GatedMlp::take(weights, &spec)
    }

    /// Numbers per token of queries, keys and values together.
    pub(super) fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
}

impl GroupedAttention {
    /// `x` `[tokens, hidden]`, normalised already, to the mixture of the heads `[tokens, heads * head_dim]`.
    fn mixed(&self, x: &Tensor, offsets: &[usize], rotary: &RotaryTable) -> Result<Tensor, ModelError> {
        let qkv = self.norm.forward(self.qkv.forward(x)?, &self.spec)?;
        attention(&rotary.forward(qkv, &self.spec)?, offsets, &self.spec)
    }

    /// `x` `[tokens, hidden]`, normalised already, to the same shape.
    pub(super) fn forward(&self, x: &Tensor, offsets: &[usize], rotary: &RotaryTable) -> Result<Tensor, ModelError> {
        self.out.forward(&self.mixed(x, offsets, rotary)?)
    }

    /// [`Self::forward`] of `inputs.0`, plus `inputs.1`.
    pub(super) fn forward_onto(&self, inputs: (&Tensor, &Tensor), offsets: &[usize], rotary: &RotaryTable) -> Result<Tensor, ModelError> {
        self.out.forward_onto(&self.mixed(inputs.0, offsets, rotary)?, inputs.1)
    }
}
