//! Tokenizers as the model's files describe them, with every length left alone: cutting is the caller's decision.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::source::files::{read_bounded, read_json_optional};
use crate::{ModelError, Sequence};

/// A larger `tokenizer.json` is refused.
pub const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// A vocabulary beyond this is refused.
pub const VOCAB_MAX: usize = 2_000_000;
/// A longer text is refused before it reaches the tokenizer, which cannot be stopped.
pub const TEXT_BYTES_MAX: usize = 4 << 20;

const FILE: &str = "tokenizer.json";

/// What of `tokenizer_config.json` matters.
#[derive(Clone, Debug, Default, Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    model_max_length: Option<f64>,
}

/// A tokenizer without truncation and padding of its own.
pub struct TextTokenizer {
    inner: Tokenizer,
    lower_case: bool,
    special_token_count: usize,
    model_max_length: Option<usize>,
    file_bytes: u64,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` of `folder`; its truncation and padding are dropped. `lower_case` is sentence-transformers' `do_lower_case`.
    ///
    /// Errors: `Missing`, and `Corrupt` for a file the library cannot take (also when it panics on it) or whose ids reach beyond `embedding_rows`.
    pub fn read(folder: &Path, lower_case: bool, embedding_rows: usize) -> Result<Self, ModelError> {
        let bytes = read_bounded(&folder.join(FILE), TOKENIZER_BYTES_MAX)?;
        let corrupt = |reason: String| ModelError::corrupt(FILE, "tokenizer", reason);
        let mut inner = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(&bytes)))
            .map_err(|_panic| corrupt("the tokenizer library fails on this file".into()))?
            .map_err(|error| corrupt(clip(&error.to_string())))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| corrupt(clip(&error.to_string())))?;
        let vocab = inner.get_vocab(true);
        if vocab.is_empty() || vocab.len() > VOCAB_MAX {
            return Err(corrupt(format!("{} tokens, 1 to {VOCAB_MAX} are read", vocab.len())));
        }
        let highest = vocab.values().copied().max().unwrap_or(0);
        if highest as usize >= embedding_rows {
            return Err(corrupt(format!("token id {highest} has no embedding; the model has {embedding_rows}")));
        }
        let config: TokenizerConfig = read_json_optional(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
        // Files of models without a limit hold 1e30 here.
        let model_max_length = config.model_max_length.filter(|&n| (1.0..=1e7).contains(&n)).map(|n| n as usize);
        let mut tokenizer = Self { inner, lower_case, special_token_count: 0, model_max_length, file_bytes: bytes.len() as u64 };
        tokenizer.special_token_count = tokenizer.encode("")?.ids.len();
        Ok(tokenizer)
    }

    /// Special tokens around every text.
    #[must_use]
    pub fn special_token_count(&self) -> usize {
        self.special_token_count
    }

    /// `model_max_length` of `tokenizer_config.json`, if it is a real limit.
    #[must_use]
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }

    /// Bytes of `tokenizer.json`.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The spelling of a token.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// `prompt` and `text` as one sequence, uncut. Errors: `Input` beyond [`TEXT_BYTES_MAX`] or for a text the library fails on.
    pub fn tokenize(&self, prompt: &str, text: &str) -> Result<Sequence, ModelError> {
        if prompt.is_empty() {
            return self.encode(text);
        }
        let mut sequence = self.encode(&format!("{prompt}{text}"))?;
        // As sentence-transformers counts it: the prompt on its own.
        let alone = self.encode(prompt)?.content.len();
        sequence.prompt_tokens = alone.min(sequence.content.len());
        Ok(sequence)
    }

    fn encode(&self, text: &str) -> Result<Sequence, ModelError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ModelError::input(format!("a text of {} bytes, at most {TEXT_BYTES_MAX} are tokenised", text.len())));
        }
        let text = if self.lower_case { text.to_lowercase() } else { text.to_owned() };
        let encoding = catch_unwind(AssertUnwindSafe(|| self.inner.encode(text.as_str(), true)))
            .map_err(|_panic| ModelError::input("the tokenizer library fails on this text"))?
            .map_err(|error| ModelError::input(format!("the tokenizer refuses the text: {}", clip(&error.to_string()))))?;
        let special = encoding.get_special_tokens_mask();
        let start = special.iter().take_while(|&&flag| flag == 1).count();
        let end = special.len() - special[start..].iter().rev().take_while(|&&flag| flag == 1).count();
        let offsets = encoding.get_offsets().iter().map(|&(from, to)| from..to).collect();
        Ok(Sequence { ids: encoding.get_ids().to_vec(), offsets, content: start..end, prompt_tokens: 0, text })
    }
}

/// At most 200 characters of a library's message.
fn clip(message: &str) -> String {
    message.chars().take(200).collect()
}
