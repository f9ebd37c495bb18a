//! Words of operations that judge texts: `rerank`, `classify` and `zero_shot`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Texts, Usage};

/// Bytes of a hypothesis template.
pub const TEMPLATE_BYTES_MAX: usize = 4096;
/// Labels of one `zero_shot` task.
pub const LABELS_MAX: usize = 1000;

/// What happens to a text or pair that is longer than the model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LongText {
    /// An error that names both token numbers.
    #[default]
    Error,
    /// It is cut; the answer's metadata lists which ones.
    Truncate,
}

/// Which text of a pair is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PairTruncation {
    /// The end of the longer one until both fit, as sentence-transformers' cross-encoders do.
    #[default]
    LongestFirst,
    /// The end of the first one.
    OnlyFirst,
    /// The end of the second one.
    OnlySecond,
}

/// Orders documents by how well they answer a query, with a cross-encoder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RerankRequest {
    /// The query; the model's default prompt, if it has one, is put before it, as sentence-transformers' cross-encoders do.
    pub query: String,
    /// The documents; `texts` is another name.
    #[serde(alias = "texts")]
    pub documents: Texts,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
    /// Keeps the best so many.
    #[serde(default)]
    pub top_n: Option<usize>,
    /// True repeats each document beside its score.
    #[serde(default)]
    pub return_documents: bool,
    /// True gives the model's logits; else they pass the activation that its configuration names, a sigmoid without one.
    #[serde(default)]
    pub raw_scores: bool,
    /// What happens to pairs that are too long.
    #[serde(default)]
    pub long_input: LongText,
    /// Which text is cut with `truncate`.
    #[serde(default)]
    pub pair_truncation: PairTruncation,
}

/// A document's place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranked {
    /// Its index in the request.
    pub index: usize,
    /// Larger is better.
    pub relevance_score: f32,
    /// Its text, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// Documents, best first; ties keep the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RerankResult {
    /// The model that scored them.
    pub model: String,
    /// One entry per document, or the `top_n` best.
    pub results: Vec<Ranked>,
    /// What it took.
    pub usage: Usage,
}

/// Gives texts, or pairs of texts, a classifier's labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifyRequest {
    /// The texts; `text` and `input` are other names of this field.
    #[serde(alias = "text", alias = "input")]
    pub texts: Texts,
    /// A second text for each one, for models that judge pairs; `text_pair` is another name.
    #[serde(default, alias = "text_pair")]
    pub text_pairs: Option<Texts>,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
    /// Keeps the best so many labels.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// True gives logits; else softmax or sigmoid, as the model's configuration says.
    #[serde(default)]
    pub raw_scores: bool,
    /// What happens to texts that are too long.
    #[serde(default)]
    pub long_input: LongText,
    /// Which text of a pair is cut with `truncate`.
    #[serde(default)]
    pub pair_truncation: PairTruncation,
}

/// A label and how well it fits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelScore {
    /// The label.
    pub label: String,
    /// Its score.
    pub score: f32,
}

/// Labels in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassifyResult {
    /// The model.
    pub model: String,
    /// The labels of each text, best first.
    pub items: Vec<Vec<LabelScore>>,
    /// What it took.
    pub usage: Usage,
}

/// How labels that a model was never trained for are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ZeroShotMethod {
    /// By entailment if the model has such a label, else by embedding.
    #[default]
    Auto,
    /// The model says whether the text entails the hypothesis.
    Entailment,
    /// The cosine of text and hypothesis, both behind the model's default prompt if it has one.
    Embedding,
}

/// Gives texts labels of the caller's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZeroShotRequest {
    /// The texts; `text` and `input` are other names of this field. By embedding, an empty or blank text or label is refused.
    #[serde(alias = "text", alias = "input")]
    pub texts: Texts,
    /// The labels, 1 to 1,000; `candidate_labels` is another name.
    #[serde(alias = "candidate_labels")]
    pub labels: Texts,
    /// The model; the worker's default without one.
    #[serde(default)]
    pub model: Option<String>,
    /// How labels are judged.
    #[serde(default)]
    pub method: ZeroShotMethod,
    /// A sentence with `{}` for the label; `This example is {}.` for entailment and the bare label for embedding without one.
    #[serde(default)]
    pub hypothesis_template: Option<String>,
    /// True: any number of labels may be right, each is judged on its own.
    #[serde(default)]
    pub multi_label: bool,
    /// What happens to texts that are too long; the hypothesis is never cut.
    #[serde(default)]
    pub long_input: LongText,
}

/// Labels in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZeroShotResult {
    /// The model.
    pub model: String,
    /// `entailment` or `embedding`.
    pub method: String,
    /// Every label of each text, best first: probabilities by entailment, cosines by embedding.
    pub items: Vec<Vec<LabelScore>>,
    /// What it took.
    pub usage: Usage,
}
