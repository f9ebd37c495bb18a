//! `embed`: texts to vectors.

use serde_json::json;
use tallow_models::{Ability, EmbedderInfo};

use super::encode::{Encoded, encode};
use super::texts::{check_spoken, text_error};
use super::{InferenceOperation, InferenceScope};
use crate::embed::{EmbedPlan, Embedded, LongText, embed_texts};
use crate::shelf::ModelSketch;
use crate::task::inference::{ANY_DIMENSIONS_REMEDY, EmbedRequest, EmbedResult, LongInput, PROMPT_BYTES_MAX, Usage, VectorEncoding};
use crate::task::{TaskError, WorkUnit};

pub(super) struct Embed;

impl InferenceOperation for Embed {
    type Request = EmbedRequest;
    type Output = EmbedResult;
    const NAME: &'static str = "embed";
    const SUMMARY: &'static str = "Turns texts into vectors, as sentence-transformers would.";

    fn model(request: &EmbedRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn needs(_: &EmbedRequest, _: &ModelSketch) -> Option<Ability> {
        Some(Ability::Embed)
    }

    fn check(request: &EmbedRequest, model: &ModelSketch) -> Result<u64, TaskError> {
        check_spoken("texts", &request.texts)?;
        if request.prompt.is_some() && request.prompt_name.is_some() {
            return Err(TaskError::invalid("prompt_name", "found together with `prompt`; one of them is allowed"));
        }
        if let Some(bytes) = request.prompt.as_ref().map(String::len).filter(|&bytes| bytes > PROMPT_BYTES_MAX) {
            return Err(TaskError::invalid("prompt", format!("found {bytes} bytes, at most {PROMPT_BYTES_MAX} are allowed")));
        }
        // The sketch's number is an upper bound; the exact one is checked when the model is loaded.
        if let Some(asked) = request.dimensions.filter(|asked| !(1..=model.dimensions).contains(asked)) {
            return Err(TaskError::invalid("dimensions", format!("found {asked}, the model gives 1 to {}", model.dimensions)));
        }
        let dimensions = request.dimensions.unwrap_or(model.dimensions) as u64;
        let written_bytes = match request.encoding {
            VectorEncoding::Float | VectorEncoding::Int8 => 32,
            VectorEncoding::Base64 | VectorEncoding::Part => 6,
            VectorEncoding::Binary => 4,
        };
        let answer = (request.texts.0.len() as u64).saturating_mul(dimensions).saturating_mul(4 + written_bytes);
        Ok(answer.saturating_add(request.texts.bytes().saturating_mul(2)))
    }

    fn run(request: &EmbedRequest, scope: &mut InferenceScope<'_>) -> Result<EmbedResult, TaskError> {
        let info = scope.embedder.info();
        check_trained(request, info)?;
        let (prompt, prompt_name) = chosen_prompt(request, info)?;
        let plan =
            EmbedPlan { prompt, long_text: long_text(request.long_input), dimensions: request.dimensions, normalize: request.normalize };
        let (cancel, sink) = (scope.cancel, scope.sink);
        let progress = |share: f32| sink.progress(share, "embedding");
        let stop = || cancel.is_cancelled();
        let done = embed_texts(scope.embedder, &request.texts.0, &plan, (&stop, &progress));
        let done = done.map_err(|error| text_error(scope, error, |idx| format!("texts[{idx}]")))?;
        describe(scope, &done, prompt_name, request);
        sink.worked(WorkUnit::Documents, request.texts.0.len() as u64);
        let encoded = encode(&done, request.encoding)?;
        let (embeddings, scales) = match encoded {
            Encoded::Json { embeddings, scales } => (Some(embeddings), scales),
            Encoded::Part(part) => {
                scope.sink.part("embeddings", part);
                (None, None)
            }
        };
        Ok(EmbedResult {
            model: info.name.clone(),
            dimensions: done.dimensions,
            count: request.texts.0.len(),
            embeddings,
            scales,
            usage: usage(&done),
        })
    }
}

/// Errors: `InvalidPayload` at `dimensions` for a length that the model was not trained for, unless any length is asked for.
fn check_trained(request: &EmbedRequest, info: &EmbedderInfo) -> Result<(), TaskError> {
    let full = info.dimensions;
    let Some(asked) = request.dimensions.filter(|asked| *asked != full && !info.matryoshka.contains(asked)) else { return Ok(()) };
    if request.any_dimensions && asked < full {
        return Ok(());
    }
    let mut lengths: Vec<usize> = info.matryoshka.iter().copied().chain([full]).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let lengths = lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let declared = if info.matryoshka.is_empty() { " (it declares no shorter ones)" } else { "" };
    Err(TaskError::invalid("dimensions", format!("found {asked}; the model was trained for {lengths}{declared}; {ANY_DIMENSIONS_REMEDY}")))
}

pub(super) fn long_text(long_input: LongInput) -> LongText {
    match long_input {
        LongInput::Error => LongText::Refuse,
        LongInput::Truncate => LongText::Truncate,
        LongInput::Chunk => LongText::Chunk,
    }
}

pub(super) fn usage(done: &Embedded) -> Usage {
    Usage { prompt_tokens: done.computed_tokens, total_tokens: done.computed_tokens }
}

/// The prompt of a request and its name: the text as given, the named one, or the model's default.
fn chosen_prompt(request: &EmbedRequest, info: &EmbedderInfo) -> Result<(String, Option<String>), TaskError> {
    if let Some(prompt) = &request.prompt {
        return Ok((prompt.clone(), None));
    }
    let Some(name) = request.prompt_name.as_ref().or(info.default_prompt_name.as_ref()) else { return Ok((String::new(), None)) };
    match info.prompts.get(name) {
        Some(prompt) => Ok((prompt.clone(), Some(name.clone()))),
        None => {
            let known = info.prompts.keys().cloned().collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "it has none".into() } else { format!("it has {known}") };
            let shown: String = name.chars().take(80).collect();
            Err(TaskError::invalid("prompt_name", format!("the model has no prompt `{shown}`; {known}")))
        }
    }
}

/// What was done goes into the metadata: nothing is silent.
pub(super) fn describe(scope: &mut InferenceScope<'_>, done: &Embedded, prompt_name: Option<String>, request: &EmbedRequest) {
    let info = scope.embedder.info();
    let facts = [
        ("architecture", json!(info.architecture)),
        ("pooling", json!(info.pooling)),
        ("pooling_source", json!(info.pooling_source)),
        ("max_tokens", json!(info.max_tokens)),
        ("normalized", json!(done.normalized)),
        ("token_counts", json!(done.token_counts)),
        ("truncated", json!(done.truncated)),
        ("chunked", json!(done.chunked.iter().map(|(index, count)| json!({ "text": index, "chunks": count })).collect::<Vec<_>>())),
        ("prompt_name", json!(prompt_name)),
        ("notes", json!(info.notes)),
    ];
    scope.metadata.extend(facts.map(|(key, value)| (key.to_owned(), value)));
    if done.dimensions < info.dimensions {
        let trained = info.matryoshka.contains(&done.dimensions);
        let note = if trained {
            "the model was trained for this length"
        } else {
            "the model does not declare this length; the first numbers were kept as sentence-transformers' truncate_dim does"
        };
        scope.metadata.insert("dimensions_note".into(), json!(note));
        scope.metadata.insert("dimensions_full".into(), json!(info.dimensions));
    }
    if request.long_input == LongInput::Chunk && !done.chunked.is_empty() {
        scope.metadata.insert("chunk_rule".into(), json!("mean of windows without overlap, weighted by tokens"));
    }
}
