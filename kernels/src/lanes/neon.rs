//! Eight lanes in two 128-bit registers, with fused multiply-add.

use std::arch::aarch64::*;

use half::bf16;

use super::{Lanes, lane_to_lane};

/// The lower four lanes and the upper four.
#[derive(Clone, Copy)]
pub(crate) struct Pair(float32x4_t, float32x4_t);

/// What is done to both registers.
macro_rules! both {
    ($call:ident($($arg:expr),*)) => {
        Pair($call($($arg.0),*), $call($($arg.1),*))
    };
}

// SAFETY of every block below: the methods are only inlined into functions compiled for NEON, as the trait demands of callers.
impl Lanes for Pair {
    const COUNT: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(vdupq_n_f32(value), vdupq_n_f32(value)) }
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above; the caller grants eight readable values.
        unsafe { Self(vld1q_f32(source), vld1q_f32(source.add(4))) }
    }
    #[inline(always)]
    unsafe fn load_part(source: *const f32, len: usize) -> Self {
        let mut lanes = [0.0; 8];
        // SAFETY: see above; the caller grants `len` readable values, fewer than the array has.
        unsafe {
            std::ptr::copy_nonoverlapping(source, lanes.as_mut_ptr(), len);
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: see above; the caller grants eight writable values.
        unsafe {
            vst1q_f32(target, self.0);
            vst1q_f32(target.add(4), self.1);
        }
    }
    #[inline(always)]
    unsafe fn store_part(self, target: *mut f32, len: usize) {
        let mut lanes = [0.0; 8];
        // SAFETY: see above; the caller grants `len` writable values, fewer than the array has.
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), target, len);
        }
    }
    #[inline(always)]
    unsafe fn load_half(source: *const bf16) -> Self {
        // SAFETY: see above; the caller grants eight readable values.
        unsafe {
            let halves = vld1q_u16(source.cast());
            let low = vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(halves)));
            Self(low, vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_high_u16(halves))))
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(source: *const [bf16; 2]) -> (Self, Self) {
        // SAFETY: see above; the caller grants eight readable pairs.
        unsafe {
            let source = source.cast::<u16>();
            let (low, high) = (vreinterpretq_u32_u16(vld1q_u16(source)), vreinterpretq_u32_u16(vld1q_u16(source.add(8))));
            let first = |pairs| vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs));
            let second = |pairs| vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xFFFF_0000)));
            (Self(first(low), first(high)), Self(second(low), second(high)))
        }
    }
    #[inline(always)]
    unsafe fn store_half(self, target: *mut bf16) {
        // SAFETY: see above; the caller grants eight writable values.
        unsafe { vst1q_u16(target.cast(), vcombine_u16(narrowed(self.0), narrowed(self.1))) }
    }

    lane_to_lane! {
        add(self, other) => both!(vaddq_f32(self, other));
        sub(self, other) => both!(vsubq_f32(self, other));
        mul(self, other) => both!(vmulq_f32(self, other));
        div(self, other) => both!(vdivq_f32(self, other));
        mul_add(self, factor, sum) => both!(vfmaq_f32(sum, self, factor));
        min(self, other) => both!(smaller(self, other));
        max(self, other) => both!(larger(self, other));
        abs(self) => both!(vabsq_f32(self));
        with_sign_of(self, other) => both!(signed(self, other));
        round(self) => both!(vrndnq_f32(self));
        times_two_to(self, power) => both!(scaled(self, power));
        reciprocal_near(self) => both!(reciprocal(self));
        if_below(self, bound, yes, no) => both!(chosen(self, bound, yes, no));
    }

    #[inline(always)]
    unsafe fn sum_across(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let four = vaddq_f32(self.0, self.1);
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
    #[inline(always)]
    unsafe fn max_across(self) -> f32 {
        // SAFETY: see above.
        unsafe { vmaxvq_f32(vmaxq_f32(self.0, self.1)) }
    }
}

/// The smaller; the second where either is NaN. Safety: as [`Lanes`], like all below.
#[inline(always)]
unsafe fn smaller(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: inlined into functions compiled for NEON.
    unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
}

/// The larger; the second where either is NaN.
#[inline(always)]
unsafe fn larger(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: inlined into functions compiled for NEON.
    unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
}

/// The magnitude of the first with the sign of the second.
#[inline(always)]
unsafe fn signed(magnitude: float32x4_t, sign: float32x4_t) -> float32x4_t {
    // SAFETY: inlined into functions compiled for NEON.
    unsafe { vbslq_f32(vdupq_n_u32(0x8000_0000), sign, magnitude) }
}

/// `if value < bound { yes } else { no }`.
#[inline(always)]
unsafe fn chosen(value: float32x4_t, bound: float32x4_t, yes: float32x4_t, no: float32x4_t) -> float32x4_t {
    // SAFETY: inlined into functions compiled for NEON.
    unsafe { vbslq_f32(vcltq_f32(value, bound), yes, no) }
}

/// `value * 2^power` in two exact steps and one that may round.
#[inline(always)]
unsafe fn scaled(value: float32x4_t, power: float32x4_t) -> float32x4_t {
    // SAFETY: inlined into functions compiled for NEON.
    unsafe {
        let power = vcvtnq_s32_f32(power);
        let half = vshrq_n_s32::<1>(power);
        vmulq_f32(vmulq_f32(value, two_to(half)), two_to(vsubq_s32(power, half)))
    }
}

/// `2^power` for powers of -126..=127.
#[inline(always)]
unsafe fn two_to(power: int32x4_t) -> float32x4_t {
    // SAFETY: inlined into functions compiled for NEON.
    unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(power, vdupq_n_s32(127)))) }
}

/// The estimate has eight bits; a step of Newton's doubles them.
#[inline(always)]
unsafe fn reciprocal(value: float32x4_t) -> float32x4_t {
    // SAFETY: inlined into functions compiled for NEON.
    unsafe {
        let near = vrecpeq_f32(value);
        vmulq_f32(near, vrecpsq_f32(value, near))
    }
}

/// The upper halves after rounding to nearest, ties to even; NaN stays NaN.
#[inline(always)]
unsafe fn narrowed(value: float32x4_t) -> uint16x4_t {
    // SAFETY: inlined into functions compiled for NEON.
    unsafe {
        let bits = vreinterpretq_u32_f32(value);
        let high = vshrq_n_u32::<16>(bits);
        let odd = vandq_u32(high, vdupq_n_u32(1));
        let rounded = vshrq_n_u32::<16>(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF))));
        let is_number = vceqq_f32(value, value);
        vmovn_u32(vbslq_u32(is_number, rounded, vorrq_u32(high, vdupq_n_u32(0x40))))
    }
}
