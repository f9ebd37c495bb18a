//! Requests, answers and bounds of text processing, one file per family of operations. Types only: what they mean is computed in the executor.
//!
//! Every request that works on documents takes either `text` (one document; the answer is the operation's own object) or `texts` (many; the answer is
//! `{"results": [...], "count": n}` in the same order, and each entry equals the answer for that text alone). Offsets are byte offsets into the
//! UTF-8 source, always on character boundaries; `*_char` offsets count Unicode scalar values.

mod chunk;
mod compare;
mod find;
mod normalize;
mod segment;
mod tokenizer;
mod understand;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TaskError;

pub use chunk::{CHUNK_SIZE_MAX, Chunk, ChunkBy, ChunkOutput, ChunkRequest, ChunkUnit, CodeLanguage};
pub use compare::{
    DUPLICATE_PAIRS_MAX, DiffLevel, DiffOutput, DiffRequest, DuplicateGroup, DuplicatePair, MINHASH_PERMUTATIONS_MAX, NearDuplicatesOutput,
    NearDuplicatesRequest, SHINGLE_SIZE_MAX, Shingles, SimilarityMeasure, SimilarityOutput, SimilarityRequest, SimilarityScore,
};
pub use find::{
    DetectPiiOutput, DetectPiiRequest, ExtractGroup, ExtractMatch, ExtractOutput, ExtractRequest, GROUPS_MAX, MATCHES_MAX,
    PATTERN_BYTES_MAX, PATTERNS_BYTES_MAX, PATTERNS_MAX, PiiKind, PiiMatch, RedactPiiOutput, RedactPiiRequest, RedactStyle, SearchMatch,
    SearchNormalization, SearchOutput, SearchRequest, TruncatedBy,
};
pub use normalize::{
    CaseFolding, DecodeOutput, DecodeRequest, EncodedBytes, HtmlToTextRequest, LineEndings, NormalizeRequest, TextOutput, UnicodeForm,
    WhitespaceRule,
};
pub use segment::{
    CharacterClass, CharacterCountsOutput, CharacterCountsRequest, CountTokensOutput, CountTokensRequest, ReverseRequest, StatisticsOutput,
    StatisticsRequest, Token, TokenUnit, TokenizeOutput, TokenizeRequest, WordCountOutput, WordCountRequest, WordFrequenciesOutput,
    WordFrequenciesRequest, WordFrequency,
};
pub use tokenizer::{ModelToken, TextTokenizer, TokenizerSource};
pub use understand::{
    DetectLanguageOutput, DetectLanguageRequest, Keyword, KeywordsOutput, KeywordsRequest, LanguageCandidate, ScriptShare, SummarizeOutput,
    SummarizeRequest, SummarySentence,
};

/// The longest text, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most texts of one task.
pub const TEXTS_MAX: usize = 65_536;

/// The most items (keywords, sentences, words, candidates) that an answer can be asked for.
pub const TOP_MAX: usize = 10_000;

/// One text, or many in one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextInput<'a> {
    /// `text`.
    One(&'a str),
    /// `texts`.
    Many(&'a [String]),
}

impl TextInput<'_> {
    /// UTF-8 bytes of all texts together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::One(text) => text.len() as u64,
            Self::Many(texts) => texts.iter().map(|text| text.len() as u64).sum(),
        }
    }
}

/// A request that works on documents.
pub trait TextRequest {
    /// The field `text`.
    fn text(&self) -> Option<&str>;
    /// The field `texts`.
    fn texts(&self) -> Option<&[String]>;

    /// The documents, checked. Errors: `InvalidPayload` when none or both fields are given, there are too many texts, or one is too long.
    fn input(&self) -> Result<TextInput<'_>, TaskError> {
        let input = match (self.text(), self.texts()) {
            (Some(text), None) => TextInput::One(text),
            (None, Some(texts)) => TextInput::Many(texts),
            (None, None) => return Err(TaskError::invalid("text", "missing; give `text` (a string) or `texts` (an array of strings)")),
            (Some(_), Some(_)) => return Err(TaskError::invalid("texts", "give either `text` or `texts`, not both")),
        };
        let too_long = |field: String, len: usize| {
            TaskError::invalid(field, format!("found {len} bytes; at most {TEXT_BYTES_MAX} bytes per text are allowed"))
        };
        match input {
            TextInput::One(text) if text.len() > TEXT_BYTES_MAX => Err(too_long("text".into(), text.len())),
            TextInput::Many(texts) if texts.is_empty() || texts.len() > TEXTS_MAX => {
                Err(TaskError::invalid("texts", format!("found {} texts; 1 to {TEXTS_MAX} are allowed", texts.len())))
            }
            TextInput::Many(texts) => match texts.iter().enumerate().find(|(_, text)| text.len() > TEXT_BYTES_MAX) {
                Some((idx, text)) => Err(too_long(format!("texts[{idx}]"), text.len())),
                None => Ok(input),
            },
            TextInput::One(_) => Ok(input),
        }
    }
}

/// The answer for one text, or those for many in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TextAnswer<T> {
    /// For `texts`.
    Many {
        /// One answer per text, in order.
        results: Vec<T>,
        /// How many.
        count: usize,
    },
    /// For `text`.
    One(T),
}

/// A request struct with the fields `text` and `texts` in front of its own.
macro_rules! text_request {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The text. Exactly one of `text` and `texts` is given.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub text: Option<String>,
            /// Many texts in one task.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub texts: Option<Vec<String>>,
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl $crate::task::text::TextRequest for $name {
            fn text(&self) -> Option<&str> {
                self.text.as_deref()
            }
            fn texts(&self) -> Option<&[String]> {
                self.texts.as_deref()
            }
        }
    };
}
use text_request;

/// Checks that `found` lies in `allowed`. Errors: `InvalidPayload` naming the field, what was found and what is allowed.
pub fn check_range(field: &str, found: usize, allowed: std::ops::RangeInclusive<usize>) -> Result<(), TaskError> {
    if allowed.contains(&found) {
        return Ok(());
    }
    Err(TaskError::invalid(field, format!("found {found}; {} to {} are allowed", allowed.start(), allowed.end())))
}

/// Checks that `found` is a number in `allowed`. Errors: `InvalidPayload` naming the field; NaN is in no range.
pub fn check_share(field: &str, found: f64, allowed: std::ops::RangeInclusive<f64>) -> Result<(), TaskError> {
    if allowed.contains(&found) {
        return Ok(());
    }
    Err(TaskError::invalid(field, format!("found {found}; {} to {} are allowed", allowed.start(), allowed.end())))
}
