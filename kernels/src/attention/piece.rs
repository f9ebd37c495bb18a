//! What one thread computes at a time: some queries of one head of one sequence; and the memory it computes in.

use std::ops::Range;

use super::AttentionSpec;
use crate::activation::curves;
use crate::lanes::Lanes;

/// Some queries of one head of one sequence. Rows of `source` and `out` are the sequence's.
pub(super) struct Piece<'a, T, O> {
    pub spec: &'a AttentionSpec<'a>,
    /// `[len, row]`, the first number of the first token.
    pub source: *const T,
    /// Where the first token's numbers of this head go; rows are `heads * head_dim` apart.
    pub out: *mut O,
    /// Tokens of the sequence.
    pub len: usize,
    pub head: usize,
    pub queries: Range<usize>,
    /// Keys that are scored together. Blocks begin at its multiples whatever the piece, so that the piece has no part in the result.
    pub block_keys: usize,
}

impl<T, O> Piece<'_, T, O> {
    /// The head's numbers of query, key or value of a token. The address lies inside the source for tokens below `len`.
    #[inline(always)]
    pub(super) fn query(&self, token: usize) -> *const T {
        self.source.wrapping_add(token * self.spec.row() + self.head * self.spec.head_dim)
    }

    #[inline(always)]
    pub(super) fn key(&self, token: usize) -> *const T {
        let head = self.spec.heads + self.head / (self.spec.heads / self.spec.kv_heads);
        self.source.wrapping_add(token * self.spec.row() + head * self.spec.head_dim)
    }

    #[inline(always)]
    pub(super) fn value(&self, token: usize) -> *const T {
        self.key(token).wrapping_add(self.spec.kv_heads * self.spec.head_dim)
    }

    /// Where a query's result goes.
    #[inline(always)]
    pub(super) fn out(&self, token: usize) -> *mut O {
        self.out.wrapping_add(token * self.spec.heads * self.spec.head_dim)
    }

    /// Blocks of keys that some query of a range sees.
    pub(super) fn blocks(&self, queries: Range<usize>) -> Range<usize> {
        let first = self.spec.mask.keys(queries.start, self.len).start;
        let end = self.spec.mask.keys(queries.end - 1, self.len).end;
        first / self.block_keys..end.div_ceil(self.block_keys)
    }

    /// The keys of a block that a query sees, counted from the block's first key.
    #[inline]
    pub(super) fn seen(&self, query: usize, block: usize) -> Range<usize> {
        let keys = self.spec.mask.keys(query.min(self.len - 1), self.len);
        let first = block * self.block_keys;
        let bounded = |key: usize| key.saturating_sub(first).min(self.block_keys);
        bounded(keys.start)..bounded(keys.end)
    }

    /// Whether all of some queries see all keys of a block that the sequence has.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn sees_all(&self, queries: Range<usize>, block: usize) -> bool {
        let first = block * self.block_keys;
        // Neither begin nor end of what a query sees falls from a query to the next.
        self.spec.mask.keys(queries.end - 1, self.len).start <= first
            && self.spec.mask.keys(queries.start, self.len).end >= self.len.min(first + self.block_keys)
    }

    /// The biases of this head by distance, if any.
    #[inline]
    pub(super) fn biases(&self) -> Option<&[f32]> {
        let count = self.spec.distance_bias?.len() / self.spec.heads;
        self.spec.distance_bias.map(|bias| &bias[self.head * count..][..count])
    }
}

/// Adds the biases of a query's distances to the scores of the keys from `first` on.
#[inline(always)]
pub(super) fn add_biases(scores: &mut [f32], biases: &[f32], (query, first): (usize, usize)) {
    let reach = biases.len() / 2;
    if first + reach >= query && first + scores.len() <= query + reach + 1 {
        let biases = &biases[first + reach - query..];
        return scores.iter_mut().zip(biases).for_each(|(score, bias)| *score += bias);
    }
    for (key, score) in (first..).zip(scores) {
        *score += biases[(reach + key).saturating_sub(query).min(2 * reach)];
    }
}

/// What sums are multiplied with when the largest score grows from `before` to `now`. Safety: as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn shrink_of<L: Lanes>(before: f32, now: f32) -> f32 {
    // Nothing was summed before the first score, so there is nothing to shrink.
    if before == now || before == f32::NEG_INFINITY {
        return 1.0;
    }
    let mut shrink = 0.0;
    // SAFETY: one number is written; the caller is compiled for the level. On lanes, because a call would save all registers.
    unsafe { curves::exp_falling(L::splat(before - now)).store_part(&raw mut shrink, 1) };
    shrink
}

/// A line of the cache: rows of tiles and vectors that begin at one are read in one access.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(#[allow(dead_code, reason = "read through slices of numbers")] [f32; 16]);

/// Memory of a thread, kept from piece to piece. What it holds between pieces has no meaning.
#[derive(Default)]
pub(super) struct Scratch {
    lines: Vec<Line>,
}

impl Scratch {
    /// As many parts as sizes, each of at least that many numbers and beginning at a line of the cache.
    pub(super) fn numbers<const N: usize>(&mut self, sizes: [usize; N]) -> [&mut [f32]; N] {
        let lines = sizes.map(|size| size.div_ceil(16));
        let total = lines.iter().sum();
        if self.lines.len() < total {
            self.lines.resize(total, Line([0.0; 16]));
        }
        let mut rest = self.lines.as_mut_slice();
        lines.map(|count| {
            let part = rest.split_off_mut(..count).expect("the sizes add up to the whole");
            // SAFETY: a line is sixteen numbers and nothing else.
            unsafe { std::slice::from_raw_parts_mut(part.as_mut_ptr().cast(), 16 * count) }
        })
    }
}
