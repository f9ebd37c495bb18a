//! Softmax of one row of scores, without the division, which is cheaper behind the product with the values.

use std::ops::Range;

use crate::Isa;

/// What is done to a row before its softmax.
pub(super) struct Row<'a> {
    pub query: usize,
    /// The keys that the query sees.
    pub seen: Range<usize>,
    pub softcap: Option<f32>,
    /// By distance, of this head.
    pub bias: Option<&'a [f32]>,
}

/// Replaces every score by the exponential of its difference to the largest one, 0 where the query does not see, and gives their sum. The largest term is 1, so the
/// sum is at least 1; with a NaN among the scores it is NaN.
pub(super) fn row(isa: Isa, scores: &mut [f32], about: &Row<'_>) -> f32 {
    let (before, behind) = (about.seen.start, about.seen.end);
    if let Some(cap) = about.softcap {
        scores[about.seen.clone()].iter_mut().for_each(|score| *score = cap * (*score / cap).tanh());
    }
    if let Some(bias) = about.bias {
        let reach = bias.len() / 2;
        for (key, score) in scores.iter_mut().enumerate().take(behind).skip(before) {
            let at = (reach + key).saturating_sub(about.query).min(2 * reach);
            *score += bias[at];
        }
    }
    scores[..before].fill(0.0);
    scores[behind..].fill(0.0);
    exponentials(isa, &mut scores[before..behind])
}

fn exponentials(isa: Isa, scores: &mut [f32]) -> f32 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has AVX-512.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { crate::activation::avx512::exponentials(scores) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has AVX2 and FMA.
        Isa::Avx2(_) => unsafe { crate::activation::exponentials_avx2(scores) },
        _ => crate::activation::exponentials(scores),
    }
}
