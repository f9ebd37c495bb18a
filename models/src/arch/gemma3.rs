//! Gemma 3's text model, and EmbeddingGemma: grouped queries, four norms around the two parts of a block, windows in most layers, GeGLU; causal, or in
//! both directions where the configuration says so.
//!
//! Sources: Gemma Team 2025 (arXiv:2503.19786), Vera et al. 2025 (arXiv:2509.20354).

use candle_core::{Device, Tensor};

use super::config::{EncoderConfig, Facts, Plan, Working};
use super::config_file::{ConfigFile, INTERMEDIATE_MAX, LAYERS_MAX, Only};
use super::grouped::{GroupedAttention, GroupedPlan, head_counts, sliding_window};
use super::reach::{Reach, RotaryFields, reaches, rotary};
use super::{EncoderArch, TokenBatch, prefix_of, unless_stopped};
use crate::layers::{Activation, AttentionMask, Embedding, GatedMlp, RmsNorm, Rotary, RotarySpec};
use crate::weights::Weights;
use crate::{ModelError, StopCheck};

/// What of a configuration cannot be run.
const ONLY: &[(&str, Only)] = &[
    ("attn_logit_softcapping", Only::Absent),
    ("quantization_config", Only::Absent),
    ("partial_rotary_factor", Only::Number(1.0)),
    ("is_causal", Only::Flag(true)),
];

/// A configuration after checking.
struct GemmaPlan {
    attention: GroupedPlan,
    intermediate: usize,
    vocab: usize,
    positions: usize,
    reaches: Vec<Reach>,
    /// Of the layers that see everything, and of those with a window.
    masks: [AttentionMask; 2],
    /// Likewise.
    rotaries: [RotarySpec; 2],
    activation: Activation,
}

/// Reads a configuration. Errors: as [`EncoderConfig::from_json`].
pub(super) fn parse(file: &ConfigFile) -> Result<EncoderConfig, ModelError> {
    file.only(ONLY)?;
    let facts = Facts::read(file)?;
    let (kv_heads, head_dim) = head_counts(file, &facts, 256)?;
    let pattern = file.size_or("_sliding_window_pattern", file.size_or("sliding_window_pattern", 6, 1..=LAYERS_MAX)?, 1..=LAYERS_MAX)?;
    let default = |layer: usize| if (layer + 1).is_multiple_of(pattern) { Reach::Full } else { Reach::Sliding };
    let reaches = reaches(file, facts.layers, default)?;
    let window = sliding_window(file, &reaches)?;
    // A window in both directions is as wide in all as one that looks back alone.
    let masks = match file.flag_or("use_bidirectional_attention", false)? {
        true => [AttentionMask::Full, AttentionMask::Window { left: window / 2, right: window / 2 }],
        false => [AttentionMask::Causal, AttentionMask::Window { left: window.saturating_sub(1), right: 0 }],
    };
    let full = RotaryFields { dim: head_dim, theta: "rope_theta", theta_default: 1_000_000.0, of: Some(Reach::Full), scaled: true };
    let sliding = RotaryFields { theta: "rope_local_base_freq", theta_default: 10_000.0, of: Some(Reach::Sliding), scaled: false, ..full };
    let plan = GemmaPlan {
        attention: GroupedPlan {
            hidden: facts.hidden,
            heads: facts.heads,
            kv_heads,
            head_dim,
            scale: (1.0 / file.number_or("query_pre_attn_scalar", 256.0, 1e-3..=1e6)?.sqrt()) as f32,
            bias: file.flag_or("attention_bias", false)?,
            epsilon: file.epsilon_or("rms_norm_eps", 1e-6)?,
            offset_norms: true,
        },
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        vocab: facts.vocab,
        positions: facts.positions,
        reaches,
        masks,
        rotaries: [rotary(file, &full)?, rotary(file, &sliding)?],
        activation: file.activation_or("hidden_activation", "gelu_pytorch_tanh")?,
    };
    // Hidden rows, queries, keys and values on their way through norm and rotation, the gated rows, and the attention scores.
    let values = 10 * facts.hidden + 5 * plan.attention.qkv_width() + 5 * plan.intermediate;
    let working = Working { values, values_per_key: 3 * facts.heads };
    EncoderConfig::new(file, &facts, working, plan)
}

/// A loaded decoder.
struct Gemma {
    words: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    /// Of the layers that see everything, and of those with a window.
    rotaries: [Rotary; 2],
    positions: usize,
    device: Device,
}

struct Block {
    reach: Reach,
    attention_norm: RmsNorm,
    attention: GroupedAttention,
    mixed_norm: RmsNorm,
    mlp_norm: RmsNorm,
    mlp: GatedMlp,
    output_norm: RmsNorm,
}

impl GemmaPlan {
    fn block(&self, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError> {
        let hidden = self.attention.hidden;
        let full = |part: &str| format!("{prefix}layers.{index}.{part}");
        let reach = self.reaches[index];
        let [everything, window] = self.masks;
        let mask = if reach == Reach::Full { everything } else { window };
        let attention = self.attention.attention(weights, &full("self_attn."), mask)?;
        let mut norm = |name: &str| self.attention.norm(weights, &full(name), hidden);
        Ok(Block {
            reach,
            attention_norm: norm("input_layernorm")?,
            attention,
            mixed_norm: norm("post_attention_layernorm")?,
            mlp_norm: norm("pre_feedforward_layernorm")?,
            output_norm: norm("post_feedforward_layernorm")?,
            mlp: self.attention.mlp(weights, &full("mlp."), (self.intermediate, self.activation))?,
        })
    }
}

impl Plan for GemmaPlan {
    fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        const WORDS: &str = "embed_tokens.weight";
        let prefix = prefix_of(weights, WORDS, &["", "model."]);
        let hidden = self.attention.hidden;
        let words = Embedding::take(weights, &format!("{prefix}{WORDS}"), (self.vocab, hidden))?;
        Ok(Box::new(Gemma {
            words: words.scaled((hidden as f64).sqrt() as f32),
            blocks: (0..self.reaches.len()).map(|index| self.block(weights, prefix, index)).collect::<Result<_, _>>()?,
            norm: self.attention.norm(weights, &format!("{prefix}norm"), hidden)?,
            rotaries: [Rotary::new(&self.rotaries[0]), Rotary::new(&self.rotaries[1])],
            positions: self.positions,
            device: device.clone(),
        }))
    }
}

impl EncoderArch for Gemma {
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError> {
        batch.check(self.positions, 0)?;
        let [full, sliding] = &self.rotaries;
        let (full, sliding) = (full.table(&batch.offsets, &self.device)?, sliding.table(&batch.offsets, &self.device)?);
        let mut x = self.words.forward(&batch.ids)?;
        for block in &self.blocks {
            unless_stopped(stop)?;
            let rotary = if block.reach == Reach::Full { &full } else { &sliding };
            let mixed = block.attention.forward(&block.attention_norm.forward(&x)?, &batch.offsets, rotary)?;
            x = block.mixed_norm.forward_onto(mixed, &x)?;
            unless_stopped(stop)?;
            let wide = block.mlp.forward(&block.mlp_norm.forward(&x)?)?;
            x = block.output_norm.forward_onto(wide, &x)?;
        }
        self.norm.forward(&x)
    }
}
