//! The port by which a worker lends its models' tokenizers to text processing. Text processing itself knows no model.

use std::ops::Range;
use std::sync::Arc;

use crate::task::{CancelHandle, TaskError};

/// A model's token: its vocabulary id and the bytes of the source it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelToken {
    /// Vocabulary id.
    pub id: u32,
    /// Bytes of the source. Neighbours may share bytes when a character is split over several tokens.
    pub bytes: Range<usize>,
}

/// A model's tokenizer. Calls run on a compute thread and may be slow.
pub trait TextTokenizer: Send + Sync + 'static {
    /// The model's name, as answers give it.
    fn model(&self) -> &str;

    /// All tokens of the text, without special tokens and without truncation. Places lie at characters of the text.
    ///
    /// Errors: `InvalidPayload` at `text` for a text that the tokenizer refuses; the cause of a cancel, soon after it.
    fn tokens(&self, text: &str, cancel: &CancelHandle) -> Result<Vec<ModelToken>, TaskError>;

    /// How many tokens [`TextTokenizer::tokens`] would give.
    fn count(&self, text: &str, cancel: &CancelHandle) -> Result<usize, TaskError> {
        self.tokens(text, cancel).map(|tokens| tokens.len())
    }
}

/// Finds tokenizers by model name.
pub trait TokenizerSource: Send + Sync + 'static {
    /// The tokenizer of `model`, or of the worker's default model. Runs on a compute thread and may read files.
    ///
    /// Errors: `ModelMissing`, `ModelUnsupported`, `ModelCorrupt`.
    fn tokenizer(&self, model: Option<&str>) -> Result<Arc<dyn TextTokenizer>, TaskError>;
}
