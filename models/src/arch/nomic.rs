//! NomicBERT: BERT with rotary positions, SwiGLU and no biases.
//!
//! Source: Nussbaum et al. 2024 (arXiv:2402.01613).

use serde_json::json;

use super::config::{EncoderConfig, Facts, Paired};
use super::config_file::{ConfigFile, INTERMEDIATE_MAX, Only, unsupported};
use super::post_norm::{Block, PostNormFamily, PostNormPlan};
use super::reach::{RotaryFields, rotary};
use crate::ModelError;
use crate::layers::{Activation, GatedMlp, GatedMlpSpec, GatedNames, Linear};
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

/// Which layers have a bias.
struct Nomic {
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
    let plan = PostNormPlan {
        facts,
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        segments: file.size_or("type_vocab_size", 2, 0..=1024)?,
        rotary: Some(rotary(file, &fields)?),
        epsilon: file.epsilon_or("layer_norm_eps", 1e-5)?,
        activation: match file.word_or("activation_function", "")? {
            "swiglu" => Activation::Silu,
            "geglu" => Activation::Gelu,
            _ => file.activation_or("hidden_act", "silu")?,
        },
        family: Nomic {
            attention_bias: file.flag_or("qkv_proj_bias", !is_common)?,
            mlp_biases: (file.flag_or("mlp_fc1_bias", !is_common)?, file.flag_or("mlp_fc2_bias", !is_common)?),
        },
    };
    plan.config(file, 3)
}

impl PostNormFamily for Nomic {
    const PREFIXES: &'static [&'static str] = &["", "bert."];
    const NORM: &'static str = "emb_ln";

    fn block(plan: &PostNormPlan<Self>, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError> {
        let hidden = plan.facts.hidden;
        let full = |part: &str| format!("{prefix}encoder.layers.{index}.{part}");
        Ok(Block {
            qkv: Linear::take(weights, &full("attn.Wqkv"), hidden, 3 * hidden, plan.family.attention_bias)?,
            qk_norm: None,
            out: Linear::take(weights, &full("attn.out_proj"), hidden, hidden, plan.family.attention_bias)?,
            attention_norm: plan.norm(weights, &full("norm1"))?,
            second_norm: None,
            mlp: GatedMlp::take(
                weights,
                &GatedMlpSpec {
                    prefix: &full("mlp."),
                    names: GatedNames::Apart { gate: "fc12", up: "fc11" },
                    down: "fc2",
                    hidden,
                    wide: plan.intermediate,
                    biases: plan.family.mlp_biases,
                    activation: plan.activation,
                },
            )?,
            output_norm: plan.norm(weights, &full("norm2"))?,
        })
    }
}
