//! The BERT families: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, MPNet, ELECTRA and ALBERT. One forward pass; the families differ in tensor
//! names, positions, MPNet's relative attention bias, the size of the embeddings and, in ALBERT, blocks that several layers share.
//!
//! Sources: Devlin et al. 2018 (arXiv:1810.04805), Liu et al. 2019 (arXiv:1907.11692), Sanh et al. 2019 (arXiv:1910.01108), Song et al. 2020
//! (arXiv:2004.09297), Clark et al. 2020 (arXiv:2003.10555), Lan et al. 2019 (arXiv:1909.11942).

use candle_core::{Device, Tensor};

use super::config::{EncoderConfig, Facts, Paired, Plan, Working};
use super::config_file::{ConfigFile, FILE, HIDDEN_MAX, INTERMEDIATE_MAX, Only};
use super::{EncoderArch, TokenBatch, prefix_of, segment_embedding, unless_stopped};
use crate::layers::{Activation, AttentionSpec, DistanceBias, Embedding, LayerNorm, Linear, Mlp, attention};
use crate::weights::Weights;
use crate::{ModelError, StopCheck};

/// Distances beyond this share MPNet's last bucket.
const RELATIVE_DISTANCE_MAX: f32 = 128.0;

/// What of a configuration cannot be run.
const ONLY: &[(&str, Only)] = &[
    ("position_embedding_type", Only::Words(&["absolute"])),
    ("is_decoder", Only::Flag(false)),
    ("add_cross_attention", Only::Flag(false)),
    ("inner_group_num", Only::Number(1.0)),
];

/// DistilBERT's names for the common fields.
const DISTIL_FIELDS: &[(&str, &str)] = &[
    ("dim", "hidden_size"),
    ("n_layers", "num_hidden_layers"),
    ("n_heads", "num_attention_heads"),
    ("hidden_dim", "intermediate_size"),
    ("activation", "hidden_act"),
];

/// Where a token's position comes from.
#[derive(Clone, Copy)]
enum PositionScheme {
    /// 0, 1, 2, ...
    Plain,
    /// RoBERTa's: counting starts after the padding id, and tokens that are the padding id stay there.
    AfterPadding(u32),
}

/// How a family names the tensors of a block.
struct BlockNames {
    /// Before a block's number, and behind it.
    blocks: [&'static str; 2],
    qkv: [&'static str; 3],
    out: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
}

const BERT_NAMES: BlockNames = BlockNames {
    blocks: ["encoder.layer.", "."],
    qkv: ["attention.self.query", "attention.self.key", "attention.self.value"],
    out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const MPNET_NAMES: BlockNames = BlockNames {
    qkv: ["attention.attn.q", "attention.attn.k", "attention.attn.v"],
    out: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    ..BERT_NAMES
};

const DISTIL_NAMES: BlockNames = BlockNames {
    blocks: ["transformer.layer.", "."],
    qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    out: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};

const ALBERT_NAMES: BlockNames = BlockNames {
    blocks: ["encoder.albert_layer_groups.", ".albert_layers.0."],
    qkv: ["attention.query", "attention.key", "attention.value"],
    out: "attention.dense",
    attention_norm: "attention.LayerNorm",
    up: "ffn",
    down: "ffn_output",
    output_norm: "full_layer_layer_norm",
};

/// A configuration after checking.
struct BertPlan {
    names: &'static BlockNames,
    hidden: usize,
    /// Numbers per row of the embeddings.
    embedded: usize,
    /// The layer from there to `hidden`, where there is one.
    projection: Option<&'static str>,
    layers: usize,
    /// Blocks; fewer than layers where consecutive layers share one.
    block_count: usize,
    heads: usize,
    intermediate: usize,
    vocab: usize,
    position_rows: usize,
    usable_positions: usize,
    /// Rows of the segment embedding; 0 without one.
    segments: usize,
    positions: PositionScheme,
    epsilon: f64,
    activation: Activation,
    /// Buckets of MPNet's relative attention bias; 0 without one.
    relative_buckets: usize,
}

/// Reads a configuration. Errors: as [`EncoderConfig::from_json`].
pub(super) fn parse(file: &ConfigFile) -> Result<EncoderConfig, ModelError> {
    let family = file.word_or("model_type", "bert")?;
    let spelled = file.spelled(if family == "distilbert" { DISTIL_FIELDS } else { &[] });
    let file = &spelled;
    file.only(ONLY)?;
    let facts = Facts::read(file)?;
    facts.head_dim(Paired::No)?;
    let padding = match family {
        "mpnet" => Some(1),
        "roberta" | "xlm-roberta" | "camembert" => Some(file.size_or("pad_token_id", 1, 0..=facts.vocab - 1)?),
        _ => None,
    };
    let usable_positions = facts.positions.saturating_sub(padding.map_or(0, |padding| padding + 1));
    if usable_positions == 0 {
        return Err(ModelError::corrupt(FILE, "max_position_embeddings", "leaves no position beside the padding"));
    }
    let plan = BertPlan {
        names: match family {
            "distilbert" => &DISTIL_NAMES,
            "mpnet" => &MPNET_NAMES,
            "albert" => &ALBERT_NAMES,
            _ => &BERT_NAMES,
        },
        hidden: facts.hidden,
        embedded: 0,
        projection: None,
        layers: facts.layers,
        block_count: if family == "albert" { file.size_or("num_hidden_groups", 1, 1..=facts.layers)? } else { facts.layers },
        heads: facts.heads,
        intermediate: file.size("intermediate_size", 1..=INTERMEDIATE_MAX)?,
        vocab: facts.vocab,
        position_rows: facts.positions,
        usable_positions,
        segments: if matches!(family, "distilbert" | "mpnet") { 0 } else { file.size_or("type_vocab_size", 2, 1..=1024)? },
        positions: padding.map_or(PositionScheme::Plain, |padding| PositionScheme::AfterPadding(padding as u32)),
        epsilon: file.epsilon_or("layer_norm_eps", 1e-12)?,
        activation: file.activation_or("hidden_act", if family == "albert" { "gelu_new" } else { "gelu" })?,
        relative_buckets: if family == "mpnet" { file.size_or("relative_attention_num_buckets", 32, 4..=1024)? } else { 0 },
    };
    let plan = plan.with_embeddings(file, family)?;
    // A dozen hidden rows, the wide rows, and the attention scores.
    let working = Working { values: 12 * plan.hidden + 3 * plan.intermediate, values_per_key: 3 * plan.heads };
    Ok(EncoderConfig::new(file, &facts, working, plan)?.with_positions(usable_positions))
}

/// A loaded encoder.
struct Bert {
    words: Embedding,
    positions: Embedding,
    position_scheme: PositionScheme,
    /// None in families without.
    segments: Option<Embedding>,
    norm: LayerNorm,
    projection: Option<Linear>,
    /// Each serves the same number of layers in a row.
    blocks: Vec<Block>,
    layers: usize,
    attention: AttentionSpec,
    usable_positions: usize,
}

struct Block {
    qkv: Linear,
    out: Linear,
    attention_norm: LayerNorm,
    mlp: Mlp,
    output_norm: LayerNorm,
}

impl BertPlan {
    /// The same with the size of its embeddings: the hidden size, but in ELECTRA and ALBERT, which project them.
    fn with_embeddings(self, file: &ConfigFile, family: &str) -> Result<Self, ModelError> {
        if !matches!(family, "electra" | "albert") {
            return Ok(Self { embedded: self.hidden, ..self });
        }
        let embedded = file.size_or("embedding_size", 128, 1..=HIDDEN_MAX)?;
        let projection = match family {
            "albert" => Some("encoder.embedding_hidden_mapping_in"),
            _ => (embedded != self.hidden).then_some("embeddings_project"),
        };
        Ok(Self { embedded, projection, ..self })
    }
}

impl Plan for BertPlan {
    fn segments(&self) -> usize {
        self.segments
    }

    fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        const WORDS: &str = "embeddings.word_embeddings.weight";
        let prefix = prefix_of(weights, WORDS, &["", "bert.", "roberta.", "distilbert.", "mpnet.", "electra.", "albert.", "model."]);
        let (hidden, embedded) = (self.hidden, self.embedded);
        let words = Embedding::take(weights, &format!("{prefix}{WORDS}"), (self.vocab, embedded))?;
        let positions =
            Embedding::take(weights, &format!("{prefix}embeddings.position_embeddings.weight"), (self.position_rows, embedded))?;
        let segments = segment_embedding(weights, prefix, (self.segments, embedded))?;
        let norm = LayerNorm::take(weights, &format!("{prefix}embeddings.LayerNorm"), embedded, self.epsilon)?;
        let projection =
            self.projection.map(|name| Linear::take(weights, &format!("{prefix}{name}"), embedded, hidden, true)).transpose()?;
        let distance_bias = match self.relative_buckets {
            0 => None,
            buckets => {
                let name = format!("{prefix}encoder.relative_attention_bias.weight");
                let relative = weights.take(&name, &[buckets, self.heads])?;
                Some(relative_bias(&relative, self.usable_positions - 1, device)?)
            }
        };
        let blocks = (0..self.block_count).map(|index| Block::build(self, prefix, index, weights)).collect::<Result<_, _>>()?;
        Ok(Box::new(Bert {
            words,
            positions,
            position_scheme: self.positions,
            segments,
            norm,
            projection,
            blocks,
            layers: self.layers,
            attention: AttentionSpec { distance_bias, ..AttentionSpec::full(self.heads, hidden / self.heads, weights.precision()) },
            usable_positions: self.usable_positions,
        }))
    }
}

impl Bert {
    fn embed_tokens(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        let (positions, segment_rows) = (position_rows(batch, self.position_scheme), batch.segment_rows());
        let mut parts: Vec<(&Embedding, &[u32])> = vec![(&self.words, &batch.ids), (&self.positions, &positions)];
        parts.extend(self.segments.as_ref().map(|segments| (segments, &*segment_rows)));
        let x = self.norm.forward_over(Embedding::sum(&parts)?)?;
        match &self.projection {
            Some(projection) => projection.forward(&x),
            None => Ok(x),
        }
    }
}

impl EncoderArch for Bert {
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError> {
        batch.check(self.usable_positions, self.segments.as_ref().map_or(0, Embedding::rows))?;
        let mut x = self.embed_tokens(batch)?;
        for layer in 0..self.layers {
            let block = &self.blocks[layer * self.blocks.len() / self.layers];
            unless_stopped(stop)?;
            let mixed = attention(&block.qkv.forward_active(&x, Activation::Identity)?, &batch.offsets, &self.attention)?;
            x = block.attention_norm.forward_over(block.out.forward_onto(&mixed, &x)?)?;
            unless_stopped(stop)?;
            x = block.output_norm.forward_over(block.mlp.forward_onto(&x, &x)?)?;
        }
        Ok(x)
    }
}

impl Block {
    fn build(plan: &BertPlan, prefix: &str, index: usize, weights: &mut Weights) -> Result<Self, ModelError> {
        let names = plan.names;
        let (hidden, wide) = (plan.hidden, plan.intermediate);
        let full = |part: &str| format!("{prefix}{}{index}{}{part}", names.blocks[0], names.blocks[1]);
        let mut square = |part: &str| Linear::take(weights, &full(part), hidden, hidden, true);
        let [query, key, value] = names.qkv;
        Ok(Self {
            qkv: Linear::joined(&[square(query)?, square(key)?, square(value)?])?,
            out: square(names.out)?,
            attention_norm: LayerNorm::take(weights, &full(names.attention_norm), hidden, plan.epsilon)?,
            mlp: Mlp {
                up: Linear::take(weights, &full(names.up), hidden, wide, true)?,
                down: Linear::take(weights, &full(names.down), wide, hidden, true)?,
                activation: plan.activation,
            },
            output_norm: LayerNorm::take(weights, &full(names.output_norm), hidden, plan.epsilon)?,
        })
    }
}

/// The row of the position embedding for every token of the batch.
fn position_rows(batch: &TokenBatch, scheme: PositionScheme) -> Vec<u32> {
    match scheme {
        PositionScheme::Plain => batch.sequences().flat_map(|row| 0..row.len() as u32).collect(),
        PositionScheme::AfterPadding(padding) => batch
            .sequences()
            .flat_map(|row| {
                row.iter().scan(padding, move |last, &id| {
                    if id == padding {
                        return Some(padding);
                    }
                    *last += 1;
                    Some(*last)
                })
            })
            .collect(),
    }
}

/// MPNet's bias by distance from its bias by bucket, `relative` `[buckets, heads]`.
fn relative_bias(relative: &Tensor, distance_max: usize, device: &Device) -> Result<DistanceBias, ModelError> {
    let buckets = relative.dim(0)?;
    let rows: Vec<u32> = (0..=2 * distance_max).map(|key| relative_bucket(distance_max, key, buckets)).collect();
    let rows = Tensor::from_vec(rows, 2 * distance_max + 1, device)?;
    DistanceBias::new(relative.index_select(&rows, 0)?.t()?.contiguous()?)
}

/// MPNet's bucket of a distance: exact up to a quarter of the buckets, logarithmic beyond; one half for keys behind the query.
fn relative_bucket(query: usize, key: usize, buckets: usize) -> u32 {
    let half = buckets / 2;
    let exact = half / 2;
    let distance = query.abs_diff(key);
    let bucket = if distance < exact {
        distance
    } else {
        // In f32, as the model was trained: rounding decides at the edges of a bucket.
        let ratio = (distance as f32 / exact as f32).ln() / (RELATIVE_DISTANCE_MAX / exact as f32).ln();
        (exact + (ratio * (half - exact) as f32) as usize).min(half - 1)
    };
    (if key > query { bucket + half } else { bucket }) as u32
}
