//! The body for every processor of the build target: arrays that the compiler turns into what the target has.

use super::LANES;
use super::lanes::{self, Lanes, Term};
use crate::Rows;

/// Fused multiply-add is one instruction on this target; elsewhere it would be a library call.
const FUSED: bool = cfg!(target_arch = "aarch64");

#[derive(Clone, Copy)]
struct Array([f32; LANES]);

impl Lanes for Array {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; LANES])
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: the caller grants `LANES` readable values; the read needs no alignment.
        Self(unsafe { source.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|l| self.0[l] - other.0[l]))
    }
    #[inline(always)]
    unsafe fn mul_add(self, other: Self, sum: Self) -> Self {
        Self(std::array::from_fn(|l| if FUSED { self.0[l].mul_add(other.0[l], sum.0[l]) } else { self.0[l] * other.0[l] + sum.0[l] }))
    }
    #[inline(always)]
    unsafe fn add_abs(self, sum: Self) -> Self {
        Self(std::array::from_fn(|l| sum.0[l] + self.0[l].abs()))
    }
    #[inline(always)]
    unsafe fn lanes(self) -> [f32; LANES] {
        self.0
    }
}

/// Sums terms for every pair of a block.
pub(super) fn block<T: Term>(a: Rows<'_>, b: Rows<'_>, out: &mut [f64]) {
    // SAFETY: `Array` uses no instruction beyond the build target.
    unsafe { lanes::block::<Array, T, 1, 2>(a, b, out) }
}

/// Positions that differ; NaN differs from everything.
pub(super) fn hamming(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| u32::from(a != b)).sum::<u32>().into()
}

/// Positions set in both over positions set in either; 1.0 when nothing is set.
pub(super) fn jaccard(a: &[f32], b: &[f32]) -> f64 {
    let (mut both, mut either) = (0u32, 0u32);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (*a != 0.0, *b != 0.0);
        both += u32::from(a & b);
        either += u32::from(a | b);
    }
    ratio(both, either)
}

/// A Jaccard similarity from its two counts.
pub(super) fn ratio(both: u32, either: u32) -> f64 {
    if either == 0 { 1.0 } else { f64::from(both) / f64::from(either) }
}
