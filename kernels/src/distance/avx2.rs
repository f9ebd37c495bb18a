//! 256-bit lanes with fused multiply-add.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_andnot_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    _mm256_sub_ps,
};

use super::LANES;
use super::lanes::{self, Lanes, Term};
use crate::{Rows, isa::Avx2};

#[derive(Clone, Copy)]
struct Pair(__m256, __m256);

// SAFETY of every block below: the methods are only inlined into `compiled`, which is compiled for AVX2 and FMA and called with the proof.
impl Lanes for Pair {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above; the caller grants sixteen readable values.
        unsafe { Self(_mm256_loadu_ps(source), _mm256_loadu_ps(source.add(8))) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, other: Self, sum: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_fmadd_ps(self.0, other.0, sum.0), _mm256_fmadd_ps(self.1, other.1, sum.1)) }
    }
    #[inline(always)]
    unsafe fn add_abs(self, sum: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(_mm256_add_ps(sum.0, _mm256_andnot_ps(sign, self.0)), _mm256_add_ps(sum.1, _mm256_andnot_ps(sign, self.1)))
        }
    }
    #[inline(always)]
    unsafe fn lanes(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: see above; the array has room for sixteen values.
        unsafe {
            _mm256_storeu_ps(lanes.as_mut_ptr(), self.0);
            _mm256_storeu_ps(lanes.as_mut_ptr().add(8), self.1);
        }
        lanes
    }
}

/// Sums terms for every pair of a block.
pub(super) fn block<T: Term>(_proof: Avx2, a: Rows<'_>, b: Rows<'_>, out: &mut [f64]) {
    // SAFETY: the proof can only be had where the processor has AVX2 and FMA.
    unsafe { compiled::<T>(a, b, out) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn compiled<T: Term>(a: Rows<'_>, b: Rows<'_>, out: &mut [f64]) {
    // SAFETY: this function is compiled for the level of `Pair`.
    unsafe { lanes::block::<Pair, T, 2, 2>(a, b, out) }
}
