//! Cleaning: Unicode forms, white space, control characters, case, accents, quotes, HTML, unknown character sets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text_request;

/// A Unicode normalisation form (UAX #15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnicodeForm {
    /// Canonical composition.
    Nfc,
    /// Canonical decomposition.
    Nfd,
    /// Compatibility composition.
    Nfkc,
    /// Compatibility decomposition.
    Nfkd,
    /// As it comes.
    None,
}

/// What happens to white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhitespaceRule {
    /// Nothing.
    Keep,
    /// White space around the text is removed.
    Trim,
    /// Runs become one space, within lines; lines are trimmed; three or more line breaks become two.
    Lines,
    /// Every run, line breaks included, becomes one space; the text is trimmed.
    Collapse,
}

/// What happens to case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaseFolding {
    /// Nothing.
    Keep,
    /// Unicode lower case.
    Lower,
    /// Unicode upper case.
    Upper,
    /// Unicode default case folding, for comparison.
    Fold,
}

/// What happens to line endings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineEndings {
    /// Nothing.
    Keep,
    /// CR LF, CR, NEL, LS and PS become LF.
    Lf,
    /// The same become CR LF.
    Crlf,
}

text_request! {
    /// Cleans a text. The steps run in the order of the fields, but what is removed is removed before the Unicode form is applied, and the form and the
    /// line endings hold for the result: cleaning it again (without `html`) changes nothing.
    pub struct NormalizeRequest {
        /// Take the text out of HTML first.
        #[serde(default)]
        pub html: bool,
        /// Line endings.
        #[serde(default = "default_line_endings")]
        pub line_endings: LineEndings,
        /// Unicode form.
        #[serde(default = "default_form")]
        pub form: UnicodeForm,
        /// Remove control characters other than tab and line breaks.
        #[serde(default = "default_true")]
        pub strip_control: bool,
        /// Remove zero-width and invisible format characters (zero-width space, word joiner, BOM, soft hyphen, direction marks). Zero-width joiners
        /// and non-joiners stay: emoji and several scripts need them.
        #[serde(default = "default_true")]
        pub strip_zero_width: bool,
        /// Curly quotes, primes, dashes and ellipses become ASCII.
        #[serde(default)]
        pub straighten_quotes: bool,
        /// Remove accents: combining marks (Mn) of Latin, Greek and Cyrillic letters after decomposition.
        #[serde(default)]
        pub strip_accents: bool,
        /// Case.
        #[serde(default = "default_case")]
        pub case: CaseFolding,
        /// White space.
        #[serde(default = "default_whitespace")]
        pub whitespace: WhitespaceRule,
    }
}

fn default_true() -> bool {
    true
}

fn default_line_endings() -> LineEndings {
    LineEndings::Lf
}

fn default_form() -> UnicodeForm {
    UnicodeForm::Nfc
}

fn default_case() -> CaseFolding {
    CaseFolding::Keep
}

fn default_whitespace() -> WhitespaceRule {
    WhitespaceRule::Trim
}

text_request! {
    /// Takes the readable text out of HTML: scripts, styles and markup go, lists and tables stay readable, each paragraph is one line.
    pub struct HtmlToTextRequest {}
}

/// A text as answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TextOutput {
    /// The text.
    pub text: String,
}

/// Bytes in a request: `{"base64": "..."}` or `{"$part": "name"}` of dtype `u8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodedBytes {
    /// Standard base64 with padding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Name of a binary part of the payload.
    #[serde(default, rename = "$part", skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// Decodes bytes of a known or unknown character set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecodeRequest {
    /// The bytes.
    pub bytes: EncodedBytes,
    /// A WHATWG label such as `windows-1252`; guessed when left out. A byte order mark wins over both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

/// Decoded text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecodeOutput {
    /// The text, without a byte order mark.
    pub text: String,
    /// WHATWG name of the encoding that was used.
    pub encoding: String,
    /// True when the encoding was guessed from the bytes.
    pub guessed: bool,
    /// True when bytes were malformed in that encoding; each became U+FFFD.
    pub had_errors: bool,
}
