//! `embed_tokens`: one vector per token.

use tallow_models::encoder::TokenRows;
use tallow_models::pooling::normalize_rows;
use tallow_models::text::PairTokens;
use tallow_models::{Ability, Encoder};

use super::encode::{Encoded, encode};
use super::texts::{HeadRun, SLICE_TOKEN_TEXTS, library_bytes, singles, token_bytes};
use super::{InferenceOperation, InferenceScope};
use crate::embed::{Answer, Ask, Embedded};
use crate::shelf::ModelSketch;
use crate::task::TaskError;
use crate::task::inference::{EmbedTokensRequest, EmbedTokensResult, TokenVectors, VectorEncoding};

pub(super) struct EmbedTokens;

impl InferenceOperation for EmbedTokens {
    type Request = EmbedTokensRequest;
    type Output = EmbedTokensResult;
    const NAME: &'static str = "embed_tokens";
    const SUMMARY: &'static str = "Turns every token of texts into a vector, with its place in the text.";
    const MAY_BE_BRIEF: bool = false;

    fn model(request: &EmbedTokensRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn needs(_: &EmbedTokensRequest, _: &ModelSketch) -> Option<Ability> {
        Some(Ability::EmbedTokens)
    }

    fn thread_bytes(request: &EmbedTokensRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts.0)
    }

    fn check(request: &EmbedTokensRequest, model: &ModelSketch) -> Result<u64, TaskError> {
        request.texts.check("texts")?;
        let tokens: u64 = request.texts.0.iter().map(|text| model.tokens_max(text.len())).sum();
        let written_bytes = match request.encoding {
            VectorEncoding::Float | VectorEncoding::Int8 => 32,
            VectorEncoding::Base64 | VectorEncoding::Part => 6,
            VectorEncoding::Binary => 4,
        };
        // The vectors as f32, once more as they are written, and what is said of each token.
        let answer = tokens.saturating_mul((model.dimensions as u64).saturating_mul(8 + written_bytes) + 256);
        Ok(answer.saturating_add(token_bytes(&request.texts, model, SLICE_TOKEN_TEXTS)))
    }

    async fn run(request: &EmbedTokensRequest, scope: &mut InferenceScope<'_>) -> Result<EmbedTokensResult, TaskError> {
        let encoder = scope.encoder(Ability::EmbedTokens)?;
        let run = HeadRun::over_texts((encoder, Ask::TokenVectors), request.long_input, "embedding");
        let mut all = Embedded::default();
        let mut items: Vec<TokenVectors> = Vec::with_capacity(request.texts.0.len());
        let vectors = |_, tokens: PairTokens, answer: Answer| {
            let rows = answer.rows()?;
            all.dimensions = all.dimensions.max(rows.width);
            items.push(kept(encoder, &tokens, (&rows, request.skip_special_tokens, &mut all.vectors)));
            Ok(())
        };
        let usage = run.each(&singles(&request.texts), scope, vectors).await?;
        all.token_counts = items.iter().flat_map(|item| &item.ids).map(|_| 1).collect();
        if request.normalize {
            normalize_rows(&mut all.vectors, all.dimensions);
        }
        let dimensions = all.dimensions;
        if dimensions > 0 {
            write(&mut items, &all, (request.encoding, scope))?;
        }
        Ok(EmbedTokensResult { model: scope.model.info().name.clone(), dimensions, items, usage })
    }
}

/// A text's tokens; their vectors go to the end of `vectors`.
fn kept(encoder: &Encoder, sequence: &PairTokens, (rows, skip_special, vectors): (&TokenRows, bool, &mut Vec<f32>)) -> TokenVectors {
    let mut item = TokenVectors::default();
    for ((&id, place), row) in sequence.ids.iter().zip(&sequence.places).zip(rows.values.chunks_exact(rows.width.max(1))) {
        if skip_special && place.is_none() {
            continue;
        }
        let bytes = place.as_ref().map_or(0..0, |place| place.bytes.clone());
        item.ids.push(id);
        item.tokens.push(encoder.tokenizer().token(id).unwrap_or_default());
        item.start_bytes.push(bytes.start);
        item.end_bytes.push(bytes.end);
        vectors.extend_from_slice(row);
    }
    item
}

/// Deals the encoded vectors out to the texts they belong to, or leaves them as one part.
fn write(items: &mut [TokenVectors], all: &Embedded, (encoding, scope): (VectorEncoding, &InferenceScope<'_>)) -> Result<(), TaskError> {
    match encode(all, encoding)? {
        Encoded::Part(part) => {
            scope.sink.part("embeddings", part);
        }
        Encoded::Json { embeddings, scales } => {
            let (mut embeddings, mut scales) = (embeddings.into_iter(), scales.map(Vec::into_iter));
            for item in items {
                item.embeddings = Some(embeddings.by_ref().take(item.ids.len()).collect());
                item.scales = scales.as_mut().map(|scales| scales.by_ref().take(item.ids.len()).collect());
            }
        }
    }
    Ok(())
}
