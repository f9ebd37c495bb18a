//! Texts and pairs of texts on their way through an encoder's head: tokenised in slices, cut by policy, counted.

use std::collections::VecDeque;
use std::ops::Range;

use tallow_models::text::{PairCut, PairTokens, TextPair};
use tallow_models::{Encoder, ModelError};

use super::slices::slices;
use super::{Answer, Ask, Coming, Desk, EmbedError, Input, SLICES_HELD, at, each_of};

/// How texts go through a head.
#[derive(Clone, Copy)]
pub struct PairPlan<'a> {
    /// Whose head.
    pub encoder: &'a Encoder,
    /// What it is asked.
    pub ask: Ask,
    /// For texts that are too long.
    pub cut: PairCut,
    /// Texts that are held in tokens at once.
    pub held_texts: usize,
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

/// Hands every pair with its tokens and its answer to `take`, in order, with its index. `progress` hears the share that is done.
///
/// Slices are tokenised on the calling thread and the pool it belongs to while those before are computed. Errors: `Text` with the text's index,
/// `Expired`, `Closed`, `Model` for everything else, a stop among it, and those of `take`.
pub async fn each_slice(
    (desk, plan): (&Desk<'_>, PairPlan<'_>),
    pairs: &[TextPair<'_>],
    progress: &(dyn Fn(f32) + Sync),
    mut take: impl FnMut(usize, PairTokens, Answer) -> Result<(), EmbedError> + Send,
) -> Result<PairsDone, EmbedError> {
    let mut done = PairsDone::default();
    let bytes: Vec<usize> = pairs.iter().map(|pair| pair.first.len() + pair.second.map_or(0, str::len)).collect();
    let mut under_way: VecDeque<(Range<usize>, Coming)> = VecDeque::with_capacity(SLICES_HELD);
    let mut cut = slices(&bytes, plan.held_texts).into_iter();
    loop {
        let next = cut.next();
        while under_way.len() + 1 >= SLICES_HELD || next.is_none() {
            let Some((range, coming)) = under_way.pop_front() else { break };
            for (index, answered) in range.clone().zip(coming.wait().await?) {
                let Input::Pair(tokens) = answered.input else { continue };
                take(index, tokens, answered.answer)?;
            }
            progress(range.end as f32 / pairs.len() as f32);
        }
        let Some(range) = next else { break };
        let tokens = tokenize(desk, plan, (range.start, &pairs[range.clone()]))?;
        for (offset, sequence) in tokens.iter().enumerate() {
            done.token_counts.push(sequence.full_count);
            done.computed_tokens += sequence.len();
            done.truncated.extend(sequence.is_cut().then_some(plan.text_of(range.start + offset)));
        }
        under_way.push_back((range, desk.answers(plan.ask, tokens)));
    }
    done.truncated.dedup();
    Ok(done)
}

impl PairPlan<'_> {
    fn text_of(&self, pair: usize) -> usize {
        pair / self.pairs_per_text.max(1)
    }
}

fn tokenize(desk: &Desk<'_>, plan: PairPlan<'_>, (first, pairs): (usize, &[TextPair<'_>])) -> Result<Vec<PairTokens>, EmbedError> {
    each_of(pairs, |offset, pair| {
        if desk.is_stopped() {
            return Err(ModelError::Stopped.into());
        }
        plan.encoder.pair(*pair, plan.cut).map_err(at(plan.text_of(first + offset)))
    })
}
