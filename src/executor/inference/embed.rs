//! `embed`: texts to vectors.

use std::ops::Range;

use serde_json::{Value, json};
use tallow_models::{Ability, EmbedderInfo};

use super::encode::{Encoded, encode};
use super::texts::{SLICE_TEXTS, check_spoken, default_prompt, library_bytes, sequence_bytes, text_error};
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

    fn thread_bytes(request: &EmbedRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts.0)
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
        let prompts = request.prompt.as_ref().map_or(0, String::len).saturating_mul(SLICE_TEXTS) as u64;
        Ok(answer
            .saturating_add(request.texts.bytes())
            .saturating_add(prompts)
            .saturating_add(sequence_bytes(&request.texts.0, SLICE_TEXTS)))
    }

    async fn run(request: &EmbedRequest, scope: &mut InferenceScope<'_>) -> Result<EmbedResult, TaskError> {
        let info = scope.embedder.info();
        check_trained(request, info)?;
        let (prompt, prompt_name) = chosen_prompt(request, info)?;
        let long_text = long_text(request.long_input);
        let plan = EmbedPlan { prompt, long_text, dimensions: request.dimensions, normalize: request.normalize };
        let document_count = request.texts.0.len();
        let run = EmbedRun { texts: &request.texts.0, fields: &[("texts", document_count)], document_count, plan, prompt_name };
        let done = run.embed(scope).await?;
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
    let Some(name) = &request.prompt_name else { return default_prompt(info) };
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

/// Texts on their way to one vector each, as `embed`, `similarity` and `zero_shot` want them.
pub(super) struct EmbedRun<'a> {
    pub(super) texts: &'a [String],
    /// The fields that the texts lie in, one field after the other, with the number of texts of each.
    pub(super) fields: &'a [(&'static str, usize)],
    /// How many of the texts are documents; the others are what these are judged by.
    pub(super) document_count: usize,
    pub(super) plan: EmbedPlan,
    /// The name of the plan's prompt, if it has one.
    pub(super) prompt_name: Option<String>,
}

impl<'a> EmbedRun<'a> {
    /// Texts that are compared: all of the vector, at length 1, behind the model's default prompt. Errors: those of [`default_prompt`].
    pub(super) fn to_compare(
        texts: &'a [String],
        fields: &'a [(&'static str, usize)],
        (long_text, info): (LongText, &EmbedderInfo),
    ) -> Result<Self, TaskError> {
        let (prompt, prompt_name) = default_prompt(info)?;
        let plan = EmbedPlan { prompt, long_text, dimensions: None, normalize: true };
        Ok(Self { texts, fields, document_count: texts.len(), plan, prompt_name })
    }

    /// The vectors; what was done goes into the metadata. Errors: those of the texts, told at their place in the request; a cancel's cause.
    pub(super) async fn embed(self, scope: &mut InferenceScope<'_>) -> Result<Embedded, TaskError> {
        let sink = scope.sink;
        let progress = |share: f32| sink.progress(share, "embedding");
        let done = embed_texts(&scope.desk, self.texts, &self.plan, &progress).await;
        let done = done.map_err(|error| text_error(scope, error, |idx| self.place(idx)))?;
        self.describe(scope, &done);
        sink.worked(WorkUnit::Documents, self.document_count as u64);
        Ok(done)
    }

    /// What was done goes into the metadata: nothing is silent.
    fn describe(&self, scope: &mut InferenceScope<'_>, done: &Embedded) {
        let info = scope.embedder.info();
        let facts = [
            ("architecture", json!(info.architecture)),
            ("pooling", json!(info.pooling)),
            ("pooling_source", json!(info.pooling_source)),
            ("max_tokens", json!(info.max_tokens)),
            ("normalized", json!(done.normalized)),
            ("token_counts", self.by_field(|range, _| json!(done.token_counts.get(range)))),
            (
                "truncated",
                self.by_field(|range, at| {
                    json!(done.truncated.iter().filter(|index| range.contains(index)).map(|index| index - at).collect::<Vec<_>>())
                }),
            ),
            (
                "chunked",
                self.by_field(|range, at| {
                    let here = done.chunked.iter().filter(|(index, _)| range.contains(index));
                    json!(here.map(|(index, count)| json!({ "text": index - at, "chunks": count })).collect::<Vec<_>>())
                }),
            ),
            ("prompt_name", json!(self.prompt_name)),
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
        if !done.chunked.is_empty() {
            scope.metadata.insert("chunk_rule".into(), json!("mean of windows without overlap, weighted by tokens"));
        }
    }

    /// Where a text stands in the request.
    fn place(&self, mut idx: usize) -> String {
        for (field, count) in self.fields {
            match idx.checked_sub(*count) {
                Some(rest) => idx = rest,
                None => return format!("{field}[{idx}]"),
            }
        }
        "texts".into()
    }

    /// What `of` says of a field's texts, given their range and its start; of several fields an object with their names.
    fn by_field(&self, of: impl Fn(Range<usize>, usize) -> Value) -> Value {
        let mut from = 0;
        let mut said = self.fields.iter().map(|(field, count)| {
            let start = from;
            from += count;
            ((*field).to_owned(), of(start..from, start))
        });
        if self.fields.len() == 1 { said.next().map_or(Value::Null, |(_, value)| value) } else { Value::Object(said.collect()) }
    }
}
