//! Hamming and Jaccard of packed bits: exclusive or, and, or, and counts.

use super::portable::ratio;
use crate::{BitRows, Isa};

/// Scores a block of packed rows; `out` is `[a, b]`.
pub(super) fn block(isa: Isa, jaccard: bool, a: BitRows<'_>, b: BitRows<'_>, out: &mut [f64]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has these instructions.
        Isa::Avx2(_) => unsafe { avx2(jaccard, a, b, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has these instructions.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { avx512(jaccard, a, b, out) },
        _ => body(jaccard, a, b, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn avx2(jaccard: bool, a: BitRows<'_>, b: BitRows<'_>, out: &mut [f64]) {
    body(jaccard, a, b, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq,avx2,popcnt")]
unsafe fn avx512(jaccard: bool, a: BitRows<'_>, b: BitRows<'_>, out: &mut [f64]) {
    body(jaccard, a, b, out);
}

#[inline(always)]
fn body(jaccard: bool, a: BitRows<'_>, b: BitRows<'_>, out: &mut [f64]) {
    for (row, out) in out.chunks_exact_mut(b.len()).enumerate() {
        let left = a.row(row);
        for (column, out) in out.iter_mut().enumerate() {
            let right = b.row(column);
            *out = if jaccard {
                ratio(count(left, right, |a, b| a & b), count(left, right, |a, b| a | b))
            } else {
                count(left, right, |a, b| a ^ b).into()
            };
        }
    }
}

/// Bits set in the combination of two rows of equal length.
#[inline(always)]
fn count(a: &[u8], b: &[u8], combine: impl Fn(u64, u64) -> u64) -> u32 {
    let (a_words, b_words) = (a.chunks_exact(8), b.chunks_exact(8));
    let (a_tail, b_tail) = (a_words.remainder(), b_words.remainder());
    let whole: u32 = a_words.zip(b_words).map(|(a, b)| combine(word(a), word(b)).count_ones()).sum();
    whole + combine(word(a_tail), word(b_tail)).count_ones()
}

/// Up to eight bytes as one word; missing bytes are zero.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0u8; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
