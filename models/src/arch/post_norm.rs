//! The encoder that Nomic, GTE and Jina share: BERT's order of norms with gated layers, and positions that enter in the attention.

use candle_core::{Device, Tensor};

use super::{EncoderArch, TokenBatch, unless_stopped};
use crate::layers::{AttentionSpec, Embedding, GatedMlp, LayerNorm, Linear, QkNorm, Rotary, attention};
use crate::{ModelError, StopCheck};

/// A loaded encoder.
pub(super) struct PostNorm {
    pub(super) words: Embedding,
    /// None in models without.
    pub(super) segments: Option<Embedding>,
    pub(super) norm: LayerNorm,
    pub(super) blocks: Vec<Block>,
    pub(super) attention: AttentionSpec,
    /// None where positions enter as a bias of the attention.
    pub(super) rotary: Option<Rotary>,
    pub(super) positions: usize,
    pub(super) device: Device,
}

/// One of its blocks.
pub(super) struct Block {
    pub(super) qkv: Linear,
    pub(super) qk_norm: Option<QkNorm>,
    pub(super) out: Linear,
    pub(super) attention_norm: LayerNorm,
    /// A second norm, of the sum of the block's input and the first norm's output.
    pub(super) second_norm: Option<LayerNorm>,
    pub(super) mlp: GatedMlp,
    pub(super) output_norm: LayerNorm,
}

/// Numbers per token while a block is computed: a score of hidden rows and the gated rows.
pub(super) fn working_values(hidden: usize, intermediate: usize) -> usize {
    20 * hidden + 5 * intermediate
}

impl PostNorm {
    fn embed_tokens(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        let segment_rows = match &self.segments {
            // A single segment is everyone's.
            Some(segments) if segments.rows() == 1 => vec![0; batch.ids.len()].into(),
            _ => batch.segment_rows(),
        };
        let mut parts: Vec<(&Embedding, &[u32])> = vec![(&self.words, &batch.ids)];
        parts.extend(self.segments.as_ref().map(|segments| (segments, &*segment_rows)));
        self.norm.forward_over(Embedding::sum(&parts)?)
    }
}

impl EncoderArch for PostNorm {
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError> {
        let segment_count = self.segments.as_ref().map_or(0, Embedding::rows);
        batch.check(self.positions, if segment_count == 1 { 0 } else { segment_count })?;
        let rotary = self.rotary.as_ref().map(|rotary| rotary.table(&batch.offsets, &self.device)).transpose()?;
        let mut x = self.embed_tokens(batch)?;
        for block in &self.blocks {
            unless_stopped(stop)?;
            let mut qkv = block.qkv.forward(&x)?;
            if let Some(norm) = &block.qk_norm {
                qkv = norm.forward(qkv, &self.attention)?;
            }
            if let Some(rotary) = &rotary {
                qkv = rotary.forward(qkv, &self.attention)?;
            }
            let mixed = attention(&qkv, &batch.offsets, &self.attention)?;
            let first = block.attention_norm.forward_over(block.out.forward_onto(&mixed, &x)?)?;
            x = match &block.second_norm {
                Some(norm) => norm.forward_sum(first, &x)?,
                None => first,
            };
            unless_stopped(stop)?;
            x = block.output_norm.forward_over(block.mlp.forward_onto(&x, &x)?)?;
        }
        Ok(x)
    }
}
