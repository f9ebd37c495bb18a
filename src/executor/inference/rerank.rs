//! `rerank`: documents ordered by a cross-encoder.

use serde_json::json;
use tallow_models::Ability;
use tallow_models::heads::ScoreRule;
use tallow_models::text::TextPair;

use super::texts::{ENTRY_BYTES, HeadRun, SLICE_TEXTS, check_count, cut, default_prompt, library_bytes, token_bytes};
use super::{InferenceOperation, InferenceScope};
use crate::embed::{Answer, Ask};
use crate::shelf::ModelSketch;
use crate::task::TaskError;
use crate::task::inference::{Ranked, RerankRequest, RerankResult, TEXT_BYTES_MAX, TEXTS_MAX};

pub(super) struct Rerank;

impl InferenceOperation for Rerank {
    type Request = RerankRequest;
    type Output = RerankResult;
    const NAME: &'static str = "rerank";
    const SUMMARY: &'static str = "Orders documents by how well they answer a query, with a cross-encoder.";

    fn model(request: &RerankRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn needs(_: &RerankRequest, _: &ModelSketch) -> Option<Ability> {
        Some(Ability::Rerank)
    }

    fn thread_bytes(request: &RerankRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.documents.0).saturating_add(library_bytes(std::slice::from_ref(&request.query)))
    }

    fn check(request: &RerankRequest, model: &ModelSketch) -> Result<u64, TaskError> {
        request.documents.check("documents")?;
        if request.query.len() > TEXT_BYTES_MAX {
            let found = request.query.len();
            return Err(TaskError::invalid("query", format!("found {found} bytes, at most {TEXT_BYTES_MAX} are allowed")));
        }
        check_count("top_n", request.top_n, TEXTS_MAX)?;
        let answer =
            request.documents.0.len() as u64 * ENTRY_BYTES + if request.return_documents { request.documents.bytes() * 2 } else { 0 };
        // Every pair tokenises the query again.
        let queries = model.tokens_max(request.query.len()) * 160 * SLICE_TEXTS.min(request.documents.0.len()) as u64;
        Ok(answer.saturating_add(queries).saturating_add(token_bytes(&request.documents, model, SLICE_TEXTS)))
    }

    async fn run(request: &RerankRequest, scope: &mut InferenceScope<'_>) -> Result<RerankResult, TaskError> {
        let encoder = scope.encoder(Ability::Rerank)?;
        let rule = if request.raw_scores { ScoreRule::Raw } else { encoder.rerank_rule() };
        let (prompt, prompt_name) = default_prompt(scope.model.info())?;
        let query = prompt + &request.query;
        let pairs: Vec<TextPair<'_>> =
            request.documents.0.iter().map(|document| TextPair { first: &query, second: Some(document) }).collect();
        let run = HeadRun {
            cut: cut(request.long_input, request.pair_truncation),
            held_texts: SLICE_TEXTS,
            field: "documents",
            ..HeadRun::over_texts((encoder, Ask::SequenceLogits), request.long_input, "reranking")
        };
        let mut scores: Vec<f32> = Vec::with_capacity(pairs.len());
        let scored = |_, _, answer: Answer| {
            scores.extend(rule.apply(&answer.row()?).into_iter().take(1));
            Ok(())
        };
        let usage = run.each(&pairs, scope, scored).await?;
        scope.metadata.insert("activation".into(), json!(rule.name()));
        scope.metadata.insert("prompt_name".into(), json!(prompt_name));
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        order.truncate(request.top_n.unwrap_or(usize::MAX));
        let ranked = |index: usize| Ranked {
            index,
            relevance_score: scores[index],
            document: request.return_documents.then(|| request.documents.0[index].clone()),
        };
        Ok(RerankResult { model: scope.model.info().name.clone(), results: order.into_iter().map(ranked).collect(), usage })
    }
}
