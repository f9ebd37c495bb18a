//! ModernBERT: rotary positions, every third layer global and the others with a window, gated layers, norms before what they feed, no biases.
//!
//! Source: Warner et al. 2024 (arXiv:2412.13663).

use candle_core::{Device, Tensor};

use super::config::{EncoderConfig, Facts, Paired, Plan, Working};
use super::config_file::{ConfigFile, INTERMEDIATE_MAX, LAYERS_MAX, POSITIONS_MAX};
use super::reach::{Reach, RotaryFields, reaches, rotary};
use super::{EncoderArch, TokenBatch, prefix_of, unless_stopped};
use crate::layers::{
    Activation, AttentionMask, AttentionSpec, Embedding, GatedMlp, GatedMlpSpec, GatedNames, LayerNorm, Linear, Rotary, RotarySpec,
    attention,
};
use crate::weights::Weights;
use crate::{ModelError, StopCheck};

/// A configuration after checking.
struct ModernBertPlan {
    hidden: usize,
    heads: usize,
    intermediate: usize,
    vocab: usize,
    positions: usize,
    reaches: Vec<Reach>,
    /// Keys on each side that a local layer sees.
    window: usize,
    /// Of the global layers, and of the local ones.
    rotaries: [RotarySpec; 2],
    epsilon: f64,
    activation: Activation,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
}

/// Reads a configuration. Errors: as [`EncoderConfig::from_json`].
pub(super) fn parse(file: &ConfigFile) -> Result<EncoderConfig, ModelError> {
    let facts = Facts::read(file)?;
    let dim = facts.head_dim(Paired::Yes)?;
    let every = file.size_or("global_attn_every_n_layers", 3, 1..=LAYERS_MAX)?;
    let default = |layer: usize| if layer.is_multiple_of(every) { Reach::Full } else { Reach::Sliding };
    let global = RotaryFields { dim, theta: "global_rope_theta", theta_default: 160_000.0, of: Some(Reach::Full), scaled: true };
    let local = RotaryFields { theta: "local_rope_theta", theta_default: 10_000.0, of: Some(Reach::Sliding), ..global };
    let plan = ModernBertPlan {
        hidden: facts.hidden,
        heads: facts.heads,
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        vocab: facts.vocab,
        positions: facts.positions,
        reaches: reaches(file, facts.layers, default)?,
        window: file.size_or("local_attention", 128, 1..=POSITIONS_MAX)? / 2,
        rotaries: [rotary(file, &global)?, rotary(file, &local)?],
        epsilon: file.epsilon_or("norm_eps", 1e-5)?,
        activation: file.activation_or("hidden_activation", "gelu")?,
        norm_bias: file.flag_or("norm_bias", false)?,
        attention_bias: file.flag_or("attention_bias", false)?,
        mlp_bias: file.flag_or("mlp_bias", false)?,
    };
    // A score of hidden rows, the gated rows, and the attention scores.
    let working = Working { values: 20 * plan.hidden + 5 * plan.intermediate, values_per_key: 3 * plan.heads };
    EncoderConfig::new(file, &facts, working, plan)
}

/// A loaded encoder.
struct ModernBert {
    words: Embedding,
    norm: LayerNorm,
    blocks: Vec<Block>,
    final_norm: LayerNorm,
    /// Of the global layers, and of the local ones.
    rotaries: [Rotary; 2],
    positions: usize,
    device: Device,
}

struct Block {
    reach: Reach,
    /// None in the first block, whose input is normalised already.
    attention_norm: Option<LayerNorm>,
    qkv: Linear,
    attention: AttentionSpec,
    out: Linear,
    mlp_norm: LayerNorm,
    mlp: GatedMlp,
}

impl ModernBertPlan {
    fn norm(&self, weights: &mut Weights, name: &str) -> Result<LayerNorm, ModelError> {
        let take = if self.norm_bias { LayerNorm::take } else { LayerNorm::take_unshifted };
        take(weights, name, self.hidden, self.epsilon)
    }

    fn block(&self, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError> {
        let hidden = self.hidden;
        let full = |part: &str| format!("{prefix}layers.{index}.{part}");
        let reach = self.reaches[index];
        let mask = match reach {
            Reach::Full => AttentionMask::Full,
            Reach::Sliding => AttentionMask::Window { left: self.window, right: self.window },
        };
        Ok(Block {
            reach,
            attention_norm: (index > 0).then(|| self.norm(weights, &full("attn_norm"))).transpose()?,
            qkv: Linear::take(weights, &full("attn.Wqkv"), hidden, 3 * hidden, self.attention_bias)?,
            attention: AttentionSpec { mask, ..AttentionSpec::full(self.heads, hidden / self.heads, weights.precision()) },
            out: Linear::take(weights, &full("attn.Wo"), hidden, hidden, self.attention_bias)?,
            mlp_norm: self.norm(weights, &full("mlp_norm"))?,
            mlp: GatedMlp::take(
                weights,
                &GatedMlpSpec {
                    prefix: &full("mlp."),
                    names: GatedNames::GateFirst("Wi"),
                    down: "Wo",
                    hidden,
                    wide: self.intermediate,
                    biases: (self.mlp_bias, self.mlp_bias),
                    activation: self.activation,
                },
            )?,
        })
    }
}

impl Plan for ModernBertPlan {
    fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        const WORDS: &str = "embeddings.tok_embeddings.weight";
        let prefix = prefix_of(weights, WORDS, &["", "model."]);
        Ok(Box::new(ModernBert {
            words: Embedding::take(weights, &format!("{prefix}{WORDS}"), (self.vocab, self.hidden))?,
            norm: self.norm(weights, &format!("{prefix}embeddings.norm"))?,
            blocks: (0..self.reaches.len()).map(|index| self.block(weights, prefix, index)).collect::<Result<_, _>>()?,
            final_norm: self.norm(weights, &format!("{prefix}final_norm"))?,
            rotaries: [Rotary::new(&self.rotaries[0]), Rotary::new(&self.rotaries[1])],
            positions: self.positions,
            device: device.clone(),
        }))
    }
}

impl EncoderArch for ModernBert {
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError> {
        batch.check(self.positions, 0)?;
        let [global, local] = &self.rotaries;
        let (global, local) = (global.table(&batch.offsets, &self.device)?, local.table(&batch.offsets, &self.device)?);
        let mut x = self.norm.forward_over(self.words.forward(&batch.ids)?)?;
        for block in &self.blocks {
            unless_stopped(stop)?;
            let rotary = if block.reach == Reach::Full { &global } else { &local };
            let qkv = match &block.attention_norm {
                Some(norm) => block.qkv.forward(&norm.forward(&x)?)?,
                None => block.qkv.forward(&x)?,
            };
            let mixed = attention(&rotary.forward(qkv, &block.attention)?, &batch.offsets, &block.attention)?;
            x = block.out.forward_onto(&mixed, &x)?;
            unless_stopped(stop)?;
            x = block.mlp.forward_onto(&block.mlp_norm.forward(&x)?, &x)?;
        }
        self.final_norm.forward_over(x)
    }
}
