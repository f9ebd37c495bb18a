//! Words of model inference: requests and answers of its operations. Checks sizes; knows no model.

mod labels;
mod places;

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use labels::*;
pub use places::*;

use super::TaskError;

/// Texts of one task.
pub const TEXTS_MAX: usize = 100_000;
/// Bytes of one text.
pub const TEXT_BYTES_MAX: usize = 4 << 20;
/// Bytes of a model's name.
pub const MODEL_NAME_BYTES_MAX: usize = 4096;
/// Bytes of a prompt.
pub const PROMPT_BYTES_MAX: usize = 16 << 10;
/// What to do about a text that is longer than the model takes: the end of the reason of its `InvalidPayload`, which a door may say in its own words.
pub const LONG_INPUT_REMEDY: &str = "set `long_input` to `truncate` or `chunk`, or split the text";
/// What to do about a length that the model was not trained for: the end of the reason of its `InvalidPayload`, which a door may say in its own words.
pub const ANY_DIMENSIONS_REMEDY: &str = "set `any_dimensions` to cut to another length all the same";
/// Scores of one `similarity` task.
pub const SCORES_MAX: usize = 4_000_000;

/// One text or an array of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Texts(pub Vec<String>);

impl JsonSchema for Texts {
    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "one text, or an array of texts",
            "anyOf": [
                { "type": "string", "maxLength": TEXT_BYTES_MAX },
                { "type": "array", "items": { "type": "string", "maxLength": TEXT_BYTES_MAX }, "minItems": 1, "maxItems": TEXTS_MAX }
            ]
        })
    }
}

/// A text inside an array; what is no text is refused with a hint.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Text, E> {
                Err(E::custom(
                    "expected a text, found a number: token ids belong to another model's tokenizer, send the text (LangChain: check_embedding_ctx_length=False)",
                ))
            }
        }
        deserializer.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Many;
        impl<'de> Visitor<'de> for Many {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or an array of texts")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::with_capacity(items.size_hint().unwrap_or(0).min(TEXTS_MAX));
                while let Some(Text(text)) = items.next_element()? {
                    if texts.len() == TEXTS_MAX {
                        return Err(A::Error::custom(format!("more than {TEXTS_MAX} texts")));
                    }
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(Many)
    }
}

impl Texts {
    /// Errors: `InvalidPayload` at `field` for no text at all or a text that is too long. An empty text passes: what it means is the operation's to say.
    pub fn check(&self, field: &str) -> Result<(), TaskError> {
        if self.0.is_empty() {
            return Err(TaskError::invalid(field, format!("found no text, 1 to {TEXTS_MAX} are allowed")));
        }
        match self.0.iter().position(|text| text.len() > TEXT_BYTES_MAX) {
            Some(index) => Err(TaskError::invalid(
                format!("{field}[{index}]"),
                format!("found {} bytes, at most {TEXT_BYTES_MAX} are allowed; chunk the text first", self.0[index].len()),
            )),
            None => Ok(()),
        }
    }

    /// Bytes of all texts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|text| text.len() as u64).sum()
    }
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VectorEncoding {
    /// Arrays of numbers.
    #[default]
    Float,
    /// Base64 of little-endian f32, one string per vector.
    Base64,
    /// Arrays of integers −127 to 127 and one scale per vector: value = integer × scale.
    Int8,
    /// Arrays of bytes, one bit per dimension (set where the value is above 0), first dimension in the highest bit, as `numpy.packbits` packs.
    Binary,
    /// A binary part `embeddings` `[count, dimensions]` f32 beside the JSON.
    Part,
}

/// What happens to a text that is longer than the model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LongInput {
    /// An error that names both token numbers.
    #[default]
    Error,
    /// Its end is dropped; the answer's metadata lists the texts.
    Truncate,
    /// Embedded in windows without overlap; the vector is their mean weighted by tokens.
    Chunk,
}

/// Turns texts into vectors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// The texts; `text` and `input` are other names of this field. An empty or blank text is refused.
    #[serde(alias = "text", alias = "input")]
    pub texts: Texts,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
    /// One of the model's own prompts, by name; its default prompt, if it has one, without this and without `prompt`.
    #[serde(default)]
    pub prompt_name: Option<String>,
    /// Put before every text as it is; an empty one switches the model's default prompt off.
    #[serde(default)]
    pub prompt: Option<String>,
    /// True scales vectors to length 1; a model that normalises by itself does so in any case.
    #[serde(default)]
    pub normalize: bool,
    /// Keeps the first so many numbers of each vector: a length that the model was trained for (Matryoshka), or its full one.
    #[serde(default)]
    pub dimensions: Option<usize>,
    /// True allows any shorter length, as sentence-transformers' `truncate_dim` does; the answer's metadata says that the model does not declare it.
    #[serde(default)]
    pub any_dimensions: bool,
    /// How vectors are written.
    #[serde(default)]
    pub encoding: VectorEncoding,
    /// What happens to texts that are too long.
    #[serde(default)]
    pub long_input: LongInput,
}

/// Tokens of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens that were computed, special tokens and prompts included.
    pub prompt_tokens: usize,
    /// The same: embedding makes no tokens.
    pub total_tokens: usize,
}

/// Vectors in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmbedResult {
    /// The model that made them.
    pub model: String,
    /// Numbers per vector.
    pub dimensions: usize,
    /// Number of vectors.
    pub count: usize,
    /// The vectors in the encoding asked for; absent when they are a binary part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<Vec<Value>>,
    /// One scale per vector, with `int8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<Vec<f32>>,
    /// What it took.
    pub usage: Usage,
}

/// Compares texts by the cosine of their vectors. The model's default prompt, if it has one, is put before each of them, as `embed` does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimilarityRequest {
    /// The rows; `text_a` is another name.
    #[serde(alias = "text_a")]
    pub texts_a: Texts,
    /// The columns; `text_b` is another name.
    #[serde(alias = "text_b")]
    pub texts_b: Texts,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
    /// What happens to texts that are too long.
    #[serde(default)]
    pub long_input: LongInput,
}

/// Cosines, −1.0 to 1.0; 0.0 where a vector is zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimilarityResult {
    /// The model that made the vectors.
    pub model: String,
    /// `scores[i][j]` compares `texts_a[i]` with `texts_b[j]`.
    pub scores: Vec<Vec<f32>>,
    /// The one score, when one text was compared with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// What it took.
    pub usage: Usage,
}

/// Splits texts into a model's tokens, or counts them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensRequest {
    /// The texts; `text` and `input` are other names of this field.
    #[serde(alias = "text", alias = "input")]
    pub texts: Texts,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
}

/// The tokens of one text, special ones included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TextTokens {
    /// Ids in the model's vocabulary.
    pub ids: Vec<u32>,
    /// Their spellings.
    pub tokens: Vec<String>,
    /// First byte of each token in the text.
    pub start_bytes: Vec<usize>,
    /// Byte after each token; equal to its start for special tokens.
    pub end_bytes: Vec<usize>,
}

/// Tokens in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenizeResult {
    /// The model whose tokenizer it was.
    pub model: String,
    /// One entry per text.
    pub items: Vec<TextTokens>,
    /// Tokens of all texts.
    pub token_count: usize,
}

/// Counts in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CountTokensResult {
    /// The model whose tokenizer it was.
    pub model: String,
    /// Tokens of each text, special ones included.
    pub counts: Vec<usize>,
    /// Tokens of all texts.
    pub token_count: usize,
    /// The most tokens the model takes, if there is a limit.
    pub max_tokens: Option<usize>,
    /// Indices of texts that are longer than that.
    pub too_long: Vec<usize>,
}
