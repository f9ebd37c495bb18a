//! `classify`: a classifier's labels for texts and pairs.

use serde_json::json;
use tallow_models::Ability;
use tallow_models::heads::ScoreRule;
use tallow_models::text::TextPair;

use super::texts::{ENTRY_BYTES, HeadRun, SLICE_TEXTS, check_count, cut, library_bytes, singles, token_bytes};
use super::{InferenceOperation, InferenceScope};
use crate::embed::{Answer, Ask};
use crate::shelf::ModelSketch;
use crate::task::TaskError;
use crate::task::inference::{ClassifyRequest, ClassifyResult, LabelScore};

pub(super) struct Classify;

impl InferenceOperation for Classify {
    type Request = ClassifyRequest;
    type Output = ClassifyResult;
    const NAME: &'static str = "classify";
    const SUMMARY: &'static str = "Gives texts, or pairs of texts, a classifier's labels.";

    fn model(request: &ClassifyRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn needs(_: &ClassifyRequest, _: &ModelSketch) -> Option<Ability> {
        Some(Ability::Classify)
    }

    fn thread_bytes(request: &ClassifyRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts.0).saturating_add(request.text_pairs.as_ref().map_or(0, |pairs| library_bytes(&pairs.0)))
    }

    fn check(request: &ClassifyRequest, model: &ModelSketch) -> Result<u64, TaskError> {
        request.texts.check("texts")?;
        let count = request.texts.0.len();
        let mut bytes = token_bytes(&request.texts, model, SLICE_TEXTS);
        if let Some(pairs) = &request.text_pairs {
            pairs.check("text_pairs")?;
            if pairs.0.len() != count {
                return Err(TaskError::invalid(
                    "text_pairs",
                    format!("found {} texts, one for each of the {count} of `texts`", pairs.0.len()),
                ));
            }
            bytes = bytes.saturating_add(token_bytes(pairs, model, SLICE_TEXTS));
        }
        check_count("top_k", request.top_k, model.label_count)?;
        let labels = request.top_k.unwrap_or(model.label_count) as u64;
        Ok(bytes.saturating_add((count as u64).saturating_mul(labels).saturating_mul(ENTRY_BYTES)))
    }

    async fn run(request: &ClassifyRequest, scope: &mut InferenceScope<'_>) -> Result<ClassifyResult, TaskError> {
        let encoder = scope.encoder(Ability::Classify)?;
        let rule = if request.raw_scores { ScoreRule::Raw } else { encoder.score_rule() };
        let pairs = match &request.text_pairs {
            None => singles(&request.texts),
            Some(seconds) => {
                let both = request.texts.0.iter().zip(&seconds.0);
                both.map(|(first, second)| TextPair { first, second: Some(second) }).collect()
            }
        };
        let run = HeadRun {
            cut: cut(request.long_input, request.pair_truncation),
            held_texts: SLICE_TEXTS,
            ..HeadRun::over_texts((encoder, Ask::SequenceLogits), request.long_input, "classifying")
        };
        let mut items: Vec<Vec<LabelScore>> = Vec::with_capacity(pairs.len());
        let scored = |_, _, answer: Answer| {
            items.push(best_first(encoder.labels(), &rule.apply(&answer.row()?), request.top_k));
            Ok(())
        };
        let usage = run.each(&pairs, scope, scored).await?;
        scope.metadata.insert("activation".into(), json!(rule.name()));
        Ok(ClassifyResult { model: scope.model.info().name.clone(), items, usage })
    }
}

/// Labels with their scores, best first, ties in the order of the labels; the first `top` of them.
pub(super) fn best_first(labels: &[String], scores: &[f32], top: Option<usize>) -> Vec<LabelScore> {
    let mut order: Vec<usize> = (0..labels.len().min(scores.len())).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(top.unwrap_or(usize::MAX));
    order.into_iter().map(|index| LabelScore { label: labels[index].clone(), score: scores[index] }).collect()
}
