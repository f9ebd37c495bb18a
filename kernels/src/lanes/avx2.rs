//! Eight lanes in a 256-bit register, with fused multiply-add.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Lanes, lane_to_lane};

// SAFETY of every block below: the methods are only inlined into functions compiled for AVX2 and FMA, as the trait demands of callers.
impl Lanes for __m256 {
    const COUNT: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above; the caller grants eight readable values.
        unsafe { _mm256_loadu_ps(source) }
    }
    #[inline(always)]
    unsafe fn load_part(source: *const f32, len: usize) -> Self {
        // SAFETY: see above; lanes from `len` on are masked and not read.
        unsafe { _mm256_maskload_ps(source, first(len)) }
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: see above; the caller grants eight writable values.
        unsafe { _mm256_storeu_ps(target, self) }
    }
    #[inline(always)]
    unsafe fn store_part(self, target: *mut f32, len: usize) {
        // SAFETY: see above; lanes from `len` on are masked and not written.
        unsafe { _mm256_maskstore_ps(target, first(len), self) }
    }
    #[inline(always)]
    unsafe fn load_half(source: *const bf16) -> Self {
        // SAFETY: see above; the caller grants eight readable values.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(source.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_f16(source: *const f16) -> Self {
        // SAFETY: see above; the caller grants eight readable values.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(source.cast()));
            let sign = _mm256_slli_epi32::<16>(_mm256_and_si256(bits, _mm256_set1_epi32(0x8000)));
            let rest = _mm256_slli_epi32::<13>(_mm256_and_si256(bits, _mm256_set1_epi32(0x7FFF)));
            // The exponents of binary16 begin 112 later than those of f32.
            let scaled = _mm256_mul_ps(_mm256_castsi256_ps(rest), _mm256_castsi256_ps(_mm256_set1_epi32((112 + 127) << 23)));
            _mm256_or_ps(scaled, _mm256_castsi256_ps(sign))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(source: *const i8) -> Self {
        // SAFETY: see above; the caller grants eight readable values.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(source.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_pairs(source: *const [bf16; 2]) -> (Self, Self) {
        // SAFETY: see above; the caller grants eight readable pairs.
        unsafe {
            let bits = _mm256_loadu_si256(source.cast());
            let second = _mm256_and_si256(bits, _mm256_set1_epi32(0xFFFF_0000u32.cast_signed()));
            (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)), _mm256_castsi256_ps(second))
        }
    }
    #[inline(always)]
    unsafe fn store_half(self, target: *mut bf16) {
        // SAFETY: see above; the caller grants eight writable values.
        unsafe {
            let bits = _mm256_castps_si256(self);
            let high = _mm256_srli_epi32::<16>(bits);
            let odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
            let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self, self));
            let chosen = _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(chosen, chosen));
            _mm_storeu_si128(target.cast(), _mm256_castsi256_si128(packed));
        }
    }

    lane_to_lane! {
        add(self, other) => _mm256_add_ps(self, other);
        sub(self, other) => _mm256_sub_ps(self, other);
        mul(self, other) => _mm256_mul_ps(self, other);
        div(self, other) => _mm256_div_ps(self, other);
        mul_add(self, factor, sum) => _mm256_fmadd_ps(self, factor, sum);
        min(self, other) => _mm256_min_ps(self, other);
        max(self, other) => _mm256_max_ps(self, other);
        abs(self) => _mm256_andnot_ps(_mm256_set1_ps(-0.0), self);
        with_sign_of(self, other) => {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, self), _mm256_and_ps(sign, other))
        };
        round(self) => _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self);
        times_two_to(self, power) => {
            let power = _mm256_cvtps_epi32(power);
            let half = _mm256_srai_epi32::<1>(power);
            _mm256_mul_ps(_mm256_mul_ps(self, two_to(half)), two_to(_mm256_sub_epi32(power, half)))
        };
        reciprocal_near(self) => _mm256_rcp_ps(self);
        if_below(self, bound, yes, no) => _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(self, bound));
    }

    #[inline(always)]
    unsafe fn sum_across(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn max_across(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

/// All ones in the first `len` lanes. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn first(len: usize) -> __m256i {
    // SAFETY: inlined into functions compiled for AVX2.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(len as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

/// `2^power` for powers of -126..=127. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn two_to(power: __m256i) -> __m256 {
    // SAFETY: inlined into functions compiled for AVX2.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(power, _mm256_set1_epi32(127)))) }
}
