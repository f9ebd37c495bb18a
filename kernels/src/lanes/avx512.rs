//! Sixteen lanes in a 512-bit register.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Lanes, lane_to_lane};

// SAFETY of every block below: the methods are only inlined into functions compiled for AVX-512 F and BW, as the trait demands of callers.
impl Lanes for __m512 {
    const COUNT: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above; the caller grants sixteen readable values.
        unsafe { _mm512_loadu_ps(source) }
    }
    #[inline(always)]
    unsafe fn load_part(source: *const f32, len: usize) -> Self {
        // SAFETY: see above; lanes from `len` on are masked and not read.
        unsafe { _mm512_maskz_loadu_ps(first(len), source) }
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: see above; the caller grants sixteen writable values.
        unsafe { _mm512_storeu_ps(target, self) }
    }
    #[inline(always)]
    unsafe fn store_part(self, target: *mut f32, len: usize) {
        // SAFETY: see above; lanes from `len` on are masked and not written.
        unsafe { _mm512_mask_storeu_ps(target, first(len), self) }
    }
    #[inline(always)]
    unsafe fn load_half(source: *const bf16) -> Self {
        // SAFETY: see above; the caller grants sixteen readable values.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(source.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_f16(source: *const f16) -> Self {
        // SAFETY: see above; the caller grants sixteen readable values.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(source.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bytes(source: *const i8) -> Self {
        // SAFETY: see above; the caller grants sixteen readable values.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(source.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_pairs(source: *const [bf16; 2]) -> (Self, Self) {
        // SAFETY: see above; the caller grants sixteen readable pairs.
        unsafe {
            let bits = _mm512_loadu_si512(source.cast());
            let second = _mm512_and_si512(bits, _mm512_set1_epi32(0xFFFF_0000u32.cast_signed()));
            (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)), _mm512_castsi512_ps(second))
        }
    }
    #[inline(always)]
    unsafe fn store_half(self, target: *mut bf16) {
        // SAFETY: see above; the caller grants sixteen writable values.
        unsafe {
            let bits = _mm512_castps_si512(self);
            let high = _mm512_srli_epi32::<16>(bits);
            let odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
            let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self);
            let chosen = _mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40));
            _mm256_storeu_si256(target.cast(), _mm512_cvtepi32_epi16(chosen));
        }
    }

    lane_to_lane! {
        add(self, other) => _mm512_add_ps(self, other);
        sub(self, other) => _mm512_sub_ps(self, other);
        mul(self, other) => _mm512_mul_ps(self, other);
        div(self, other) => _mm512_div_ps(self, other);
        mul_add(self, factor, sum) => _mm512_fmadd_ps(self, factor, sum);
        min(self, other) => _mm512_min_ps(self, other);
        max(self, other) => _mm512_max_ps(self, other);
        abs(self) => _mm512_abs_ps(self);
        with_sign_of(self, other) => {
            // Bit by bit: the sign from `other`, the rest from `self`.
            let (own, from) = (_mm512_castps_si512(self), _mm512_castps_si512(other));
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xD8>(own, from, _mm512_set1_epi32(i32::MIN)))
        };
        round(self) => _mm512_roundscale_ps::<0>(self);
        times_two_to(self, power) => _mm512_scalef_ps(self, power);
        reciprocal_near(self) => _mm512_rcp14_ps(self);
        if_below(self, bound, yes, no) => _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self, bound), no, yes);
    }

    #[inline(always)]
    unsafe fn turn(source: *const f32, target: *mut f32, row: usize) {
        // SAFETY: see above; the caller grants the square and the sixteen rows of the target.
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 16];
            for (at, lanes) in rows.iter_mut().enumerate() {
                *lanes = _mm512_loadu_ps(source.add(16 * at));
            }
            for (column, lanes) in turned(rows).into_iter().enumerate() {
                _mm512_storeu_ps(target.add(column * row), lanes);
            }
        }
    }

    #[inline(always)]
    unsafe fn sum_across(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(self) }
    }
    #[inline(always)]
    unsafe fn max_across(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(self) }
    }
}

/// A square of sixteen rows turned: its columns.
///
/// # Safety
/// The processor has AVX-512, and the caller is compiled for it.
#[inline(always)]
pub(crate) unsafe fn turned(rows: [__m512; 16]) -> [__m512; 16] {
    // SAFETY: the caller's promise.
    unsafe {
        // Four by four inside each quarter of the registers, then the quarters.
        let mut fours = [_mm512_setzero_ps(); 16];
        for at in (0..16).step_by(4) {
            let (first, second, third, fourth) = (rows[at], rows[at + 1], rows[at + 2], rows[at + 3]);
            let low = (_mm512_castps_pd(_mm512_unpacklo_ps(first, second)), _mm512_castps_pd(_mm512_unpacklo_ps(third, fourth)));
            let high = (_mm512_castps_pd(_mm512_unpackhi_ps(first, second)), _mm512_castps_pd(_mm512_unpackhi_ps(third, fourth)));
            fours[at] = _mm512_castpd_ps(_mm512_unpacklo_pd(low.0, low.1));
            fours[at + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low.0, low.1));
            fours[at + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high.0, high.1));
            fours[at + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high.0, high.1));
        }
        let mut columns = [_mm512_setzero_ps(); 16];
        for at in 0..4 {
            let top = _mm512_shuffle_f32x4::<0x88>(fours[at], fours[at + 4]);
            let bottom = _mm512_shuffle_f32x4::<0x88>(fours[at + 8], fours[at + 12]);
            columns[at] = _mm512_shuffle_f32x4::<0x88>(top, bottom);
            columns[at + 8] = _mm512_shuffle_f32x4::<0xDD>(top, bottom);
            let top = _mm512_shuffle_f32x4::<0xDD>(fours[at], fours[at + 4]);
            let bottom = _mm512_shuffle_f32x4::<0xDD>(fours[at + 8], fours[at + 12]);
            columns[at + 4] = _mm512_shuffle_f32x4::<0x88>(top, bottom);
            columns[at + 12] = _mm512_shuffle_f32x4::<0xDD>(top, bottom);
        }
        columns
    }
}

/// The first `len < 16` lanes.
#[inline(always)]
fn first(len: usize) -> __mmask16 {
    (1 << len) - 1
}
