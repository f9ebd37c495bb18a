//! Rows of activations into the forms that the products read: rounded, split, or quantised.

use half::bf16;

use crate::Isa;
use crate::lanes::{Element, Lanes, on_lanes};

/// Rounds to bf16, nearest, ties to even.
pub(crate) fn round_row(isa: Isa, values: &[f32], out: &mut [bf16]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has AVX-512 with bf16.
        Isa::Amx(_) => unsafe { x86::round_row(values, out) },
        _ => {
            assert!(out.len() >= values.len());
            // SAFETY: the output is as long as was asserted; the body demands nothing else beside the level.
            unsafe { round_lanes(isa, values, out) }
        }
    }
}

on_lanes! {
    fn round_lanes(values: &[f32], out: &mut [bf16]) = round_body
}

/// Safety: as [`Lanes`]; `out` is at least as long as `values`.
#[inline(always)]
unsafe fn round_body<L: Lanes>(values: &[f32], out: &mut [bf16]) {
    for at in (0..values.len()).step_by(L::COUNT) {
        let len = L::COUNT.min(values.len() - at);
        // SAFETY: `at + len` is at most the length of both; the caller is compiled for the level.
        unsafe { bf16::store::<L>(f32::load::<L>(values.as_ptr().add(at), len), out.as_mut_ptr().add(at), len) };
    }
}

/// Splits each value into its rounding to bf16 and the rounding of what that left.
pub(super) fn split_row(isa: Isa, values: &[f32], (high, low): (&mut [bf16], &mut [bf16])) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has AVX-512 with bf16.
        Isa::Amx(_) => unsafe { x86::split_row(values, (high, low)) },
        _ => {
            for ((high, low), &value) in high.iter_mut().zip(low).zip(values) {
                *high = bf16::from_f32(value);
                *low = bf16::from_f32(value - high.to_f32());
            }
        }
    }
}

/// Quantises to int8 and gives the scale of the row. A row of zeros has scale 0; one with NaN or an infinity has a NaN scale.
pub(super) fn quantize_row(isa: Isa, values: &[f32], out: &mut [i8]) -> f32 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has AVX-512.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { x86::quantize_row(values, out) },
        _ => {
            let (scale, inverse) = int8_scale(values);
            out.iter_mut().zip(values).for_each(|(out, &value)| *out = to_int8(value, inverse));
            scale
        }
    }
}

/// The same of a row of bf16.
pub(super) fn quantize_row_half(isa: Isa, values: &[bf16], out: &mut [i8]) -> f32 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has AVX-512.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { x86::quantize_row(values, out) },
        _ => {
            let mut widened = Vec::new();
            widen_row(isa, values, &mut widened);
            quantize_row(isa, &widened, out)
        }
    }
}

/// Widens a row.
pub(super) fn widen_row(isa: Isa, values: &[bf16], out: &mut Vec<f32>) {
    out.clear();
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof can only be had where the processor has AVX-512.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { x86::widen_row(values, out) },
        _ => out.extend(values.iter().map(|value| value.to_f32())),
    }
}

/// The scale that maps the largest magnitude of `row` to 127, and its inverse.
pub(crate) fn int8_scale(row: &[f32]) -> (f32, f32) {
    let (largest, sum) = row.iter().fold((0f32, 0f32), |(largest, sum), value| (largest.max(value.abs()), sum + value * 0.0));
    scale_of(if sum.is_nan() { f32::NAN } else { largest })
}

fn scale_of(largest: f32) -> (f32, f32) {
    if largest.is_nan() {
        return (f32::NAN, 0.0);
    }
    let inverse = 127.0 / largest;
    // Magnitudes so small that the inverse overflows count as zero.
    if inverse.is_finite() { (largest / 127.0, inverse) } else { (0.0, 0.0) }
}

/// Rounds to nearest, ties to even.
#[inline(always)]
pub(crate) fn to_int8(value: f32, inverse: f32) -> i8 {
    // Saturates, so the value that rounds to 127.5 for want of precision is 127; NaN becomes 0 and is told by the scale.
    (value * inverse).round_ties_even() as i8
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::bf16;

    const LANES: usize = 16;

    /// The lanes of the last vector of `len` values.
    fn tail(len: usize) -> __mmask16 {
        ((1u32 << (len % LANES)) - 1) as __mmask16
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub(super) unsafe fn round_row(values: &[f32], out: &mut [bf16]) {
        assert!(out.len() >= values.len());
        let (mut at, target) = (0, out.as_mut_ptr());
        // SAFETY: every access ends at or before the last value, and `out` is as long.
        unsafe {
            while at + LANES <= values.len() {
                let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr().add(at)));
                _mm256_storeu_si256(target.add(at).cast(), std::mem::transmute::<__m256bh, __m256i>(rounded));
                at += LANES;
            }
            let mask = tail(values.len());
            let rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, values.as_ptr().add(at)));
            _mm256_mask_storeu_epi16(target.add(at).cast(), mask, std::mem::transmute::<__m256bh, __m256i>(rounded));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub(super) unsafe fn split_row(values: &[f32], (high, low): (&mut [bf16], &mut [bf16])) {
        assert!(high.len() >= values.len() && low.len() >= values.len());
        let mut at = 0;
        while at < values.len() {
            let mask = if at + LANES <= values.len() { u16::MAX } else { tail(values.len()) };
            // SAFETY: the mask ends at the last value, and both targets are as long.
            unsafe {
                let value = _mm512_maskz_loadu_ps(mask, values.as_ptr().add(at));
                let top = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value));
                let widened = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(top)));
                let rest = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(_mm512_sub_ps(value, widened)));
                _mm256_mask_storeu_epi16(high.as_mut_ptr().add(at).cast(), mask, top);
                _mm256_mask_storeu_epi16(low.as_mut_ptr().add(at).cast(), mask, rest);
            }
            at += LANES;
        }
    }

    /// A number that 16 of can be loaded as f32.
    pub(super) trait Number: Copy {
        /// # Safety
        /// The processor has AVX-512, and the numbers that the mask names are readable.
        unsafe fn load(source: *const Self, mask: __mmask16) -> __m512;
    }

    // SAFETY of the blocks below: the methods are only inlined into functions compiled for these instructions; the callers grant the memory.
    impl Number for f32 {
        #[inline(always)]
        unsafe fn load(source: *const Self, mask: __mmask16) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_maskz_loadu_ps(mask, source) }
        }
    }

    impl Number for bf16 {
        #[inline(always)]
        unsafe fn load(source: *const Self, mask: __mmask16) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, source.cast())))) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn quantize_row<N: Number>(values: &[N], out: &mut [i8]) -> f32 {
        assert!(out.len() >= values.len());
        let masks = |at: usize| if at + LANES <= values.len() { u16::MAX } else { tail(values.len()) };
        // SAFETY: the masks end at the last value, and `out` is as long.
        unsafe {
            let mut largest = _mm512_setzero_si512();
            for at in (0..values.len()).step_by(LANES) {
                let bits = _mm512_castps_si512(N::load(values.as_ptr().add(at), masks(at)));
                // Magnitudes as integers have the order of the magnitudes, with infinity and NaN above all.
                largest = _mm512_max_epu32(largest, _mm512_and_si512(bits, _mm512_set1_epi32(i32::MAX)));
            }
            let largest = f32::from_bits(_mm512_reduce_max_epu32(largest));
            let (scale, inverse) = super::scale_of(if largest.is_finite() { largest } else { f32::NAN });
            let inverse = _mm512_set1_ps(inverse);
            for at in (0..values.len()).step_by(LANES) {
                let mask = masks(at);
                let scaled = _mm512_mul_ps(N::load(values.as_ptr().add(at), mask), inverse);
                let whole = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(scaled));
                _mm_mask_storeu_epi8(out.as_mut_ptr().add(at), mask, whole);
            }
            scale
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn widen_row(values: &[bf16], out: &mut Vec<f32>) {
        out.extend(values.iter().map(|value| f32::from_bits(u32::from(value.to_bits()) << 16)));
    }
}
