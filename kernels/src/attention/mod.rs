//! Attention inside each sequence of an unpadded batch.
//!
//! Work is cut into pieces: some queries of one head of one sequence. Keys are taken block by block through an online softmax, so memory does not grow
//! with the sequence. A row's result depends on its own sequence alone: not on the batch, not on the threads, not on how the work was cut.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod finish_avx512;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod pack_avx512;
mod piece;
mod reference;
#[cfg(target_arch = "x86_64")]
mod softmax_avx512;
pub mod tensor;
#[cfg(target_arch = "x86_64")]
mod tiles;

#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use crate::gemm::{Input, Output, Precision};
use crate::lanes::Element;
use crate::{Isa, KernelError, Stop, threads};
use piece::{Piece, Scratch};

pub use reference::attention as reference_attention;

/// Longest sequence: distances and sizes stay far from their limits.
pub const ATTENTION_TOKENS_MAX: usize = 1 << 17;
/// Products of numbers below which a second thread does not pay.
const SPLIT_PRODUCTS: usize = 1 << 20;
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
    /// True when the query at `query` sees the key at `key` of its sequence.
    #[must_use]
    pub fn sees(self, query: usize, key: usize) -> bool {
        self.keys(query, usize::MAX).contains(&key)
    }

    /// The keys that the query at `query` sees in a sequence of `len` tokens; never empty.
    #[must_use]
    pub fn keys(self, query: usize, len: usize) -> Range<usize> {
        match self {
            Self::Full => 0..len,
            Self::Causal => 0..query + 1,
            Self::Window { left, right } => query.saturating_sub(left)..query.saturating_add(right).saturating_add(1).min(len),
        }
    }

    /// The queries that see the key at `key` in a sequence of `len` tokens.
    #[cfg(target_arch = "x86_64")]
    fn queries(self, key: usize, len: usize) -> Range<usize> {
        match self {
            Self::Full => 0..len,
            Self::Causal => key..len,
            Self::Window { left, right } => key.saturating_sub(right)..key.saturating_add(left).saturating_add(1).min(len),
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
    (out, stop): (Output<'_>, Stop<'_>),
) -> Result<(), KernelError> {
    attention_on(Isa::active(), (qkv, offsets), spec, (out, stop))
}

/// The same for a given level of instructions, for tests and comparisons.
pub fn attention_on(
    isa: Isa,
    (qkv, offsets): (Input<'_>, &[usize]),
    spec: &AttentionSpec<'_>,
    (out, stop): (Output<'_>, Stop<'_>),
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
    if let Some(pair) = offsets.windows(2).find(|pair| pair[1] - pair[0] > ATTENTION_TOKENS_MAX) {
        return Err(KernelError::OutOfRange { op: "attention", what: "tokens", max: ATTENTION_TOKENS_MAX, got: pair[1] - pair[0] });
    }
    match (qkv, out) {
        (Input::F32(qkv), Output::F32(out)) => pieces(isa, (qkv, offsets), spec, (out, stop)),
        (Input::F32(qkv), Output::Bf16(out)) => pieces(isa, (qkv, offsets), spec, (out, stop)),
        (Input::Bf16(qkv), Output::F32(out)) => pieces(isa, (qkv, offsets), spec, (out, stop)),
        (Input::Bf16(qkv), Output::Bf16(out)) => pieces(isa, (qkv, offsets), spec, (out, stop)),
    }
}

/// The output's address, for pieces that write different numbers of it.
#[derive(Clone, Copy)]
struct Shared<O>(*mut O);
// SAFETY: pieces write disjoint numbers: different queries or different heads.
unsafe impl<O> Sync for Shared<O> {}

impl<O> Shared<O> {
    fn address(&self) -> *mut O {
        self.0
    }
}

/// Cuts the work into pieces and computes them on as many threads as pay. The sizes were checked.
fn pieces<T: Element, O: Element>(
    isa: Isa,
    (qkv, offsets): (&[T], &[usize]),
    spec: &AttentionSpec<'_>,
    (out, stop): (&mut [O], Stop<'_>),
) -> Result<(), KernelError> {
    let sequences = || offsets.windows(2).map(|pair| pair[0]..pair[1]).filter(|tokens| !tokens.is_empty());
    let cut = |tokens: Range<usize>| {
        let firsts = (0..tokens.len()).step_by(blocks(level(isa, spec, tokens.len())).0);
        (0..spec.heads)
            .flat_map(move |head| firsts.clone().map(move |first| (head, first)))
            .map(move |(head, first)| (tokens.clone(), head, first))
    };
    let all: Vec<_> = sequences().flat_map(cut).collect();
    let shared = Shared(out.as_mut_ptr());
    let width = spec.heads * spec.head_dim;
    let compute = |scratch: &mut Scratch, (tokens, head, first): &(Range<usize>, usize, usize)| {
        let isa = level(isa, spec, tokens.len());
        let (piece_queries, block_keys) = blocks(isa);
        let piece = Piece {
            spec,
            source: qkv[tokens.start * spec.row()..].as_ptr(),
            out: shared.address().wrapping_add(tokens.start * width + head * spec.head_dim),
            len: tokens.len(),
            head: *head,
            queries: *first..tokens.len().min(first + piece_queries),
            block_keys,
        };
        // SAFETY: source and output hold all tokens of the sequence, as was checked; other pieces write other numbers.
        unsafe { run(isa, &piece, scratch, stop) };
        if stop() { Err(KernelError::Stopped) } else { Ok(()) }
    };
    let products = sequences().map(|tokens| tokens.len() * tokens.len()).sum::<usize>().saturating_mul(width);
    if products < SPLIT_PRODUCTS || threads::count() == 1 {
        let mut scratch = Scratch::default();
        return all.iter().try_for_each(|piece| compute(&mut scratch, piece));
    }
    all.par_iter().try_for_each_init(Scratch::default, compute)
}

/// The level that computes a sequence of `len` tokens: the shortest ones leave the tiles all but empty.
fn level(isa: Isa, spec: &AttentionSpec<'_>, len: usize) -> Isa {
    match isa {
        Isa::Amx(proof) if len <= if spec.precision == Precision::Exact { 16 } else { 4 } => Isa::Avx512(proof.avx512()),
        _ => isa,
    }
}

/// Queries of a piece and keys of a block, as suits the level.
fn blocks(isa: Isa) -> (usize, usize) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx(_) => (amx::PIECE_QUERIES, amx::BLOCK_KEYS),
        _ => (lanes::PIECE_QUERIES, lanes::BLOCK_KEYS),
    }
}

/// Computes a piece.
///
/// # Safety
/// Source and output of the piece are good for all its tokens.
unsafe fn run<T: Element, O: Element>(isa: Isa, piece: &Piece<'_, T, O>, scratch: &mut Scratch, stop: Stop<'_>) {
    // SAFETY (both calls): the caller's promise.
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: see above.
        Isa::Amx(proof) => unsafe { amx::run((proof, piece.spec.precision == Precision::Exact), piece, scratch, stop) },
        // SAFETY: see above.
        _ => unsafe { lanes::run(isa, piece, scratch, stop) },
    }
}
