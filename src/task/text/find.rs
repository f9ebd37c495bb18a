//! Finding: personal data, regular expressions, many words at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text_request;

/// The longest regular expression, in bytes.
pub const PATTERN_BYTES_MAX: usize = 8 * 1024;

/// The most words of one search.
pub const PATTERNS_MAX: usize = 10_000;

/// The longest words of one search together, in bytes.
pub const PATTERNS_BYTES_MAX: usize = 1024 * 1024;

/// The most groups of a regular expression.
pub const GROUPS_MAX: usize = 64;

/// The most matches that an answer lists.
pub const MATCHES_MAX: usize = 1_000_000;

fn default_matches_max() -> usize {
    10_000
}

fn default_true() -> bool {
    true
}

/// A kind of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PiiKind {
    /// E-mail address.
    Email,
    /// URL with a scheme, or beginning with `www.`.
    Url,
    /// International bank account number; country length and mod-97 checked.
    Iban,
    /// Payment card number; length, prefix and Luhn checked.
    Card,
    /// IPv4 address.
    Ipv4,
    /// IPv6 address.
    Ipv6,
    /// MAC address.
    Mac,
    /// United States social security number with separators; impossible numbers are left out.
    UsSsn,
    /// Telephone number: international with `+` or `00`, or a national one with separators; 7 to 15 digits.
    Phone,
}

impl PiiKind {
    /// All kinds, in order of precedence where matches overlap.
    pub const ALL: [Self; 9] =
        [Self::Email, Self::Url, Self::Iban, Self::Card, Self::Ipv6, Self::Mac, Self::Ipv4, Self::UsSsn, Self::Phone];

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Url => "url",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mac => "mac",
            Self::UsSsn => "us_ssn",
            Self::Phone => "phone",
        }
    }
}

text_request! {
    /// Finds personal data by form and checksum. What has no form (names, addresses) is not found.
    pub struct DetectPiiRequest {
        /// Only these kinds; all when empty.
        #[serde(default)]
        pub kinds: Vec<PiiKind>,
    }
}

/// A find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PiiMatch {
    /// The kind.
    pub kind: PiiKind,
    /// The text; left out by redaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// First byte in the source.
    pub start_byte: usize,
    /// One past its last byte.
    pub end_byte: usize,
    /// First character in the source.
    pub start_char: usize,
    /// One past its last character.
    pub end_char: usize,
}

/// Finds in order; they do not overlap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DetectPiiOutput {
    /// The finds.
    pub matches: Vec<PiiMatch>,
    /// How many.
    pub count: usize,
}

/// What a find is replaced by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedactStyle {
    /// `[EMAIL]`.
    #[default]
    Label,
    /// One `*` per character.
    Mask,
    /// `[EMAIL:` + 16 hex digits of HMAC-SHA-256 under `key` + `]`: equal finds stay recognisable as equal.
    Hash,
}

text_request! {
    /// Replaces personal data.
    pub struct RedactPiiRequest {
        /// Only these kinds; all when empty.
        #[serde(default)]
        pub kinds: Vec<PiiKind>,
        /// What a find is replaced by.
        #[serde(default)]
        pub style: RedactStyle,
        /// Secret of the `hash` style, required there, at least 16 bytes: without one, hashes of short numbers could be guessed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub key: Option<String>,
    }
}

/// The redacted text. Spans point into the source and do not repeat what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RedactPiiOutput {
    /// The redacted text.
    pub text: String,
    /// What was replaced.
    pub matches: Vec<PiiMatch>,
    /// How many.
    pub count: usize,
}

text_request! {
    /// Finds a regular expression (the syntax of Rust's `regex`: no look-around, no back-references, no backtracking). One match is found in time linear
    /// in the text; expressions that look to its end before every short match take that time for each, and `effort_ms` stops them.
    pub struct ExtractRequest {
        /// The expression; at most 8,192 bytes, 64 groups, and 1 MiB when compiled.
        pub pattern: String,
        /// Ignore case.
        #[serde(default)]
        pub ignore_case: bool,
        /// `^` and `$` match at lines.
        #[serde(default)]
        pub multi_line: bool,
        /// `.` matches line breaks.
        #[serde(default)]
        pub dot_matches_newline: bool,
        /// The most matches listed; `truncated` tells when there are more. 1 to 1,000,000.
        #[serde(default = "default_matches_max")]
        pub matches_max: usize,
        /// How long the search may go on, for all texts together, in milliseconds; the search for the match under way is finished. 1 to 60,000.
        #[serde(default = "default_effort_ms")]
        pub effort_ms: u64,
    }
}

fn default_effort_ms() -> u64 {
    10_000
}

/// Why a list of matches is not the whole list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TruncatedBy {
    /// It has `matches_max` matches.
    MatchesMax,
    /// The search used up `effort_ms`.
    Effort,
}

/// A group that took part in a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtractGroup {
    /// Its number, from 1.
    pub group: usize,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its text.
    pub text: String,
    /// First byte in the source.
    pub start_byte: usize,
    /// One past its last byte.
    pub end_byte: usize,
}

/// A match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtractMatch {
    /// Its text.
    pub text: String,
    /// First byte in the source.
    pub start_byte: usize,
    /// One past its last byte.
    pub end_byte: usize,
    /// First character in the source.
    pub start_char: usize,
    /// One past its last character.
    pub end_char: usize,
    /// The groups that took part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ExtractGroup>,
}

/// The matches in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtractOutput {
    /// The matches.
    pub matches: Vec<ExtractMatch>,
    /// How many are listed.
    pub count: usize,
    /// True when there is at least one more match than listed.
    pub truncated: bool,
    /// Why it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated_by: Option<TruncatedBy>,
}

/// Differences of form that a search looks through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchNormalization {
    /// None: code points are compared.
    None,
    /// Canonical equivalence: `é` matches `e` + combining accent.
    #[default]
    Canonical,
    /// Compatibility equivalence: `ﬁ` matches `fi`, `①` matches `1`.
    Compatibility,
    /// Compatibility equivalence without accents: `resume` matches `résumé`.
    Accents,
}

text_request! {
    /// Finds many words at once.
    pub struct SearchRequest {
        /// What to find: 1 to 10,000 patterns that are not empty, 8,192 bytes each, 1 MiB together.
        pub patterns: Vec<String>,
        /// Ignore case (Unicode default case folding).
        #[serde(default = "default_true")]
        pub fold_case: bool,
        /// Only matches that begin and end at word boundaries.
        #[serde(default)]
        pub whole_word: bool,
        /// Differences of form to look through.
        #[serde(default)]
        pub normalization: SearchNormalization,
        /// The most matches listed; all are counted. 1 to 1,000,000.
        #[serde(default = "default_matches_max")]
        pub matches_max: usize,
    }
}

/// A match. It begins and ends between user-perceived characters: `s` does not match half a `ß`, nor `e` an `e` with an accent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchMatch {
    /// Which pattern.
    pub pattern_idx: usize,
    /// The source text.
    pub text: String,
    /// First byte in the source.
    pub start_byte: usize,
    /// One past its last byte.
    pub end_byte: usize,
    /// First character in the source.
    pub start_char: usize,
    /// One past its last character.
    pub end_char: usize,
}

/// Matches in order: at each place the longest, none overlapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchOutput {
    /// The matches, at most `matches_max`.
    pub matches: Vec<SearchMatch>,
    /// All matches, listed or not.
    pub count: usize,
    /// How often each pattern matches.
    pub counts: Vec<usize>,
    /// True when not all matches are listed.
    pub truncated: bool,
}
