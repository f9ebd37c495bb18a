//! Language, keywords, summary.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text_request;

text_request! {
    /// Tells the language.
    pub struct DetectLanguageRequest {
        /// How many candidates are listed. 1 to 20.
        #[serde(default = "default_language_top")]
        pub top: usize,
        /// Only these languages (ISO 639-3 or 639-1) are considered; all when empty.
        #[serde(default)]
        pub languages: Vec<String>,
    }
}

fn default_language_top() -> usize {
    3
}

/// A language and how clearly it stands out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LanguageCandidate {
    /// ISO 639-3.
    pub language: String,
    /// ISO 639-1.
    pub language_iso1: String,
    /// English name.
    pub name: String,
    /// 0 to 1: how clearly it stands out from those that follow, of what those before it leave. Never more than that of the one before; all together are at
    /// most 1. Fewer than 20 Han letters and nothing else leave more doubt the fewer they are: Chinese and Japanese share them.
    pub confidence: f64,
}

/// Share of a script among the letters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptShare {
    /// Unicode name of the script.
    pub script: String,
    /// 0 to 1.
    pub share: f64,
}

/// The language of a text. All fields are empty or `null` when there is no letter of a known script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DetectLanguageOutput {
    /// ISO 639-3 of the most likely language.
    pub language: Option<String>,
    /// ISO 639-1 of the same.
    pub language_iso1: Option<String>,
    /// Its English name.
    pub name: Option<String>,
    /// 0 to 1.
    pub confidence: f64,
    /// True above a confidence of 0.9.
    pub reliable: bool,
    /// Unicode name of the most frequent script.
    pub script: Option<String>,
    /// Shares of the scripts, largest first.
    pub scripts: Vec<ScriptShare>,
    /// The most likely languages, best first. Each is the winner among those that remain when the ones before it are left out.
    pub candidates: Vec<LanguageCandidate>,
    /// Bytes that were looked at: all, or slices from the whole length of a long text.
    pub examined_bytes: usize,
}

text_request! {
    /// Key phrases by YAKE (Campos et al. 2020), which needs nothing but the text and stop words.
    pub struct KeywordsRequest {
        /// How many phrases. 1 to 10,000.
        #[serde(default = "default_keywords_top")]
        pub top: usize,
        /// The most words of a phrase. 1 to 5.
        #[serde(default = "default_ngram_max")]
        pub ngram_max: usize,
        /// ISO 639-1 or 639-3 language of the stop words, or `auto`.
        #[serde(default = "default_auto")]
        pub language: String,
        /// Phrases at least this similar (normalised Levenshtein) to a better one are left out. Above 0; 1 leaves out equal phrases only.
        #[serde(default = "default_similar")]
        pub similarity_max: f64,
    }
}

fn default_keywords_top() -> usize {
    20
}

fn default_ngram_max() -> usize {
    3
}

fn default_auto() -> String {
    "auto".into()
}

fn default_similar() -> f64 {
    0.9
}

/// One key phrase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keyword {
    /// The phrase as it first occurs, white space collapsed.
    pub text: String,
    /// YAKE score: the lower, the more important.
    pub score: f64,
    /// How often it occurs.
    pub count: usize,
    /// First byte of its first occurrence.
    pub start_byte: usize,
    /// One past the last byte of its first occurrence.
    pub end_byte: usize,
}

/// Key phrases, most important first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeywordsOutput {
    /// The phrases.
    pub keywords: Vec<Keyword>,
    /// How many.
    pub count: usize,
    /// ISO 639-1 language whose stop words were used; `null` when there are none for the text's language.
    pub language: Option<String>,
}

text_request! {
    /// Picks the most central sentences by continuous LexRank (Erkan and Radev 2004).
    pub struct SummarizeRequest {
        /// How many sentences. 1 to 10,000.
        #[serde(default = "default_sentences")]
        pub sentences: usize,
        /// ISO 639-1 or 639-3 language of stop words and stemming, or `auto`.
        #[serde(default = "default_auto")]
        pub language: String,
        /// A sentence whose cosine with a picked one is above this is passed over. 0 to 1; 1 passes over none.
        #[serde(default = "default_redundancy")]
        pub redundancy_max: f64,
    }
}

fn default_sentences() -> usize {
    5
}

fn default_redundancy() -> f64 {
    0.7
}

/// A picked sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SummarySentence {
    /// The sentence, trimmed.
    pub text: String,
    /// First byte in the source.
    pub start_byte: usize,
    /// One past its last byte.
    pub end_byte: usize,
    /// Its place among all sentences.
    pub sentence_idx: usize,
    /// Centrality; the most central sentence has 1.
    pub score: f64,
}

/// An extractive summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SummarizeOutput {
    /// The picked sentences joined by spaces.
    pub summary: String,
    /// The picked sentences in the order of the source.
    pub sentences: Vec<SummarySentence>,
    /// Sentences of the source.
    pub sentence_count: usize,
    /// ISO 639-1 language whose stop words were used.
    pub language: Option<String>,
}
