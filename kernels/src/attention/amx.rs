//! Attention on AMX tiles: both products on tiles, softmax on 512-bit lanes between them.
//!
//! A tile of 32 queries meets a block of keys at a time; its scores and terms stay in the first cache. With one plane, operands are bf16 and the
//! exponential is exact to what the rounding of the terms hides. With two planes each operand is the sum of two bf16, of whose four products the
//! smallest is left out, and the exponential is that of `f32`.
//!
//! Hot code here passes no vectors through closures: a closure that is not inlined is compiled without the instructions, one call for each.

use std::arch::x86_64::*;

use half::bf16;

use super::piece::{Piece, Scratch, add_biases, shrink_of};
use super::tiles::{Left, Right, SIDE, TILE, product};
use crate::Stop;
use crate::activation::curves;
use crate::amx::{TILE_ROWS, Tiles};
use crate::isa::Amx;
use crate::lanes::{Element, Lanes};

/// Queries of a piece, whose packed keys serve all of them.
pub(super) const PIECE_QUERIES: usize = 512;
/// Keys that are scored together: 32 rows of scores, the block's keys and its values are 16 KB each with heads of 64.
pub(super) const BLOCK_KEYS: usize = 128;
const LANES: usize = 16;

/// The memory of a piece. Operands of bf16 have `PLANES` planes, one behind the other.
struct Work {
    /// `[queries, width]`.
    queries: *mut bf16,
    /// Tiles `[keys / 16, width / 32]`, each `[16 pairs of the head's numbers, 16 keys]`.
    keys: *mut bf16,
    /// Tiles `[width / 16, keys / 32]`, each `[16 pairs of keys, 16 of the head's numbers]`.
    values: *mut bf16,
    /// `[32, BLOCK_KEYS]`.
    terms: *mut bf16,
    /// `[32, BLOCK_KEYS]`.
    scores: *mut f32,
    /// `[queries, width]`.
    sums: *mut f32,
    /// Largest score and sum of terms of each query.
    states: *mut [f32; 2],
    /// Queries rounded up to whole products.
    rows: usize,
    /// The head's numbers rounded up to whole steps.
    width: usize,
}

/// Computes a piece; ends early, with the output undefined, when `stop` says so.
///
/// # Safety
/// Source and output of the piece are good for all its tokens.
pub(super) unsafe fn run<T: Element, O: Element>(
    (proof, is_exact): (Amx, bool),
    piece: &Piece<'_, T, O>,
    scratch: &mut Scratch,
    stop: Stop<'_>,
) {
    let tiles = Tiles::configure(proof);
    // SAFETY: the proof can only be had where the processor has AVX-512 with bf16 and AMX; the rest is the caller's promise.
    unsafe {
        if is_exact {
            compiled::<T, O, 2>(&tiles, piece, scratch, stop);
        } else {
            compiled::<T, O, 1>(&tiles, piece, scratch, stop);
        }
    }
}

/// # Safety
/// As [`run`]; the processor has these instructions and AMX, and the tiles are full ones.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn compiled<T: Element, O: Element, const PLANES: usize>(
    tiles: &Tiles,
    piece: &Piece<'_, T, O>,
    scratch: &mut Scratch,
    stop: Stop<'_>,
) {
    let dim = piece.spec.head_dim;
    let width = dim.next_multiple_of(SIDE);
    let rows = piece.queries.len().next_multiple_of(SIDE);
    let halves = |count: usize| PLANES * count / 2;
    let [queries, keys, values, terms, scores, sums, states] = scratch.numbers([
        halves(rows * width),
        halves(BLOCK_KEYS * width),
        halves(BLOCK_KEYS * width),
        halves(SIDE * BLOCK_KEYS),
        SIDE * BLOCK_KEYS,
        rows * width,
        2 * rows,
    ]);
    sums.fill(0.0);
    states.as_chunks_mut::<2>().0.fill([f32::NEG_INFINITY, 0.0]);
    let work = Work {
        queries: queries.as_mut_ptr().cast(),
        keys: keys.as_mut_ptr().cast(),
        values: values.as_mut_ptr().cast(),
        terms: terms.as_mut_ptr().cast(),
        scores: scores.as_mut_ptr(),
        sums: sums.as_mut_ptr(),
        states: states.as_mut_ptr().cast(),
        rows,
        width,
    };
    // SAFETY: the memory is as large as `Work` says; the rest is the caller's promise.
    unsafe {
        for (row, query) in piece.queries.clone().enumerate() {
            for at in (0..width).step_by(LANES) {
                let planes = split::<PLANES>(part(piece.query(query), at, dim));
                for (plane, half) in planes.into_iter().enumerate() {
                    _mm256_storeu_si256(work.queries.add((plane * rows + row) * width + at).cast(), half);
                }
            }
        }
        for block in piece.blocks(piece.queries.clone()) {
            if stop() {
                return;
            }
            pack_keys::<T, O, PLANES>(piece, block, &work);
            pack_values::<T, O, PLANES>(piece, block, &work);
            for row in (0..piece.queries.len()).step_by(SIDE) {
                let first = piece.queries.start + row;
                if piece.blocks(first..(first + SIDE).min(piece.queries.end)).contains(&block) {
                    strip::<T, O, PLANES>(tiles, piece, (row, block), &work);
                }
            }
        }
        for (row, query) in piece.queries.clone().enumerate() {
            let share = _mm512_set1_ps(1.0 / (*work.states.add(row))[1]);
            for at in (0..dim).step_by(LANES) {
                let mixed = _mm512_mul_ps(_mm512_loadu_ps(work.sums.add(row * width + at)), share);
                O::store(mixed, piece.out(query).add(at), LANES.min(dim - at));
            }
        }
    }
}

/// Sixteen numbers of a row of `dim` from `at` on, zeros behind its end.
///
/// # Safety
/// The processor has AVX-512; the row is readable.
#[inline(always)]
unsafe fn part<T: Element>(row: *const T, at: usize, dim: usize) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { if at < dim { T::load::<__m512>(row.add(at), LANES.min(dim - at)) } else { _mm512_setzero_ps() } }
}

/// The rounding to bf16, and that of what it left.
///
/// # Safety
/// The processor has AVX-512 with bf16.
#[inline(always)]
unsafe fn split<const PLANES: usize>(value: __m512) -> [__m256i; PLANES] {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut rest, mut halves) = (value, [_mm256_setzero_si256(); PLANES]);
        for half in &mut halves {
            *half = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(rest));
            rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(*half))));
        }
        halves
    }
}

/// Turns the keys of a block, pair by pair of the head's numbers. Keys behind the sequence's end become zeros.
///
/// # Safety
/// As [`compiled`].
#[inline(always)]
unsafe fn pack_keys<T: Element, O, const PLANES: usize>(piece: &Piece<'_, T, O>, block: usize, work: &Work) {
    let (first, dim, steps) = (block * BLOCK_KEYS, piece.spec.head_dim, work.width / SIDE);
    let count = BLOCK_KEYS.min(piece.len - first);
    let mut squares = [[0f32; 256]; PLANES];
    for column in (0..count.next_multiple_of(SIDE)).step_by(TILE_ROWS) {
        for step in 0..steps {
            // SAFETY: keys below `len` are read, the square is a tile, and the tile lies inside the packed keys; the rest is the caller's promise.
            unsafe {
                for key in 0..TILE_ROWS {
                    for half in [0, LANES] {
                        let exists = column + key < count;
                        let value =
                            if exists { part(piece.key(first + column + key), step * SIDE + half, dim) } else { _mm512_setzero_ps() };
                        for (square, value) in squares.iter_mut().zip(split::<PLANES>(value)) {
                            _mm256_storeu_si256(square.as_mut_ptr().add(key * LANES + half / 2).cast(), value);
                        }
                    }
                }
                for (plane, square) in squares.iter().enumerate() {
                    let tile = (plane * (BLOCK_KEYS / TILE_ROWS) + column / TILE_ROWS) * steps + step;
                    __m512::turn(square.as_ptr(), work.keys.add(tile * TILE).cast(), LANES);
                }
            }
        }
    }
}

/// Lays the values of each two keys side by side. Values behind the sequence's end become zeros.
///
/// # Safety
/// As [`compiled`].
#[inline(always)]
unsafe fn pack_values<T: Element, O, const PLANES: usize>(piece: &Piece<'_, T, O>, block: usize, work: &Work) {
    let first = block * BLOCK_KEYS;
    let count = BLOCK_KEYS.min(piece.len - first);
    for pair in 0..count.next_multiple_of(SIDE) / 2 {
        for at in (0..work.width).step_by(LANES) {
            // SAFETY: values below `len` are read and the row lies inside its tile; the rest is the caller's promise.
            unsafe {
                let even = split::<PLANES>(value_at(piece, (first, 2 * pair, count), at));
                let odd = split::<PLANES>(value_at(piece, (first, 2 * pair + 1, count), at));
                for (plane, (even, odd)) in even.into_iter().zip(odd).enumerate() {
                    let both = _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(odd)));
                    let tile = (plane * (work.width / TILE_ROWS) + at / TILE_ROWS) * (BLOCK_KEYS / SIDE) + pair / TILE_ROWS;
                    _mm512_storeu_si512(work.values.add(tile * TILE + pair % TILE_ROWS * SIDE).cast(), both);
                }
            }
        }
    }
}

/// Sixteen numbers from `at` on of value `key` of the `count` from `first` on; zeros behind the last.
///
/// # Safety
/// As [`compiled`].
#[inline(always)]
unsafe fn value_at<T: Element, O>(piece: &Piece<'_, T, O>, (first, key, count): (usize, usize, usize), at: usize) -> __m512 {
    // SAFETY: values below `count` are read; the rest is the caller's promise.
    unsafe { if key < count { part(piece.value(first + key), at, piece.spec.head_dim) } else { _mm512_setzero_ps() } }
}

/// 32 queries against one block of keys.
///
/// # Safety
/// As [`compiled`].
#[inline(always)]
unsafe fn strip<T, O, const PLANES: usize>(tiles: &Tiles, piece: &Piece<'_, T, O>, (row, block): (usize, usize), work: &Work) {
    let count = BLOCK_KEYS.min(piece.len - block * BLOCK_KEYS).next_multiple_of(SIDE);
    let steps = work.width / SIDE;
    // SAFETY: all products lie inside the packed operands and the results, whose sizes `Work` tells.
    unsafe {
        let left = Left { at: work.queries.add(row * work.width), row: work.width, plane: work.rows * work.width };
        for column in (0..count).step_by(SIDE) {
            let tile = column / TILE_ROWS * steps;
            let right = Right { at: work.keys.add(tile * TILE), column: steps * TILE, plane: BLOCK_KEYS * work.width };
            product::<PLANES>(tiles, (left, right), (work.scores.add(column), BLOCK_KEYS), (steps, false));
        }
        // Rows behind the last query keep terms that have no meaning, for sums that nobody reads.
        for lane in 0..SIDE.min(piece.queries.len() - row) {
            let shrink = softmax::<T, O, PLANES>(piece, (row + lane, block), (lane, count), work);
            if shrink != 1.0 {
                let sums = work.sums.add((row + lane) * work.width);
                for at in (0..work.width).step_by(LANES) {
                    _mm512_storeu_ps(sums.add(at), _mm512_mul_ps(_mm512_loadu_ps(sums.add(at)), _mm512_set1_ps(shrink)));
                }
            }
        }
        let left = Left { at: work.terms, row: BLOCK_KEYS, plane: SIDE * BLOCK_KEYS };
        for column in (0..work.width).step_by(SIDE) {
            let tile = column / TILE_ROWS * (BLOCK_KEYS / SIDE);
            let right = Right { at: work.values.add(tile * TILE), column: BLOCK_KEYS / SIDE * TILE, plane: BLOCK_KEYS * work.width };
            let target = work.sums.add(row * work.width + column);
            product::<PLANES>(tiles, (left, right), (target, work.width), (count / SIDE, true));
        }
    }
}

/// One row of scores to terms; gives what earlier sums are to be multiplied with.
///
/// # Safety
/// As [`compiled`].
#[inline(always)]
unsafe fn softmax<T, O, const PLANES: usize>(
    piece: &Piece<'_, T, O>,
    (row, block): (usize, usize),
    (lane, count): (usize, usize),
    work: &Work,
) -> f32 {
    let query = piece.queries.start + row;
    let seen = piece.seen(query, block);
    let vectors = || (0..count).step_by(LANES);
    // SAFETY: `count` scores and terms lie inside their row; the rest is the caller's promise.
    unsafe {
        let scores = work.scores.add(lane * BLOCK_KEYS);
        let [largest, total] = &mut *work.states.add(row);
        let mut highest = __m512::splat(*largest);
        if piece.spec.softcap.is_none() && piece.biases().is_none() && seen.len() == count {
            for at in vectors() {
                let score = __m512::load(scores.add(at)).mul(__m512::splat(piece.spec.scale));
                highest = highest.max(score);
                score.store(scores.add(at));
            }
        } else {
            adjust(piece, (query, block), std::slice::from_raw_parts_mut(scores, count));
            for at in vectors() {
                highest = highest.max(__m512::load(scores.add(at)));
            }
        }
        let highest = highest.max_across();
        // A query that has seen nothing yet: every term is 0, and so is the difference that would otherwise be NaN.
        let base = if highest == f32::NEG_INFINITY { 0.0 } else { highest };
        let mut sums = __m512::splat(0.0);
        for at in vectors() {
            let difference = __m512::load(scores.add(at)).sub(__m512::splat(base));
            let term = if PLANES == 1 { curves::exp_falling_near(difference) } else { curves::exp_falling(difference) };
            sums = sums.add(term);
            for (plane, half) in split::<PLANES>(term).into_iter().enumerate() {
                _mm256_storeu_si256(work.terms.add((plane * SIDE + lane) * BLOCK_KEYS + at).cast(), half);
            }
        }
        let shrink = shrink_of::<__m512>(*largest, highest);
        *total = *total * shrink + sums.sum_across();
        *largest = highest;
        shrink
    }
}

/// Scale, cap, bias and mask of a row of scores. Not inlined: most rows of most models need the scale alone.
///
/// # Safety
/// The processor has AVX-512; the scores are whole vectors.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
unsafe fn adjust<T, O>(piece: &Piece<'_, T, O>, (query, block): (usize, usize), scores: &mut [f32]) {
    let seen = piece.seen(query, block);
    for scores in scores.chunks_exact_mut(LANES) {
        // SAFETY: a whole vector, on a processor that has the instructions.
        unsafe {
            let mut score = __m512::load(scores.as_ptr()).mul(__m512::splat(piece.spec.scale));
            if let Some(cap) = piece.spec.softcap {
                score = curves::tanh(score.mul(__m512::splat(1.0 / cap))).mul(__m512::splat(cap));
            }
            score.store(scores.as_mut_ptr());
        }
    }
    if let Some(biases) = piece.biases() {
        add_biases(&mut scores[seen.clone()], biases, (query, block * BLOCK_KEYS + seen.start));
    }
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
}
