//! Jina embeddings v2: BERT with ALiBi in both directions and gated layers, in its two forms: the first, and the one of the code model whose queries and
//! keys are normalised and whose attention is followed by two norms. The configurations do not tell them apart, the tensors do.
//!
//! Source: Günther et al. 2023 (arXiv:2310.19923).

use super::config::{EncoderConfig, Facts, Paired};
use super::config_file::{ConfigFile, INTERMEDIATE_MAX, Only, unsupported};
use super::post_norm::{Block, PostNormFamily, PostNormPlan};
use crate::ModelError;
use crate::layers::{Activation, GatedMlp, GatedMlpSpec, GatedNames, Linear, QkNorm};
use crate::weights::Weights;

/// The table of biases has two columns per position, and nothing in the weights bounds it.
const POSITIONS_MAX: usize = 65_536;

/// What of a configuration cannot be run.
const ONLY: &[(&str, Only)] = &[
    ("feed_forward_type", Only::Words(&["geglu", "reglu"])),
    ("is_decoder", Only::Flag(false)),
    ("add_cross_attention", Only::Flag(false)),
];

/// Says nothing beyond what the families share; its weights tell the variant.
struct Jina;

/// True for a configuration of this family among those of BERT's model type.
pub(super) fn claims(file: &ConfigFile) -> bool {
    file.value("position_embedding_type").is_some_and(|scheme| scheme == "alibi")
}

/// Reads a configuration. Errors: as [`EncoderConfig::from_json`].
pub(super) fn parse(file: &ConfigFile) -> Result<EncoderConfig, ModelError> {
    file.only(ONLY)?;
    let facts = Facts::read(file)?;
    file.size("max_position_embeddings", 1..=POSITIONS_MAX)?;
    facts.head_dim(Paired::No)?;
    let activation = match file.word_or("feed_forward_type", "original")? {
        "geglu" => Activation::Gelu,
        "reglu" => Activation::Relu,
        other => return Err(unsupported("feed_forward_type", &other.into(), "geglu, reglu")),
    };
    let plan = PostNormPlan {
        facts,
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        segments: file.size_or("type_vocab_size", 2, 1..=1024)?,
        rotary: None,
        epsilon: file.epsilon_or("layer_norm_eps", 1e-12)?,
        activation,
        family: Jina,
    };
    let table = 4 * facts.heads * (2 * facts.positions - 1);
    Ok(plan.config(file, 4)?.with_derived_bytes(table as u64))
}

impl PostNormFamily for Jina {
    const PREFIXES: &'static [&'static str] = &["", "bert.", "model."];
    const NORM: &'static str = "embeddings.LayerNorm";

    fn block(plan: &PostNormPlan<Self>, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError> {
        let hidden = plan.facts.hidden;
        let full = |part: &str| format!("{prefix}encoder.layer.{index}.{part}");
        let of_code = weights.contains(&full("attention.self.layer_norm_q.weight"));
        let mut square = |part: &str| Linear::take(weights, &full(part), hidden, hidden, true);
        let qkv = Linear::joined(&[square("attention.self.query")?, square("attention.self.key")?, square("attention.self.value")?])?;
        let out = square("attention.output.dense")?;
        let (names, down, output_norm) = match of_code {
            true => (GatedNames::GateLast("mlp.up_gated_layer"), "mlp.down_layer", "layer_norm_2"),
            false => (GatedNames::GateFirst("mlp.gated_layers"), "mlp.wo", "mlp.layernorm"),
        };
        let qk_norm = match of_code {
            true => Some(QkNorm::Rows {
                query: plan.norm(weights, &full("attention.self.layer_norm_q"))?,
                key: plan.norm(weights, &full("attention.self.layer_norm_k"))?,
            }),
            false => None,
        };
        Ok(Block {
            qkv,
            qk_norm,
            out,
            attention_norm: plan.norm(weights, &full("attention.output.LayerNorm"))?,
            second_norm: of_code.then(|| plan.norm(weights, &full("layer_norm_1"))).transpose()?,
            mlp: GatedMlp::take(
                weights,
                &GatedMlpSpec {
                    prefix: &full(""),
                    names,
                    down,
                    hidden,
                    wide: plan.intermediate,
                    biases: (false, true),
                    activation: plan.activation,
                },
            )?,
            output_norm: plan.norm(weights, &full(output_norm))?,
        })
    }
}
