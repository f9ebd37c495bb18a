//! Cutting documents into chunks that fit a budget and end where the text does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text_request;

/// The largest chunk, in any unit.
pub const CHUNK_SIZE_MAX: usize = 1_000_000;

/// What decides where a chunk may end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChunkBy {
    /// Plain text, `size` in characters (Unicode scalar values).
    #[default]
    Characters,
    /// Plain text, `size` in words.
    Words,
    /// Whole sentences, `size` of them per chunk.
    Sentences,
    /// Plain text, `size` in tokens of a model's tokenizer.
    Tokens,
    /// Markdown: headings, blocks, list items, then as plain text; `size` in `unit`.
    Markdown,
    /// Source code by its syntax tree: items, statements, then lines; `size` in `unit`.
    Code,
}

/// What `size` counts for `markdown` and `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChunkUnit {
    /// Unicode scalar values.
    Characters,
    /// Words.
    Words,
    /// Tokens of a model's tokenizer.
    Tokens,
}

/// A language whose syntax is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodeLanguage {
    /// Rust.
    Rust,
    /// Python.
    Python,
    /// JavaScript and JSX.
    Javascript,
}

text_request! {
    /// Cuts into chunks. A chunk ends at the highest boundary (heading, blank lines, line, sentence, word, grapheme, character) that fits, and as late
    /// as it can at that level. White space around chunks is trimmed; everything else of the source is in some chunk.
    pub struct ChunkRequest {
        /// What decides where a chunk may end.
        #[serde(default)]
        pub by: ChunkBy,
        /// The most a chunk holds. 1 to 1,000,000.
        #[serde(default = "default_size")]
        pub size: usize,
        /// How much of a chunk's end is repeated at the start of the next, at most; less than `size`.
        #[serde(default)]
        pub overlap: usize,
        /// What `size` and `overlap` count; only for `markdown` and `code`, where it is `characters` unless said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unit: Option<ChunkUnit>,
        /// Whose tokenizer counts tokens; the worker's default model when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub model: Option<String>,
        /// The language of `code`; required there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub language: Option<CodeLanguage>,
    }
}

fn default_size() -> usize {
    1_000
}

/// One chunk: `source[start_byte..end_byte] == text`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chunk {
    /// The text, trimmed.
    pub text: String,
    /// First byte in the source.
    pub start_byte: usize,
    /// One past its last byte.
    pub end_byte: usize,
    /// First character in the source.
    pub start_char: usize,
    /// One past its last character.
    pub end_char: usize,
    /// Its size in the unit of the request. At most `size`; more only when a single character is larger than `size`.
    pub size: usize,
    /// The headings above its start, outermost first; Markdown only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headings: Vec<String>,
    /// Which of `texts` it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_idx: Option<usize>,
}

/// The chunks of one text, or of all `texts` one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkOutput {
    /// The chunks in order.
    pub chunks: Vec<Chunk>,
    /// How many.
    pub count: usize,
    /// The model whose tokenizer counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Texts (their place among `texts`; 0 for `text`) of code that took too long to parse, as texts that are not code of that language may: they were cut
    /// by their lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unparsed_texts: Vec<usize>,
}
