//! `similarity`: texts compared by the cosine of their vectors.

use serde_json::json;
use tallow_models::Ability;

use super::embed::{long_text, usage};
use super::texts::{check_spoken, text_error};
use super::{InferenceOperation, InferenceScope};
use crate::embed::{EmbedPlan, embed_texts};
use crate::shelf::ModelSketch;
use crate::task::inference::{SCORES_MAX, SimilarityRequest, SimilarityResult};
use crate::task::{TaskError, WorkUnit};

pub(super) struct Similarity;

impl InferenceOperation for Similarity {
    type Request = SimilarityRequest;
    type Output = SimilarityResult;
    const NAME: &'static str = "similarity";
    const SUMMARY: &'static str = "Compares texts by the cosine of their vectors.";

    fn model(request: &SimilarityRequest) -> Option<&str> {
        request.model.as_deref()
    }

    fn needs(_: &SimilarityRequest, _: &ModelSketch) -> Option<Ability> {
        Some(Ability::Embed)
    }

    fn check(request: &SimilarityRequest, model: &ModelSketch) -> Result<u64, TaskError> {
        check_spoken("texts_a", &request.texts_a)?;
        check_spoken("texts_b", &request.texts_b)?;
        let scores = request.texts_a.0.len().saturating_mul(request.texts_b.0.len());
        if scores > SCORES_MAX {
            return Err(TaskError::invalid(
                "texts_b",
                format!("{scores} scores, at most {SCORES_MAX} are given; embed the texts and use top_k"),
            ));
        }
        let vectors = (request.texts_a.0.len() + request.texts_b.0.len()) as u64 * model.dimensions as u64 * 8;
        let bytes = request.texts_a.bytes() + request.texts_b.bytes();
        Ok(vectors.saturating_add(scores as u64 * 40).saturating_add(bytes.saturating_mul(3)))
    }

    fn run(request: &SimilarityRequest, scope: &mut InferenceScope<'_>) -> Result<SimilarityResult, TaskError> {
        let info = scope.embedder.info();
        let plan = EmbedPlan { prompt: String::new(), long_text: long_text(request.long_input), dimensions: None, normalize: true };
        let texts: Vec<String> = request.texts_a.0.iter().chain(&request.texts_b.0).cloned().collect();
        let (cancel, sink) = (scope.cancel, scope.sink);
        let progress = |share: f32| sink.progress(share, "embedding");
        let stop = || cancel.is_cancelled();
        let done = embed_texts(scope.embedder, &texts, &plan, (&stop, &progress));
        let done = done.map_err(|error| text_error(scope, error, |idx| place(request, idx)))?;
        sink.worked(WorkUnit::Documents, texts.len() as u64);
        let (a, b) = done.vectors.split_at(request.texts_a.0.len() * done.dimensions);
        let mut scores = Vec::with_capacity(request.texts_a.0.len());
        for row in a.chunks_exact(done.dimensions) {
            cancel.check()?;
            scores.push(b.chunks_exact(done.dimensions).map(|column| cosine(row, column)).collect::<Vec<f32>>());
        }
        scope.metadata.insert("token_counts".into(), json!(done.token_counts));
        scope.metadata.insert("truncated".into(), json!(done.truncated));
        let similarity = (scores.len() == 1 && scores[0].len() == 1).then(|| scores[0][0]);
        Ok(SimilarityResult { model: info.name.clone(), scores, similarity, usage: usage(&done) })
    }
}

/// Where a text of both lists, one behind the other, stands in the request.
fn place(request: &SimilarityRequest, idx: usize) -> String {
    match idx.checked_sub(request.texts_a.0.len()) {
        Some(idx) => format!("texts_b[{idx}]"),
        None => format!("texts_a[{idx}]"),
    }
}

/// The product of two vectors of length 1 (or zero), summed in f64, within −1.0 to 1.0.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>().clamp(-1.0, 1.0) as f32
}
