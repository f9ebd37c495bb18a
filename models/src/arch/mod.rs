//! One file per architecture family, and the table from `model_type` to what reads its configuration and builds it. A family never knows a file
//! format, and computes with `layers` alone.

mod bert;
mod config;
mod config_file;
mod deberta;
mod gemma3;
mod grouped;
mod gte;
mod jina;
mod modernbert;
mod nomic;
mod post_norm;
mod qwen3;
mod reach;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use candle_core::{Device, Tensor};

pub use config::EncoderConfig;

use crate::layers::Embedding;
use crate::weights::Weights;
use crate::{ModelError, StopCheck};
use config_file::ConfigFile;

/// A row of the table of families.
struct Family {
    /// The `model_type` values it runs.
    model_types: &'static [&'static str],
    /// True for the configurations that are this family's among those with such a `model_type`.
    claims: fn(&ConfigFile) -> bool,
    /// Reads a configuration.
    parse: fn(&ConfigFile) -> Result<EncoderConfig, ModelError>,
}

/// The families; the first that claims a configuration runs it.
const FAMILIES: &[Family] = &[
    Family { model_types: &["bert"], claims: jina::claims, parse: jina::parse },
    Family {
        model_types: &["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet", "electra", "albert"],
        claims: |_| true,
        parse: bert::parse,
    },
    Family { model_types: &["modernbert"], claims: |_| true, parse: modernbert::parse },
    Family { model_types: &["nomic_bert"], claims: |_| true, parse: nomic::parse },
    Family { model_types: &["new", "gte"], claims: |_| true, parse: gte::parse },
    Family { model_types: &["deberta-v2"], claims: |_| true, parse: deberta::parse },
    Family { model_types: &["qwen3"], claims: |_| true, parse: qwen3::parse },
    Family { model_types: &["gemma3_text"], claims: |_| true, parse: gemma3::parse },
];

/// The `model_type` values that can be run, for messages and listings.
#[must_use]
pub fn supported() -> Vec<&'static str> {
    let mut all: Vec<&str> = Vec::new();
    for model_type in FAMILIES.iter().flat_map(|family| family.model_types) {
        if !all.contains(model_type) {
            all.push(model_type);
        }
    }
    all
}

/// The tokens of some sequences, one after the other without padding.
pub struct TokenBatch {
    /// Token ids of all sequences.
    pub ids: Vec<u32>,
    /// The segment of every token, for pairs of texts; empty when all are of the first.
    pub segments: Vec<u32>,
    /// Where each sequence begins in `ids`, and the end of the last: one more than there are sequences. No sequence is empty.
    pub offsets: Vec<usize>,
}

impl TokenBatch {
    /// The tokens of the longest sequence.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// The segment of every token.
    fn segment_rows(&self) -> Cow<'_, [u32]> {
        if self.segments.is_empty() { vec![0; self.ids.len()].into() } else { (&*self.segments).into() }
    }

    /// The ids of each sequence.
    pub fn sequences(&self) -> impl Iterator<Item = &[u32]> {
        self.offsets.windows(2).map(|pair| &self.ids[pair[0]..pair[1]])
    }

    /// Errors: `Input` for a sequence beyond `positions`, or a segment beyond `segment_count` (0: the family has none and they are passed over).
    fn check(&self, positions: usize, segment_count: usize) -> Result<(), ModelError> {
        let longest = self.longest();
        if longest > positions {
            return Err(ModelError::input(format!("{longest} tokens, the model has {positions} positions")));
        }
        match self.segments.iter().find(|&&segment| segment_count > 0 && segment as usize >= segment_count) {
            Some(segment) => Err(ModelError::input(format!("segment {segment}, the model has {segment_count}"))),
            None => Ok(()),
        }
    }
}

/// The segment embedding of BERT's descendants `[rows, size]`; none for 0 rows. Errors: `Corrupt` for a missing tensor or another shape.
fn segment_embedding(weights: &mut Weights, prefix: &str, (rows, size): (usize, usize)) -> Result<Option<Embedding>, ModelError> {
    if rows == 0 {
        return Ok(None);
    }
    Embedding::take(weights, &format!("{prefix}embeddings.token_type_embeddings.weight"), (rows, size)).map(Some)
}

/// An encoder: token ids to one vector per token.
pub trait EncoderArch: Send + Sync {
    /// The last hidden state of every token `[tokens, hidden]` f32, in the order of the batch.
    ///
    /// Errors: `Stopped` when `stop` says so between layers; `Input` for a sequence that is longer than the model's positions or a segment it does not have.
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError>;
}

/// Builds the encoder of a configuration. Errors: `Corrupt` for weights that do not match, `Unsupported` for what they show beyond the configuration.
pub fn build(config: &EncoderConfig, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
    config.build(weights, device)
}

/// Errors: `Stopped` when the answer is no longer wanted.
fn unless_stopped(stop: StopCheck<'_>) -> Result<(), ModelError> {
    if stop() { Err(ModelError::Stopped) } else { Ok(()) }
}

/// The first of `prefixes` under which the weights hold `name`; empty when none does, so that the missing tensor is named plainly.
fn prefix_of(weights: &Weights, name: &str, prefixes: &[&'static str]) -> &'static str {
    prefixes.iter().copied().find(|prefix| weights.contains(&format!("{prefix}{name}"))).unwrap_or("")
}
