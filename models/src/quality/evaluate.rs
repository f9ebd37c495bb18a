//! An embedder against a test set: scored pairs and search with judgements.

use std::cmp::Ordering;
use std::collections::HashMap;

use ndarray::ArrayView2;

use super::{Judgements, Passage, ScoredPair, ndcg, spearman};
use crate::{Embedder, ModelError};

/// Texts embedded in one call.
const TEXTS_PER_CALL: usize = 32;

/// Unit vectors of `texts`, row-major `[texts.len(), dimensions]` f32; a zero vector stays zero. Texts beyond the model's longest input are cut
/// at their end, as the published figures have it.
///
/// Errors: what the embedder says.
pub fn unit_vectors<T: AsRef<str>>(embedder: &dyn Embedder, texts: &[T]) -> Result<Vec<f32>, ModelError> {
    let dimensions = embedder.info().dimensions;
    let mut vectors = Vec::with_capacity(texts.len() * dimensions);
    for call in texts.chunks(TEXTS_PER_CALL) {
        let sequences: Result<Vec<_>, ModelError> = call
            .iter()
            .map(|text| {
                let sequence = embedder.tokenize("", text.as_ref())?;
                embedder.info().max_tokens.map_or(Ok(sequence.clone()), |most| sequence.truncated(most))
            })
            .collect();
        vectors.extend(embedder.embed(&sequences?, &|| false)?);
    }
    for row in vectors.chunks_mut(dimensions.max(1)) {
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|value| *value /= norm);
        }
    }
    Ok(vectors)
}

/// Spearman's correlation between the pairs' cosines and the people's scores.
///
/// Errors: what the embedder says; `Input` where the correlation is undefined.
pub fn pair_spearman(embedder: &dyn Embedder, pairs: &[ScoredPair]) -> Result<f64, ModelError> {
    let firsts: Vec<&str> = pairs.iter().map(|pair| pair.first.as_str()).collect();
    let seconds: Vec<&str> = pairs.iter().map(|pair| pair.second.as_str()).collect();
    let (firsts, seconds) = (unit_vectors(embedder, &firsts)?, unit_vectors(embedder, &seconds)?);
    let rows = |vectors: &[f32]| vectors.chunks(embedder.info().dimensions.max(1)).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let dot = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosines: Vec<f64> = rows(&firsts).iter().zip(&rows(&seconds)).map(dot).collect();
    let scores: Vec<f64> = pairs.iter().map(|pair| pair.score).collect();
    spearman(&cosines, &scores).ok_or_else(|| ModelError::input("the correlation is undefined: too few pairs, or all alike"))
}

/// Mean nDCG at `k` over the judged queries, every passage ranked by cosine, ties by the corpus's order.
///
/// Errors: what the embedder says; `Input` for a judged query that `queries` does not have, or no judgement at all.
pub fn search_ndcg(embedder: &dyn Embedder, set: &SearchSet, k: usize) -> Result<f64, ModelError> {
    let texts: HashMap<&str, &Passage> = set.queries.iter().map(|query| (query.id.as_str(), query)).collect();
    let judged: Result<Vec<String>, ModelError> = set
        .judgements
        .iter()
        .map(|(id, _)| texts.get(id.as_str()).map(|query| query.full_text()).ok_or_else(|| ModelError::input(format!("no query {id}"))))
        .collect();
    let queries = unit_vectors(embedder, &judged?)?;
    let corpus: Vec<String> = set.corpus.iter().map(Passage::full_text).collect();
    let passages = unit_vectors(embedder, &corpus)?;
    let dimensions = embedder.info().dimensions;
    let matrix = |vectors, count| {
        ArrayView2::from_shape((count, dimensions), vectors).map_err(|error| ModelError::Internal { reason: error.to_string() })
    };
    let scores = matrix(&queries[..], set.judgements.len())?.dot(&matrix(&passages[..], corpus.len())?.t());
    let mut total = 0.0;
    for ((_, grades), scores) in set.judgements.iter().zip(scores.rows()) {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).unwrap_or(Ordering::Equal));
        let ranked: Vec<&str> = order.iter().take(k).map(|place| set.corpus[*place].id.as_str()).collect();
        total += ndcg(&ranked, grades, k);
    }
    if set.judgements.is_empty() { Err(ModelError::input("no judgements")) } else { Ok(total / set.judgements.len() as f64) }
}

/// A search test set in the BEIR layout.
#[derive(Clone, Debug, Default)]
pub struct SearchSet {
    /// What is searched.
    pub corpus: Vec<Passage>,
    /// Queries, judged or not.
    pub queries: Vec<Passage>,
    /// What people judged.
    pub judgements: Judgements,
}
