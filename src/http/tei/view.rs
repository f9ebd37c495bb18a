//! Bodies of the routes in the shape of text-embeddings-inference. Each takes a `model` beside its fields; the worker's default without one.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::super::view::absent;

/// One text or an array of texts.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Inputs {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Inputs {
    pub(crate) fn into_texts(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// Which end of a long text is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum Direction {
    /// The end: the only one that is supported.
    #[default]
    #[serde(alias = "right")]
    Right,
}

/// `POST /embed`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbedBody {
    /// The texts.
    pub(crate) inputs: Inputs,
    /// A model's name.
    pub(crate) model: Option<String>,
    /// Vectors of length 1; true by default.
    #[serde(default = "yes", deserialize_with = "yes_if_absent")]
    pub(crate) normalize: bool,
    /// True cuts texts that are too long; else they are an error.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) truncate: bool,
    /// Which end is dropped.
    #[serde(default, deserialize_with = "absent")]
    #[allow(dead_code, reason = "only one value parses")]
    pub(crate) truncation_direction: Direction,
    /// One of the model's prompts.
    pub(crate) prompt_name: Option<String>,
    /// Keeps the first so many numbers, whatever the model was trained for.
    pub(crate) dimensions: Option<usize>,
}

/// `POST /embed_all` and `POST /embed_sparse`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextsBody {
    /// The texts.
    pub(crate) inputs: Inputs,
    /// A model's name.
    pub(crate) model: Option<String>,
    /// True cuts texts that are too long; else they are an error.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) truncate: bool,
    /// Which end is dropped.
    #[serde(default, deserialize_with = "absent")]
    #[allow(dead_code, reason = "only one value parses")]
    pub(crate) truncation_direction: Direction,
}

/// `POST /rerank`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RankBody {
    /// The query.
    pub(crate) query: String,
    /// The documents.
    pub(crate) texts: Vec<String>,
    /// A cross-encoder's name.
    pub(crate) model: Option<String>,
    /// True gives logits instead of scores from 0 to 1.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) raw_scores: bool,
    /// True repeats each text.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) return_text: bool,
    /// True cuts pairs that are too long; else they are an error.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) truncate: bool,
    /// Which end is dropped.
    #[serde(default, deserialize_with = "absent")]
    #[allow(dead_code, reason = "only one value parses")]
    pub(crate) truncation_direction: Direction,
}

/// A text's place.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Rank {
    /// Its index in the call.
    pub(crate) index: usize,
    /// Larger is better.
    pub(crate) score: f32,
    /// The text, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

/// What `POST /predict` classifies: a text, a pair `[first, second]`, or a batch of texts in arrays of one or of pairs.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum PredictInputs {
    /// A text.
    One(String),
    /// A pair; an array of one is that text.
    Pair(Vec<String>),
    /// A batch; all of one or all of two.
    Batch(Vec<Vec<String>>),
}

/// `POST /predict`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PredictBody {
    /// What is classified.
    pub(crate) inputs: PredictInputs,
    /// A classifier's name.
    pub(crate) model: Option<String>,
    /// True gives logits.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) raw_scores: bool,
    /// True cuts texts that are too long; else they are an error.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) truncate: bool,
    /// Which end is dropped.
    #[serde(default, deserialize_with = "absent")]
    #[allow(dead_code, reason = "only one value parses")]
    pub(crate) truncation_direction: Direction,
}

/// `POST /tokenize`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenizeBody {
    /// The texts.
    pub(crate) inputs: Inputs,
    /// A model's name.
    pub(crate) model: Option<String>,
    /// False leaves the special tokens around each text out.
    #[serde(default = "yes", deserialize_with = "yes_if_absent")]
    pub(crate) add_special_tokens: bool,
}

/// A token.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Token {
    /// Its id.
    pub(crate) id: u32,
    /// Its text in the source; its spelling when it is special.
    pub(crate) text: String,
    /// True for the tokens around a text.
    pub(crate) special: bool,
    /// First character in the text; none when special.
    pub(crate) start: Option<usize>,
    /// Character after the last.
    pub(crate) stop: Option<usize>,
}

/// `POST /similarity`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimilarityBody {
    /// What is compared.
    pub(crate) inputs: SimilarityInputs,
    /// A model's name.
    pub(crate) model: Option<String>,
    /// How.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) parameters: SimilarityParameters,
}

/// What is compared.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimilarityInputs {
    /// The one text.
    pub(crate) source_sentence: String,
    /// The others.
    pub(crate) sentences: Vec<String>,
}

/// How texts are compared.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimilarityParameters {
    /// True cuts texts that are too long; else they are an error.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) truncate: bool,
    /// Which end is dropped.
    #[serde(default, deserialize_with = "absent")]
    #[allow(dead_code, reason = "only one value parses")]
    pub(crate) truncation_direction: Direction,
}

/// One entry of a sparse vector.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SparseValue {
    /// The entry's id in the vocabulary.
    pub(crate) index: u32,
    /// Its weight, above 0.
    pub(crate) value: f32,
}

/// `GET /info`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Info {
    /// The model of calls that name none.
    pub(crate) model_id: Option<String>,
    /// Hex sha256 of its weights, once it is loaded.
    pub(crate) model_sha: Option<String>,
    /// The type of the numbers that products of weights read; that of plain f32 until the model is loaded.
    pub(crate) model_dtype: &'static str,
    /// The most tokens it takes, once it is loaded and if there is a limit.
    pub(crate) max_input_length: Option<u64>,
    /// Texts of one call.
    pub(crate) max_client_batch_size: usize,
    /// Bytes of one body.
    pub(crate) max_payload_bytes: usize,
    /// False: long texts are an error unless a call says `truncate`.
    pub(crate) auto_truncate: bool,
    /// The loaded models.
    pub(crate) models: Vec<serde_json::Value>,
    /// This worker's version.
    pub(crate) version: &'static str,
}

fn yes() -> bool {
    true
}

/// A flag that is true unless the call says false; an explicit null says nothing.
fn yes_if_absent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::deserialize(deserializer).map(|flag| flag.unwrap_or_else(yes))
}
