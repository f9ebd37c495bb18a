//! BERT's vocabulary: files mark the beginning of a word instead of its continuation, and say nothing of case.

use serde_json::{Map, Value, json};

use super::{CONTROL, Parts, UNKNOWN, Vocabulary};
use crate::ModelError;

/// What files put before a token that begins a word.
const BEGINS: char = '\u{2581}';
/// What BERT puts before one that goes on with it.
const GOES_ON: &str = "##";

/// A token as BERT spells it; as it is in vocabularies of other kinds.
pub(super) fn spelled(vocabulary: &Vocabulary<'_>, id: usize, is_words: bool) -> String {
    let token = &vocabulary.tokens[id];
    if !is_words || is_special(vocabulary, id) {
        return token.clone();
    }
    token.strip_prefix(BEGINS).map_or_else(|| format!("{GOES_ON}{token}"), str::to_owned)
}

/// Special tokens are spelled as they are. Older converters told them by their brackets.
fn is_special(vocabulary: &Vocabulary<'_>, id: usize) -> bool {
    let token = &vocabulary.tokens[id];
    matches!(vocabulary.kind(id), UNKNOWN | CONTROL) || (token.starts_with('[') && token.ends_with(']') && token.len() > 2)
}

/// Errors: `Corrupt` for a vocabulary without the tokens that every text gets.
pub(super) fn parts(vocabulary: &Vocabulary<'_>) -> Result<Parts, ModelError> {
    let unknown = vocabulary.needed(&["unknown"])?;
    let first = vocabulary.needed(&["cls", "bos"])?;
    let last = vocabulary.needed(&["seperator", "eos"])?;
    let mut words = Map::new();
    for id in 0..vocabulary.tokens.len() {
        let word = spelled(vocabulary, id, true);
        if words.insert(word.clone(), id.into()).is_some() {
            return Err(vocabulary.metadata.fault(super::TOKENS, format!("`{}` stands for two words", word.escape_debug())));
        }
    }
    // No lower-case vocabulary has a letter that could be lowered, and no other is without. Some capitals, such as ℝ, have no lower case.
    let can_be_lowered = |token: &str| token.chars().any(|letter| !letter.to_lowercase().eq([letter]));
    let has_capitals = (0..vocabulary.tokens.len()).any(|id| !is_special(vocabulary, id) && can_be_lowered(&vocabulary.tokens[id]));
    Ok(Parts {
        model: json!({
            "type": "WordPiece",
            "unk_token": vocabulary.tokens[unknown],
            "continuing_subword_prefix": GOES_ON,
            "max_input_chars_per_word": 100,
            "vocab": Value::Object(words),
        }),
        normalizer: json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": true,
            "strip_accents": null,
            "lowercase": !has_capitals,
        }),
        pre_tokenizer: json!({ "type": "BertPreTokenizer" }),
        decoder: json!({ "type": "WordPiece", "prefix": GOES_ON, "cleanup": true }),
        around: [Some(first), Some(last)],
        segments: true,
    })
}
