//! The BERT families: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT and MPNet. One forward pass; the families differ in tensor names, positions
//! and MPNet's relative attention bias.
//!
//! Sources: Devlin et al. 2018 (arXiv:1810.04805), Liu et al. 2019 (arXiv:1907.11692), Sanh et al. 2019 (arXiv:1910.01108), Song et al. 2020 (arXiv:2004.09297).

use std::sync::Arc;

use candle_core::{Device, Tensor};
use tallow_kernels::gemm::Precision;

use super::{BertConfig, EncoderArch, PositionScheme, TokenBatch};
use crate::layers::{Activation, AttentionShape, LayerNorm, Linear, Then, attention};
use crate::weights::Weights;
use crate::{ModelError, StopCheck};

/// Distances beyond this share MPNet's last bucket.
const RELATIVE_DISTANCE_MAX: f32 = 128.0;

/// A loaded encoder.
pub(super) struct Bert {
    words: Tensor,
    positions: Tensor,
    position_scheme: PositionScheme,
    /// `[segments, hidden]`; none in families without.
    segments: Option<Tensor>,
    norm: LayerNorm,
    blocks: Vec<Block>,
    /// By distance, `[heads, 2 * reach + 1]`, as far as the model's positions go.
    distance_bias: Option<Arc<Vec<f32>>>,
    precision: Precision,
    heads: usize,
    /// 1/√head size.
    scale: f32,
    usable_positions: usize,
    device: Device,
}

struct Block {
    qkv: Linear,
    out: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
    activation: Activation,
}

/// How a family names the tensors of a block.
struct BlockNames {
    block: String,
    qkv: [&'static str; 3],
    out: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
}

fn block_names(family: &str, index: usize) -> BlockNames {
    let encoder = |qkv, out, attention_norm| BlockNames {
        block: format!("encoder.layer.{index}."),
        qkv,
        out,
        attention_norm,
        up: "intermediate.dense",
        down: "output.dense",
        output_norm: "output.LayerNorm",
    };
    match family {
        "distilbert" => BlockNames {
            block: format!("transformer.layer.{index}."),
            qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
            out: "attention.out_lin",
            attention_norm: "sa_layer_norm",
            up: "ffn.lin1",
            down: "ffn.lin2",
            output_norm: "output_layer_norm",
        },
        "mpnet" => encoder(["attention.attn.q", "attention.attn.k", "attention.attn.v"], "attention.attn.o", "attention.LayerNorm"),
        _ => encoder(
            ["attention.self.query", "attention.self.key", "attention.self.value"],
            "attention.output.dense",
            "attention.output.LayerNorm",
        ),
    }
}

impl Bert {
    pub(super) fn build(config: &BertConfig, weights: &mut Weights, device: &Device) -> Result<Self, ModelError> {
        const WORDS: &str = "embeddings.word_embeddings.weight";
        let prefixes = ["", "bert.", "roberta.", "distilbert.", "mpnet.", "model."];
        let prefix = prefixes.into_iter().find(|prefix| weights.contains(&format!("{prefix}{WORDS}"))).unwrap_or("");
        let hidden = config.hidden;
        let words = weights.take(&format!("{prefix}{WORDS}"), &[config.vocab, hidden])?;
        let positions = weights.take(&format!("{prefix}embeddings.position_embeddings.weight"), &[config.position_rows, hidden])?;
        let segments = match config.segments {
            0 => None,
            rows => Some(weights.take(&format!("{prefix}embeddings.token_type_embeddings.weight"), &[rows, hidden])?),
        };
        let norm = LayerNorm::take(weights, &format!("{prefix}embeddings.LayerNorm"), hidden, config.epsilon)?;
        let distance_bias = match config.relative_buckets {
            0 => None,
            buckets => {
                let relative = weights.take(&format!("{prefix}encoder.relative_attention_bias.weight"), &[buckets, config.heads])?;
                Some(Arc::new(distance_bias(&relative, config.usable_positions())?))
            }
        };
        let precision = weights.precision();
        let blocks = (0..config.layers).map(|index| Block::build(config, prefix, index, weights)).collect::<Result<_, _>>()?;
        Ok(Self {
            words,
            positions,
            position_scheme: config.positions,
            segments,
            norm,
            blocks,
            distance_bias,
            precision,
            heads: config.heads,
            scale: 1.0 / ((hidden / config.heads) as f32).sqrt(),
            usable_positions: config.usable_positions(),
            device: device.clone(),
        })
    }

    fn embed_tokens(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        let ids = Tensor::from_slice(&batch.ids, batch.ids.len(), &self.device)?;
        let rows = position_rows(batch, self.position_scheme);
        let rows = Tensor::from_vec(rows, batch.ids.len(), &self.device)?;
        let mut x = (self.words.index_select(&ids, 0)? + self.positions.index_select(&rows, 0)?)?;
        if let Some(segments) = &self.segments {
            x = if batch.segments.is_empty() {
                x.broadcast_add(&segments.narrow(0, 0, 1)?)?
            } else {
                let of_tokens = Tensor::from_slice(&batch.segments, batch.segments.len(), &self.device)?;
                (x + segments.index_select(&of_tokens, 0)?)?
            };
        }
        self.norm.forward(&x)
    }

    fn check(&self, batch: &TokenBatch) -> Result<(), ModelError> {
        let longest = batch.longest();
        if longest > self.usable_positions {
            return Err(ModelError::input(format!("{longest} tokens, the model has {} positions", self.usable_positions)));
        }
        let segment_count = match &self.segments {
            Some(segments) => segments.dim(0)?,
            None => usize::MAX,
        };
        match batch.segments.iter().find(|&&segment| segment as usize >= segment_count) {
            Some(segment) => Err(ModelError::input(format!("segment {segment}, the model has {segment_count}"))),
            None => Ok(()),
        }
    }
}

impl EncoderArch for Bert {
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError> {
        self.check(batch)?;
        let shape = AttentionShape {
            offsets: Arc::new(batch.offsets.clone()),
            heads: self.heads,
            scale: self.scale,
            distance_bias: self.distance_bias.clone(),
            precision: self.precision,
        };
        let mut x = self.embed_tokens(batch)?;
        for block in &self.blocks {
            x = block.forward(&x, &shape, stop)?;
        }
        Ok(x)
    }
}

impl Block {
    fn build(config: &BertConfig, prefix: &str, index: usize, weights: &mut Weights) -> Result<Self, ModelError> {
        let names = block_names(&config.family, index);
        let (hidden, wide, precision) = (config.hidden, config.intermediate, weights.precision());
        let full = |part: &str| format!("{prefix}{}{part}", names.block);
        let [query, key, value] = names.qkv;
        let parts = vec![
            Linear::take(weights, &full(query), hidden, hidden, true)?,
            Linear::take(weights, &full(key), hidden, hidden, true)?,
            Linear::take(weights, &full(value), hidden, hidden, true)?,
        ];
        Ok(Self {
            qkv: Linear::joined(parts)?.packed(precision)?,
            out: Linear::take(weights, &full(names.out), hidden, hidden, true)?.packed(precision)?,
            attention_norm: LayerNorm::take(weights, &full(names.attention_norm), hidden, config.epsilon)?,
            up: Linear::take(weights, &full(names.up), hidden, wide, true)?.packed(precision)?,
            down: Linear::take(weights, &full(names.down), wide, hidden, true)?.packed(precision)?,
            output_norm: LayerNorm::take(weights, &full(names.output_norm), hidden, config.epsilon)?,
            activation: config.activation,
        })
    }

    fn forward(&self, x: &Tensor, shape: &AttentionShape, stop: StopCheck<'_>) -> Result<Tensor, ModelError> {
        let check = || if stop() { Err(ModelError::Stopped) } else { Ok(()) };
        check()?;
        let mixed = attention(&self.qkv.forward(x)?, shape)?;
        let x = self.attention_norm.forward(&self.out.forward_then(&mixed, &Then { residual: Some(x), ..Then::default() })?)?;
        check()?;
        let wide = self.up.forward_then(&x, &Then { activation: self.activation, residual: None, feeds_linear: true })?;
        self.output_norm.forward(&self.down.forward_then(&wide, &Then { residual: Some(&x), ..Then::default() })?)
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

/// MPNet's bias `[buckets, heads]` spread over all distances, `[heads, 2 * reach + 1]`; beyond the reach the outermost bucket holds.
fn distance_bias(relative: &Tensor, positions: usize) -> Result<Vec<f32>, ModelError> {
    let reach = positions.min(RELATIVE_DISTANCE_MAX as usize);
    let relative: Vec<Vec<f32>> = relative.to_vec2()?;
    let heads = relative.first().map_or(0, Vec::len);
    let bucket = |at: usize| relative_bucket(reach, at, relative.len()) as usize;
    Ok((0..heads).flat_map(|head| (0..=2 * reach).map(move |at| (head, at))).map(|(head, at)| relative[bucket(at)][head]).collect())
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
