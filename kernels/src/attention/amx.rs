//! Attention on AMX tiles: both products on tiles, softmax on 512-bit lanes between them.
//!
//! Everything is turned: a strip of 16 queries lies across the lanes and its keys lie below each other, so that largest scores, sums of terms and their
//! reciprocals are vectors of one number per query, and no vector is ever reduced. With one plane, operands are bf16 and the exponential is exact to
//! what the rounding of the terms hides. With two planes each operand is the sum of two bf16, of whose four products the smallest is left out, and the
//! exponential is that of `f32`.
//!
//! While the vectors make terms of a strip's scores, the tiles mix the values of the strip before and score the next, whose scores take the place of
//! those that were read. Stores behind that of a tile wait for the tile's products, so a tile is stored long after its products were begun.

use half::bf16;

use super::piece::{Piece, Scratch};
use super::softmax_avx512::{Powers, State, adjust, factor_of, hide};
use super::tiles::{self as steps, Operand, SIDE, TILE};
use super::{finish_avx512, pack_avx512 as pack};
use crate::Stop;
use crate::amx::{TILE_ROWS, Tiles};
use crate::isa::Amx;
use crate::lanes::Element;

/// Queries of a piece, whose packed keys serve all of them.
pub(super) const PIECE_QUERIES: usize = 512;
/// Keys that are scored together: the scores of a strip, the block's keys and its values are 8 KB each with heads of 32.
pub(super) const BLOCK_KEYS: usize = 128;
/// Tiles of a block's keys along the keys.
const BLOCK_STEPS: usize = BLOCK_KEYS / SIDE;

/// The memory of a piece. Operands of bf16 are tiles in one or two planes, one behind the other.
pub(super) struct Work {
    /// Tiles `[strips, steps]`, each `[16 pairs of the head's numbers, 16 queries]`.
    pub queries: *mut bf16,
    /// Tiles `[keys / 16, steps]`, each `[16 keys, 32 of the head's numbers]`.
    pub keys: *mut bf16,
    /// Tiles `[steps · 2, keys / 32]`, each `[16 of the head's numbers, 32 keys]`.
    pub values: *mut bf16,
    /// Tiles `[keys / 32]`, each `[16 pairs of keys, 16 queries]`, of a strip and the one before.
    pub terms: [*mut bf16; 2],
    /// `[keys, 16 queries]`.
    pub scores: *mut f32,
    /// What the block adds to a strip: `[steps · 32, 16 queries]`.
    pub mixed: *mut f32,
    /// The same of all blocks before, for each strip.
    pub sums: *mut f32,
    /// `[16 queries, 32 of the head's numbers]`.
    pub square: *mut f32,
    pub states: *mut State,
    pub strips: usize,
    /// Steps of 32 of the head's numbers.
    pub steps: usize,
}

impl Work {
    /// Numbers of a plane of a block's keys or values.
    #[inline(always)]
    pub(super) fn block_numbers(&self) -> usize {
        BLOCK_KEYS * SIDE * self.steps
    }

    /// The queries of a strip.
    #[inline(always)]
    fn left(&self, strip: usize) -> Operand {
        let plane = self.strips.wrapping_mul(self.steps).wrapping_mul(TILE);
        Operand { at: self.queries, plane }.tile(strip.wrapping_mul(self.steps))
    }
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
            blocks::<T, O, 2>(&tiles, piece, scratch, stop);
        } else {
            blocks::<T, O, 1>(&tiles, piece, scratch, stop);
        }
    }
}

/// # Safety
/// As [`run`]; the processor has AVX-512 with bf16 and AMX, and the tiles are full ones.
unsafe fn blocks<T: Element, O: Element, const PLANES: usize>(
    tiles: &Tiles,
    piece: &Piece<'_, T, O>,
    scratch: &mut Scratch,
    stop: Stop<'_>,
) {
    let steps = piece.spec.head_dim.div_ceil(SIDE);
    let strips = piece.queries.len().div_ceil(TILE_ROWS);
    let (width, halves) = (steps * SIDE, |count: usize| PLANES * count / 2);
    let [queries, keys, values, first, second, scores, mixed, sums, square, states] = scratch.numbers([
        halves(strips * steps * TILE),
        halves(BLOCK_KEYS * width),
        halves(BLOCK_KEYS * width),
        halves(BLOCK_KEYS * TILE_ROWS),
        halves(BLOCK_KEYS * TILE_ROWS),
        BLOCK_KEYS * TILE_ROWS,
        width * TILE_ROWS,
        strips * width * TILE_ROWS,
        TILE_ROWS * SIDE,
        strips * size_of::<State>() / size_of::<f32>(),
    ]);
    let work = Work {
        queries: queries.as_mut_ptr().cast(),
        keys: keys.as_mut_ptr().cast(),
        values: values.as_mut_ptr().cast(),
        terms: [first.as_mut_ptr().cast(), second.as_mut_ptr().cast()],
        scores: scores.as_mut_ptr(),
        mixed: mixed.as_mut_ptr(),
        sums: sums.as_mut_ptr(),
        square: square.as_mut_ptr(),
        states: states.as_mut_ptr().cast(),
        strips,
        steps,
    };
    // SAFETY: the memory is as large as `Work` says and begins at lines of the cache; the rest is the caller's promise.
    unsafe {
        std::slice::from_raw_parts_mut(work.states, strips).fill(State::NOTHING);
        pack::queries::<T, O, PLANES>(piece, &work);
        for block in piece.blocks(piece.queries.clone()) {
            if stop() {
                return;
            }
            pack::keys::<T, O, PLANES>(piece, block, &work);
            let mut seen = (0..strips).filter(|strip| blocks_of(piece, *strip).contains(&block));
            if let Some(from) = seen.next() {
                compiled::<T, O, PLANES>(tiles, piece, (block, (from, seen.next_back().unwrap_or(from))), &work);
            }
        }
    }
}

/// The blocks that some query of a strip sees.
#[inline]
fn blocks_of<T, O>(piece: &Piece<'_, T, O>, strip: usize) -> std::ops::Range<usize> {
    let first = piece.queries.start + strip * TILE_ROWS;
    piece.blocks(first..(first + TILE_ROWS).min(piece.queries.end))
}

/// The strips from the first to the last that see a block, against it.
///
/// # Safety
/// As [`blocks`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn compiled<T: Element, O: Element, const PLANES: usize>(
    _tiles: &Tiles,
    piece: &Piece<'_, T, O>,
    (block, (from, last)): (usize, (usize, usize)),
    work: &Work,
) {
    let count = BLOCK_KEYS.min(piece.len - block * BLOCK_KEYS);
    let (factor, adjusts) = factor_of(piece);
    let padded = count.next_multiple_of(SIDE);
    let chunks = padded / TILE_ROWS;
    let values = pack::Rows { source: piece.value(block * BLOCK_KEYS), stride: piece.spec.row(), count, dim: piece.spec.head_dim };
    // Units of a strip's mixture that are due behind a chunk, in 2¹⁶ths; the last chunk leaves the tiles time.
    let share = ((padded / SIDE * work.steps) << 16).div_ceil(chunks - 1);
    let keys = Operand { at: work.keys, plane: work.block_numbers() };
    // SAFETY: all tiles lie inside the packed operands and the results, whose sizes `Work` tells.
    unsafe {
        for chunk in 0..chunks {
            steps::score::<PLANES>(keys.tile(chunk * work.steps), work.left(from), work.steps);
            pack::values::<T, PLANES>(&values, (chunk / 2, chunk % 2), work);
            steps::store_scores(work.scores.wrapping_add(chunk * 256));
        }
        for strip in from..=last {
            let query = piece.queries.start + strip * TILE_ROWS;
            if adjusts {
                adjust(piece, (query, block), work.scores, count);
            }
            if count < padded || !piece.sees_all(query..(query + TILE_ROWS).min(piece.queries.end), block) {
                hide(piece, (query, block), work.scores, count);
            }
            let state = work.states.wrapping_add(strip);
            let mut powers = Powers::new((work.scores, padded), factor, state);
            let (target, before) = (work.terms[strip % 2], work.terms[(strip + 1) % 2]);
            let (has_before, has_next) = (strip > from, strip < last);
            // The last strip is followed by nothing, and scored again for nobody.
            let queries = work.left(strip + usize::from(has_next));
            let mut mix = Mix::new(work, before, padded / SIDE);
            let (mut due, share) = (0, if has_before { share } else { 0 });
            for chunk in 0..chunks {
                let scores = work.scores.wrapping_add(chunk.wrapping_mul(256));
                if has_next {
                    steps::score::<PLANES>(keys.tile(chunk.wrapping_mul(work.steps)), queries, work.steps);
                }
                due += share;
                mix.run::<PLANES>(due >> 16);
                powers.terms::<PLANES>(scores, target.wrapping_add(chunk.wrapping_mul(256)), BLOCK_KEYS * TILE_ROWS);
                if has_next {
                    steps::store_scores(scores);
                }
            }
            powers.note(state);
            if has_before {
                mix.end();
                finish_avx512::strip(piece, (strip - 1, block), blocks_of(piece, strip - 1), work);
            }
        }
        let mut mix = Mix::new(work, work.terms[last % 2], padded / SIDE);
        mix.run::<PLANES>(mix.units);
        mix.end();
        finish_avx512::strip(piece, (last, block), blocks_of(piece, last), work);
    }
}

/// The mixing of a strip's values in units of 32 keys and 32 of the head's numbers.
struct Mix {
    /// The next unit's.
    values: Operand,
    terms: Operand,
    /// Where the sums go that the tiles hold.
    mixed: *mut f32,
    /// Units of the same of the head's numbers, and the next unit among them.
    steps: usize,
    step: usize,
    /// Units that are done, and all.
    done: usize,
    units: usize,
}

impl Mix {
    #[inline(always)]
    fn new(work: &Work, terms: *const bf16, steps: usize) -> Self {
        let values = Operand { at: work.values, plane: work.block_numbers() };
        let terms = Operand { at: terms, plane: BLOCK_KEYS * TILE_ROWS };
        Self { values, terms, mixed: work.mixed, steps, step: 0, done: 0, units: steps.wrapping_mul(work.steps) }
    }

    /// Goes on until `due` units are done, or all.
    ///
    /// # Safety
    /// This thread's tiles are full ones; terms and values are packed.
    #[inline(always)]
    unsafe fn run<const PLANES: usize>(&mut self, due: usize) {
        while self.done < due && self.done < self.units {
            // SAFETY: the caller's promise.
            unsafe {
                if self.step == 0 {
                    if self.done > 0 {
                        steps::store_mixed(self.mixed);
                        self.mixed = self.mixed.wrapping_add(SIDE * TILE_ROWS);
                    }
                    steps::mix_nothing();
                }
                steps::mix::<PLANES>((self.values, BLOCK_STEPS * TILE), self.terms.tile(self.step));
            }
            self.values = self.values.tile(1);
            self.step = self.step.wrapping_add(1);
            self.done = self.done.wrapping_add(1);
            if self.step == self.steps {
                self.step = 0;
                self.values = self.values.tile((2 * BLOCK_STEPS).wrapping_sub(self.steps));
            }
        }
    }

    /// Writes what the tiles hold.
    ///
    /// # Safety
    /// All units are done.
    #[inline(always)]
    unsafe fn end(&self) {
        // SAFETY: the caller's promise; the mixture has room for it.
        unsafe { steps::store_mixed(self.mixed) };
    }
}
