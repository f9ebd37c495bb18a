//! Vocabularies of merged bytes: GPT-2's way, whose rules for cutting a text beforehand files name without saying them.

use serde_json::{Map, Value, json};

use super::{Parts, Vocabulary};
use crate::ModelError;

const MERGES: &str = "tokenizer.ggml.merges";
const RULES: &str = "tokenizer.ggml.pre";

/// Qwen's way to cut a text.
const QWEN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a text is prepared, and what stands around it where the file does not say.
struct Rule {
    name: &'static str,
    composed: bool,
    /// `None`: GPT-2's way.
    pattern: Option<&'static str>,
    around: [bool; 2],
}

const RULE_TABLE: &[Rule] = &[
    Rule { name: "qwen2", composed: true, pattern: Some(QWEN), around: [false, false] },
    Rule { name: "modern-bert", composed: true, pattern: None, around: [true, true] },
    Rule { name: "roberta-bpe", composed: false, pattern: None, around: [true, true] },
    Rule { name: "gpt-2", composed: false, pattern: None, around: [false, false] },
];

/// Errors: `Corrupt` naming the key that does not fit, `Unsupported` for rules that are not known here.
pub(super) fn parts(vocabulary: &Vocabulary<'_>) -> Result<Parts, ModelError> {
    let metadata = vocabulary.metadata;
    let name = metadata.needed_text(RULES)?;
    let rule = RULE_TABLE.iter().find(|rule| rule.name == name).ok_or_else(|| {
        let known: Vec<&str> = RULE_TABLE.iter().map(|rule| rule.name).collect();
        ModelError::unsupported(format!("`{RULES}` is `{}`; supported: {}", name.escape_debug(), known.join(", ")))
    })?;
    let tokens: Map<String, Value> = vocabulary.tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let pair = |merge: &String| match merge.split_once(' ') {
        Some((left, right)) => Ok(json!([left, right])),
        None => Err(metadata.fault(MERGES, format!("`{}` is no pair", merge.escape_debug()))),
    };
    let merges: Vec<Value> = metadata.texts(MERGES)?.iter().map(pair).collect::<Result<_, _>>()?;
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": rule.pattern.is_none() });
    Ok(Parts {
        model: json!({ "type": "BPE", "vocab": tokens, "merges": merges, "fuse_unk": false, "byte_fallback": false }),
        normalizer: if rule.composed { json!({ "type": "NFC" }) } else { Value::Null },
        pre_tokenizer: match rule.pattern {
            None => bytes.clone(),
            Some(pattern) => json!({ "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false }, bytes,
            ] }),
        },
        decoder: bytes,
        around: vocabulary.around(rule.around)?,
        segments: false,
    })
}
