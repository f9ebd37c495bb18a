//! What a model says to the fixed texts, in a form in which two precisions can be compared. One rule for every kind of model: each vector that it answers
//! counts by its cosine, each score by its difference.

use super::Agreement;
use super::texts::TEXTS;
use crate::text::{PairCut, PairTokens, TextPair};
use crate::{Ability, Embedder as _, Encoder, ModelError, Sequence};

/// Best tokens of a masked place that are compared.
const FILLS: usize = 8;
/// Best tokens among which the other precision's are looked for.
const FILLS_SEEN: usize = 64;

/// The answers of one model at one precision.
///
/// Vectors: sentence vectors of a model that embeds, else the means of its hidden states; weights of the vocabulary of a model that answers them.
/// Scores: those of the classification or cross-encoder head, label probabilities of every token, probabilities of the best tokens of a masked place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Witness {
    vectors: Vec<Vec<f32>>,
    scores: Vec<f32>,
    fills: Vec<Vec<(u32, f32)>>,
}

impl Witness {
    /// Asks the model. Blocks while it computes on the fixed texts, each cut to what the model takes. Errors: those of the model's operations.
    pub fn of(encoder: &Encoder) -> Result<Self, ModelError> {
        let can = |ability: Ability| encoder.require(ability).is_ok();
        let mut witness = Self::default();
        if can(Ability::Embed) {
            witness.sentences(encoder)?;
        } else {
            for rows in encoder.token_vectors(&pairs(encoder)?, &|| false)? {
                witness.vectors.push(mean(&rows.values, rows.width));
            }
        }
        if can(Ability::EmbedSparse) {
            let vocabulary = encoder.info().vocabulary;
            for weights in encoder.sparse(&pairs(encoder)?, &|| false)? {
                let mut row = vec![0.0; vocabulary];
                weights.into_iter().for_each(|(id, weight)| row[id as usize] = weight);
                witness.vectors.push(row);
            }
        }
        if can(Ability::Classify) {
            let rule = if can(Ability::Rerank) { encoder.rerank_rule() } else { encoder.score_rule() };
            let logits = encoder.sequence_logits(&pairs(encoder)?, &|| false)?;
            witness.scores.extend(logits.iter().flat_map(|row| rule.apply(row)));
        }
        if can(Ability::Tag) {
            for rows in encoder.token_logits(&pairs(encoder)?, &|| false)? {
                let scores = rows.values.chunks(rows.width.max(1)).flat_map(|row| crate::heads::ScoreRule::Softmax.apply(row));
                witness.scores.extend(scores);
            }
        }
        if can(Ability::FillMask) {
            witness.fills = masked(encoder)?;
        }
        Ok(witness)
    }

    fn sentences(&mut self, encoder: &Encoder) -> Result<(), ModelError> {
        let limit = encoder.info().max_tokens.unwrap_or(usize::MAX);
        let sequences: Vec<Sequence> =
            TEXTS.iter().map(|text| encoder.tokenize("", text)?.truncated(limit)).collect::<Result<_, ModelError>>()?;
        let rows = encoder.embed(&sequences, &|| false)?;
        self.vectors.extend(rows.chunks(encoder.info().dimensions.max(1)).map(<[f32]>::to_vec));
        Ok(())
    }

    /// How far `other` is from these answers, which are those of `exact`. Answers of another shape agree in nothing.
    #[must_use]
    pub fn agreement(&self, other: &Self) -> Agreement {
        let same =
            self.vectors.len() == other.vectors.len() && self.scores.len() == other.scores.len() && self.fills.len() == other.fills.len();
        if !same {
            return Agreement::NONE;
        }
        let cosines = self.vectors.iter().zip(&other.vectors).map(|(a, b)| cosine(a, b));
        let scores = self.scores.iter().zip(&other.scores).map(|(a, b)| f64::from((a - b).abs()));
        let fills = self.fills.iter().zip(&other.fills).flat_map(|(a, b)| a.iter().take(FILLS).map(|fill| fill_difference(*fill, b)));
        Agreement { cosine: cosines.fold(1.0, least), score_difference: scores.chain(fills).reduce(most) }
    }
}

/// The smaller one; NaN wins, so that it is seen.
fn least(a: f64, b: f64) -> f64 {
    if b.is_nan() || b < a { b } else { a }
}

/// The larger one; NaN wins, so that it is seen.
fn most(a: f64, b: f64) -> f64 {
    if b.is_nan() || b > a { b } else { a }
}

fn fill_difference((id, probability): (u32, f32), others: &[(u32, f32)]) -> f64 {
    let other = others.iter().find(|(other, _)| *other == id).map_or(0.0, |(_, probability)| *probability);
    f64::from((probability - other).abs())
}

/// Of two rows of one length. Two zero rows agree; a zero row agrees with no other.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let (aa, bb) = (dot(a, a), dot(b, b));
    if aa == 0.0 && bb == 0.0 {
        return 1.0;
    }
    if aa == 0.0 || bb == 0.0 { 0.0 } else { dot(a, b) / (aa * bb).sqrt() }
}

fn mean(values: &[f32], width: usize) -> Vec<f32> {
    let width = width.max(1);
    let mut sums = vec![0f64; width];
    for row in values.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let count = (values.len() / width).max(1) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// Every text behind the one before it: heads that read pairs see pairs.
fn pairs(encoder: &Encoder) -> Result<Vec<PairTokens>, ModelError> {
    let paired = encoder.require(Ability::Rerank).is_ok();
    let one = |index: usize| {
        let second = (paired && index > 0).then(|| TEXTS[index - 1]);
        encoder.pair(TextPair { first: TEXTS[index], second }, PairCut::LongestFirst)
    };
    (0..TEXTS.len()).map(one).collect()
}

/// The best tokens of one place in the middle of each text; nothing of a tokenizer without a mask.
fn masked(encoder: &Encoder) -> Result<Vec<Vec<(u32, f32)>>, ModelError> {
    let Some(mask) = encoder.tokenizer().mask() else { return Ok(Vec::new()) };
    let mut sequences = pairs(encoder)?;
    for sequence in &mut sequences {
        let middle = sequence.ids.len() / 2;
        if let Some(id) = sequence.ids.get_mut(middle) {
            *id = mask;
        }
    }
    let fills = encoder.fill_masks(&sequences, FILLS_SEEN, &|| false)?;
    Ok(fills.into_iter().flatten().map(|fill| fill.best).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(vectors: &[&[f32]], scores: &[f32]) -> Witness {
        Witness { vectors: vectors.iter().map(|row| row.to_vec()).collect(), scores: scores.to_vec(), fills: Vec::new() }
    }

    #[test]
    fn the_worst_vector_and_the_worst_score_count() {
        let exact = witness(&[&[1.0, 0.0], &[1.0, 1.0]], &[0.5, 0.25]);
        let other = witness(&[&[2.0, 0.0], &[1.0, 0.0]], &[0.5, 0.75]);
        let agreement = exact.agreement(&other);
        assert!((agreement.cosine - 0.5f64.sqrt()).abs() < 1e-9, "{agreement:?}");
        assert_eq!(agreement.score_difference, Some(0.5));
        assert!(!agreement.is_enough() && exact.agreement(&exact).is_enough());
    }

    #[test]
    fn what_is_no_number_and_what_has_another_shape_never_agrees() {
        let exact = witness(&[&[1.0, 0.0], &[0.0, 1.0]], &[0.5]);
        let cases = [
            witness(&[&[f32::NAN, 0.0], &[0.0, 1.0]], &[0.5]),
            witness(&[&[1.0, 0.0], &[0.0, 1.0]], &[f32::NAN]),
            witness(&[&[1.0, 0.0], &[0.0, 0.0]], &[0.5]),
            witness(&[&[1.0, 0.0]], &[0.5]),
            witness(&[&[1.0, 0.0], &[0.0, 1.0]], &[]),
        ];
        for other in cases {
            assert!(!exact.agreement(&other).is_enough(), "{other:?}");
        }
        let zeros = witness(&[&[0.0, 0.0]], &[]);
        assert!(zeros.agreement(&zeros).is_enough());
    }

    #[test]
    fn a_likely_token_that_the_other_does_not_see_counts_whole() {
        let fills = |fills: &[(u32, f32)]| Witness { fills: vec![fills.to_vec()], ..Witness::default() };
        let agreement = fills(&[(7, 0.5), (8, 0.25)]).agreement(&fills(&[(8, 0.25), (9, 0.1)]));
        assert_eq!(agreement.score_difference, Some(0.5));
    }
}
