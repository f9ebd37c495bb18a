//! The vectors' share of attention on tiles: 16 queries side by side, a row of scores for each key.
//!
//! Scores are turned into powers of two: their factor and the largest of them are folded into one multiplication and addition.

use std::arch::x86_64::*;
use std::f32::consts::LOG2_E;

use half::bf16;

use super::amx::BLOCK_KEYS;
use super::piece::Piece;
use crate::activation::curves;
use crate::amx::TILE_ROWS;
use crate::lanes::Lanes;

/// Queries side by side.
const LANES: usize = TILE_ROWS;

/// `2^x` for the fraction of `x`, highest coefficient first: minimax fits on 0..=1 with an exact 1, relative errors of 8.6e-5 and 8.3e-8.
const NEAR: [f32; 4] = [0.077_067_04, 0.227_645, 0.695_116_8, 1.0];
const FULL: [f32; 6] = [1.867_13e-3, 9.017_03e-3, 5.579_991_3e-2, 2.401_644_5e-1, 6.931_513e-1, 1.0];
/// Half a unit in the last place of a bf16 from 1 to 2: cutting off behind its addition is rounding.
const HALF_UNIT: f32 = 1.0 / 256.0;

/// What the queries of a strip have seen: the largest score as a power of two, the sum of terms, and what the last block made of earlier sums.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct State {
    pub largest: [f32; LANES],
    pub total: [f32; LANES],
    pub shrink: [f32; LANES],
}

impl State {
    /// Nothing was seen.
    pub(super) const NOTHING: Self = Self { largest: [f32::NEG_INFINITY; LANES], total: [0.0; LANES], shrink: [0.0; LANES] };
}

/// The numbers of one row of terms.
#[derive(Clone, Copy)]
pub(super) struct Powers {
    factor: __m512,
    /// Taken from the power.
    base: __m512,
    ones: __m512bh,
    order: __m512i,
    sums: [__m512; 2],
}

/// Powers of two below which terms are 0: what is rounded, or what a rounding leaves, would be no normal number, which costs many times more.
const LOWEST_NEAR: f32 = -126.0;
const LOWEST_FULL: f32 = -100.0;

/// `2^x` with a relative error of the polynomial's, 0 below the lowest power; NaN stays NaN.
///
/// # Safety
/// The processor has AVX-512 F and DQ, and the caller is compiled for it.
#[inline(always)]
unsafe fn exp2<const N: usize>(x: __m512, terms: [f32; N], lowest: f32) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let counts = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(lowest));
        let fraction = _mm512_reduce_ps::<1>(x);
        let mut sum = _mm512_set1_ps(terms[0]);
        for next in &terms[1..] {
            sum = _mm512_fmadd_ps(sum, fraction, _mm512_set1_ps(*next));
        }
        _mm512_maskz_scalef_ps(counts, sum, x)
    }
}

impl Powers {
    /// Finds the largest of `count` rows of scores, 32 or a multiple, and notes it in the state.
    ///
    /// # Safety
    /// The processor has AVX-512 with bf16, and the caller is compiled for it; the scores are readable.
    #[inline(always)]
    pub(super) unsafe fn new((scores, count): (*const f32, usize), factor: f32, state: *mut State) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let mut highest = [_mm512_set1_ps(f32::NEG_INFINITY); 4];
            let (mut at, end) = (scores, scores.wrapping_add(count.wrapping_mul(LANES)));
            while at < end {
                for row in 0..8 {
                    highest[row % 4] = _mm512_max_ps(highest[row % 4], _mm512_load_ps(at.wrapping_add(row * LANES)));
                }
                at = at.wrapping_add(8 * LANES);
            }
            let highest = _mm512_max_ps(_mm512_max_ps(highest[0], highest[1]), _mm512_max_ps(highest[2], highest[3]));
            let factor = _mm512_set1_ps(factor);
            let before = _mm512_load_ps((&raw const (*state).largest).cast());
            let largest = _mm512_max_ps(before, _mm512_mul_ps(highest, factor));
            // A query that has seen nothing yet: every term is 0, and so is the difference that would otherwise be NaN.
            let nothing = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(largest, _mm512_set1_ps(f32::NEG_INFINITY));
            let base = _mm512_mask_blend_ps(nothing, largest, _mm512_setzero_ps());
            _mm512_store_ps((&raw mut (*state).largest).cast(), largest);
            _mm512_store_ps((&raw mut (*state).shrink).cast(), exp2(_mm512_sub_ps(before, base), FULL, LOWEST_FULL));
            Self {
                factor,
                base,
                ones: std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi16(0x3F80)),
                // The upper half of each number to its lower.
                order: _mm512_set4_epi32(0x0F0E_0F0E, 0x0B0A_0B0A, 0x0706_0706, 0x0302_0302),
                sums: [_mm512_setzero_ps(); 2],
            }
        }
    }

    /// 16 rows of scores to 8 rows of pairs of terms; those of a second plane are `plane` numbers behind.
    ///
    /// # Safety
    /// As [`Powers::new`]; the terms are writable.
    #[inline(always)]
    pub(super) unsafe fn terms<const PLANES: usize>(&mut self, scores: *const f32, terms: *mut bf16, plane: usize) {
        for pair in 0..8 {
            // SAFETY: the caller's promise.
            unsafe {
                let at = scores.wrapping_add(pair * 2 * LANES);
                let even = _mm512_fmsub_ps(_mm512_load_ps(at), self.factor, self.base);
                let odd = _mm512_fmsub_ps(_mm512_load_ps(at.wrapping_add(LANES)), self.factor, self.base);
                let target = terms.wrapping_add(pair * 2 * LANES);
                if PLANES == 1 {
                    const ROUNDING: [f32; 4] = [NEAR[0], NEAR[1], NEAR[2], NEAR[3] + HALF_UNIT];
                    let both = self.upper(exp2(even, ROUNDING, LOWEST_NEAR), exp2(odd, ROUNDING, LOWEST_NEAR));
                    // Of the rounded terms: those are what the values are weighted with.
                    let sum = &mut self.sums[pair % 2];
                    *sum = _mm512_dpbf16_ps(*sum, std::mem::transmute::<__m512i, __m512bh>(both), self.ones);
                    _mm512_store_si512(target.cast(), both);
                } else {
                    let (even, odd) = (exp2(even, FULL, LOWEST_FULL), exp2(odd, FULL, LOWEST_FULL));
                    self.sums[0] = _mm512_add_ps(self.sums[0], even);
                    self.sums[1] = _mm512_add_ps(self.sums[1], odd);
                    _mm512_store_si512(target.cast(), self.upper(even, odd));
                    let low = self.upper(rounded_rest(even), rounded_rest(odd));
                    _mm512_store_si512(target.wrapping_add(plane).cast(), low);
                }
            }
        }
    }

    /// The upper halves of two vectors of numbers, side by side.
    ///
    /// # Safety
    /// As [`Powers::new`].
    #[inline(always)]
    unsafe fn upper(&self, even: __m512, odd: __m512) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_shuffle_epi8(_mm512_castps_si512(odd), 0x3333_3333_3333_3333, _mm512_castps_si512(even), self.order) }
    }

    /// Adds the terms to the state's sum.
    ///
    /// # Safety
    /// As [`Powers::new`].
    #[inline(always)]
    pub(super) unsafe fn note(&self, state: *mut State) {
        // SAFETY: the caller's promise.
        unsafe {
            let total = (&raw mut (*state).total).cast::<f32>();
            let shrink = _mm512_load_ps((&raw const (*state).shrink).cast());
            _mm512_store_ps(total, _mm512_fmadd_ps(_mm512_load_ps(total), shrink, _mm512_add_ps(self.sums[0], self.sums[1])));
        }
    }
}

/// What cutting off the lower half took, plus half a unit of what will be cut off from it.
///
/// # Safety
/// As [`Powers::new`].
#[inline(always)]
unsafe fn rounded_rest(term: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let upper = _mm512_and_si512(_mm512_castps_si512(term), _mm512_set1_epi32(0xFFFF_0000u32 as i32));
        let rest = _mm512_sub_ps(term, _mm512_castsi512_ps(upper));
        _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(rest), _mm512_set1_epi32(0x8000)))
    }
}

/// The factor that makes powers of two of a piece's scores, and whether [`adjust`] is to be called before it.
pub(super) fn factor_of<T, O>(piece: &Piece<'_, T, O>) -> (f32, bool) {
    let (scale, factor) = (piece.spec.scale, piece.spec.scale * LOG2_E);
    // The largest score is sought before the scale, which must keep their order.
    let adjusts = piece.spec.softcap.is_some() || piece.biases().is_some() || !(scale > 0.0 && factor.is_finite());
    (if adjusts { LOG2_E } else { factor }, adjusts)
}

/// Scale, cap and bias of the scores of 16 queries from `query` on and `count` keys of a block. Most models need the scale alone, and that is not here.
///
/// # Safety
/// The processor has AVX-512; the scores are readable and writable.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma")]
pub(super) unsafe fn adjust<T, O>(piece: &Piece<'_, T, O>, (query, block): (usize, usize), scores: *mut f32, count: usize) {
    let first = block * BLOCK_KEYS;
    // Biases of the distances from the last key's first query to the first key's last: a step from a key to the next is a step back.
    let mut falling = [0f32; BLOCK_KEYS + LANES];
    if let Some(biases) = piece.biases() {
        let reach = biases.len() / 2;
        for (at, bias) in falling.iter_mut().enumerate() {
            *bias = biases[(reach + first + BLOCK_KEYS).saturating_sub(query + at + 1).min(2 * reach)];
        }
    }
    for key in 0..count {
        // SAFETY: whole vectors, on a processor that has the instructions; 16 biases lie behind the last key's.
        unsafe {
            let row = scores.add(key * LANES);
            let mut score = __m512::load(row).mul(__m512::splat(piece.spec.scale));
            if let Some(cap) = piece.spec.softcap {
                score = curves::tanh(score.mul(__m512::splat(1.0 / cap))).mul(__m512::splat(cap));
            }
            if piece.spec.distance_bias.is_some() {
                score = score.add(__m512::load(falling.as_ptr().add(BLOCK_KEYS - 1 - key)));
            }
            score.store(row);
        }
    }
}

/// Minus infinity for the scores of keys that a query does not see, and for all behind the `count` keys there are.
///
/// # Safety
/// As [`adjust`], of all [`BLOCK_KEYS`] keys.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma")]
pub(super) unsafe fn hide<T, O>(piece: &Piece<'_, T, O>, (query, block): (usize, usize), scores: *mut f32, count: usize) {
    for key in 0..count.next_multiple_of(2 * LANES) {
        let seen = match key < count {
            true => piece.spec.mask.queries(block * BLOCK_KEYS + key, piece.len),
            false => 0..0,
        };
        let lane = |at: usize| at.saturating_sub(query).min(LANES);
        let unseen = !(((1u32 << lane(seen.end)) - 1) & !((1u32 << lane(seen.start)) - 1)) as __mmask16;
        // SAFETY: a whole vector, on a processor that has the instructions.
        unsafe { _mm512_mask_storeu_ps(scores.add(key * LANES), unseen, _mm512_set1_ps(f32::NEG_INFINITY)) };
    }
}
