//! The operands of the tiles, packed on 512-bit lanes: keys as rows, queries and values turned.

use std::arch::x86_64::*;

use half::bf16;

use super::amx::{BLOCK_KEYS, Work};
use super::piece::Piece;
use super::tiles::{SIDE, TILE};
use crate::amx::TILE_ROWS;
use crate::lanes::{Element, turned};

/// 32 numbers of a row of `dim` from `at < dim` on, zeros behind its end: the rounding to bf16, and that of what it left.
///
/// # Safety
/// The processor has AVX-512 with bf16, and the caller is compiled for it; the row is readable.
#[inline(always)]
unsafe fn row_part<T: Element, const PLANES: usize>(row: *const T, at: usize, dim: usize) -> [__m512i; PLANES] {
    let mask = u32::MAX >> (SIDE - SIDE.min(dim - at));
    // SAFETY: the caller's promise; masked numbers are not read.
    unsafe {
        let mut planes = [_mm512_setzero_si512(); PLANES];
        if size_of::<T>() == size_of::<bf16>() {
            planes[0] = _mm512_maskz_loadu_epi16(mask, row.wrapping_add(at).cast());
            return planes;
        }
        let source = row.wrapping_add(at).cast::<f32>();
        let mut low = _mm512_maskz_loadu_ps(mask as __mmask16, source);
        let mut high = _mm512_maskz_loadu_ps((mask >> 16) as __mmask16, source.wrapping_add(TILE_ROWS));
        for plane in &mut planes {
            *plane = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            low = _mm512_sub_ps(low, widened(_mm512_castsi512_si256(*plane)));
            high = _mm512_sub_ps(high, widened(_mm512_extracti64x4_epi64::<1>(*plane)));
        }
        planes
    }
}

/// # Safety
/// The processor has AVX-512, and the caller is compiled for it.
#[inline(always)]
unsafe fn widened(halves: __m256i) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))) }
}

/// Writes a square of 16 rows of 16 pairs turned, which is a tile.
///
/// # Safety
/// The processor has AVX-512, and the caller is compiled for it; a tile is writable.
#[inline(always)]
unsafe fn turn_into(target: *mut bf16, rows: [__m512i; TILE_ROWS]) {
    // SAFETY: the caller's promise.
    unsafe {
        for (row, lanes) in turned(std::mem::transmute::<[__m512i; 16], [__m512; 16]>(rows)).into_iter().enumerate() {
            _mm512_store_ps(target.wrapping_add(row * SIDE).cast(), lanes);
        }
    }
}

/// Turns the queries of a piece, 16 at a time. Queries behind the last become zeros.
///
/// # Safety
/// The processor has AVX-512 with bf16; the piece's source is readable and `work` as large as it says.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn queries<T: Element, O, const PLANES: usize>(piece: &Piece<'_, T, O>, work: &Work) {
    let (dim, end) = (piece.spec.head_dim, piece.queries.end);
    let (source, stride) = (piece.query(0), piece.spec.row());
    for strip in 0..work.strips {
        let first = piece.queries.start + strip * TILE_ROWS;
        for step in 0..work.steps {
            // SAFETY: queries before the piece's end are read, and the tile lies inside the packed queries; the rest is the caller's promise.
            unsafe {
                let mut rows = [[_mm512_setzero_si512(); PLANES]; TILE_ROWS];
                for (row, planes) in rows.iter_mut().enumerate().take(end - first) {
                    let query = source.wrapping_add((first + row).wrapping_mul(stride));
                    *planes = row_part::<T, PLANES>(query, step * SIDE, dim);
                }
                for plane in 0..PLANES {
                    let tile = (plane * work.strips + strip) * work.steps + step;
                    turn_into(work.queries.wrapping_add(tile * TILE), rows.map(|planes| planes[plane]));
                }
            }
        }
    }
}

/// Copies the keys of a block. Rows behind the sequence's end keep what they had, for scores that nobody reads.
///
/// # Safety
/// As [`queries`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn keys<T: Element, O, const PLANES: usize>(piece: &Piece<'_, T, O>, block: usize, work: &Work) {
    let (first, dim) = (block * BLOCK_KEYS, piece.spec.head_dim);
    let (mut source, stride) = (piece.key(first), piece.spec.row());
    for key in 0..BLOCK_KEYS.min(piece.len - first) {
        let target = work.keys.wrapping_add(key / TILE_ROWS * work.steps * TILE + key % TILE_ROWS * SIDE);
        for step in 0..work.steps {
            // SAFETY: keys below `len` are read, and the row lies inside its tile; the rest is the caller's promise.
            unsafe {
                for (plane, part) in row_part::<T, PLANES>(source, step * SIDE, dim).into_iter().enumerate() {
                    _mm512_store_si512(target.wrapping_add(step * TILE + plane * work.block_numbers()).cast(), part);
                }
            }
        }
        source = source.wrapping_add(stride);
    }
}

/// Lays the values of each two keys side by side and turns them, 32 keys from `32 · at` on of the block's `count`. Of each 8 of the head's numbers the
/// first half takes the first 4 and the other the others, as [`row_of`] says. Values behind the sequence's end become zeros.
///
/// # Safety
/// As [`queries`]; the caller is compiled for the instructions.
#[inline(always)]
pub(super) unsafe fn values<T: Element, const PLANES: usize>(rows: &Rows<T>, (at, half): (usize, usize), work: &Work) {
    let key = at.wrapping_mul(SIDE);
    let first = rows.source.wrapping_add(key.wrapping_mul(rows.stride));
    let count = SIDE.min(rows.count.wrapping_sub(key));
    let mut step = 0;
    while step < work.steps {
        // SAFETY: values below `count` are read, and the tiles lie inside the packed values; the rest is the caller's promise.
        unsafe {
            let mut tiles = [[_mm512_setzero_si512(); TILE_ROWS]; PLANES];
            for pair in 0..TILE_ROWS {
                if 2 * pair >= count {
                    break;
                }
                let at = step.wrapping_mul(SIDE);
                let row = first.wrapping_add((2 * pair).wrapping_mul(rows.stride));
                let even = row_part::<T, PLANES>(row, at, rows.dim);
                let mut odd = [_mm512_setzero_si512(); PLANES];
                if 2 * pair + 1 < count {
                    odd = row_part::<T, PLANES>(row.wrapping_add(rows.stride), at, rows.dim);
                }
                for (plane, tile) in tiles.iter_mut().enumerate() {
                    let (even, odd) = (even[plane], odd[plane]);
                    tile[pair] = if half == 0 { _mm512_unpacklo_epi16(even, odd) } else { _mm512_unpackhi_epi16(even, odd) };
                }
            }
            for (plane, tile) in tiles.into_iter().enumerate() {
                let number = (2 * step + half).wrapping_mul(BLOCK_KEYS / SIDE).wrapping_add(at);
                turn_into(work.values.wrapping_add(plane.wrapping_mul(work.block_numbers()).wrapping_add(number.wrapping_mul(TILE))), tile);
            }
        }
        step += 1;
    }
}

/// The values of a block.
pub(super) struct Rows<T> {
    pub source: *const T,
    pub stride: usize,
    pub count: usize,
    pub dim: usize,
}

/// Where one of the head's numbers lies among the rows of the mixture.
#[inline(always)]
pub(super) const fn row_of(number: usize) -> usize {
    number / SIDE * SIDE + number / 4 % 2 * TILE_ROWS + number % SIDE / 8 * 4 + number % 4
}
