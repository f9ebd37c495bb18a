//! Tokenizers as the model's files describe them, with every length left alone: cutting is the caller's decision.

mod normalizer;
mod pair;
mod pieces;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use serde::Deserialize;
use tokenizers::{Decoder as _, ModelWrapper, Tokenizer};

pub use pair::{PairCut, PairTokens, Place, TextPair};
pub use pieces::{LIBRARY_BYTES, PIECE_BYTES};

use crate::source::files::{read_bounded, read_json_optional};
use crate::{ModelError, Sequence, StopCheck};

/// A larger `tokenizer.json` is refused.
pub const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// A vocabulary beyond this is refused.
pub const VOCAB_MAX: usize = 2_000_000;
/// A longer stretch of text without a place to cut it is refused before it reaches the tokenizer, which cannot be stopped.
pub const TEXT_BYTES_MAX: usize = 4 << 20;

const FILE: &str = "tokenizer.json";

/// What of `tokenizer_config.json` matters.
#[derive(Clone, Debug, Default, Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    model_max_length: Option<f64>,
    #[serde(default)]
    model_input_names: Option<Vec<String>>,
    #[serde(default)]
    mask_token: Option<SpecialToken>,
    #[serde(default)]
    unk_token: Option<SpecialToken>,
    #[serde(default)]
    pad_token: Option<SpecialToken>,
    #[serde(default)]
    tokenizer_class: Option<String>,
    #[serde(default)]
    do_lower_case: Option<bool>,
    #[serde(default)]
    strip_accents: Option<bool>,
    #[serde(default)]
    tokenize_chinese_chars: Option<bool>,
}

/// A special token's spelling, bare or with its properties.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Bare(String),
    Full { content: String },
}

impl SpecialToken {
    fn content(&self) -> &str {
        match self {
            Self::Bare(content) | Self::Full { content } => content,
        }
    }
}

/// The special tokens of a tokenizer whose files are none of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// The spelling of the mask.
    pub mask: Option<String>,
    /// Of unknown words.
    pub unknown: Option<String>,
    /// Of padding.
    pub padding: Option<String>,
    /// Whether the model tells the texts of a pair apart by segments.
    pub has_segments: bool,
}

impl From<&SpecialTokens> for TokenizerConfig {
    fn from(special: &SpecialTokens) -> Self {
        let bare = |token: &Option<String>| token.clone().map(SpecialToken::Bare);
        Self {
            mask_token: bare(&special.mask),
            unk_token: bare(&special.unknown),
            pad_token: bare(&special.padding),
            model_input_names: (!special.has_segments).then(Vec::new),
            ..Self::default()
        }
    }
}

/// What happens to special tokens when ids become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// They are spelled.
    Kept,
    /// They are skipped.
    LeftOut,
}

/// A tokenizer without truncation and padding of its own.
pub struct TextTokenizer {
    inner: Tokenizer,
    /// Whether no token holds the end of one word and the beginning of the next; looked up for the first text that is worth cutting.
    keeps_words_apart: OnceLock<bool>,
    special_token_count: usize,
    model_max_length: Option<usize>,
    has_segments: bool,
    mask: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` of `folder`; its truncation and padding are dropped. `lower_case` is sentence-transformers' `do_lower_case`, which comes on
    /// top of the switches of `tokenizer_config.json`.
    ///
    /// Errors: `Missing`, and `Corrupt` for a file the library cannot take (also when it panics on it) or whose ids reach beyond `embedding_rows`.
    pub fn read(folder: &Path, lower_case: bool, embedding_rows: usize) -> Result<Self, ModelError> {
        let bytes = read_bounded(&folder.join(FILE), TOKENIZER_BYTES_MAX)?;
        let config: TokenizerConfig = read_json_optional(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
        Self::assemble(&bytes, (lower_case, config), (embedding_rows, FILE))
    }

    /// The same from the text of such a file, which `source.1` names in errors; its special tokens are those of `special`.
    pub fn from_json(bytes: &[u8], special: &SpecialTokens, source: (usize, &str)) -> Result<Self, ModelError> {
        Self::assemble(bytes, (false, special.into()), source)
    }

    fn assemble(bytes: &[u8], (lower_case, config): (bool, TokenizerConfig), source: (usize, &str)) -> Result<Self, ModelError> {
        let (embedding_rows, file) = source;
        let corrupt = |reason: String| ModelError::corrupt(file, "tokenizer", reason);
        let mut inner = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(bytes)))
            .map_err(|_panic| corrupt("the tokenizer library fails on this file".into()))?
            .map_err(|error| corrupt(clip(&error.to_string())))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| corrupt(clip(&error.to_string())))?;
        normalizer::adapt(&mut inner, lower_case, &config).map_err(|error| corrupt(clip(&error.to_string())))?;
        let vocab = inner.get_vocab(true);
        if vocab.is_empty() || vocab.len() > VOCAB_MAX {
            return Err(corrupt(format!("{} tokens, 1 to {VOCAB_MAX} are read", vocab.len())));
        }
        let highest = vocab.values().copied().max().unwrap_or(0);
        if highest as usize >= embedding_rows {
            return Err(corrupt(format!("token id {highest} has no embedding; the model has {embedding_rows}")));
        }
        // Files of models without a limit hold 1e30 here.
        let model_max_length = config.model_max_length.filter(|&n| (1.0..=1e7).contains(&n)).map(|n| n as usize);
        let id = |token: &Option<SpecialToken>, usual: [&str; 2]| match token {
            Some(token) => inner.token_to_id(token.content()),
            None => usual.iter().find_map(|&token| inner.token_to_id(token)),
        };
        let mut tokenizer = Self {
            mask: id(&config.mask_token, ["[MASK]", "<mask>"]),
            unknown: id(&config.unk_token, ["[UNK]", "<unk>"]),
            padding: id(&config.pad_token, ["[PAD]", "<pad>"]),
            has_segments: config.model_input_names.is_none_or(|names| names.iter().any(|name| name == "token_type_ids")),
            inner,
            keeps_words_apart: OnceLock::new(),
            special_token_count: 0,
            model_max_length,
        };
        tokenizer.special_token_count = tokenizer.encode(String::new())?.ids.len();
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

    /// The spelling of a token.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of the mask, if the vocabulary has one.
    #[must_use]
    pub fn mask(&self) -> Option<u32> {
        self.mask
    }

    /// The id of unknown words, if the vocabulary has one.
    #[must_use]
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The id of padding, if the vocabulary has one.
    #[must_use]
    pub fn padding(&self) -> Option<u32> {
        self.padding
    }

    /// The mark of a token that continues a word, in vocabularies that have one.
    #[must_use]
    pub fn continuing_prefix(&self) -> Option<&str> {
        let prefix = match self.inner.get_model() {
            ModelWrapper::WordPiece(model) => Some(model.continuing_subword_prefix.as_str()),
            ModelWrapper::BPE(model) => model.continuing_subword_prefix.as_deref(),
            _ => None,
        };
        prefix.filter(|prefix| !prefix.is_empty())
    }

    /// The text that spelled tokens make together. Errors: `Internal`.
    pub fn join(&self, tokens: Vec<String>) -> Result<String, ModelError> {
        match self.inner.get_decoder() {
            Some(decoder) => decoder.decode(tokens).map_err(|error| ModelError::Internal { reason: clip(&error.to_string()) }),
            None => Ok(tokens.join(" ")),
        }
    }

    /// The text that token ids make together, special tokens included unless they are left out. Errors: `Internal`.
    pub fn decode(&self, ids: &[u32], special: Special) -> Result<String, ModelError> {
        self.inner.decode(ids, special == Special::LeftOut).map_err(|error| ModelError::Internal { reason: clip(&error.to_string()) })
    }

    /// `prompt` and `text` as one sequence, uncut. Nothing is stripped from either: sentence-transformers strips nothing since 5.4.
    ///
    /// Errors: `Input` for a text the library fails on, or one with a stretch beyond [`TEXT_BYTES_MAX`] that cannot be cut.
    pub fn tokenize(&self, prompt: &str, text: &str) -> Result<Sequence, ModelError> {
        if prompt.is_empty() {
            return self.encode(text.to_owned());
        }
        let mut sequence = self.encode(format!("{prompt}{text}"))?;
        // As sentence-transformers counts it: the prompt on its own.
        let alone = self.encode(prompt.to_owned())?.content.len();
        sequence.prompt_tokens = alone.min(sequence.content.len());
        Ok(sequence)
    }

    /// Hands every token of `text` to `take` with its bytes in the text, special tokens left out. What is held does not grow with the text.
    ///
    /// Errors: as [`Self::tokenize`]; `Stopped` soon after `stop` says so.
    pub fn each_token(&self, text: &str, stop: StopCheck<'_>, mut take: impl FnMut(u32, Range<usize>)) -> Result<(), ModelError> {
        self.each_piece(text, stop, |piece| piece.tokens().for_each(|(id, bytes)| take(id, bytes)))
    }

    fn encode(&self, text: String) -> Result<Sequence, ModelError> {
        let mut sequence = Sequence::default();
        // The special tokens behind the text, which the first piece brings.
        let mut tail: Option<Vec<u32>> = None;
        self.each_piece(&text, &|| false, |piece| {
            if tail.is_none() {
                let ids = piece.encoding.get_ids();
                let special = piece.encoding.get_special_tokens_mask();
                let trailing = special.iter().rev().take_while(|&&flag| flag == 1).count().min(ids.len() - piece.content.start);
                sequence.ids.extend_from_slice(&ids[..piece.content.start]);
                sequence.offsets.resize(piece.content.start, 0..0);
                sequence.content.start = piece.content.start;
                tail = Some(ids[ids.len() - trailing..].to_vec());
            }
            for (id, bytes) in piece.tokens() {
                sequence.ids.push(id);
                sequence.offsets.push(bytes);
            }
        })?;
        sequence.content.end = sequence.ids.len();
        sequence.ids.extend(tail.unwrap_or_default());
        sequence.offsets.resize(sequence.ids.len(), 0..0);
        sequence.text = text;
        Ok(sequence)
    }
}

/// At most 200 characters of a library's message.
fn clip(message: &str) -> String {
    message.chars().take(200).collect()
}
