//! Counting and cutting: statistics, word and character counts, tokens, reversal, word frequencies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text_request;

text_request! {
    /// Counts of everything that can be counted.
    pub struct StatisticsRequest {
        /// Reading speed for `reading_time_s`, in words per minute; 238 is the mean for silent reading of English (Brysbaert 2019). 1 to 10,000.
        #[serde(default = "default_words_per_minute")]
        pub words_per_minute: u32,
    }
}

fn default_words_per_minute() -> u32 {
    238
}

/// Counts of one text. Words, graphemes and, but for single line breaks, sentences are those of UAX #29; Thai, Lao, Khmer, Burmese, Chinese and Japanese words come from dictionaries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatisticsOutput {
    /// UTF-8 bytes.
    pub bytes: usize,
    /// Unicode scalar values.
    pub characters: usize,
    /// Unicode scalar values that are not white space.
    pub characters_without_whitespace: usize,
    /// User-perceived characters.
    pub graphemes: usize,
    /// Words.
    pub words: usize,
    /// Different words after case folding; one entry of memory per word.
    pub distinct_words: usize,
    /// Sentences with at least one letter or digit.
    pub sentences: usize,
    /// Lines; the text after the last line break counts when it is not empty.
    pub lines: usize,
    /// Runs of lines that are not blank.
    pub paragraphs: usize,
    /// Characters of all words over the number of words; 0 without words.
    pub mean_word_characters: f64,
    /// Words over sentences; 0 without sentences.
    pub mean_sentence_words: f64,
    /// Words over words per minute, in seconds.
    pub reading_time_s: f64,
}

text_request! {
    /// Counts words.
    pub struct WordCountRequest {}
}

/// How many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WordCountOutput {
    /// Words as UAX #29 and dictionaries see them.
    pub word_count: usize,
}

text_request! {
    /// Counts characters by class, and the most frequent ones.
    pub struct CharacterCountsRequest {
        /// How many of the most frequent characters are listed. 0 to 10,000.
        #[serde(default = "default_top")]
        pub top: usize,
    }
}

fn default_top() -> usize {
    20
}

/// One character and how often it occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CharacterClass {
    /// The character.
    pub character: char,
    /// Its code point as `U+0041`.
    pub code_point: String,
    /// How often it occurs.
    pub count: usize,
}

/// Characters by class. Classes overlap only where said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CharacterCountsOutput {
    /// All Unicode scalar values.
    pub characters: usize,
    /// Letters (Unicode Alphabetic).
    pub letters: usize,
    /// Upper-case letters; also among `letters`.
    pub uppercase: usize,
    /// Lower-case letters; also among `letters`.
    pub lowercase: usize,
    /// Numbers (Unicode Nd, Nl, No) that are not Alphabetic.
    pub digits: usize,
    /// White space.
    pub whitespace: usize,
    /// Control characters that are not white space.
    pub control: usize,
    /// ASCII punctuation and everything that is in no other class.
    pub other: usize,
    /// Different characters.
    pub distinct: usize,
    /// The most frequent characters; ties by code point.
    pub most_frequent: Vec<CharacterClass>,
}

text_request! {
    /// Reverses by user-perceived characters, so that accents, emoji and flags stay whole.
    pub struct ReverseRequest {}
}

/// What a text is cut into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenUnit {
    /// Words, without white space and punctuation.
    #[default]
    Words,
    /// Sentences, white space around them trimmed. A blank line ends one. A single line break is a space, unless a list item, heading, quotation, table
    /// row or code fence follows, or the line before it ends without punctuation although the next word, not in lower case, would have fit on it.
    Sentences,
    /// User-perceived characters.
    Graphemes,
    /// Unicode scalar values.
    Characters,
    /// Tokens of a model's tokenizer.
    Model,
}

text_request! {
    /// Cuts into tokens with their offsets.
    pub struct TokenizeRequest {
        /// What a token is.
        #[serde(default)]
        pub unit: TokenUnit,
        /// Whose tokenizer, for `unit: "model"`; the worker's default model when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub model: Option<String>,
        /// Fold the case of the tokens' `text` (offsets still point into the source).
        #[serde(default)]
        pub lowercase: bool,
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// Its text; for model tokens the source text it covers.
    pub text: String,
    /// First byte in the source.
    pub start_byte: usize,
    /// One past its last byte.
    pub end_byte: usize,
    /// Vocabulary id; model tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
}

/// The tokens in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenizeOutput {
    /// The tokens.
    pub tokens: Vec<Token>,
    /// How many.
    pub count: usize,
    /// The model whose tokenizer was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

text_request! {
    /// Counts tokens without listing them.
    pub struct CountTokensRequest {
        /// What a token is.
        #[serde(default = "default_count_unit")]
        pub unit: TokenUnit,
        /// Whose tokenizer, for `unit: "model"`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub model: Option<String>,
    }
}

fn default_count_unit() -> TokenUnit {
    TokenUnit::Model
}

/// How many tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountTokensOutput {
    /// The count, without special tokens.
    pub count: usize,
    /// The model whose tokenizer was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

text_request! {
    /// The most frequent words after case folding.
    pub struct WordFrequenciesRequest {
        /// How many words are listed. 1 to 10,000.
        #[serde(default = "default_words_top")]
        pub top: usize,
        /// Leave out the stop words of this language: ISO 639-1 or 639-3, or `auto`; nothing is left out when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stop_words: Option<String>,
        /// Leave out words with fewer characters.
        #[serde(default)]
        pub min_characters: usize,
    }
}

fn default_words_top() -> usize {
    100
}

/// One word and how often it occurs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WordFrequency {
    /// The case-folded word.
    pub word: String,
    /// How often it occurs.
    pub count: usize,
    /// `count` over `counted_words`.
    pub share: f64,
}

/// Word frequencies, most frequent first; ties in code point order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WordFrequenciesOutput {
    /// The words.
    pub words: Vec<WordFrequency>,
    /// Words that were counted: all but those left out.
    pub counted_words: usize,
    /// Different words among them.
    pub distinct_words: usize,
    /// The language whose stop words were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_words_language: Option<String>,
}
