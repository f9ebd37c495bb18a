//! GTE as Alibaba-NLP publishes it under the model type `new` (Snowflake under `gte`): BERT with rotary positions, stretched by NTK scaling where the
//! configuration says so, and GeGLU.
//!
//! Source: Zhang et al. 2024 (arXiv:2407.19669).

use super::config::{EncoderConfig, Facts, Paired};
use super::config_file::{ConfigFile, INTERMEDIATE_MAX, Only};
use super::post_norm::{Block, PostNormFamily, PostNormPlan};
use super::reach::{RotaryFields, rotary};
use crate::ModelError;
use crate::layers::{GatedMlp, GatedMlpSpec, GatedNames, Linear};
use crate::weights::Weights;

/// What of a configuration cannot be run.
const ONLY: &[(&str, Only)] = &[
    ("position_embedding_type", Only::Words(&["rope"])),
    ("layer_norm_type", Only::Words(&["layer_norm"])),
    ("pack_qkv", Only::Flag(true)),
    ("logn_attention_scale", Only::Flag(false)),
    ("is_decoder", Only::Flag(false)),
];

/// Says nothing beyond what the families share.
struct Gte;

/// Reads a configuration. Errors: as [`EncoderConfig::from_json`].
pub(super) fn parse(file: &ConfigFile) -> Result<EncoderConfig, ModelError> {
    file.only(ONLY)?;
    let facts = Facts::read(file)?;
    let fields = RotaryFields { dim: facts.head_dim(Paired::Yes)?, theta: "rope_theta", theta_default: 10_000.0, of: None, scaled: true };
    let plan = PostNormPlan {
        facts,
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        segments: file.size_or("type_vocab_size", 1, 0..=1024)?,
        rotary: Some(rotary(file, &fields)?),
        epsilon: file.epsilon_or("layer_norm_eps", 1e-12)?,
        activation: file.activation_or("hidden_act", "gelu")?,
        family: Gte,
    };
    plan.config(file, 3)
}

impl PostNormFamily for Gte {
    const PREFIXES: &'static [&'static str] = &["", "new.", "gte.", "model."];
    const NORM: &'static str = "embeddings.LayerNorm";

    fn block(plan: &PostNormPlan<Self>, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError> {
        let hidden = plan.facts.hidden;
        let full = |part: &str| format!("{prefix}encoder.layer.{index}.{part}");
        Ok(Block {
            qkv: Linear::take(weights, &full("attention.qkv_proj"), hidden, 3 * hidden, true)?,
            qk_norm: None,
            out: Linear::take(weights, &full("attention.o_proj"), hidden, hidden, true)?,
            attention_norm: plan.norm(weights, &full("attn_ln"))?,
            second_norm: None,
            mlp: GatedMlp::take(
                weights,
                &GatedMlpSpec {
                    prefix: &full("mlp."),
                    names: GatedNames::GateLast("up_gate_proj"),
                    down: "down_proj",
                    hidden,
                    wide: plan.intermediate,
                    biases: (false, true),
                    activation: plan.activation,
                },
            )?,
            output_norm: plan.norm(weights, &full("mlp_ln"))?,
        })
    }
}
