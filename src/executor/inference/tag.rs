//! `tag`: spans of text from a token classifier.

use tallow_models::tags::{Joining, TagSpan, join};
use tallow_models::text::PairTokens;
use tallow_models::{Ability, Encoder, ModelError};

use super::texts::{ENTRY_BYTES, HeadRun, SLICE_TOKEN_TEXTS, library_bytes, singles, token_bytes};
use super::{InferenceOperation, InferenceScope};
use crate::embed::{Answer, Ask};
use crate::shelf::ModelSketch;
use crate::task::TaskError;
use crate::task::inference::{Aggregation, Span, TagRequest, TagResult};

pub(super) struct Tag;

impl InferenceOperation for Tag {
    type Request = TagRequest;
    type Output = TagResult;
    const NAME: &'static str = "tag";
    const SUMMARY: &'static str = "Finds labelled stretches of text, such as names and places, with a token classifier.";
    const MAY_BE_BRIEF: bool = false;

    fn model(request: &TagRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn needs(_: &TagRequest, _: &ModelSketch) -> Option<Ability> {
        Some(Ability::Tag)
    }

    fn thread_bytes(request: &TagRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts.0)
    }

    fn check(request: &TagRequest, model: &ModelSketch) -> Result<u64, TaskError> {
        request.texts.check("texts")?;
        let tokens: u64 = request.texts.0.iter().map(|text| model.tokens_max(text.len())).sum();
        // At worst every token is a span of its own.
        let spans = tokens.saturating_mul(2 * ENTRY_BYTES);
        let slice = request.texts.0.len().min(SLICE_TOKEN_TEXTS) as u64;
        let longest = request.texts.0.iter().map(|text| model.tokens_max(text.len())).max().unwrap_or(0);
        let scores = slice.saturating_mul(longest).saturating_mul(model.label_count as u64 * 8 + 96);
        Ok(spans.saturating_add(scores).saturating_add(token_bytes(&request.texts, model, SLICE_TOKEN_TEXTS)))
    }

    async fn run(request: &TagRequest, scope: &mut InferenceScope<'_>) -> Result<TagResult, TaskError> {
        let encoder = scope.encoder(Ability::Tag)?;
        let joining = joining(request.aggregation);
        let run = HeadRun::over_texts((encoder, Ask::TokenLogits), request.long_input, "tagging");
        let mut items = Vec::with_capacity(request.texts.0.len());
        let tagged = |index: usize, tokens: PairTokens, answer: Answer| {
            let text = &request.texts.0[index];
            let tagged = encoder.tagged_tokens(text, &tokens, &answer.rows()?);
            items.push(spans(encoder, text, (&join(&tagged, encoder.labels(), joining), joining))?);
            Ok(())
        };
        let usage = run.each(&singles(&request.texts), scope, tagged).await?;
        Ok(TagResult { model: scope.model.info().name.clone(), items, usage })
    }
}

fn joining(aggregation: Aggregation) -> Joining {
    match aggregation {
        Aggregation::None => Joining::None,
        Aggregation::Simple => Joining::Simple,
        Aggregation::First => Joining::First,
        Aggregation::Max => Joining::Max,
        Aggregation::Average => Joining::Average,
    }
}

/// Spans with their places counted in characters too, in one walk over the text.
fn spans(encoder: &Encoder, text: &str, (found, joining): (&[TagSpan], Joining)) -> Result<Vec<Span>, ModelError> {
    let (mut byte, mut chars) = (0, 0);
    let mut chars_before = |at: usize| {
        if at < byte {
            (byte, chars) = (0, 0);
        }
        chars += text.get(byte..at).map_or(0, |piece| piece.chars().count());
        byte = at;
        chars
    };
    let mut spans = Vec::with_capacity(found.len());
    for span in found {
        let (start, end) = (chars_before(span.bytes.start), chars_before(span.bytes.end));
        spans.push(Span {
            label: span.label.clone(),
            score: span.score,
            text: text.get(span.bytes.clone()).unwrap_or_default().to_owned(),
            word: encoder.spell(span, joining)?,
            start,
            end,
            start_byte: span.bytes.start,
            end_byte: span.bytes.end,
        });
    }
    Ok(spans)
}
