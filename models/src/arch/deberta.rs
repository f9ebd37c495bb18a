//! DeBERTa v2 and v3: BERT with disentangled attention over relative positions, in v2's larger models with a convolution beside the first block.
//!
//! Sources: He et al. 2020 (arXiv:2006.03654), He et al. 2021 (arXiv:2111.09543).

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::config::{EncoderConfig, Facts, Paired, Plan, Working};
use super::config_file::{ConfigFile, FILE, HIDDEN_MAX, INTERMEDIATE_MAX, Only, POSITIONS_MAX, unsupported};
use super::{EncoderArch, TokenBatch, prefix_of, unless_stopped};
use crate::layers::{
    Activation, Convolution, DisentangledSpec, DistanceBuckets, Embedding, LayerNorm, Linear, Mlp, RelativePositions, activate,
    disentangled_attention,
};
use crate::weights::Weights;
use crate::{ModelError, StopCheck};

/// What of a configuration cannot be run.
const ONLY: &[(&str, Only)] = &[
    ("relative_attention", Only::Flag(true)),
    ("norm_rel_ebd", Only::Words(&["layer_norm", "none"])),
    ("conv_groups", Only::Number(1.0)),
    ("z_steps", Only::AtMost(0.0)),
    ("is_decoder", Only::Flag(false)),
];

/// A configuration after checking.
struct DebertaPlan {
    hidden: usize,
    layers: usize,
    intermediate: usize,
    vocab: usize,
    /// Numbers per row of the token embedding.
    embedded: usize,
    positions: usize,
    /// Absolute positions are added to the tokens.
    position_rows: bool,
    /// Rows of the segment embedding; 0 without one.
    segments: usize,
    attention: DisentangledSpec,
    /// Queries meet positions, and keys do.
    meets: Meets,
    norm_positions: bool,
    epsilon: f64,
    activation: Activation,
    /// Tokens under the convolution, and what follows it; none without one.
    convolution: Option<(usize, Activation)>,
}

/// Which parts of a score the positions have.
#[derive(Clone, Copy)]
struct Meets {
    content_to_position: bool,
    position_to_content: bool,
    /// The layers that make queries and keys of tokens make them of positions too.
    shared: bool,
}

impl Meets {
    fn read(file: &ConfigFile) -> Result<Self, ModelError> {
        const FIELD: &str = "pos_att_type";
        let words: Vec<&str> = match file.value(FIELD) {
            Some(Value::String(joined)) => joined.split('|').map(str::trim).collect(),
            _ => file.words(FIELD)?.unwrap_or_default(),
        };
        if let Some(other) = words.iter().find(|word| !["c2p", "p2c"].contains(word)) {
            return Err(unsupported(FIELD, &json!(other), "c2p, p2c"));
        }
        Ok(Self {
            content_to_position: words.contains(&"c2p"),
            position_to_content: words.contains(&"p2c"),
            shared: file.flag_or("share_att_key", false)?,
        })
    }

    fn count(self) -> usize {
        usize::from(self.content_to_position) + usize::from(self.position_to_content)
    }
}

/// Reads a configuration. Errors: as [`EncoderConfig::from_json`].
pub(super) fn parse(file: &ConfigFile) -> Result<EncoderConfig, ModelError> {
    file.only(ONLY)?;
    if file.value("relative_attention").is_none() {
        return Err(unsupported("relative_attention", &json!(null), "true"));
    }
    let facts = Facts::read(file)?;
    let head_dim = facts.head_dim(Paired::No)?;
    let asked = file.size_or("attention_head_size", head_dim, 1..=HIDDEN_MAX)?;
    if asked != head_dim {
        return Err(unsupported("attention_head_size", &json!(asked), &format!("hidden_size by heads, {head_dim}")));
    }
    let meets = Meets::read(file)?;
    let plan = DebertaPlan {
        hidden: facts.hidden,
        layers: facts.layers,
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        vocab: facts.vocab,
        embedded: file.size_or("embedding_size", facts.hidden, 1..=HIDDEN_MAX)?,
        positions: facts.positions,
        position_rows: file.flag_or("position_biased_input", true)?,
        segments: file.size_or("type_vocab_size", 0, 0..=1024)?,
        attention: DisentangledSpec {
            heads: facts.heads,
            head_dim,
            buckets: buckets(file, &facts)?,
            scale: (1.0 / (head_dim as f64 * (1 + meets.count()) as f64).sqrt()) as f32,
        },
        meets,
        norm_positions: file.word_or("norm_rel_ebd", "none")? == "layer_norm",
        epsilon: file.epsilon_or("layer_norm_eps", 1e-7)?,
        activation: file.activation_or("hidden_act", "gelu")?,
        convolution: convolution(file)?,
    };
    // Hidden rows, the wide rows, every head's product with every position, and the attention scores with their rows of positions.
    let products = 3 * facts.heads * plan.attention.buckets.span();
    let working = Working { values: 16 * plan.hidden + 3 * plan.intermediate + products, values_per_key: 8 * facts.heads };
    // Positions as keys and queries are computed once for every layer.
    let derived = 4 * (plan.layers * meets.count() * 2 * plan.attention.buckets.span() * plan.hidden) as u64;
    Ok(EncoderConfig::new(file, &facts, working, plan)?.with_derived_bytes(derived))
}

/// A number that some files give as -1 for none.
fn positive(file: &ConfigFile, field: &str) -> Result<Option<usize>, ModelError> {
    match file.value(field).and_then(Value::as_i64) {
        Some(number) if number < 1 => Ok(None),
        _ if file.value(field).is_none() => Ok(None),
        _ => file.size(field, 1..=POSITIONS_MAX).map(Some),
    }
}

fn buckets(file: &ConfigFile, facts: &Facts) -> Result<DistanceBuckets, ModelError> {
    let positions = positive(file, "max_relative_positions")?.unwrap_or(facts.positions);
    match positive(file, "position_buckets")? {
        None => Ok(DistanceBuckets::Exact { span: positions }),
        Some(span) if span >= 4 && positions - 1 > span / 2 => Ok(DistanceBuckets::Logarithmic { span, positions }),
        Some(span) => {
            Err(ModelError::corrupt(FILE, "position_buckets", format!("{span} buckets do not divide {positions} relative positions")))
        }
    }
}

fn convolution(file: &ConfigFile) -> Result<Option<(usize, Activation)>, ModelError> {
    match file.size_or("conv_kernel_size", 0, 0..=31)? {
        0 => Ok(None),
        even if even.is_multiple_of(2) => Err(unsupported("conv_kernel_size", &json!(even), "odd numbers")),
        width => Ok(Some((width, file.activation_or("conv_act", "tanh")?))),
    }
}

/// A loaded encoder.
struct Deberta {
    words: Embedding,
    positions: Option<Embedding>,
    segments: Option<Embedding>,
    /// From the token embedding to the hidden size, where they differ.
    projection: Option<Linear>,
    norm: LayerNorm,
    blocks: Vec<Block>,
    convolution: Option<(Convolution, Activation, LayerNorm)>,
    attention: DisentangledSpec,
    positions_max: usize,
}

struct Block {
    qkv: Linear,
    positions: RelativePositions,
    out: Linear,
    attention_norm: LayerNorm,
    mlp: Mlp,
    output_norm: LayerNorm,
}

impl DebertaPlan {
    fn norm(&self, weights: &mut Weights, name: &str) -> Result<LayerNorm, ModelError> {
        LayerNorm::take(weights, name, self.hidden, self.epsilon)
    }

    /// The relative positions before any layer looks at them, `[2 * span, hidden]`.
    fn position_table(&self, weights: &mut Weights, prefix: &str) -> Result<Tensor, ModelError> {
        let rows = 2 * self.attention.buckets.span();
        let table = weights.take(&format!("{prefix}encoder.rel_embeddings.weight"), &[rows, self.hidden])?;
        if self.norm_positions { self.norm(weights, &format!("{prefix}encoder.LayerNorm"))?.forward(&table) } else { Ok(table) }
    }

    fn block(&self, weights: &mut Weights, place: &str, table: &Tensor) -> Result<Block, ModelError> {
        let (hidden, wide, meets) = (self.hidden, self.intermediate, self.meets);
        let full = |part: &str| format!("{place}{part}");
        let mut square = |part: &str| Linear::take(weights, &full(part), hidden, hidden, true);
        let query = square("attention.self.query_proj")?;
        let key = square("attention.self.key_proj")?;
        let qkv = [query, key, square("attention.self.value_proj")?];
        let mut own = |asked: bool, part: &str| (asked && !meets.shared).then(|| square(part)).transpose();
        let own_key = own(meets.content_to_position, "attention.self.pos_key_proj")?;
        let own_query = own(meets.position_to_content, "attention.self.pos_query_proj")?;
        let out = square("attention.output.dense")?;
        let of_keys = meets.content_to_position.then(|| own_key.as_ref().unwrap_or(&qkv[1]));
        let of_queries = meets.position_to_content.then(|| own_query.as_ref().unwrap_or(&qkv[0]));
        Ok(Block {
            positions: RelativePositions::new(table, [of_keys, of_queries], &self.attention)?,
            qkv: Linear::joined(&qkv)?,
            out,
            attention_norm: self.norm(weights, &full("attention.output.LayerNorm"))?,
            mlp: Mlp {
                up: Linear::take(weights, &full("intermediate.dense"), hidden, wide, true)?,
                down: Linear::take(weights, &full("output.dense"), wide, hidden, true)?,
                activation: self.activation,
            },
            output_norm: self.norm(weights, &full("output.LayerNorm"))?,
        })
    }
}

impl Plan for DebertaPlan {
    fn segments(&self) -> usize {
        self.segments
    }

    fn build(&self, weights: &mut Weights, _device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        const WORDS: &str = "embeddings.word_embeddings.weight";
        let prefix = prefix_of(weights, WORDS, &["", "deberta."]);
        let table = self.position_table(weights, prefix)?;
        let mut rows = |part: &str, rows: usize| match rows {
            0 => Ok(None),
            rows => Embedding::take(weights, &format!("{prefix}embeddings.{part}.weight"), (rows, self.embedded)).map(Some),
        };
        let positions = rows("position_embeddings", if self.position_rows { self.positions } else { 0 })?;
        let segments = rows("token_type_embeddings", self.segments)?;
        let projection = match self.embedded == self.hidden {
            true => None,
            false => Some(Linear::take(weights, &format!("{prefix}embeddings.embed_proj"), self.embedded, self.hidden, false)?),
        };
        let convolution = match self.convolution {
            None => None,
            Some((width, activation)) => {
                let layer = Convolution::take(weights, &format!("{prefix}encoder.conv.conv"), self.hidden, width)?;
                Some((layer, activation, self.norm(weights, &format!("{prefix}encoder.conv.LayerNorm"))?))
            }
        };
        Ok(Box::new(Deberta {
            words: Embedding::take(weights, &format!("{prefix}{WORDS}"), (self.vocab, self.embedded))?,
            positions,
            segments,
            projection,
            norm: self.norm(weights, &format!("{prefix}embeddings.LayerNorm"))?,
            blocks: (0..self.layers)
                .map(|index| self.block(weights, &format!("{prefix}encoder.layer.{index}."), &table))
                .collect::<Result<_, _>>()?,
            convolution,
            attention: self.attention,
            positions_max: self.positions,
        }))
    }
}

impl Deberta {
    fn embed_tokens(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        let positions: Vec<u32> = batch.sequences().flat_map(|row| 0..row.len() as u32).collect();
        let segment_rows = batch.segment_rows();
        let mut parts: Vec<(&Embedding, &[u32])> = vec![(&self.words, &batch.ids)];
        parts.extend(self.positions.as_ref().map(|table| (table, &*positions)));
        parts.extend(self.segments.as_ref().map(|table| (table, &*segment_rows)));
        let mut x = Embedding::sum(&parts)?;
        if let Some(projection) = &self.projection {
            x = projection.forward(&x)?;
        }
        self.norm.forward_over(x)
    }
}

impl EncoderArch for Deberta {
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError> {
        batch.check(self.positions_max, self.segments.as_ref().map_or(0, Embedding::rows))?;
        let embedded = self.embed_tokens(batch)?;
        let mut x = embedded.clone();
        for (index, block) in self.blocks.iter().enumerate() {
            unless_stopped(stop)?;
            let mixed = disentangled_attention(&block.qkv.forward(&x)?, &batch.offsets, &self.attention, &block.positions)?;
            x = block.attention_norm.forward_over(block.out.forward_onto(&mixed, &x)?)?;
            unless_stopped(stop)?;
            x = block.output_norm.forward_over(block.mlp.forward_onto(&x, &x)?)?;
            if let (0, Some((layer, activation, norm))) = (index, &self.convolution) {
                x = norm.forward_sum(activate(*activation, &layer.forward(&embedded, &batch.offsets)?)?, &x)?;
            }
        }
        Ok(x)
    }
}
