//! The tokenizer that a file's metadata describes, as the `tokenizer.json` of the same vocabulary would have it, so that the library builds both alike.
//!
//! Converters leave things out: what a normaliser does, how special tokens in a text are met. Where that follows from the kind of vocabulary it is
//! filled in here, and a kind for which it does not is refused.

mod bytes;
mod pieces;
mod words;

use std::collections::HashSet;

use serde_json::{Value, json};

use super::metadata::Metadata;
use crate::ModelError;
use crate::text::{SpecialTokens, TextTokenizer, VOCAB_MAX};
use crate::weights::gguf::{GgufHeader, MetaValue};

const TOKENS: &str = "tokenizer.ggml.tokens";
const KIND: &str = "tokenizer.ggml.model";
/// The original tokenizer, in files of converters that keep it.
const ORIGINAL: &str = "tokenizer.huggingface.json";
/// Kinds of tokens, as `token_type` counts them.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// What a kind of vocabulary makes of it.
struct Parts {
    model: Value,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    /// The token before every text, and the one behind it.
    around: [Option<usize>; 2],
    /// Whether the second text of a pair is told apart by its segment.
    segments: bool,
}

/// The tokens of a file.
struct Vocabulary<'a> {
    metadata: &'a Metadata<'a>,
    tokens: &'a [String],
    /// As long as `tokens`, or empty.
    kinds: &'a [i64],
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata<'a>) -> Result<Self, ModelError> {
        let tokens = metadata.texts(TOKENS)?;
        if tokens.is_empty() || tokens.len() > VOCAB_MAX {
            return Err(metadata.fault(TOKENS, format!("{} tokens, 1 to {VOCAB_MAX} are read", tokens.len())));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = tokens.iter().find(|token| !seen.insert(token.as_str())) {
            return Err(metadata.fault(TOKENS, format!("`{}` occurs twice", twice.escape_debug())));
        }
        let kinds = metadata.wholes("tokenizer.ggml.token_type")?;
        if !kinds.is_empty() && kinds.len() != tokens.len() {
            let reason = format!("{} entries for {} tokens", kinds.len(), tokens.len());
            return Err(metadata.fault("tokenizer.ggml.token_type", reason));
        }
        Ok(Self { metadata, tokens, kinds })
    }

    fn kind(&self, id: usize) -> i64 {
        self.kinds.get(id).copied().unwrap_or(1)
    }

    /// The id that a key such as `tokenizer.ggml.cls_token_id` holds. Errors: `Corrupt` for one that is no token.
    fn special(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = self.metadata.whole(&key)? else { return Ok(None) };
        match usize::try_from(id).ok().filter(|&id| id < self.tokens.len()) {
            Some(id) => Ok(Some(id)),
            None => Err(self.metadata.fault(&key, format!("found {id}, the vocabulary has {} tokens", self.tokens.len()))),
        }
    }

    /// The first of some specials that the file names. Errors: `Corrupt` when it names none.
    fn needed(&self, names: &[&str]) -> Result<usize, ModelError> {
        for name in names {
            if let Some(id) = self.special(name)? {
                return Ok(id);
            }
        }
        Err(self.metadata.fault(&format!("tokenizer.ggml.{}_token_id", names[0]), "missing"))
    }

    /// The tokens around a text, by the file's switches or else by `default`.
    fn around(&self, default: [bool; 2]) -> Result<[Option<usize>; 2], ModelError> {
        let adds =
            |name: &str, default| Ok::<_, ModelError>(self.metadata.flag(&format!("tokenizer.ggml.add_{name}_token"))?.unwrap_or(default));
        let first = if adds("bos", default[0])? { Some(self.needed(&["bos", "cls"])?) } else { None };
        let last = if adds("eos", default[1])? { Some(self.needed(&["eos", "seperator"])?) } else { None };
        Ok([first, last])
    }

    /// Refuses a list of another length than the vocabulary.
    fn same_length(&self, key: &str, length: usize) -> Result<(), ModelError> {
        if length == self.tokens.len() {
            return Ok(());
        }
        Err(self.metadata.fault(key, format!("{length} entries for {} tokens", self.tokens.len())))
    }
}

/// Builds the tokenizer. Errors: `Corrupt` naming the key, `Unsupported` for a kind that is not built here.
pub(super) fn build(metadata: &Metadata<'_>, embedding_rows: usize) -> Result<TextTokenizer, ModelError> {
    let vocabulary = Vocabulary::read(metadata)?;
    let spelled = |name: &str| Ok::<_, ModelError>(vocabulary.special(name)?.map(|id| vocabulary.tokens[id].clone()));
    let mut special =
        SpecialTokens { mask: spelled("mask")?, unknown: spelled("unknown")?, padding: spelled("padding")?, has_segments: false };
    if let Some(original) = metadata.text(ORIGINAL)? {
        special.has_segments = metadata.text(KIND)? == Some("bert");
        return TextTokenizer::from_json(original.as_bytes(), &special, (embedding_rows, ORIGINAL));
    }
    let parts = match metadata.needed_text(KIND)? {
        "bert" => words::parts(&vocabulary)?,
        "t5" => pieces::unigram(&vocabulary)?,
        "llama" => pieces::merged(&vocabulary)?,
        "gpt2" => bytes::parts(&vocabulary)?,
        other => {
            let shown = other.escape_debug();
            return Err(ModelError::unsupported(format!("`{KIND}` is `{shown}`; supported: bert, t5, llama, gpt2")));
        }
    };
    special.has_segments = parts.segments;
    let file = json!({
        "version": "1.0",
        "added_tokens": added(&vocabulary)?,
        "post_processor": template(&vocabulary, &parts),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "decoder": parts.decoder,
        "model": parts.model,
    });
    TextTokenizer::from_json(file.to_string().as_bytes(), &special, (embedding_rows, TOKENS))
}

/// Tokens that are met in a text before anything else looks at it.
fn added(vocabulary: &Vocabulary<'_>) -> Result<Vec<Value>, ModelError> {
    let mask = vocabulary.special("mask")?;
    let is_words = vocabulary.metadata.text(KIND)? == Some("bert");
    let named: Vec<usize> = ["unknown", "padding", "cls", "seperator", "bos", "eos", "mask"]
        .into_iter()
        .filter_map(|name| vocabulary.special(name).transpose())
        .collect::<Result<_, _>>()?;
    let special = |id: usize| vocabulary.kind(id) == CONTROL || named.contains(&id);
    let met = (0..vocabulary.tokens.len()).filter(|&id| special(id) || vocabulary.kind(id) == USER_DEFINED);
    // Runs of blanks that a user defined are met where a text has something else in a blank's place already.
    let marks = vocabulary.metadata.text(KIND)? == Some("llama");
    let is_run = |id: usize| marks && vocabulary.tokens[id].bytes().all(|byte| byte == b' ');
    let content =
        |id: usize| if is_run(id) { vocabulary.tokens[id].replace(' ', pieces::BLANK) } else { words::spelled(vocabulary, id, is_words) };
    Ok(met
        .map(|id| {
            json!({
                "id": id,
                "content": content(id),
                "single_word": false,
                // As RoBERTa and what came after it have it: a blank before the mask belongs to the mask.
                "lstrip": mask == Some(id) && !is_words,
                "rstrip": false,
                "normalized": is_run(id),
                "special": special(id),
            })
        })
        .collect())
}

fn template(vocabulary: &Vocabulary<'_>, parts: &Parts) -> Value {
    let [first, last] = parts.around;
    let second = u32::from(parts.segments);
    let token =
        |id: Option<usize>, segment: u32| id.map(|id| json!({ "SpecialToken": { "id": vocabulary.tokens[id], "type_id": segment } }));
    let text = |name: &str, segment: u32| Some(json!({ "Sequence": { "id": name, "type_id": segment } }));
    let present = |steps: Vec<Option<Value>>| steps.into_iter().flatten().collect::<Vec<_>>();
    let spelled = |id: usize| {
        let token = &vocabulary.tokens[id];
        (token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] }))
    };
    let special: serde_json::Map<String, Value> = [first, last].into_iter().flatten().map(spelled).collect();
    json!({
        "type": "TemplateProcessing",
        "single": present(vec![token(first, 0), text("A", 0), token(last, 0)]),
        "pair": present(vec![token(first, 0), text("A", 0), token(last, 0), text("B", second), token(last, second)]),
        "special_tokens": special,
    })
}

/// Bytes that a `tokenizer.json` of the same vocabulary has, about: tokens and merges with what stands around each of them.
pub(super) fn file_bytes(header: &GgufHeader) -> u64 {
    let bytes_of = |key: &str, around: u64| match header.metadata.get(key) {
        Some(MetaValue::Texts(texts)) => texts.iter().map(|text| text.len() as u64 + around).sum(),
        _ => 0,
    };
    let is = |kind: &str| matches!(header.metadata.get(KIND), Some(MetaValue::Text(found)) if found == kind);
    let tokens: u64 = bytes_of(TOKENS, if is("t5") { 60 } else { 12 });
    // Merges of this kind are not in the file; there are about two for each token.
    let merges = if is("llama") { 4 * tokens } else { bytes_of("tokenizer.ggml.merges", 24) };
    tokens + merges
}
