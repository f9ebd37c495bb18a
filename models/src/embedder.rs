//! The port of everything that turns texts into vectors: encoders read from files and the built-in static embedder.
//!
//! Two steps, so that lengths are known, and long input is refused or cut by the caller's policy, before anything is computed.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{Abilities, ModelError};

/// What an embedder is and what it accepts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmbedderInfo {
    /// The name that answers carry.
    pub name: String,
    /// Hex sha256 of the weights.
    pub digest: String,
    /// The family: `bert`, `static`, ...
    pub architecture: String,
    /// What it can be asked for.
    pub abilities: Abilities,
    /// The labels of its classification head; empty without one.
    pub labels: Vec<String>,
    /// Entries of the vocabulary, which sparse vectors are about.
    pub vocabulary: usize,
    /// Numbers per vector.
    pub dimensions: usize,
    /// The longest sequence in tokens, special tokens included; `None` without a limit.
    pub max_tokens: Option<usize>,
    /// Special tokens added to every text.
    pub special_token_count: usize,
    /// How token vectors become one: `mean`, `cls`, ...; several joined by `+`.
    pub pooling: String,
    /// Where the pooling was read from, or why it was assumed.
    pub pooling_source: String,
    /// True when the model itself ends in L2 normalisation.
    pub normalizes: bool,
    /// Shorter lengths the model was trained for; empty when it declares none.
    pub matryoshka: Vec<usize>,
    /// Named prompts that are put before a text.
    pub prompts: BTreeMap<String, String>,
    /// The prompt used when none is named.
    pub default_prompt_name: Option<String>,
    /// The similarity the model was trained for, if it says so.
    pub similarity: Option<String>,
    /// The arithmetic of its linear layers: `exact`, `bf16`, `int8`; `int4_table` for the built-in model, which has a table instead.
    pub precision: String,
    /// Why that one, in a sentence; with what was measured.
    pub precision_reason: String,
    /// Bytes held while loaded: weights, vocabulary and measured overhead.
    pub memory_bytes: u64,
    /// Peak bytes of one token while it is computed, beside the weights.
    pub working_bytes_per_token: u64,
    /// What the loader ignored or assumed, in sentences.
    pub notes: Vec<String>,
}

/// A tokenised text: what an embedder computes on, and where each token came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// The text with its prompt in front.
    pub text: String,
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Bytes of `text` each token came from; empty ranges for special tokens. Same length as `ids`.
    pub offsets: Vec<Range<usize>>,
    /// The tokens of prompt and text without the special ones around them.
    pub content: Range<usize>,
    /// How many leading tokens of `content` belong to the prompt.
    pub prompt_tokens: usize,
}

impl Sequence {
    /// Tokens, special ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without a single token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The same sequence with at most `max_tokens` tokens: content is dropped at its end, the special tokens stay, as tokenizers truncate.
    ///
    /// Errors: `Input` when the special tokens alone do not fit.
    pub fn truncated(&self, max_tokens: usize) -> Result<Self, ModelError> {
        let keep = self.content_room(max_tokens)?.min(self.content.len());
        Ok(self.window(self.content.start..self.content.start + keep))
    }

    /// Splits the content into windows of at most `max_tokens` tokens; each repeats the special tokens and the prompt. No overlap.
    ///
    /// Errors: `Input` when special tokens and prompt leave no room for content.
    pub fn windows(&self, max_tokens: usize) -> Result<Vec<Self>, ModelError> {
        if self.len() <= max_tokens {
            return Ok(vec![self.clone()]);
        }
        let room = self.content_room(max_tokens)?.saturating_sub(self.prompt_tokens);
        if room == 0 {
            return Err(ModelError::input(format!(
                "the prompt takes {} of the model's {max_tokens} tokens and leaves no room for text",
                self.prompt_tokens
            )));
        }
        let first = self.content.start + self.prompt_tokens;
        let starts = (first..self.content.end).step_by(room);
        Ok(starts.map(|start| self.window(start..(start + room).min(self.content.end))).collect())
    }

    /// Content tokens without the prompt.
    #[must_use]
    pub fn text_tokens(&self) -> usize {
        self.content.len().saturating_sub(self.prompt_tokens)
    }

    fn content_room(&self, max_tokens: usize) -> Result<usize, ModelError> {
        let special = self.len() - self.content.len();
        max_tokens
            .checked_sub(special)
            .ok_or_else(|| ModelError::input(format!("{special} special tokens do not fit into {max_tokens} tokens")))
    }

    /// Special tokens, then the prompt, then `kept`, then special tokens. A range that starts with the content has its prompt already.
    fn window(&self, kept: Range<usize>) -> Self {
        let prompt = if kept.start == self.content.start { 0 } else { self.prompt_tokens };
        let pieces = [0..self.content.start, self.content.start..self.content.start + prompt, kept.clone(), self.content.end..self.len()];
        let length = prompt + kept.len();
        Self {
            text: self.text.clone(),
            ids: pieces.iter().flat_map(|piece| self.ids[piece.clone()].iter().copied()).collect(),
            offsets: pieces.iter().flat_map(|piece| self.offsets[piece.clone()].iter().cloned()).collect(),
            content: self.content.start..self.content.start + length,
            prompt_tokens: self.prompt_tokens.min(length),
        }
    }
}

/// Asked between blocks of work: true when the answer is no longer wanted.
pub type StopCheck<'a> = &'a (dyn Fn() -> bool + Sync);

/// Turns texts into vectors. Calls block and compute on the calling thread and, through rayon, on the pool it belongs to.
pub trait Embedder: Send + Sync {
    /// What it is and what it accepts.
    fn info(&self) -> &EmbedderInfo;

    /// Tokens of `prompt` followed by `text` (either may be empty), uncut whatever their number.
    ///
    /// Errors: `Input` when the tokenizer refuses the text.
    fn tokenize(&self, prompt: &str, text: &str) -> Result<Sequence, ModelError>;

    /// The token's spelling in the vocabulary, if there is one.
    fn token(&self, id: u32) -> Option<String>;

    /// One vector per sequence, row-major `[sequences.len(), dimensions]` f32, in order, normalised if the model itself normalises.
    ///
    /// A row does not depend on its neighbours beyond 1e-6. Errors: `Input` for a sequence beyond `max_tokens`, `Stopped` soon after `stop` says so
    /// (asked at least every few milliseconds of work per thread), `NonFinite` for weights that give no numbers.
    fn embed(&self, sequences: &[Sequence], stop: StopCheck<'_>) -> Result<Vec<f32>, ModelError>;
}
