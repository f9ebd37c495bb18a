//! One file per architecture family, and the table from `model_type` to its builder. A family never knows a file format.

mod bert;
mod bert_config;

use candle_core::{Device, Tensor};

pub use bert_config::{BertConfig, PositionScheme};

use crate::weights::Weights;
use crate::{ModelError, StopCheck};

/// The `model_type` values that can be run, for messages and listings.
pub const SUPPORTED: &[&str] = &["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet"];

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

    /// The ids of each sequence.
    pub fn sequences(&self) -> impl Iterator<Item = &[u32]> {
        self.offsets.windows(2).map(|pair| &self.ids[pair[0]..pair[1]])
    }
}

/// An encoder: token ids to one vector per token.
pub trait EncoderArch: Send + Sync {
    /// The last hidden state of every token `[tokens, hidden]` f32, in the order of the batch.
    ///
    /// Errors: `Stopped` when `stop` says so between layers; `Input` for a sequence that is longer than the model's positions or a segment it does not have.
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError>;
}

/// Builds the family that `model_type` names. Errors: `Unsupported` listing what is supported, `Corrupt` for weights that do not match.
pub fn build(config: &BertConfig, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
    Ok(Box::new(bert::Bert::build(config, weights, device)?))
}
