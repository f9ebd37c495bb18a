//! One file per architecture family, and the table from `model_type` to its builder. A family never knows a file format.

mod bert;
mod bert_config;

use candle_core::{Device, Tensor};

pub use bert_config::{BertConfig, PositionScheme};

use crate::weights::Weights;
use crate::{ModelError, StopCheck};

/// The `model_type` values that can be run, for messages and listings.
pub const SUPPORTED: &[&str] = &["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet"];

/// A padded batch of token ids.
pub struct TokenBatch {
    /// `[batch, seq]` row-major; rows shorter than `seq` end in any id.
    pub ids: Vec<u32>,
    /// Real tokens of each row.
    pub lengths: Vec<usize>,
    /// Tokens per row.
    pub seq: usize,
}

/// An encoder: token ids to one vector per token.
pub trait EncoderArch: Send + Sync {
    /// The last hidden state `[batch, seq, hidden]` f32. What it holds at padding is undefined.
    ///
    /// Errors: `Stopped` when `stop` says so between layers; `Input` for a row that is longer than the model's positions.
    fn forward(&self, batch: &TokenBatch, stop: StopCheck<'_>) -> Result<Tensor, ModelError>;
}

/// Builds the family that `model_type` names. Errors: `Unsupported` listing what is supported, `Corrupt` for weights that do not match.
pub fn build(config: &BertConfig, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
    Ok(Box::new(bert::Bert::build(config, weights, device)?))
}
