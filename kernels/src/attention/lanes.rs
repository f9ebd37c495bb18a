//! Attention on `f32` lanes: blocks of keys are turned into columns and multiplied with the queries tile by tile; each tile's scores go through an
//! online softmax (Milakov and Gimelshein 2018, arXiv:1805.02867) and on to the values while they are in the first cache.

use super::piece::{Piece, Scratch, add_biases, shrink_of};
use crate::Stop;
use crate::activation::curves;
use crate::lanes::{Element, Lanes, on_lanes};

on_lanes! {
    pub(super) fn run[T: Element, O: Element](piece: &Piece<'_, T, O>, scratch: &mut Scratch, stop: Stop<'_>) = body
}

/// Queries of a piece.
pub(super) const PIECE_QUERIES: usize = 128;
/// Keys that are scored together: the block's keys and its values are 16 KB each with heads of 64.
pub(super) const BLOCK_KEYS: usize = 64;

/// Rows of a tile of queries: as many as leave room for sums, operands and one query in the registers.
const fn tile_rows<L: Lanes>() -> usize {
    if L::COUNT == 16 { 6 } else { 4 }
}

/// A matrix row by row.
#[derive(Clone, Copy)]
struct View {
    at: *mut f32,
    row: usize,
}

impl View {
    fn new(values: &mut [f32], row: usize) -> Self {
        Self { at: values.as_mut_ptr(), row }
    }

    fn rows_from(self, row: usize) -> Self {
        Self { at: self.at.wrapping_add(row * self.row), ..self }
    }

    fn columns_from(self, column: usize) -> Self {
        Self { at: self.at.wrapping_add(column), ..self }
    }
}

/// The memory of a piece.
struct Work {
    /// `[queries, width]`, scaled.
    queries: View,
    /// `[head_dim, keys]`.
    keys: View,
    /// `[keys, width]`.
    values: View,
    /// `[tile, keys]`.
    scores: View,
    /// `[queries, width]`.
    sums: View,
    /// Largest score and sum of terms of each query.
    states: *mut [f32; 2],
}

/// Computes a piece; ends early, with the output undefined, when `stop` says so.
///
/// Safety: as [`Lanes`]; source and output of the piece are good for all its tokens.
#[inline(always)]
unsafe fn body<L: Lanes, T: Element, O: Element>(piece: &Piece<'_, T, O>, scratch: &mut Scratch, stop: Stop<'_>) {
    let dim = piece.spec.head_dim;
    let width = dim.next_multiple_of(L::COUNT);
    let rows = piece.queries.len().next_multiple_of(tile_rows::<L>());
    let [queries, keys, values, scores, sums, states] =
        scratch.numbers([rows * width, width * BLOCK_KEYS, width * BLOCK_KEYS, tile_rows::<L>() * BLOCK_KEYS, rows * width, 2 * rows]);
    sums.fill(0.0);
    states.as_chunks_mut::<2>().0.fill([f32::NEG_INFINITY, 0.0]);
    let work = Work {
        queries: View::new(queries, width),
        keys: View::new(keys, BLOCK_KEYS),
        values: View::new(values, width),
        scores: View::new(scores, BLOCK_KEYS),
        sums: View::new(sums, width),
        states: states.as_mut_ptr().cast(),
    };
    // SAFETY: the memory is as large as the views say; the rest is granted by the caller.
    unsafe {
        for (row, query) in piece.queries.clone().enumerate() {
            copy_row::<L, T>(piece.query(query), work.queries.rows_from(row).at, dim, L::splat(piece.spec.scale));
        }
        for block in piece.blocks(piece.queries.clone()) {
            if stop() {
                return;
            }
            pack::<L, T, O>(piece, block, &work);
            for row in (0..piece.queries.len()).step_by(tile_rows::<L>()) {
                let first = piece.queries.start + row;
                let queries = first..(first + tile_rows::<L>()).min(piece.queries.end);
                if piece.blocks(queries).contains(&block) {
                    tile::<L, T, O>(piece, (row, block), &work);
                }
            }
        }
        for (row, query) in piece.queries.clone().enumerate() {
            let share = L::splat(1.0 / (*work.states.add(row))[1]);
            for at in (0..dim).step_by(L::COUNT) {
                O::store(L::load(work.sums.rows_from(row).at.add(at)).mul(share), piece.out(query).add(at), L::COUNT.min(dim - at));
            }
        }
    }
}

/// Safety: as [`body`]; the target has room for `dim` rounded up to whole lanes.
#[inline(always)]
unsafe fn copy_row<L: Lanes, T: Element>(source: *const T, target: *mut f32, dim: usize, scale: L) {
    for at in (0..dim).step_by(L::COUNT) {
        // SAFETY: granted by the caller.
        unsafe { T::load::<L>(source.add(at), L::COUNT.min(dim - at)).mul(scale).store(target.add(at)) };
    }
}

/// Turns the block's keys into columns and copies its values. Safety: as [`body`].
#[inline(always)]
unsafe fn pack<L: Lanes, T: Element, O>(piece: &Piece<'_, T, O>, block: usize, work: &Work) {
    let dim = piece.spec.head_dim;
    let first = block * BLOCK_KEYS;
    let count = BLOCK_KEYS.min(piece.len - first);
    let mut square = [0f32; 16 * 16];
    // SAFETY: keys and values below `len` are read; the views have room for the block rounded up to whole lanes in both directions.
    unsafe {
        for key in 0..count {
            copy_row::<L, T>(piece.value(first + key), work.values.rows_from(key).at, dim, L::splat(1.0));
        }
        for key in (0..count).step_by(L::COUNT) {
            for at in (0..dim).step_by(L::COUNT) {
                let len = L::COUNT.min(dim - at);
                for lane in 0..L::COUNT.min(count - key) {
                    T::load::<L>(piece.key(first + key + lane).add(at), len).store(square.as_mut_ptr().add(lane * L::COUNT));
                }
                L::turn(square.as_ptr(), work.keys.rows_from(at).columns_from(key).at, work.keys.row);
            }
        }
    }
}

/// One tile of queries against one block of keys. Safety: as [`body`].
#[inline(always)]
unsafe fn tile<L: Lanes, T, O>(piece: &Piece<'_, T, O>, (row, block): (usize, usize), work: &Work) {
    let dim = piece.spec.head_dim;
    let count = BLOCK_KEYS.min(piece.len - block * BLOCK_KEYS);
    // SAFETY: the views hold whole tiles and blocks.
    unsafe {
        multiply::<L>((work.queries.rows_from(row), work.keys), work.scores, (dim, count), false);
        for lane in 0..tile_rows::<L>() {
            let scores = std::slice::from_raw_parts_mut(work.scores.rows_from(lane).at, count.next_multiple_of(L::COUNT));
            let shrink = softmax::<L, T, O>(piece, (piece.queries.start + row + lane, block), scores, &mut *work.states.add(row + lane));
            if shrink != 1.0 {
                let sums = work.sums.rows_from(row + lane).at;
                for at in (0..dim).step_by(L::COUNT) {
                    L::load(sums.add(at)).mul(L::splat(shrink)).store(sums.add(at));
                }
            }
        }
        multiply::<L>((work.scores, work.values), work.sums.rows_from(row), (count, dim), true);
    }
}

/// Replaces scores by exponentials of their differences to the largest score so far; gives what earlier sums are to be multiplied with.
///
/// Safety: as [`Lanes`]; the scores are whole lanes.
#[inline(always)]
unsafe fn softmax<L: Lanes, T, O>(
    piece: &Piece<'_, T, O>,
    (query, block): (usize, usize),
    scores: &mut [f32],
    [largest, total]: &mut [f32; 2],
) -> f32 {
    let seen = piece.seen(query, block);
    let len = scores.len();
    let vectors = || (0..len).step_by(L::COUNT);
    // SAFETY: whole lanes; the caller is compiled for the level.
    unsafe {
        if let Some(cap) = piece.spec.softcap {
            let address = scores.as_mut_ptr();
            for at in vectors() {
                curves::tanh(L::load(address.add(at)).mul(L::splat(1.0 / cap))).mul(L::splat(cap)).store(address.add(at));
            }
        }
        if let Some(biases) = piece.biases() {
            add_biases(&mut scores[seen.clone()], biases, (query, block * BLOCK_KEYS + seen.start));
        }
        scores[..seen.start].fill(f32::NEG_INFINITY);
        scores[seen.end..].fill(f32::NEG_INFINITY);
        let address = scores.as_mut_ptr();
        let mut highest = L::splat(*largest);
        for at in vectors() {
            highest = highest.max(L::load(address.add(at)));
        }
        let highest = highest.max_across();
        // A query that has seen nothing yet: every term is 0, and so is the difference that would otherwise be NaN.
        let base = if highest == f32::NEG_INFINITY { 0.0 } else { highest };
        let mut sums = L::splat(0.0);
        for at in vectors() {
            let term = curves::exp_falling(L::load(address.add(at)).sub(L::splat(base)));
            sums = sums.add(term);
            term.store(address.add(at));
        }
        let shrink = shrink_of::<L>(*largest, highest);
        *total = *total * shrink + sums.sum_across();
        *largest = highest;
        shrink
    }
}

/// `c = a b`, or `c += a b`: one tile of rows, `columns` rounded up to whole lanes. Safety: as [`Lanes`]; the views hold such matrices.
#[inline(always)]
unsafe fn multiply<L: Lanes>((a, b): (View, View), c: View, (depth, columns): (usize, usize), adds: bool) {
    let mut at = 0;
    while at < columns {
        let vectors = (columns - at).div_ceil(L::COUNT);
        let (b, c) = (b.columns_from(at), c.columns_from(at));
        // SAFETY: granted by the caller.
        let done = unsafe {
            match (L::COUNT == 16, vectors) {
                (true, 4..) => product::<L, 6, 4>((a, b), c, depth, adds),
                (true, 2..) => product::<L, 6, 2>((a, b), c, depth, adds),
                (true, _) => product::<L, 6, 1>((a, b), c, depth, adds),
                (false, 2..) => product::<L, 4, 2>((a, b), c, depth, adds),
                (false, _) => product::<L, 4, 1>((a, b), c, depth, adds),
            }
        };
        at += done * L::COUNT;
    }
}

/// `R` rows by `C` vectors with all sums in registers; gives `C`. Safety: as [`multiply`].
#[inline(always)]
unsafe fn product<L: Lanes, const R: usize, const C: usize>((a, b): (View, View), c: View, depth: usize, adds: bool) -> usize {
    // SAFETY: granted by the caller.
    unsafe {
        let address = |row: usize, column: usize| c.at.add(row * c.row + column * L::COUNT);
        let mut sums: [[L; C]; R] =
            std::array::from_fn(|row| std::array::from_fn(|column| if adds { L::load(address(row, column)) } else { L::splat(0.0) }));
        for step in 0..depth {
            let right: [L; C] = std::array::from_fn(|column| L::load(b.at.add(step * b.row + column * L::COUNT)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = L::splat(*a.at.add(row * a.row + step));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = left.mul_add(right, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (column, sum) in sums.iter().enumerate() {
                sum.store(address(row, column));
            }
        }
    }
    C
}
