//! Similarities and distances between rows: pairs, blocks and whole matrices.
//!
//! Values are `f32`; products and differences accumulate in `f32` over [`LANES`] lanes (element `i` goes to lane `i mod 16`), every [`FOLD`]
//! elements the lanes are joined in a fixed tree and added to an `f64` total; the score is `f64`. A total outside the range in which `f32`
//! partial sums are trustworthy is computed again in `f64`, so neither overflow nor underflow is visible. Every pair is computed by the same
//! operations in the same order whatever else is in the block, so no score depends on batch, tile or thread count. AVX2 and AVX-512 agree bit
//! for bit; the portable body of a target without fused multiply-add differs from them by rounding.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bits;
mod lanes;
mod portable;
mod reference;
mod wide;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::{Isa, KernelError, Operand, Rows, Stop};
use lanes::{Dot, L1, L2Squared, Term};

pub use reference::score as reference_score;

/// Partial sums of a row.
pub const LANES: usize = 16;
/// Elements after which the partial sums are added to the `f64` total.
pub const FOLD: usize = 1024;
/// Rows of the left side that are scored together.
pub(crate) const LEFT_BLOCK: usize = 32;
/// Rows of the right side that are scored together: at 384 dimensions about 100 KB, which stays in a level-2 cache.
pub(crate) const RIGHT_BLOCK: usize = 64;

/// `f32` partial sums inside this range carry no overflow and no underflow that matters; others are computed again in `f64`.
const TRUSTED_MIN: f64 = 1e-24;
const TRUSTED_MAX: f64 = 1e36;

/// How two rows are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Cosine of the angle, -1.0..=1.0; a zero row scores 0.0 against everything.
    Cosine,
    /// Sum of products.
    Dot,
    /// Euclidean distance.
    L2,
    /// Square of the Euclidean distance.
    L2Squared,
    /// Sum of absolute differences.
    L1,
    /// Number of positions that differ.
    Hamming,
    /// Positions set in both over positions set in either (set: not zero); two rows with nothing set score 1.0.
    Jaccard,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 7] = [Self::Cosine, Self::Dot, Self::L2, Self::L2Squared, Self::L1, Self::Hamming, Self::Jaccard];

    /// True for similarities (cosine, dot, Jaccard), false for distances.
    #[must_use]
    pub fn larger_is_closer(self) -> bool {
        matches!(self, Self::Cosine | Self::Dot | Self::Jaccard)
    }

    /// True when packed bits can be compared by it: Hamming and Jaccard.
    #[must_use]
    pub fn applies_to_bits(self) -> bool {
        matches!(self, Self::Hamming | Self::Jaccard)
    }
}

/// The score of two rows of equal length. NaN in either row gives NaN (but for Hamming and Jaccard, where NaN differs from everything and is set).
///
/// Errors: `Mismatch` when the lengths differ, `OutOfRange` when they are zero.
pub fn pair(metric: Metric, a: &[f32], b: &[f32]) -> Result<f64, KernelError> {
    let mut score = [0.0];
    let (left, right) = (Rows::new(a, a.len())?, Rows::new(b, b.len())?);
    check("pair", metric, left.into(), right.into())?;
    let isa = Isa::active();
    let squares = Squares { left: &squares(isa, metric, left.into()), right: &squares(isa, metric, right.into()) };
    score_block(isa, metric, (left.into(), right.into()), squares, &mut score);
    Ok(score[0])
}

/// Scores every row of `a` against every row of `b` into `out` `[a, b]`. Splits over the rayon pool; asks `stop` between blocks.
///
/// NaN and zero rules as [`Metric`] and [`pair`] say. Errors: `Mismatch` for different dimensions or an `out` of another size, `Unsupported` for a
/// metric that does not apply, `Stopped`.
pub fn scores(metric: Metric, a: Operand<'_>, b: Operand<'_>, out: &mut [f64], stop: Stop<'_>) -> Result<(), KernelError> {
    scores_on(Isa::active(), metric, (a, b), out, stop)
}

/// [`scores`] on a chosen level of instructions.
pub fn scores_on(isa: Isa, metric: Metric, pair: (Operand<'_>, Operand<'_>), out: &mut [f64], stop: Stop<'_>) -> Result<(), KernelError> {
    let (a, b) = pair;
    check("scores", metric, a, b)?;
    let expected = a.len().saturating_mul(b.len());
    if out.len() != expected {
        return Err(KernelError::Mismatch { op: "scores", what: "outputs", expected, got: out.len() });
    }
    if out.is_empty() {
        return Ok(());
    }
    let (left, right) = (squares(isa, metric, a), squares(isa, metric, b));
    let columns = b.len();
    // One long row is split by columns, many rows by rows: both give every thread whole blocks.
    if a.len() == 1 {
        return out.par_chunks_mut(RIGHT_BLOCK * 8).enumerate().try_for_each(|(index, out)| {
            let from = index * RIGHT_BLOCK * 8;
            let range = from..from + out.len();
            let squares = Squares { left: &left, right: part(&right, range.clone()) };
            stripe((isa, metric), (a, b.slice(range)), squares, out, stop)
        });
    }
    out.par_chunks_mut(LEFT_BLOCK * columns).enumerate().try_for_each(|(index, out)| {
        let from = index * LEFT_BLOCK;
        let range = from..from + out.len() / columns;
        let squares = Squares { left: part(&left, range.clone()), right: &right };
        stripe((isa, metric), (a.slice(range), b), squares, out, stop)
    })
}

/// Scores a few left rows against all right rows, block by block.
fn stripe(
    (isa, metric): (Isa, Metric),
    pair: (Operand<'_>, Operand<'_>),
    squares: Squares<'_>,
    out: &mut [f64],
    stop: Stop<'_>,
) -> Result<(), KernelError> {
    let (a, b) = pair;
    let mut block = [0.0f64; LEFT_BLOCK * RIGHT_BLOCK];
    for from in (0..b.len()).step_by(RIGHT_BLOCK) {
        if stop() {
            return Err(KernelError::Stopped);
        }
        let range = from..b.len().min(from + RIGHT_BLOCK);
        let width = range.len();
        let block = &mut block[..a.len() * width];
        let squares = Squares { left: squares.left, right: part(squares.right, range.clone()) };
        score_block(isa, metric, (a, b.slice(range)), squares, block);
        for (row, scores) in block.chunks_exact(width).enumerate() {
            out[row * b.len() + from..][..width].copy_from_slice(scores);
        }
    }
    Ok(())
}

/// Squared lengths of the rows of both sides; empty for metrics that need none.
#[derive(Clone, Copy)]
pub(crate) struct Squares<'a> {
    pub(crate) left: &'a [f64],
    pub(crate) right: &'a [f64],
}

/// The part of `squares` for a range of rows; empty stays empty.
pub(crate) fn part(squares: &[f64], range: std::ops::Range<usize>) -> &[f64] {
    if squares.is_empty() { squares } else { &squares[range] }
}

/// Squared lengths of all rows where the metric needs them, else nothing. Splits over the rayon pool.
pub(crate) fn squares(isa: Isa, metric: Metric, rows: Operand<'_>) -> Vec<f64> {
    let Operand::Real(rows) = rows else { return Vec::new() };
    if metric != Metric::Cosine {
        return Vec::new();
    }
    let mut out = vec![0.0; rows.len()];
    out.par_chunks_mut(RIGHT_BLOCK).enumerate().for_each(|(index, out)| {
        let from = index * RIGHT_BLOCK;
        squared_lengths_on(isa, rows.slice(from..from + out.len()), out);
    });
    out
}

/// Squared Euclidean length of every row into `out` `[rows]`; the same number as the dot product of the row with itself. On the calling thread.
///
/// Errors: `Mismatch` when `out` has another length.
pub fn squared_lengths(rows: Rows<'_>, out: &mut [f64]) -> Result<(), KernelError> {
    if out.len() != rows.len() {
        return Err(KernelError::Mismatch { op: "squared lengths", what: "outputs", expected: rows.len(), got: out.len() });
    }
    squared_lengths_on(Isa::active(), rows, out);
    Ok(())
}

/// [`squared_lengths`] for an `out` of the right length.
pub(crate) fn squared_lengths_on(isa: Isa, rows: Rows<'_>, out: &mut [f64]) {
    for (row, out) in rows.iter().zip(out) {
        let row = Rows::new(row, rows.dim()).expect("a row of valid rows is valid");
        terms::<Dot>(isa, row, row, std::slice::from_mut(out));
    }
}

/// Errors of operands that do not go together.
pub(crate) fn check(op: &'static str, metric: Metric, a: Operand<'_>, b: Operand<'_>) -> Result<(), KernelError> {
    if a.dim() != b.dim() {
        return Err(KernelError::Mismatch { op, what: "dimensions", expected: a.dim(), got: b.dim() });
    }
    match (a, b) {
        (Operand::Real(_), Operand::Real(_)) => Ok(()),
        (Operand::Bits(_), Operand::Bits(_)) if metric.applies_to_bits() => Ok(()),
        (Operand::Bits(_), Operand::Bits(_)) => {
            Err(KernelError::Unsupported { op, reason: "packed bits are compared by hamming or jaccard only" })
        }
        _ => Err(KernelError::Unsupported { op, reason: "packed bits cannot be compared with values" }),
    }
}

/// Scores a block of checked operands on the calling thread: `out` is `[a, b]`.
pub(crate) fn score_block(isa: Isa, metric: Metric, pair: (Operand<'_>, Operand<'_>), squares: Squares<'_>, out: &mut [f64]) {
    let (a, b) = match pair {
        (Operand::Real(a), Operand::Real(b)) => (a, b),
        (Operand::Bits(a), Operand::Bits(b)) => return bits::block(isa, metric == Metric::Jaccard, a, b, out),
        _ => unreachable!("operands of different kinds are refused by check"),
    };
    match metric {
        Metric::Dot => terms::<Dot>(isa, a, b, out),
        Metric::L1 => terms::<L1>(isa, a, b, out),
        Metric::L2Squared => terms::<L2Squared>(isa, a, b, out),
        Metric::L2 => {
            terms::<L2Squared>(isa, a, b, out);
            out.iter_mut().for_each(|score| *score = score.sqrt());
        }
        Metric::Cosine => {
            terms::<Dot>(isa, a, b, out);
            for (scores, left) in out.chunks_exact_mut(b.len()).zip(squares.left) {
                for (score, right) in scores.iter_mut().zip(squares.right) {
                    *score = cosine(*score, *left, *right);
                }
            }
        }
        Metric::Hamming => positions(a, b, out, portable::hamming),
        Metric::Jaccard => positions(a, b, out, portable::jaccard),
    }
}

/// A cosine from a dot product and two squared lengths.
fn cosine(dot: f64, left: f64, right: f64) -> f64 {
    // NaN first: a zero row scores 0.0 against every number, but not against NaN.
    if left.is_nan() || right.is_nan() {
        f64::NAN
    } else if left == 0.0 || right == 0.0 {
        0.0
    } else {
        (dot / (left * right).sqrt()).clamp(-1.0, 1.0)
    }
}

/// Scores a block by counting positions.
fn positions(a: Rows<'_>, b: Rows<'_>, out: &mut [f64], count: fn(&[f32], &[f32]) -> f64) {
    for (row, out) in a.iter().zip(out.chunks_exact_mut(b.len())) {
        for (other, out) in b.iter().zip(out) {
            *out = count(row, other);
        }
    }
}

/// Sums terms for every pair of a block, and again in `f64` where the `f32` partial sums cannot be trusted.
fn terms<T: Term>(isa: Isa, a: Rows<'_>, b: Rows<'_>, out: &mut [f64]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(proof) => avx2::block::<T>(proof, a, b, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(proof) => avx512::block::<T>(proof, a, b, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Amx(proof) => avx512::block::<T>(proof.avx512(), a, b, out),
        _ => portable::block::<T>(a, b, out),
    }
    for (row, scores) in a.iter().zip(out.chunks_exact_mut(b.len())) {
        for (other, score) in b.iter().zip(scores) {
            if !(TRUSTED_MIN..=TRUSTED_MAX).contains(&score.abs()) {
                *score = wide::sum::<T>(row, other);
            }
        }
    }
}
