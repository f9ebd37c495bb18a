//! NomicBERT: BERT with rotary positions, SwiGLU and no biases.
//!
//! Source: Nussbaum et al. 2024 (arXiv:2402.01613).

use candle_core::Device;
use serde_json::json;

use super::config::{EncoderConfig, Facts, Paired, Plan, Working};
use super::config_file::{ConfigFile, INTERMEDIATE_MAX, Only, unsupported};
use super::post_norm::{Block, PostNorm, working_values};
use super::reach::{RotaryFields, rotary};
use super::{EncoderArch, prefix_of, segment_embedding};
use crate::ModelError;
use crate::layers::{Activation, AttentionSpec, Embedding, GatedMlp, GatedMlpSpec, GatedNames, LayerNorm, Linear, Rotary, RotarySpec};
use crate::weights::Weights;

/// What of a configuration cannot be run.
const ONLY: &[(&str, Only)] = &[
    ("prenorm", Only::Flag(false)),
    ("parallel_block", Only::Flag(false)),
    ("causal", Only::Flag(false)),
    ("use_rms_norm", Only::Flag(false)),
    ("scale_attn_weights", Only::Flag(true)),
    ("scale_attn_by_inverse_layer_idx", Only::Flag(false)),
    ("rotary_emb_fraction", Only::Number(1.0)),
    ("rotary_emb_interleaved", Only::Flag(false)),
    ("rotary_emb_scale_base", Only::Absent),
    ("rotary_scaling_factor", Only::Absent),
    ("activation_function", Only::Words(&["swiglu", "geglu"])),
    ("moe_every_n_layers", Only::AtMost(0.0)),
    ("num_experts", Only::AtMost(0.0)),
];

/// Its names for the common fields.
const FIELDS: &[(&str, &str)] = &[
    ("n_embd", "hidden_size"),
    ("n_layer", "num_hidden_layers"),
    ("n_head", "num_attention_heads"),
    ("n_inner", "intermediate_size"),
    ("n_positions", "max_position_embeddings"),
    ("layer_norm_epsilon", "layer_norm_eps"),
];

/// A configuration after checking.
struct NomicPlan {
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
    attention_bias: bool,
    mlp_biases: (bool, bool),
}

/// Reads a configuration. Errors: as [`EncoderConfig::from_json`].
pub(super) fn parse(file: &ConfigFile) -> Result<EncoderConfig, ModelError> {
    file.only(ONLY)?;
    // As transformers writes the family since its version 5: nothing has a bias then.
    let is_common = file.value("rope_parameters").is_some();
    if file.value("rotary_emb_fraction").is_none() && !is_common {
        return Err(unsupported("rotary_emb_fraction", &json!(null), "1"));
    }
    let file = &file.spelled(FIELDS);
    let facts = Facts::read(file)?;
    let fields =
        RotaryFields { dim: facts.head_dim(Paired::Yes)?, theta: "rotary_emb_base", theta_default: 10_000.0, of: None, scaled: false };
    let plan = NomicPlan {
        hidden: facts.hidden,
        layers: facts.layers,
        heads: facts.heads,
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        vocab: facts.vocab,
        positions: facts.positions,
        segments: file.size_or("type_vocab_size", 2, 0..=1024)?,
        rotary: rotary(file, &fields)?,
        epsilon: file.epsilon_or("layer_norm_eps", 1e-5)?,
        activation: match file.word_or("activation_function", "")? {
            "swiglu" => Activation::Silu,
            "geglu" => Activation::Gelu,
            _ => file.activation_or("hidden_act", "silu")?,
        },
        attention_bias: file.flag_or("qkv_proj_bias", !is_common)?,
        mlp_biases: (file.flag_or("mlp_fc1_bias", !is_common)?, file.flag_or("mlp_fc2_bias", !is_common)?),
    };
    let working = Working { values: working_values(plan.hidden, plan.intermediate), values_per_key: 3 * plan.heads };
    EncoderConfig::new(file, &facts, working, plan)
}

impl NomicPlan {
    fn block(&self, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError> {
        let hidden = self.hidden;
        let full = |part: &str| format!("{prefix}encoder.layers.{index}.{part}");
        Ok(Block {
            qkv: Linear::take(weights, &full("attn.Wqkv"), hidden, 3 * hidden, self.attention_bias)?,
            qk_norm: None,
            out: Linear::take(weights, &full("attn.out_proj"), hidden, hidden, self.attention_bias)?,
            attention_norm: LayerNorm::take(weights, &full("norm1"), hidden, self.epsilon)?,
            second_norm: None,
            mlp: GatedMlp::take(
                weights,
                &GatedMlpSpec {
                    prefix: &full("mlp."),
                    names: GatedNames::Apart { gate: "fc12", up: "fc11" },
                    down: "fc2",
                    hidden,
                    wide: self.intermediate,
                    biases: self.mlp_biases,
                    activation: self.activation,
                },
            )?,
            output_norm: LayerNorm::take(weights, &full("norm2"), hidden, self.epsilon)?,
        })
    }
}

impl Plan for NomicPlan {
    fn segments(&self) -> usize {
        self.segments
    }

    fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        const WORDS: &str = "embeddings.word_embeddings.weight";
        let prefix = prefix_of(weights, WORDS, &["", "bert."]);
        let segments = segment_embedding(weights, prefix, (self.segments, self.hidden))?;
        Ok(Box::new(PostNorm {
            words: Embedding::take(weights, &format!("{prefix}{WORDS}"), (self.vocab, self.hidden))?,
            segments,
            norm: LayerNorm::take(weights, &format!("{prefix}emb_ln"), self.hidden, self.epsilon)?,
            blocks: (0..self.layers).map(|index| self.block(weights, prefix, index)).collect::<Result<_, _>>()?,
            attention: AttentionSpec::full(self.heads, self.hidden / self.heads, weights.precision()),
            rotary: Some(Rotary::new(&self.rotary)),
            positions: self.positions,
            device: device.clone(),
        }))
    }
}
