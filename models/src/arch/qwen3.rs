//! Qwen3 as an embedder: a causal decoder with grouped queries, norms on queries and keys, rotary positions and SwiGLU; its vector is the last token's.
//!
//! Sources: Yang et al. 2025 (arXiv:2505.09388), Zhang et al. 2025 (arXiv:2506.05176).

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
    ("is_causal", Only::Flag(true)),
    ("use_bidirectional_attention", Only::Flag(false)),
    ("quantization_config", Only::Absent),
    ("partial_rotary_factor", Only::Number(1.0)),
];

/// A configuration after checking.
struct QwenPlan {
    attention: GroupedPlan,
    intermediate: usize,
    vocab: usize,
    positions: usize,
    reaches: Vec<Reach>,
    /// Tokens that a sliding layer sees, the query's own included.
    window: usize,
    rotary: RotarySpec,
    activation: Activation,
}

/// Reads a configuration. Errors: as [`EncoderConfig::from_json`].
pub(super) fn parse(file: &ConfigFile) -> Result<EncoderConfig, ModelError> {
    file.only(ONLY)?;
    let facts = Facts::read(file)?;
    let (kv_heads, head_dim) = head_counts(file, &facts, 128)?;
    let first_sliding = match file.flag_or("use_sliding_window", false)? {
        true => file.size_or("max_window_layers", 28, 0..=LAYERS_MAX)?,
        false => usize::MAX,
    };
    let reaches = reaches(file, facts.layers, |layer| if layer < first_sliding { Reach::Full } else { Reach::Sliding })?;
    let fields = RotaryFields { dim: head_dim, theta: "rope_theta", theta_default: 10_000.0, of: None, scaled: true };
    let plan = QwenPlan {
        attention: GroupedPlan {
            hidden: facts.hidden,
            heads: facts.heads,
            kv_heads,
            head_dim,
            scale: (1.0 / (head_dim as f64).sqrt()) as f32,
            bias: file.flag_or("attention_bias", false)?,
            epsilon: file.epsilon_or("rms_norm_eps", 1e-6)?,
            offset_norms: false,
        },
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        vocab: facts.vocab,
        positions: facts.positions,
        window: sliding_window(file, &reaches)?,
        reaches,
        rotary: rotary(file, &fields)?,
        activation: file.activation_or("hidden_act", "silu")?,
    };
    // Hidden rows, queries, keys and values on their way through norm and rotation, the gated rows, and the attention scores.
    let values = 8 * facts.hidden + 5 * plan.attention.qkv_width() + 5 * plan.intermediate;
    let working = Working { values, values_per_key: 3 * facts.heads };
    EncoderConfig::new(file, &facts, working, plan)
}

/// A loaded decoder.
struct Qwen {
    words: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    rotary: Rotary,
    positions: usize,
    device: Device,
}

struct Block {
    attention_norm: RmsNorm,
    attention: GroupedAttention,
    mlp_norm: RmsNorm,
    mlp: GatedMlp,
}

impl QwenPlan {
    fn block(&self, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError> {
        let hidden = self.attention.hidden;
        let full = |part: &str| format!("{prefix}layers.{index}.{part}");
        let mask = match self.reaches[index] {
            Reach::Full => AttentionMask::Causal,
            Reach::Sliding => AttentionMask::Window { left: self.window - 1, right: 0 },
        };
        Ok(Block {
            attention_norm: self.attention.norm(weights, &full("input_layernorm"), hidden)?,
            attention: self.attention.attention(weights, &full("self_attn."), mask)?,
            mlp_norm: self.attention.norm(weights, &full("post_attention_layernorm"), hidden)?,
            mlp: self.attention.mlp(weights, &full("mlp."), (self.intermediate, self.activation))?,
        })
    }
}

impl Plan for QwenPlan {
    fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        const WORDS: &str = "embed_tokens.weight";
        let prefix = prefix_of(weights, WORDS, &["", "model."]);
        Ok(Box::new(Qwen {
            words: Embedding::take(weights, &format!("{prefix}{WORDS}"), (self.vocab, self.attention.hidden))?,
            blocks: (0..self.reaches.len()).map(|index| self.block(weights, prefix, index)).collect::<Result<_, _>>()?,
            norm: self.attention.norm(weights, &format!("{prefix}norm"), self.attention.hidden)?,
            rotary: Rotary::new(&self.rotary),
            positions: self.positions,
            device: device.clone(),
        }))
    }
}

impl EncoderArch for Qwen {
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError> {
        batch.check(self.positions, 0)?;
        let rotary = self.rotary.table(&batch.offsets, &self.device)?;
        let mut x = self.words.forward(&batch.ids)?;
        for block in &self.blocks {
            unless_stopped(stop)?;
            x = block.attention.forward_onto((&block.attention_norm.forward(&x)?, &x), &batch.offsets, &rotary)?;
            unless_stopped(stop)?;
            x = block.mlp.forward_onto(&block.mlp_norm.forward(&x)?, &x)?;
        }
        self.norm.forward(&x)
    }
}
