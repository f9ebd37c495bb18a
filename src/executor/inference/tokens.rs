//! `tokenize` and `count_tokens`: a model's own tokens, nothing cut.

use tallow_models::Sequence;

use super::texts::{SLICE_TEXTS, library_bytes, sequence_bytes, text_error};
use super::{InferenceOperation, InferenceScope};
use crate::embed::tokenize_texts;
use crate::shelf::ModelSketch;
use crate::task::TaskError;
use crate::task::inference::{CountTokensResult, TextTokens, TokenizeResult, TokensRequest};

pub(super) struct Tokenize;
pub(super) struct CountTokens;

fn each_sequence(request: &TokensRequest, scope: &InferenceScope<'_>, mut take: impl FnMut(Sequence)) -> Result<(), TaskError> {
    for (slice_idx, slice) in request.texts.0.chunks(SLICE_TEXTS).enumerate() {
        let sequences = tokenize_texts(&scope.desk, (slice_idx * SLICE_TEXTS, slice), "");
        let sequences = sequences.map_err(|error| text_error(scope, error, |idx| format!("texts[{idx}]")))?;
        sequences.into_iter().for_each(&mut take);
        let done = slice_idx * SLICE_TEXTS + slice.len();
        scope.sink.progress(done as f32 / request.texts.0.len() as f32, "tokenising");
    }
    Ok(())
}

impl InferenceOperation for Tokenize {
    type Request = TokensRequest;
    type Output = TokenizeResult;
    const NAME: &'static str = "tokenize";
    const SUMMARY: &'static str = "Splits texts into a model's tokens with their places in the text.";

    fn model(request: &TokensRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn thread_bytes(request: &TokensRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts.0)
    }

    fn check(request: &TokensRequest, _: &ModelSketch) -> Result<u64, TaskError> {
        request.texts.check("texts")?;
        // An id, a spelling and two places, as JSON values, for up to one token per byte.
        Ok(request.texts.bytes().saturating_mul(200).saturating_add(sequence_bytes(&request.texts.0, SLICE_TEXTS)))
    }

    async fn run(request: &TokensRequest, scope: &mut InferenceScope<'_>) -> Result<TokenizeResult, TaskError> {
        let mut result = TokenizeResult { model: scope.embedder.info().name.clone(), ..TokenizeResult::default() };
        each_sequence(request, scope, |sequence| {
            result.token_count += sequence.len();
            result.items.push(TextTokens {
                tokens: sequence.ids.iter().map(|&id| scope.embedder.token(id).unwrap_or_default()).collect(),
                start_bytes: sequence.offsets.iter().map(|range| range.start).collect(),
                end_bytes: sequence.offsets.iter().map(|range| range.end).collect(),
                ids: sequence.ids,
            });
        })?;
        Ok(result)
    }
}

impl InferenceOperation for CountTokens {
    type Request = TokensRequest;
    type Output = CountTokensResult;
    const NAME: &'static str = "count_tokens";
    const SUMMARY: &'static str = "Counts a model's tokens, and says which texts are longer than it takes.";

    fn model(request: &TokensRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn thread_bytes(request: &TokensRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts.0)
    }

    fn check(request: &TokensRequest, _: &ModelSketch) -> Result<u64, TaskError> {
        request.texts.check("texts")?;
        Ok((request.texts.0.len() as u64).saturating_mul(48).saturating_add(sequence_bytes(&request.texts.0, SLICE_TEXTS)))
    }

    async fn run(request: &TokensRequest, scope: &mut InferenceScope<'_>) -> Result<CountTokensResult, TaskError> {
        let info = scope.embedder.info();
        let mut result = CountTokensResult { model: info.name.clone(), max_tokens: info.max_tokens, ..CountTokensResult::default() };
        let limit = info.max_tokens.unwrap_or(usize::MAX);
        each_sequence(request, scope, |sequence| {
            if sequence.len() > limit {
                result.too_long.push(result.counts.len());
            }
            result.counts.push(sequence.len());
            result.token_count += sequence.len();
        })?;
        Ok(result)
    }
}
