//! Attention inside each sequence of an unpadded batch.
//!
//! Per sequence and head, keys and values are packed once as the right operands of two products; a block of queries is multiplied with the keys, its rows
//! go through softmax while they are near, and are multiplied with the values. A row's result depends on its own sequence alone: not on the batch, not on
//! the threads.

mod head;
mod reference;
mod softmax;
pub mod tensor;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::gemm::{Input, Precision};
use crate::{Isa, KernelError, Stop};

pub use reference::attention as reference_attention;

/// Longest sequence: distances and sizes stay far from their limits.
pub const ATTENTION_TOKENS_MAX: usize = 1 << 17;
/// Largest head.
pub const HEAD_DIM_MAX: usize = 1024;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mask {
    /// All of its sequence.
    #[default]
    Full,
    /// Itself and those before it.
    Causal,
    /// Those at most so many positions before and behind it, itself among them.
    Window {
        /// Positions before.
        left: usize,
        /// Positions behind.
        right: usize,
    },
}

impl Mask {
    /// The keys that the query at `query` sees in a sequence of `len` tokens; never empty.
    #[must_use]
    pub fn keys(self, query: usize, len: usize) -> std::ops::Range<usize> {
        match self {
            Self::Full => 0..len,
            Self::Causal => 0..query + 1,
            Self::Window { left, right } => query.saturating_sub(left)..query.saturating_add(right).saturating_add(1).min(len),
        }
    }
}

/// How queries attend.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSpec<'a> {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`, consecutive query heads share one.
    pub kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Scores are multiplied with it.
    pub scale: f32,
    /// Which keys a query sees.
    pub mask: Mask,
    /// Scores become `cap · tanh(score / cap)` before bias and mask.
    pub softcap: Option<f32>,
    /// Added to the scores by distance: `[heads, 2 · reach + 1]`, the middle is key = query, higher is a key behind the query. Keys beyond the reach
    /// get the outermost number.
    pub distance_bias: Option<&'a [f32]>,
    /// Of the two products; `Int8` is computed as `Bf16`.
    pub precision: Precision,
}

impl AttentionSpec<'_> {
    /// Numbers of a row of queries, keys and values.
    #[must_use]
    pub fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn check(&self) -> Result<(), KernelError> {
        let out = |what, max, got| Err(KernelError::OutOfRange { op: "attention", what, max, got });
        if self.heads == 0 || self.heads > 4096 {
            return out("heads", 4096, self.heads);
        }
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return out("key heads, which divide the heads,", self.heads, self.kv_heads);
        }
        if self.head_dim == 0 || self.head_dim > HEAD_DIM_MAX {
            return out("numbers per head", HEAD_DIM_MAX, self.head_dim);
        }
        match self.distance_bias {
            Some(bias) if bias.is_empty() || !bias.len().is_multiple_of(self.heads) || (bias.len() / self.heads).is_multiple_of(2) => {
                Err(KernelError::Mismatch { op: "attention", what: "biases by distance", expected: self.heads, got: bias.len() })
            }
            _ => Ok(()),
        }
    }
}

/// Attends inside each sequence.
///
/// Shapes: `qkv` `[tokens, (heads + 2 · kv_heads) · head_dim]`, all queries of a token first, then its keys, then its values; `offsets` one more than there are sequences,
/// from 0 to `tokens`, never falling; `out` `[tokens, heads · head_dim]`. Scores, softmax and sums in f32, the products as the precision says.
/// A NaN or an infinity in a sequence makes rows of that sequence NaN and no others. Splits over the rayon pool of the calling thread by sequence and head.
/// Errors: `OutOfRange` and `Mismatch` for numbers that do not fit, `Stopped` soon after `stop` says so.
pub fn attention(
    qkv: Input<'_>,
    offsets: &[usize],
    spec: &AttentionSpec<'_>,
    (out, stop): (&mut [f32], Stop<'_>),
) -> Result<(), KernelError> {
    attention_on(Isa::active(), (qkv, offsets), spec, (out, stop))
}

/// The same for a given level of instructions, for tests and comparisons.
pub fn attention_on(
    isa: Isa,
    (qkv, offsets): (Input<'_>, &[usize]),
    spec: &AttentionSpec<'_>,
    (out, stop): (&mut [f32], Stop<'_>),
) -> Result<(), KernelError> {
    spec.check()?;
    let mismatch = |what, expected, got| Err(KernelError::Mismatch { op: "attention", what, expected, got });
    let tokens = qkv.len() / spec.row();
    if qkv.len() != tokens * spec.row() {
        return mismatch("numbers in the last row", spec.row(), qkv.len() % spec.row());
    }
    let width = spec.heads * spec.head_dim;
    if out.len() != tokens * width {
        return mismatch("outputs", tokens * width, out.len());
    }
    if offsets.first() != Some(&0) || offsets.last() != Some(&tokens) || !offsets.is_sorted() {
        return mismatch("tokens in the sequences", tokens, offsets.last().copied().unwrap_or(0));
    }
    let mut rest = out;
    let mut sequences = Vec::with_capacity(offsets.len() - 1);
    for pair in offsets.windows(2) {
        let (piece, after) = rest.split_at_mut((pair[1] - pair[0]) * width);
        rest = after;
        if pair[1] - pair[0] > ATTENTION_TOKENS_MAX {
            return Err(KernelError::OutOfRange { op: "attention", what: "tokens", max: ATTENTION_TOKENS_MAX, got: pair[1] - pair[0] });
        }
        if pair[1] > pair[0] {
            sequences.push((pair[0]..pair[1], piece));
        }
    }
    sequences.into_par_iter().try_for_each(|(tokens, out)| {
        let group = spec.heads / spec.kv_heads;
        let heads: Vec<Vec<f32>> = (0..spec.kv_heads)
            .into_par_iter()
            .map(|kv_head| {
                let keys = head::Keys::pack(isa, (qkv, &tokens), spec, kv_head)?;
                let queries = kv_head * group..(kv_head + 1) * group;
                let mixed = queries.map(|head| keys.attend((qkv, &tokens), spec, (head, stop)));
                mixed.collect::<Result<Vec<_>, _>>()
            })
            .collect::<Result<Vec<_>, KernelError>>()?
            .into_iter()
            .flatten()
            .collect();
        for (head, mixed) in heads.iter().enumerate() {
            for (row, mixed) in out.chunks_exact_mut(width).zip(mixed.chunks_exact(spec.head_dim)) {
                row[head * spec.head_dim..][..spec.head_dim].copy_from_slice(mixed);
            }
        }
        Ok(())
    })
}
