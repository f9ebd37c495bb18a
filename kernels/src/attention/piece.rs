//! What one thread computes at a time: some queries of one head of one sequence; and the memory it computes in.

use std::ops::Range;

use super::AttentionSpec;

/// Queries of a piece.
pub(super) const PIECE_QUERIES: usize = 128;
/// Keys that are scored together. Blocks of keys begin at its multiples whatever the piece, so that the piece has no part in the result.
pub(super) const BLOCK_KEYS: usize = 64;

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
}

impl<T, O> Piece<'_, T, O> {
    /// The head's numbers of query, key or value of a token. The address lies inside the source for tokens below `len`.
    pub(super) fn query(&self, token: usize) -> *const T {
        self.source.wrapping_add(token * self.spec.row() + self.head * self.spec.head_dim)
    }

    pub(super) fn key(&self, token: usize) -> *const T {
        let head = self.spec.heads + self.head / (self.spec.heads / self.spec.kv_heads);
        self.source.wrapping_add(token * self.spec.row() + head * self.spec.head_dim)
    }

    pub(super) fn value(&self, token: usize) -> *const T {
        self.key(token).wrapping_add(self.spec.kv_heads * self.spec.head_dim)
    }

    /// Where a query's result goes.
    pub(super) fn out(&self, token: usize) -> *mut O {
        self.out.wrapping_add(token * self.spec.heads * self.spec.head_dim)
    }

    /// Blocks of keys that some query of a range sees.
    pub(super) fn blocks(&self, queries: Range<usize>) -> Range<usize> {
        let first = self.spec.mask.keys(queries.start, self.len).start;
        let end = self.spec.mask.keys(queries.end - 1, self.len).end;
        first / BLOCK_KEYS..end.div_ceil(BLOCK_KEYS)
    }

    /// The keys of a block that a query sees, counted from the block's first key.
    pub(super) fn seen(&self, query: usize, block: usize) -> Range<usize> {
        let keys = self.spec.mask.keys(query.min(self.len - 1), self.len);
        let first = block * BLOCK_KEYS;
        let bounded = |key: usize| key.saturating_sub(first).min(BLOCK_KEYS);
        bounded(keys.start)..bounded(keys.end)
    }

    /// The biases of this head by distance, if any.
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

/// Memory of a thread, kept from piece to piece. What it holds between pieces has no meaning.
#[derive(Default)]
pub(super) struct Scratch {
    numbers: Vec<f32>,
}

impl Scratch {
    /// As many pieces of memory as sizes, each of at least that many numbers.
    pub(super) fn numbers<const N: usize>(&mut self, sizes: [usize; N]) -> [&mut [f32]; N] {
        let total = sizes.iter().sum();
        if self.numbers.len() < total {
            self.numbers.resize(total, 0.0);
        }
        let mut rest = self.numbers.as_mut_slice();
        sizes.map(|size| rest.split_off_mut(..size).expect("the sizes add up to the whole"))
    }
}
