//! The formulas of the portable body on 512-bit lanes, for loops of their own and for the epilogues of products.

use std::arch::x86_64::*;

use super::Activation;
use super::portable::{ERF, ERF_P, EXP, LN2_HIGH, LN2_LOW, TANH_CUBE, TANH_SCALE};

const LANES: usize = 16;

/// A function of vectors, so that a loop can be compiled for each.
pub(crate) trait Function {
    /// # Safety
    /// The processor has AVX-512 F, BW, DQ and VL; only inlined into functions compiled for them.
    unsafe fn of(x: __m512) -> __m512;
}

/// Runs `$body` with `$function` standing for the type of an activation.
macro_rules! with_function {
    ($activation:expr, $function:ident => $body:expr) => {{
        use $crate::activation::{Activation, avx512};
        match $activation {
            Activation::Identity => {
                type $function = avx512::Identity;
                $body
            }
            Activation::Gelu => {
                type $function = avx512::Gelu;
                $body
            }
            Activation::GeluTanh => {
                type $function = avx512::GeluTanh;
                $body
            }
            Activation::Relu => {
                type $function = avx512::Relu;
                $body
            }
            Activation::Silu => {
                type $function = avx512::Silu;
                $body
            }
            Activation::Tanh => {
                type $function = avx512::Tanh;
                $body
            }
            Activation::Sigmoid => {
                type $function = avx512::Sigmoid;
                $body
            }
        }
    }};
}
pub(crate) use with_function;

/// # Safety
/// The processor has AVX-512 F, BW, DQ and VL.
pub(super) unsafe fn apply(activation: Activation, values: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { with_function!(activation, F => each::<F>(values)) }
}

/// # Safety
/// See [`apply`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn each<F: Function>(values: &mut [f32]) {
    let mut at = 0;
    while at < values.len() {
        let left = values.len() - at;
        let mask = if left >= LANES { u16::MAX } else { ((1u32 << left) - 1) as __mmask16 };
        // SAFETY: the mask ends at the last value.
        unsafe {
            let target = values.as_mut_ptr().add(at);
            _mm512_mask_storeu_ps(target, mask, F::of(_mm512_maskz_loadu_ps(mask, target)));
        }
        at += LANES;
    }
}

/// See [`super::exponentials`].
///
/// # Safety
/// The processor has AVX-512 F, BW, DQ and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) unsafe fn exponentials(scores: &mut [f32]) -> f32 {
    let count = scores.len();
    let mask_at = |at: usize| if count - at >= LANES { u16::MAX } else { ((1u32 << (count - at)) - 1) as __mmask16 };
    // SAFETY: the masks end at the last score.
    unsafe {
        let target_of = scores.as_mut_ptr();
        let lowest = _mm512_set1_ps(f32::NEG_INFINITY);
        let mut largest = lowest;
        for at in (0..scores.len()).step_by(LANES) {
            largest = _mm512_max_ps(_mm512_mask_loadu_ps(lowest, mask_at(at), target_of.add(at)), largest);
        }
        let largest = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
        let mut sums = _mm512_setzero_ps();
        for at in (0..scores.len()).step_by(LANES) {
            let mask = mask_at(at);
            let target = target_of.add(at);
            let term = exp(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, target), largest));
            sums = _mm512_add_ps(sums, _mm512_maskz_mov_ps(mask, term));
            _mm512_mask_storeu_ps(target, mask, term);
        }
        _mm512_reduce_add_ps(sums)
    }
}

// SAFETY of the blocks below: the functions are only inlined into functions compiled for these instructions.

/// eˣ; 0 and infinity beyond the range of f32.
///
/// # Safety
/// See [`Function::of`].
#[inline(always)]
pub(crate) unsafe fn exp(x: __m512) -> __m512 {
    // SAFETY: see above.
    unsafe {
        // Where one operand is NaN both give back the second.
        let x = _mm512_max_ps(_mm512_set1_ps(-128.0), _mm512_min_ps(_mm512_set1_ps(128.0), x));
        let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm512_mul_ps(
            x,
            _mm512_set1_ps(std::f32::consts::LOG2_E),
        ));
        let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_LOW), _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_HIGH), x));
        let mut p = _mm512_set1_ps(EXP[0]);
        for c in [EXP[1], EXP[2], EXP[3], EXP[4], EXP[5], 1.0, 1.0] {
            p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
        }
        _mm512_scalef_ps(p, n)
    }
}

/// 1 / x.
#[inline(always)]
unsafe fn inverse(x: __m512) -> __m512 {
    // SAFETY: see above.
    unsafe { _mm512_div_ps(_mm512_set1_ps(1.0), x) }
}

#[inline(always)]
unsafe fn sign_of(x: __m512, magnitude: __m512) -> __m512 {
    // SAFETY: see above.
    unsafe { _mm512_or_ps(magnitude, _mm512_and_ps(x, _mm512_set1_ps(-0.0))) }
}

/// x times `share`, which is 0 where x is −∞.
#[inline(always)]
unsafe fn times(x: __m512, share: __m512) -> __m512 {
    // SAFETY: see above.
    unsafe {
        let finite = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(x, _mm512_set1_ps(f32::NEG_INFINITY));
        _mm512_maskz_mul_ps(finite, x, share)
    }
}

#[inline(always)]
unsafe fn tanh(x: __m512) -> __m512 {
    // SAFETY: see above.
    unsafe {
        let one = _mm512_set1_ps(1.0);
        let z = _mm512_abs_ps(x);
        let e = exp(_mm512_mul_ps(z, _mm512_set1_ps(-2.0)));
        let far = _mm512_mul_ps(_mm512_sub_ps(one, e), inverse(_mm512_add_ps(one, e)));
        let s = _mm512_mul_ps(z, z);
        let mut p = _mm512_fnmadd_ps(s, _mm512_set1_ps(17.0 / 315.0), _mm512_set1_ps(2.0 / 15.0));
        p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(-1.0 / 3.0));
        let near = _mm512_fmadd_ps(_mm512_mul_ps(z, s), p, z);
        let is_near = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(z, _mm512_set1_ps(0.15));
        sign_of(x, _mm512_mask_blend_ps(is_near, far, near))
    }
}

/// x.
pub(crate) struct Identity;
impl Function for Identity {
    #[inline(always)]
    unsafe fn of(x: __m512) -> __m512 {
        x
    }
}

/// See [`Activation::Gelu`].
pub(crate) struct Gelu;
impl Function for Gelu {
    #[inline(always)]
    unsafe fn of(x: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let one = _mm512_set1_ps(1.0);
            let z = _mm512_abs_ps(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::FRAC_1_SQRT_2)));
            let t = inverse(_mm512_fmadd_ps(z, _mm512_set1_ps(ERF_P), one));
            let mut p = _mm512_set1_ps(ERF[0]);
            for c in [ERF[1], ERF[2], ERF[3], ERF[4]] {
                p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(c));
            }
            let e = exp(_mm512_mul_ps(z, _mm512_sub_ps(_mm512_setzero_ps(), z)));
            let erf = sign_of(x, _mm512_fnmadd_ps(_mm512_mul_ps(p, t), e, one));
            times(x, _mm512_fmadd_ps(erf, _mm512_set1_ps(0.5), _mm512_set1_ps(0.5)))
        }
    }
}

/// See [`Activation::GeluTanh`].
pub(crate) struct GeluTanh;
impl Function for GeluTanh {
    #[inline(always)]
    unsafe fn of(x: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
            let inner = _mm512_mul_ps(_mm512_fmadd_ps(cube, _mm512_set1_ps(TANH_CUBE), x), _mm512_set1_ps(TANH_SCALE));
            times(x, _mm512_fmadd_ps(tanh(inner), _mm512_set1_ps(0.5), _mm512_set1_ps(0.5)))
        }
    }
}

/// See [`Activation::Relu`].
pub(crate) struct Relu;
impl Function for Relu {
    #[inline(always)]
    unsafe fn of(x: __m512) -> __m512 {
        // SAFETY: see above. The second operand is the one that is given back when one is NaN.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
    }
}

/// See [`Activation::Silu`].
pub(crate) struct Silu;
impl Function for Silu {
    #[inline(always)]
    unsafe fn of(x: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { times(x, Sigmoid::of(x)) }
    }
}

/// See [`Activation::Tanh`].
pub(crate) struct Tanh;
impl Function for Tanh {
    #[inline(always)]
    unsafe fn of(x: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { tanh(x) }
    }
}

/// See [`Activation::Sigmoid`].
pub(crate) struct Sigmoid;
impl Function for Sigmoid {
    #[inline(always)]
    unsafe fn of(x: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let e = exp(_mm512_sub_ps(_mm512_setzero_ps(), x));
            inverse(_mm512_add_ps(_mm512_set1_ps(1.0), e))
        }
    }
}
