//! Texts and pairs of texts on their way through an encoder's head: tokenised in slices, cut by policy, counted.

use rayon::prelude::*;
use tallow_models::text::{PairCut, PairTokens, TextPair};
use tallow_models::{Encoder, ModelError, StopCheck};

use super::{EmbedError, at};

/// How texts go through a head.
#[derive(Clone, Copy)]
pub struct PairPlan<'a> {
    /// Whose head.
    pub encoder: &'a Encoder,
    /// For texts that are too long.
    pub cut: PairCut,
    /// Texts that are tokenised and computed together: bounds what is held between the steps.
    pub slice_texts: usize,
    /// Pairs that each text of the caller was made into, one after the other: errors and cuts are told by text.
    pub pairs_per_text: usize,
}

/// What was done with the texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairsDone {
    /// Tokens of each text or pair before any cut, special ones included.
    pub token_counts: Vec<usize>,
    /// Tokens that were computed, all together.
    pub computed_tokens: usize,
    /// Indices of texts that were cut.
    pub truncated: Vec<usize>,
}

/// Tokenises `pairs` slice by slice and hands each slice to `take` with the index of its first pair. `progress` hears the share that is done.
///
/// Blocks; splits over the pool it is called on. Errors: `Text` with the text's index, `Model` for a stop, and those of `take`.
pub fn each_slice(
    plan: PairPlan<'_>,
    pairs: &[TextPair<'_>],
    (stop, progress): (StopCheck<'_>, &dyn Fn(f32)),
    mut take: impl FnMut(usize, &[PairTokens]) -> Result<(), EmbedError>,
) -> Result<PairsDone, EmbedError> {
    let mut done = PairsDone::default();
    let text_of = |pair: usize| pair / plan.pairs_per_text.max(1);
    for (slice_idx, slice) in pairs.chunks(plan.slice_texts.max(1)).enumerate() {
        let first = slice_idx * plan.slice_texts.max(1);
        let tokenise = |(offset, pair): (usize, &TextPair<'_>)| {
            if stop() {
                return Err(ModelError::Stopped.into());
            }
            plan.encoder.pair(*pair, plan.cut).map_err(at(text_of(first + offset)))
        };
        let tokens: Vec<PairTokens> = slice.par_iter().enumerate().map(tokenise).collect::<Result<_, EmbedError>>()?;
        for (offset, sequence) in tokens.iter().enumerate() {
            done.token_counts.push(sequence.full_count);
            done.computed_tokens += sequence.len();
            done.truncated.extend(sequence.is_cut().then_some(text_of(first + offset)));
        }
        take(first, &tokens)?;
        progress((first + slice.len()) as f32 / pairs.len() as f32);
    }
    done.truncated.dedup();
    Ok(done)
}
