//! The end of a block for a strip on 512-bit lanes: what it adds joins the sums of the blocks before, or, behind the last, goes to the output.

use std::arch::x86_64::*;
use std::ops::Range;

use half::bf16;

use super::amx::Work;
use super::pack_avx512::row_of;
use super::piece::Piece;
use super::tiles::SIDE;
use crate::amx::TILE_ROWS;
use crate::lanes::{Element, turned};

/// Ends block `block` of the strip's `blocks`.
///
/// # Safety
/// The processor has AVX-512 with bf16, and the caller is compiled for it; mixture, sums and states are those of the strip, and its queries' output is
/// writable.
#[inline(always)]
pub(super) unsafe fn strip<T, O: Element>(piece: &Piece<'_, T, O>, (strip, block): (usize, usize), blocks: Range<usize>, work: &Work) {
    let rows = work.steps.wrapping_mul(SIDE);
    let sums = work.sums.wrapping_add(strip.wrapping_mul(rows).wrapping_mul(TILE_ROWS));
    // SAFETY: the caller's promise.
    unsafe {
        let shrink = _mm512_load_ps((&raw const (*work.states.wrapping_add(strip)).shrink).cast());
        let is_last = block + 1 == blocks.end;
        if block != blocks.start {
            // Into the mixture where it goes on to the output, else into the sums.
            let target = if is_last { work.mixed } else { sums };
            for row in 0..rows {
                let at = row.wrapping_mul(TILE_ROWS);
                let sum = _mm512_fmadd_ps(_mm512_load_ps(sums.wrapping_add(at)), shrink, _mm512_load_ps(work.mixed.wrapping_add(at)));
                _mm512_store_ps(target.wrapping_add(at), sum);
            }
        } else if !is_last {
            for row in 0..rows {
                let at = row.wrapping_mul(TILE_ROWS);
                _mm512_store_ps(sums.wrapping_add(at), _mm512_load_ps(work.mixed.wrapping_add(at)));
            }
        }
        if is_last {
            write(piece, strip, work);
        }
    }
}

/// Divides by the sum of terms, turns back and writes.
///
/// # Safety
/// As [`strip`].
#[inline(always)]
unsafe fn write<T, O: Element>(piece: &Piece<'_, T, O>, strip: usize, work: &Work) {
    let (dim, first) = (piece.spec.head_dim, piece.queries.start + strip * TILE_ROWS);
    let queries = TILE_ROWS.min(piece.queries.end - first);
    // SAFETY: the caller's promise.
    unsafe {
        let total = _mm512_load_ps((&raw const (*work.states.wrapping_add(strip)).total).cast());
        let share = _mm512_div_ps(_mm512_set1_ps(1.0), total);
        for at in (0..dim).step_by(SIDE) {
            for half in 0..2 {
                let mut rows = [_mm512_setzero_ps(); TILE_ROWS];
                for (row, lanes) in rows.iter_mut().enumerate() {
                    let source = row_of(half * TILE_ROWS + row) * TILE_ROWS;
                    *lanes = _mm512_mul_ps(_mm512_load_ps(work.mixed.wrapping_add(at.wrapping_mul(TILE_ROWS) + source)), share);
                }
                for (query, lanes) in turned(rows).into_iter().enumerate() {
                    _mm512_store_ps(work.square.wrapping_add(query * SIDE + half * TILE_ROWS), lanes);
                }
            }
            let mask = u32::MAX >> (SIDE - SIDE.min(dim - at));
            for query in 0..queries {
                let source = work.square.wrapping_add(query.wrapping_mul(SIDE));
                let both = [_mm512_load_ps(source), _mm512_load_ps(source.wrapping_add(TILE_ROWS))];
                put(piece.out(first + query).wrapping_add(at), mask, both);
            }
        }
    }
}

/// Writes those of 32 numbers that the mask names, the first ones.
///
/// # Safety
/// The processor has AVX-512 with bf16, and the caller is compiled for it; they are writable.
#[inline(always)]
unsafe fn put<O: Element>(target: *mut O, mask: u32, [low, high]: [__m512; 2]) {
    // SAFETY: the caller's promise; the outputs are f32 or bf16, which their size tells apart.
    unsafe {
        if size_of::<O>() == size_of::<bf16>() {
            let rounded = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_mask_storeu_epi16(target.cast(), mask, rounded);
        } else {
            let target = target.cast::<f32>();
            _mm512_mask_storeu_ps(target, mask as __mmask16, low);
            _mm512_mask_storeu_ps(target.wrapping_add(TILE_ROWS), (mask >> 16) as __mmask16, high);
        }
    }
}
