//! GTE as Alibaba-NLP publishes it under the model type `new` (Snowflake under `gte`): BERT with rotary positions, stretched by NTK scaling where the
//! configuration says so, and GeGLU.
//!
//! Source: Zhang et al. 2024 (arXiv:2407.19669).

use candle_core::Device;

use super::config::{EncoderConfig, Facts, Paired, Plan, Working};
use super::config_file::{ConfigFile, INTERMEDIATE_MAX, Only};
use super::post_norm::{Block, PostNorm, working_values};
use super::reach::{RotaryFields, rotary};
use super::{EncoderArch, prefix_of, segment_embedding};
use crate::ModelError;
use crate::layers::{Activation, AttentionSpec, Embedding, GatedMlp, GatedMlpSpec, GatedNames, LayerNorm, Linear, Rotary, RotarySpec};
use crate::weights::Weights;

/// What of a configuration cannot be run.
const ONLY: &[(&str, Only)] = &[
    ("position_embedding_type", Only::Words(&["rope"])),
    ("layer_norm_type", Only::Words(&["layer_norm"])),
    ("pack_qkv", Only::Flag(true)),
    ("logn_attention_scale", Only::Flag(false)),
    ("is_decoder", Only::Flag(false)),
];

/// A configuration after checking.
struct GtePlan {
    hidden: usize,
    layers: usize,
    heads: usize,
    intermediate: usize,
    vocab: usize,
    positions: usize,
    /// Rows of the segment embedding; 0 without one.
    segments: usize,
    rotary: RotarySpec,
    epsilon: f64,
    activation: Activation,
}

/// Reads a configuration. Errors: as [`EncoderConfig::from_json`].
pub(super) fn parse(file: &ConfigFile) -> Result<EncoderConfig, ModelError> {
    file.only(ONLY)?;
    let facts = Facts::read(file)?;
    let fields = RotaryFields { dim: facts.head_dim(Paired::Yes)?, theta: "rope_theta", theta_default: 10_000.0, of: None, scaled: true };
    let plan = GtePlan {
        hidden: facts.hidden,
        layers: facts.layers,
        heads: facts.heads,
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        vocab: facts.vocab,
        positions: facts.positions,
        segments: file.size_or("type_vocab_size", 1, 0..=1024)?,
        rotary: rotary(file, &fields)?,
        epsilon: file.epsilon_or("layer_norm_eps", 1e-12)?,
        activation: file.activation_or("hidden_act", "gelu")?,
    };
    let working = Working { values: working_values(plan.hidden, plan.intermediate), values_per_key: 3 * plan.heads };
    EncoderConfig::new(file, &facts, working, plan)
}

impl GtePlan {
    fn block(&self, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError> {
        let hidden = self.hidden;
        let full = |part: &str| format!("{prefix}encoder.layer.{index}.{part}");
        Ok(Block {
            qkv: Linear::take(weights, &full("attention.qkv_proj"), hidden, 3 * hidden, true)?,
            qk_norm: None,
            out: Linear::take(weights, &full("attention.o_proj"), hidden, hidden, true)?,
            attention_norm: LayerNorm::take(weights, &full("attn_ln"), hidden, self.epsilon)?,
            second_norm: None,
            mlp: GatedMlp::take(
                weights,
                &GatedMlpSpec {
                    prefix: &full("mlp."),
                    names: GatedNames::GateLast("up_gate_proj"),
                    down: "down_proj",
                    hidden,
                    wide: self.intermediate,
                    biases: (false, true),
                    activation: self.activation,
                },
            )?,
            output_norm: LayerNorm::take(weights, &full("mlp_ln"), hidden, self.epsilon)?,
        })
    }
}

impl Plan for GtePlan {
    fn segments(&self) -> usize {
        self.segments
    }

    fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        const WORDS: &str = "embeddings.word_embeddings.weight";
        let prefix = prefix_of(weights, WORDS, &["", "new.", "gte.", "model."]);
        let segments = segment_embedding(weights, prefix, (self.segments, self.hidden))?;
        Ok(Box::new(PostNorm {
            words: Embedding::take(weights, &format!("{prefix}{WORDS}"), (self.vocab, self.hidden))?,
            segments,
            norm: LayerNorm::take(weights, &format!("{prefix}embeddings.LayerNorm"), self.hidden, self.epsilon)?,
            blocks: (0..self.layers).map(|index| self.block(weights, prefix, index)).collect::<Result<_, _>>()?,
            attention: AttentionSpec::full(self.heads, self.hidden / self.heads, weights.precision()),
            rotary: Some(Rotary::new(&self.rotary)),
            positions: self.positions,
            device: device.clone(),
        }))
    }
}
