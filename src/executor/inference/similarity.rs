//! `similarity`: texts compared by the cosine of their vectors.

use tallow_models::Ability;

use super::embed::{EmbedRun, long_text, usage};
use super::texts::{SLICE_TEXTS, check_spoken, library_bytes, sequence_bytes};
use super::{InferenceOperation, InferenceScope};
use crate::shelf::ModelSketch;
use crate::task::TaskError;
use crate::task::inference::{SCORES_MAX, SimilarityRequest, SimilarityResult};

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

    fn thread_bytes(request: &SimilarityRequest, _: &ModelSketch) -> u64 {
        library_bytes(&request.texts_a.0).max(library_bytes(&request.texts_b.0))
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
        // The texts once more in one list, and their tokens.
        let bytes = request.texts_a.bytes().saturating_add(request.texts_b.bytes());
        let tokens = sequence_bytes(&request.texts_a.0, SLICE_TEXTS).saturating_add(sequence_bytes(&request.texts_b.0, SLICE_TEXTS));
        Ok(vectors.saturating_add(scores as u64 * 40).saturating_add(bytes.saturating_mul(2)).saturating_add(tokens))
    }

    async fn run(request: &SimilarityRequest, scope: &mut InferenceScope<'_>) -> Result<SimilarityResult, TaskError> {
        let info = scope.embedder.info();
        let texts: Vec<String> = request.texts_a.0.iter().chain(&request.texts_b.0).cloned().collect();
        let fields = [("texts_a", request.texts_a.0.len()), ("texts_b", request.texts_b.0.len())];
        let done = EmbedRun::to_compare(&texts, &fields, (long_text(request.long_input), info))?.embed(scope).await?;
        let (a, b) = done.vectors.split_at(request.texts_a.0.len() * done.dimensions);
        let mut scores = Vec::with_capacity(request.texts_a.0.len());
        for row in a.chunks_exact(done.dimensions) {
            scope.cancel.check()?;
            scores.push(b.chunks_exact(done.dimensions).map(|column| cosine(row, column)).collect::<Vec<f32>>());
        }
        let similarity = (scores.len() == 1 && scores[0].len() == 1).then(|| scores[0][0]);
        Ok(SimilarityResult { model: info.name.clone(), scores, similarity, usage: usage(&done) })
    }
}

/// The product of two vectors of length 1 (or zero), summed in f64, within −1.0 to 1.0.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>().clamp(-1.0, 1.0) as f32
}
