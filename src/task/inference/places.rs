//! Words of operations that answer about tokens and places in a text: `tag`, `fill_mask`, `embed_tokens` and `embed_sparse`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LongText, Texts, Usage, VectorEncoding};

/// Candidates for one mask.
pub const CANDIDATES_MAX: usize = 1000;

/// How labels of tokens become spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// One entry per token.
    None,
    /// Tokens of one kind side by side become one span.
    #[default]
    Simple,
    /// A word takes the label of its first token.
    First,
    /// A word takes the label of its surest token.
    Max,
    /// A word takes the label that is best on average.
    Average,
}

/// Finds stretches of text with a token classifier: names, places, parts of speech.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagRequest {
    /// The texts; `text` and `input` are other names of this field.
    #[serde(alias = "text", alias = "input")]
    pub texts: Texts,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
    /// How labels of tokens become spans, as transformers' `aggregation_strategy`.
    #[serde(default, alias = "aggregation_strategy")]
    pub aggregation: Aggregation,
    /// What happens to texts that are too long.
    #[serde(default)]
    pub long_input: LongText,
}

/// A stretch of a text under one label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// The label, without `B-` and `I-` unless tokens are not joined.
    pub label: String,
    /// The mean of its parts' scores.
    pub score: f32,
    /// The source text between its ends.
    pub text: String,
    /// Its tokens as the model's vocabulary spells them together.
    pub word: String,
    /// First character (Unicode scalar value) in the text.
    pub start: usize,
    /// Character after the last.
    pub end: usize,
    /// First byte in the text (UTF-8).
    pub start_byte: usize,
    /// Byte after the last.
    pub end_byte: usize,
}

/// Spans in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TagResult {
    /// The model.
    pub model: String,
    /// The spans of each text, in its order; `O` is left out.
    pub items: Vec<Vec<Span>>,
    /// What it took.
    pub usage: Usage,
}

/// Proposes words for masked places.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FillMaskRequest {
    /// The texts, each with at least one mask in the model's own spelling (`[MASK]`, `<mask>`); `text` and `input` are other names.
    #[serde(alias = "text", alias = "input")]
    pub texts: Texts,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
    /// Candidates per mask, 1 to 1,000; 5 without a value.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// What happens to texts that are too long.
    #[serde(default)]
    pub long_input: LongText,
}

/// A token that may stand in a masked place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Its id.
    pub token: u32,
    /// Its text.
    pub token_str: String,
    /// Its probability among the whole vocabulary.
    pub score: f32,
    /// The text with it in this place; other masks stay.
    pub sequence: String,
}

/// One masked place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mask {
    /// First byte of the mask in the text.
    pub start_byte: usize,
    /// Byte after it.
    pub end_byte: usize,
    /// Best first.
    pub candidates: Vec<Candidate>,
}

/// Masks in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FillMaskResult {
    /// The model.
    pub model: String,
    /// The masks of each text, in its order.
    pub items: Vec<Vec<Mask>>,
    /// What it took.
    pub usage: Usage,
}

/// Turns every token into a vector: the encoder's last hidden state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbedTokensRequest {
    /// The texts; `text` and `input` are other names of this field.
    #[serde(alias = "text", alias = "input")]
    pub texts: Texts,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
    /// True scales every vector to length 1.
    #[serde(default)]
    pub normalize: bool,
    /// True leaves out the special tokens around each text.
    #[serde(default)]
    pub skip_special_tokens: bool,
    /// How vectors are written; `part` is one binary part `embeddings` `[all tokens, dimensions]`.
    #[serde(default)]
    pub encoding: VectorEncoding,
    /// What happens to texts that are too long.
    #[serde(default)]
    pub long_input: LongText,
}

/// The tokens of one text and their vectors. All lists have one entry per token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenVectors {
    /// Ids in the model's vocabulary.
    pub ids: Vec<u32>,
    /// Their spellings.
    pub tokens: Vec<String>,
    /// First byte of each token in the text.
    pub start_bytes: Vec<usize>,
    /// Byte after each token; equal to its start for special tokens.
    pub end_bytes: Vec<usize>,
    /// The vectors in the encoding asked for; absent when they are a binary part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<Vec<Value>>,
    /// One scale per vector, with `int8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<Vec<f32>>,
}

/// Token vectors in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmbedTokensResult {
    /// The model.
    pub model: String,
    /// Numbers per vector.
    pub dimensions: usize,
    /// One entry per text.
    pub items: Vec<TokenVectors>,
    /// What it took.
    pub usage: Usage,
}

/// Turns texts into sparse vectors over the model's vocabulary (SPLADE).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbedSparseRequest {
    /// The texts; `text` and `input` are other names of this field.
    #[serde(alias = "text", alias = "input")]
    pub texts: Texts,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
    /// Keeps the heaviest so many entries of each text; all above zero without a value.
    #[serde(default)]
    pub top_n: Option<usize>,
    /// What happens to texts that are too long.
    #[serde(default)]
    pub long_input: LongText,
}

/// One entry of a sparse vector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenWeight {
    /// The entry's id in the vocabulary.
    pub index: u32,
    /// Its spelling.
    pub token: String,
    /// Its weight, above 0.
    pub value: f32,
}

/// Sparse vectors in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmbedSparseResult {
    /// The model.
    pub model: String,
    /// Entries of the vocabulary: the length of the vectors if they were written out.
    pub dimensions: usize,
    /// The entries of each text, heaviest first; ties go to the lower id.
    pub items: Vec<Vec<TokenWeight>>,
    /// What it took.
    pub usage: Usage,
}
