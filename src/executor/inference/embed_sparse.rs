//! `embed_sparse`: weights of vocabulary entries (SPLADE).

use tallow_models::Ability;

use super::texts::{HeadRun, SLICE_TOKEN_TEXTS, check_count, library_bytes, singles, token_bytes};
use super::{InferenceOperation, InferenceScope};
use crate::embed::{Answer, Ask};
use crate::shelf::ModelSketch;
use crate::task::TaskError;
use crate::task::inference::{EmbedSparseRequest, EmbedSparseResult, TokenWeight};

/// An entry with its spelling, as it is written.
const WEIGHT_BYTES: u64 = 200;

pub(super) struct EmbedSparse;

impl InferenceOperation for EmbedSparse {
    type Request = EmbedSparseRequest;
    type Output = EmbedSparseResult;
    const NAME: &'static str = "embed_sparse";
    const SUMMARY: &'static str = "Turns texts into sparse vectors over the model's vocabulary, as SPLADE does.";
    const MAY_BE_BRIEF: bool = false;

    fn model(request: &EmbedSparseRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn needs(_: &EmbedSparseRequest, _: &ModelSketch) -> Option<Ability> {
        Some(Ability::EmbedSparse)
    }

    fn thread_bytes(request: &EmbedSparseRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts.0)
    }

    fn check(request: &EmbedSparseRequest, model: &ModelSketch) -> Result<u64, TaskError> {
        request.texts.check("texts")?;
        check_count("top_n", request.top_n, model.vocabulary.max(1))?;
        let count = request.texts.0.len() as u64;
        let entries = request.top_n.unwrap_or(model.vocabulary) as u64;
        // The weights of a slice before the heaviest are chosen: at worst all of the vocabulary.
        let slice = count.min(SLICE_TOKEN_TEXTS as u64).saturating_mul(model.vocabulary as u64 * 8);
        let answer = count.saturating_mul(entries).saturating_mul(WEIGHT_BYTES);
        Ok(answer.saturating_add(slice).saturating_add(token_bytes(&request.texts, model, SLICE_TOKEN_TEXTS)))
    }

    async fn run(request: &EmbedSparseRequest, scope: &mut InferenceScope<'_>) -> Result<EmbedSparseResult, TaskError> {
        let encoder = scope.encoder(Ability::EmbedSparse)?;
        let run = HeadRun::over_texts((encoder, Ask::Sparse), request.long_input, "embedding");
        let weigh = |(index, value): (u32, f32)| TokenWeight { index, token: encoder.tokenizer().token(index).unwrap_or_default(), value };
        let mut items: Vec<Vec<TokenWeight>> = Vec::with_capacity(request.texts.0.len());
        let heaviest = |_, _, answer: Answer| {
            let mut weights = answer.weights()?;
            weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            weights.truncate(request.top_n.unwrap_or(usize::MAX));
            items.push(weights.into_iter().map(weigh).collect());
            Ok(())
        };
        let usage = run.each(&singles(&request.texts), scope, heaviest).await?;
        let info = scope.model.info();
        Ok(EmbedSparseResult { model: info.name.clone(), dimensions: info.vocabulary, items, usage })
    }
}
