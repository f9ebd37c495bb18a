//! Jina embeddings v2: BERT with ALiBi in both directions and gated layers, in its two forms: the first, and the one of the code model whose queries and
//! keys are normalised and whose attention is followed by two norms. The configurations do not tell them apart, the tensors do.
//!
//! Source: Günther et al. 2023 (arXiv:2310.19923).

use candle_core::Device;

use super::config::{EncoderConfig, Facts, Paired, Plan, Working};
use super::config_file::{ConfigFile, INTERMEDIATE_MAX, Only, unsupported};
use super::post_norm::{Block, PostNorm, working_values};
use super::{EncoderArch, prefix_of, segment_embedding};
use crate::ModelError;
use crate::layers::{Activation, AttentionSpec, DistanceBias, Embedding, GatedMlp, GatedMlpSpec, GatedNames, LayerNorm, Linear, QkNorm};
use crate::weights::Weights;

/// The table of biases has two columns per position, and nothing in the weights bounds it.
const POSITIONS_MAX: usize = 65_536;

/// What of a configuration cannot be run.
const ONLY: &[(&str, Only)] = &[
    ("feed_forward_type", Only::Words(&["geglu", "reglu"])),
    ("is_decoder", Only::Flag(false)),
    ("add_cross_attention", Only::Flag(false)),
];

/// A configuration after checking.
struct JinaPlan {
    hidden: usize,
    layers: usize,
    heads: usize,
    intermediate: usize,
    vocab: usize,
    positions: usize,
    segments: usize,
    epsilon: f64,
    activation: Activation,
}

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
    let plan = JinaPlan {
        hidden: facts.hidden,
        layers: facts.layers,
        heads: facts.heads,
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        vocab: facts.vocab,
        positions: facts.positions,
        segments: file.size_or("type_vocab_size", 2, 1..=1024)?,
        epsilon: file.epsilon_or("layer_norm_eps", 1e-12)?,
        activation,
    };
    let working = Working { values: working_values(plan.hidden, plan.intermediate), values_per_key: 4 * plan.heads };
    let table = 4 * facts.heads * (2 * facts.positions - 1);
    Ok(EncoderConfig::new(file, &facts, working, plan)?.with_derived_bytes(table as u64))
}

impl JinaPlan {
    fn norm(&self, weights: &mut Weights, name: &str) -> Result<LayerNorm, ModelError> {
        LayerNorm::take(weights, name, self.hidden, self.epsilon)
    }

    fn block(&self, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError> {
        let hidden = self.hidden;
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
                query: self.norm(weights, &full("attention.self.layer_norm_q"))?,
                key: self.norm(weights, &full("attention.self.layer_norm_k"))?,
            }),
            false => None,
        };
        Ok(Block {
            qkv,
            qk_norm,
            out,
            attention_norm: self.norm(weights, &full("attention.output.LayerNorm"))?,
            second_norm: of_code.then(|| self.norm(weights, &full("layer_norm_1"))).transpose()?,
            mlp: GatedMlp::take(
                weights,
                &GatedMlpSpec {
                    prefix: &full(""),
                    names,
                    down,
                    hidden,
                    wide: self.intermediate,
                    biases: (false, true),
                    activation: self.activation,
                },
            )?,
            output_norm: self.norm(weights, &full(output_norm))?,
        })
    }
}

impl Plan for JinaPlan {
    fn segments(&self) -> usize {
        self.segments
    }

    fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        const WORDS: &str = "embeddings.word_embeddings.weight";
        let prefix = prefix_of(weights, WORDS, &["", "bert.", "model."]);
        let bias = DistanceBias::alibi(self.heads, self.positions - 1, device)?;
        let segments = segment_embedding(weights, prefix, (self.segments, self.hidden))?;
        Ok(Box::new(PostNorm {
            words: Embedding::take(weights, &format!("{prefix}{WORDS}"), (self.vocab, self.hidden))?,
            segments,
            norm: self.norm(weights, &format!("{prefix}embeddings.LayerNorm"))?,
            blocks: (0..self.layers).map(|index| self.block(weights, prefix, index)).collect::<Result<_, _>>()?,
            attention: AttentionSpec {
                distance_bias: Some(bias),
                ..AttentionSpec::full(self.heads, self.hidden / self.heads, weights.precision())
            },
            rotary: None,
            positions: self.positions,
            device: device.clone(),
        }))
    }
}
