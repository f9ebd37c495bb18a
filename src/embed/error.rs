//! Why texts could not be embedded: which text is to blame, as data, so that every door can name it in its own words.

use tallow_models::ModelError;

/// Why texts could not be embedded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EmbedError {
    /// A text has more tokens than the model takes, and is not to be cut.
    #[error("text {index} has {found} tokens, the model takes at most {limit}")]
    TooLong {
        /// The text, from 0.
        index: usize,
        /// Its tokens, special ones and prompt included.
        found: usize,
        /// What the model takes.
        limit: usize,
    },
    /// A text that the tokenizer refuses.
    #[error("text {index}: {reason}")]
    Text {
        /// The text, from 0.
        index: usize,
        /// What was found and what is allowed.
        reason: String,
    },
    /// The caller's deadline passed while its texts waited; none of those was computed.
    #[error("the deadline passed before the texts were computed")]
    Expired,
    /// The threads that compute have ended.
    #[error("the worker is stopping")]
    Closed,
    /// No text is to blame: the model failed, or the work was stopped.
    #[error(transparent)]
    Model(#[from] ModelError),
}
