//! 512-bit lanes with fused multiply-add.

use std::arch::x86_64::{
    __m512, _mm512_abs_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::LANES;
use super::lanes::{self, Lanes, Term};
use crate::{Rows, isa::Avx512};

#[derive(Clone, Copy)]
struct Whole(__m512);

// SAFETY of every block below: the methods are only inlined into `compiled`, which is compiled for AVX-512 and called with the proof.
impl Lanes for Whole {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_setzero_ps() })
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above; the caller grants sixteen readable values.
        Self(unsafe { _mm512_loadu_ps(source) })
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn mul_add(self, other: Self, sum: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_fmadd_ps(self.0, other.0, sum.0) })
    }
    #[inline(always)]
    unsafe fn add_abs(self, sum: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_add_ps(sum.0, _mm512_abs_ps(self.0)) })
    }
    #[inline(always)]
    unsafe fn lanes(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: see above; the array has room for sixteen values.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), self.0) };
        lanes
    }
}

/// Sums terms for every pair of a block.
pub(super) fn block<T: Term>(_proof: Avx512, a: Rows<'_>, b: Rows<'_>, out: &mut [f64]) {
    // SAFETY: the proof can only be had where the processor has AVX-512 F.
    unsafe { compiled::<T>(a, b, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
unsafe fn compiled<T: Term>(a: Rows<'_>, b: Rows<'_>, out: &mut [f64]) {
    // SAFETY: this function is compiled for the level of `Whole`.
    unsafe { lanes::block::<Whole, T, 4, 4>(a, b, out) }
}
