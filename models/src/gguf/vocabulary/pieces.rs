//! SentencePiece's two kinds of vocabulary: pieces by their probability (XLM-RoBERTa's), and pieces merged by their score (Gemma's).

use std::collections::HashMap;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::{Parts, USER_DEFINED, Vocabulary};
use crate::ModelError;
use crate::weights::gguf::MetaValue;

/// What stands for a blank.
pub(super) const BLANK: &str = "\u{2581}";
const SCORES: &str = "tokenizer.ggml.scores";
const CHARACTERS: &str = "tokenizer.ggml.precompiled_charsmap";

/// Errors: `Corrupt` naming the key that does not fit.
pub(super) fn unigram(vocabulary: &Vocabulary<'_>) -> Result<Parts, ModelError> {
    let metadata = vocabulary.metadata;
    let scores = metadata.reals(SCORES)?;
    vocabulary.same_length(SCORES, scores.len())?;
    if let Some(id) = scores.iter().position(|score| !score.is_finite()) {
        return Err(metadata.fault(SCORES, format!("the score of token {id} is not finite")));
    }
    let unknown = vocabulary.needed(&["unknown"])?;
    let pieces: Vec<Value> = vocabulary.tokens.iter().zip(scores).map(|(token, &score)| json!([token, f64::from(score)])).collect();
    let prefix = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let marks = json!({
        "type": "Metaspace", "replacement": BLANK, "prepend_scheme": if prefix { "always" } else { "never" }, "split": true,
    });
    // Where extra blanks go, they go by being no part of any word.
    let apart = json!({ "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, marks] });
    Ok(Parts {
        model: json!({ "type": "Unigram", "unk_id": unknown, "vocab": pieces, "byte_fallback": false }),
        normalizer: characters(vocabulary)?,
        pre_tokenizer: if metadata.flag("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(true) { apart } else { marks },
        decoder: marks_decoder(),
        around: vocabulary.around([true, true])?,
        segments: false,
    })
}

fn marks_decoder() -> Value {
    json!({ "type": "Metaspace", "replacement": BLANK, "prepend_scheme": "always", "split": true })
}

/// The map from characters to those of the vocabulary, as SentencePiece compiles it.
fn characters(vocabulary: &Vocabulary<'_>) -> Result<Value, ModelError> {
    let bytes: Option<Vec<u8>> = match vocabulary.metadata.value(CHARACTERS) {
        None => return Ok(Value::Null),
        // The list's elements are bytes with or without a sign.
        Some(MetaValue::Wholes(values)) => values.iter().map(|&value| u8::try_from(value & 0xff).ok()).collect(),
        Some(_) => None,
    };
    let bytes = bytes.ok_or_else(|| vocabulary.metadata.fault(CHARACTERS, "a list of bytes is expected"))?;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    Ok(json!({ "type": "Precompiled", "precompiled_charsmap": text }))
}

/// Errors: `Corrupt` naming the key that does not fit.
pub(super) fn merged(vocabulary: &Vocabulary<'_>) -> Result<Parts, ModelError> {
    let metadata = vocabulary.metadata;
    let scores = metadata.reals(SCORES)?;
    vocabulary.same_length(SCORES, scores.len())?;
    let unknown = vocabulary.needed(&["unknown"])?;
    // Converters spell the blanks of pieces that a user defined as blanks.
    let spelled = |id: usize| match vocabulary.kind(id) {
        USER_DEFINED => vocabulary.tokens[id].replace(' ', BLANK),
        _ => vocabulary.tokens[id].clone(),
    };
    let spellings: Vec<String> = (0..vocabulary.tokens.len()).map(spelled).collect();
    let pieces: Map<String, Value> = spellings.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let mut steps = vec![json!({ "type": "Replace", "pattern": { "String": " " }, "content": BLANK })];
    if metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true) {
        steps.insert(0, json!({ "type": "Prepend", "prepend": BLANK }));
    }
    Ok(Parts {
        model: json!({
            "type": "BPE",
            "unk_token": spellings[unknown],
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": pieces,
            "merges": merges(&spellings, scores),
        }),
        normalizer: json!({ "type": "Sequence", "normalizers": steps }),
        pre_tokenizer: Value::Null,
        decoder: json!({ "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": BLANK }, "content": " " }, { "type": "ByteFallback" }, { "type": "Fuse" },
        ] }),
        around: vocabulary.around([true, false])?,
        segments: false,
    })
}

/// The merges that lead to the pieces: every way to cut a piece in two others, best score first, and among those of one piece in the order of the parts.
fn merges(spellings: &[String], scores: &[f32]) -> Vec<Value> {
    let ids: HashMap<&str, usize> = spellings.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    for (id, token) in spellings.iter().enumerate() {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let pairs = cuts.filter_map(|(left, right)| Some((id, *ids.get(left)?, *ids.get(right)?)));
        found.extend(pairs);
    }
    found.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.0.cmp(&b.0)).then((a.1, a.2).cmp(&(b.1, b.2))));
    found.into_iter().map(|(_, left, right)| json!([spellings[left], spellings[right]])).collect()
}
