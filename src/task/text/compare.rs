//! Comparing: lexical similarity, near-duplicates of a set, differences.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest shingle, in words or characters.
pub const SHINGLE_SIZE_MAX: usize = 64;

/// The most hash functions of a MinHash signature.
pub const MINHASH_PERMUTATIONS_MAX: usize = 1_024;

/// The most pairs that an answer lists.
pub const DUPLICATE_PAIRS_MAX: usize = 1_000_000;

/// A lexical measure; 1 is equal, 0 has nothing in common. Two empty texts score 1, an empty and a non-empty one 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SimilarityMeasure {
    /// Jaccard index of the sets of words.
    JaccardWords,
    /// Jaccard index of the sets of word shingles of `shingle_size`.
    JaccardShingles,
    /// Jaccard index of the sets of character trigrams.
    JaccardTrigrams,
    /// Cosine of the term frequencies.
    Cosine,
    /// Sørensen-Dice coefficient of the sets of words.
    Dice,
    /// 1 - Levenshtein distance over the longer length, in characters.
    Levenshtein,
    /// 1 - Damerau-Levenshtein distance (transpositions count one) over the longer length, in characters.
    DamerauLevenshtein,
    /// Jaro-Winkler similarity of the characters.
    JaroWinkler,
}

/// Lexical similarity of `text_a` with `text_b`, or with each of `texts_b`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SimilarityRequest {
    /// The text to compare.
    pub text_a: String,
    /// What it is compared with. Exactly one of `text_b` and `texts_b` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_b: Option<String>,
    /// Many texts to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts_b: Option<Vec<String>>,
    /// The measures. Character measures (`levenshtein`, `damerau_levenshtein`, `jaro_winkler`) are refused when the product of the lengths in
    /// characters passes 10^8 (`damerau_levenshtein`: 10^7), or when all pairs of all character measures together pass 2 * 10^9 (one of
    /// `damerau_levenshtein` counts ten times).
    #[serde(default = "default_measures")]
    pub measures: Vec<SimilarityMeasure>,
    /// Words per shingle. 1 to 64.
    #[serde(default = "default_shingle_size")]
    pub shingle_size: usize,
    /// Fold case first.
    #[serde(default = "default_true")]
    pub fold_case: bool,
}

fn default_measures() -> Vec<SimilarityMeasure> {
    vec![SimilarityMeasure::Cosine, SimilarityMeasure::JaccardWords]
}

fn default_shingle_size() -> usize {
    3
}

fn default_true() -> bool {
    true
}

/// One score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimilarityScore {
    /// The measure.
    pub measure: SimilarityMeasure,
    /// 0 to 1.
    pub score: f64,
}

/// The scores for one pair, in the order of the measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimilarityOutput {
    /// The first measure's score.
    pub similarity: f64,
    /// All scores.
    pub scores: Vec<SimilarityScore>,
}

/// What a document's shingles are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shingles {
    /// Runs of case-folded words.
    #[default]
    Words,
    /// Runs of case-folded characters, white space collapsed.
    Characters,
}

/// Finds the near-duplicates of a set: MinHash signatures, LSH banding, then verification with the true Jaccard index of the shingle sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NearDuplicatesRequest {
    /// The documents. At least one.
    pub texts: Vec<String>,
    /// Pairs of at least this Jaccard index are near-duplicates. Above 0, at most 1.
    #[serde(default = "default_threshold")]
    pub threshold: f64,
    /// Words or characters per shingle. 1 to 64. A shorter document is one shingle.
    #[serde(default = "default_shingle_size")]
    pub shingle_size: usize,
    /// What shingles are made of.
    #[serde(default)]
    pub shingles: Shingles,
    /// Hash functions of a signature; the estimate's standard error is about 1/(2*sqrt(n)) at worst. 16 to 1,024.
    #[serde(default = "default_permutations")]
    pub permutations: usize,
    /// Bands of the LSH; chosen for the threshold when left out. Divides `permutations`. More bands find more pairs and verify more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<usize>,
    /// The most pairs listed; the rest is counted. 0 to 1,000,000.
    #[serde(default = "default_pairs_max")]
    pub pairs_max: usize,
    /// Seed of the hash functions.
    #[serde(default)]
    pub seed: u64,
}

fn default_threshold() -> f64 {
    0.8
}

fn default_permutations() -> usize {
    128
}

fn default_pairs_max() -> usize {
    10_000
}

/// Two near-duplicates, `a < b`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DuplicatePair {
    /// Index of the first.
    pub a: usize,
    /// Index of the second.
    pub b: usize,
    /// Jaccard index as the signatures estimate it.
    pub estimated: f64,
    /// The true Jaccard index of the shingle sets.
    pub jaccard: f64,
}

/// Documents that are linked by near-duplicate pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DuplicateGroup {
    /// Indices, ascending; the first is the one to keep.
    pub members: Vec<usize>,
}

/// Near-duplicates of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NearDuplicatesOutput {
    /// Groups of two and more, by their first member.
    pub groups: Vec<DuplicateGroup>,
    /// Verified pairs, in order of `(a, b)`; at most `pairs_max`.
    pub pairs: Vec<DuplicatePair>,
    /// All verified pairs, listed or not.
    pub pair_count: u64,
    /// True when not all pairs are listed.
    pub pairs_truncated: bool,
    /// Documents that remain when every group keeps one.
    pub distinct_count: usize,
    /// Bands that were used.
    pub bands: usize,
    /// Rows per band.
    pub rows_per_band: usize,
    /// The chance that a pair exactly at the threshold becomes a candidate.
    pub recall_at_threshold: f64,
}

/// What a difference is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiffLevel {
    /// Lines.
    #[default]
    Lines,
    /// Words and what is between them.
    Words,
}

/// The difference of two texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// The old text.
    pub old: String,
    /// The new text.
    pub new: String,
    /// What a difference is made of.
    #[serde(default)]
    pub level: DiffLevel,
    /// Unchanged lines around a change. 0 to 1,000.
    #[serde(default = "default_context")]
    pub context: usize,
    /// Time after which the search for the smallest difference ends and a larger, still correct one is given. 1 to 60,000. A cancelled task also ends its search only then.
    #[serde(default = "default_effort_ms")]
    pub effort_ms: u64,
}

fn default_context() -> usize {
    3
}

fn default_effort_ms() -> u64 {
    1_000
}

/// The difference and its size. Counts are lines or words, by the request's level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiffOutput {
    /// For lines: the unified format, empty when the texts are equal. For words: the new text with removals as `[-...-]` and additions as `{+...+}`.
    pub diff: String,
    /// Additions.
    pub added: usize,
    /// Removals.
    pub removed: usize,
    /// Unchanged.
    pub unchanged: usize,
    /// 2 * unchanged / (old + new); 1 for two empty texts.
    pub ratio: f64,
    /// True when the texts are the same bytes.
    pub equal: bool,
    /// True when the search used up `effort_ms`: the difference is correct, but a smaller one may exist.
    pub effort_exhausted: bool,
}
