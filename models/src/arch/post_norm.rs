//! The encoder that Nomic, GTE and Jina share: BERT's order of norms with gated layers, and positions that enter in the attention.

use candle_core::{Device, Tensor};

use super::config::{EncoderConfig, Facts, Plan, Working};
use super::config_file::ConfigFile;
use super::{EncoderArch, TokenBatch, prefix_of, segment_embedding, unless_stopped};
use crate::layers::{
    Activation, AttentionSpec, DistanceBias, Embedding, GatedMlp, LayerNorm, Linear, QkNorm, Rotary, RotarySpec, attention,
};
use crate::weights::Weights;
use crate::{ModelError, StopCheck};

/// A loaded encoder.
struct PostNorm {
    words: Embedding,
    /// None in models without.
    segments: Option<Embedding>,
    norm: LayerNorm,
    blocks: Vec<Block>,
    attention: AttentionSpec,
    /// None where positions enter as a bias of the attention.
    rotary: Option<Rotary>,
    positions: usize,
    device: Device,
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

/// What a configuration of such a family says, after checking.
pub(super) struct PostNormPlan<F> {
    pub(super) facts: Facts,
    pub(super) intermediate: usize,
    /// Rows of the segment embedding; 0 without one.
    pub(super) segments: usize,
    /// None where positions enter as a bias of the attention (ALiBi).
    pub(super) rotary: Option<RotarySpec>,
    pub(super) epsilon: f64,
    pub(super) activation: Activation,
    pub(super) family: F,
}

/// What the families do not share.
pub(super) trait PostNormFamily: Sized + Send + Sync + 'static {
    /// What may stand before the names of all tensors.
    const PREFIXES: &'static [&'static str];
    /// The norm behind the embeddings.
    const NORM: &'static str;

    /// Takes a block. Errors: `Corrupt` for a missing tensor or another shape.
    fn block(plan: &PostNormPlan<Self>, weights: &mut Weights, prefix: &str, index: usize) -> Result<Block, ModelError>;
}

impl<F: PostNormFamily> PostNormPlan<F> {
    /// The configuration: a score of hidden rows and the gated rows while a block is computed, and `values_per_key` numbers per head and key.
    pub(super) fn config(self, file: &ConfigFile, values_per_key: usize) -> Result<EncoderConfig, ModelError> {
        let facts = self.facts;
        let values = 20 * facts.hidden + 5 * self.intermediate;
        EncoderConfig::new(file, &facts, Working { values, values_per_key: values_per_key * facts.heads }, self)
    }

    /// Takes the norm `name`. Errors: `Corrupt`.
    pub(super) fn norm(&self, weights: &mut Weights, name: &str) -> Result<LayerNorm, ModelError> {
        LayerNorm::take(weights, name, self.facts.hidden, self.epsilon)
    }
}

impl<F: PostNormFamily> Plan for PostNormPlan<F> {
    fn segments(&self) -> usize {
        self.segments
    }

    fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        const WORDS: &str = "embeddings.word_embeddings.weight";
        let Facts { hidden, layers, heads, vocab, positions } = self.facts;
        let prefix = prefix_of(weights, WORDS, F::PREFIXES);
        let distance_bias = match &self.rotary {
            Some(_) => None,
            None => Some(DistanceBias::alibi(heads, positions - 1, device)?),
        };
        let segments = segment_embedding(weights, prefix, (self.segments, hidden))?;
        Ok(Box::new(PostNorm {
            words: Embedding::take(weights, &format!("{prefix}{WORDS}"), (vocab, hidden))?,
            segments,
            norm: self.norm(weights, &format!("{prefix}{}", F::NORM))?,
            blocks: (0..layers).map(|index| F::block(self, weights, prefix, index)).collect::<Result<_, _>>()?,
            attention: AttentionSpec { distance_bias, ..AttentionSpec::full(heads, hidden / heads, weights.precision()) },
            rotary: self.rotary.as_ref().map(Rotary::new),
            positions,
            device: device.clone(),
        }))
    }
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
