//! `zero_shot`: labels of the caller's own, by entailment or by embedding.

use serde_json::json;
use tallow_models::heads::ScoreRule;
use tallow_models::text::{PairCut, TextPair};
use tallow_models::{Ability, ModelError};

use super::classify::best_first;
use super::embed::{EmbedRun, usage};
use super::similarity::cosine;
use super::texts::{ENTRY_BYTES, HeadRun, SLICE_TEXTS, check_spoken, library_bytes, sequence_bytes, token_bytes};
use super::{InferenceOperation, InferenceScope};
use crate::embed::{self, Answer, Ask};
use crate::shelf::ModelSketch;
use crate::task::TaskError;
use crate::task::inference::{LABELS_MAX, LabelScore, LongText, TEMPLATE_BYTES_MAX, ZeroShotMethod, ZeroShotRequest, ZeroShotResult};

/// As transformers' zero-shot pipeline has it.
const TEMPLATE: &str = "This example is {}.";
/// Pairs of one task.
const PAIRS_MAX: usize = 1_000_000;

pub(super) struct ZeroShot;

fn by_entailment(request: &ZeroShotRequest, entails: bool) -> bool {
    match request.method {
        ZeroShotMethod::Auto => entails,
        ZeroShotMethod::Entailment => true,
        ZeroShotMethod::Embedding => false,
    }
}

impl InferenceOperation for ZeroShot {
    type Request = ZeroShotRequest;
    type Output = ZeroShotResult;
    const NAME: &'static str = "zero_shot";
    const SUMMARY: &'static str = "Gives texts labels that no model was trained for, by entailment or by embedding.";

    fn model(request: &ZeroShotRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn needs(request: &ZeroShotRequest, model: &ModelSketch) -> Option<Ability> {
        let entails = model.abilities.has(Ability::Entail);
        Some(if by_entailment(request, entails || !model.abilities.has(Ability::Embed)) { Ability::Entail } else { Ability::Embed })
    }

    fn thread_bytes(request: &ZeroShotRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts.0)
    }

    fn check(request: &ZeroShotRequest, model: &ModelSketch) -> Result<u64, TaskError> {
        let entails = by_entailment(request, model.abilities.has(Ability::Entail));
        for (field, texts) in [("texts", &request.texts), ("labels", &request.labels)] {
            if entails { texts.check(field)? } else { check_spoken(field, texts)? }
        }
        let (texts, labels) = (request.texts.0.len(), request.labels.0.len());
        if labels > LABELS_MAX {
            return Err(TaskError::invalid("labels", format!("found {labels}, 1 to {LABELS_MAX} are allowed")));
        }
        if texts * labels > PAIRS_MAX {
            return Err(TaskError::invalid("labels", format!("{texts} texts with {labels} labels, at most {PAIRS_MAX} pairs are judged")));
        }
        if let Some(template) = &request.hypothesis_template {
            let count = template.matches("{}").count();
            if count != 1 || template.len() > TEMPLATE_BYTES_MAX {
                let found = format!("found {} bytes with {count} times `{{}}`", template.len());
                let reason = format!("{found}; at most {TEMPLATE_BYTES_MAX} bytes with `{{}}` once are allowed");
                return Err(TaskError::invalid("hypothesis_template", reason));
            }
        }
        let pairs = (texts * labels) as u64;
        let vectors = (texts + labels) as u64 * model.dimensions as u64 * 8;
        let labels = request.labels.bytes().saturating_mul(SLICE_TEXTS as u64);
        let tokens = if entails { token_bytes(&request.texts, model, SLICE_TEXTS) } else { sequence_bytes(&request.texts.0, SLICE_TEXTS) };
        let tokens = tokens.saturating_add(labels);
        Ok(pairs.saturating_mul(ENTRY_BYTES).saturating_add(vectors).saturating_add(tokens.saturating_mul(2)))
    }

    async fn run(request: &ZeroShotRequest, scope: &mut InferenceScope<'_>) -> Result<ZeroShotResult, TaskError> {
        if by_entailment(request, scope.model.abilities().has(Ability::Entail)) {
            entailment(request, scope).await
        } else {
            embedding(request, scope).await
        }
    }
}

/// Every text with every hypothesis through the classifier; the text is cut where it is too long, never the hypothesis.
async fn entailment(request: &ZeroShotRequest, scope: &mut InferenceScope<'_>) -> Result<ZeroShotResult, TaskError> {
    let encoder = scope.encoder(Ability::Entail)?;
    let missing = || ModelError::Internal { reason: "the entailment label is gone".into() };
    let (entails, against) = encoder.entailment().ok_or_else(|| scope.error(missing()))?;
    let template = request.hypothesis_template.as_deref().unwrap_or(TEMPLATE);
    let hypotheses: Vec<String> = request.labels.0.iter().map(|label| template.replacen("{}", label, 1)).collect();
    let pairs: Vec<TextPair<'_>> = request
        .texts
        .0
        .iter()
        .flat_map(|text| hypotheses.iter().map(move |hypothesis| TextPair { first: text, second: Some(hypothesis) }))
        .collect();
    let cut = if request.long_input == LongText::Truncate { PairCut::OnlyFirst } else { PairCut::Refuse };
    let run = HeadRun {
        cut,
        held_texts: SLICE_TEXTS,
        pairs_per_text: hypotheses.len(),
        ..HeadRun::over_texts((encoder, Ask::SequenceLogits), request.long_input, "judging")
    };
    let mut logits: Vec<(f32, f32)> = Vec::with_capacity(pairs.len());
    let judged = |_, _, answer: Answer| {
        let row = answer.row()?;
        logits.push((row[entails], row[against]));
        Ok(())
    };
    let usage = run.each(&pairs, scope, judged).await?;
    let alone = request.multi_label || hypotheses.len() == 1;
    let scores = |row: &[(f32, f32)]| -> Vec<f32> {
        if alone {
            row.iter().map(|&(entails, against)| ScoreRule::Softmax.apply(&[entails, against])[0]).collect()
        } else {
            ScoreRule::Softmax.apply(&row.iter().map(|&(entails, _)| entails).collect::<Vec<f32>>())
        }
    };
    let items = logits.chunks_exact(hypotheses.len()).map(|row| best_first(&request.labels.0, &scores(row), None)).collect();
    let rule = if alone { "softmax of entailment against contradiction" } else { "softmax of entailment over the labels" };
    scope.metadata.insert("scores".into(), json!(rule));
    scope.metadata.insert("hypothesis_template".into(), json!(template));
    let labels = encoder.labels();
    scope.metadata.insert("entailment_label".into(), json!(labels[entails]));
    scope.metadata.insert("contradiction_label".into(), json!(labels[against]));
    Ok(ZeroShotResult { model: scope.model.info().name.clone(), method: "entailment".into(), items, usage })
}

async fn embedding(request: &ZeroShotRequest, scope: &mut InferenceScope<'_>) -> Result<ZeroShotResult, TaskError> {
    let template = request.hypothesis_template.as_deref().unwrap_or("{}");
    let hypotheses = request.labels.0.iter().map(|label| template.replacen("{}", label, 1));
    let texts: Vec<String> = request.texts.0.iter().cloned().chain(hypotheses).collect();
    let long_text = if request.long_input == LongText::Truncate { embed::LongText::Truncate } else { embed::LongText::Refuse };
    let fields = [("texts", request.texts.0.len()), ("labels", request.labels.0.len())];
    let run = EmbedRun::to_compare(&texts, &fields, (long_text, scope.embedder.info()))?;
    let done = EmbedRun { document_count: request.texts.0.len(), ..run }.embed(scope).await?;
    let (texts, labels) = done.vectors.split_at(request.texts.0.len() * done.dimensions);
    let mut items: Vec<Vec<LabelScore>> = Vec::with_capacity(request.texts.0.len());
    for text in texts.chunks_exact(done.dimensions) {
        scope.cancel.check()?;
        let scores: Vec<f32> = labels.chunks_exact(done.dimensions).map(|label| cosine(text, label)).collect();
        items.push(best_first(&request.labels.0, &scores, None));
    }
    scope.metadata.insert("scores".into(), json!("cosine of text and hypothesis"));
    scope.metadata.insert("hypothesis_template".into(), json!(template));
    Ok(ZeroShotResult { model: scope.model.info().name.clone(), method: "embedding".into(), items, usage: usage(&done) })
}
