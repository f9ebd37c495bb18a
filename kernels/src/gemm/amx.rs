//! One strip against some panels on AMX tiles, a block of 32 rows and 32 columns at a time, with the vectors finishing the block before meanwhile.
//!
//! Two schemes. In halves: 32 rows by 16 columns at a time in two of the four accumulators, while the other two are written back; best while the
//! strip's rows stay in the first cache. Whole: two row tiles times two column tiles, which loads less per product; best for long rows. A strip of at
//! most 16 rows uses one row tile and two accumulators. Behind every step some rows of the block before are finished: tiles and vectors have ports of
//! their own, but the processor does not look far enough ahead to find work for both by itself.
//!
//! Everything of a pass is one function without calls: stores behind that of a tile wait for the tile's products, and those that calls and records on
//! the stack make fill the store buffer long before. Tile registers keep their sums from one piece of assembly to the next: no other code of this crate
//! touches them in between, and the compiler has no instructions that do.

use half::bf16;

use super::amx_steps::{self as steps, AHEAD_LINES, Steps};
use super::finish_avx512::{Finisher, Number};
use super::pack::Form;
use super::strip::{Pass, Sums};
use super::{Output, PANEL_COLUMNS, STRIP_ROWS};
use crate::activation::curves::{Curve, with_curve};
use crate::amx::{TILE_ROWS, Tiles};
use crate::isa::Amx;

/// Steps of a panel with which halves are computed: fewer leave nothing to overlap, with more the rows of a strip do not stay in the first cache.
const HALVES_STEPS: std::ops::RangeInclusive<usize> = 4..=14;
/// Numbers of half a block's sums: 32 rows of 16 columns, row by row, the left half first.
pub(super) const HALF: usize = STRIP_ROWS * PANEL_COLUMNS / 2;

/// All panels of a pass.
pub(super) fn run((_proof, tiles): (Amx, &Tiles), pass: &Pass<'_>, sums: &mut [Sums; 2], out: &mut Output<'_>) {
    let activation = pass.finish.epilogue.activation;
    // The proof can only be had where the processor has AMX, and AVX-512 with bf16; `Tiles` says that this thread's tiles are full ones.
    match out {
        Output::F32(out) => {
            let finisher = Finisher::<f32>::new(pass, out);
            // SAFETY: as above.
            unsafe { with_curve!(activation, Grade::Full, C => of_form::<f32, C>(tiles, pass, &finisher, sums)) }
        }
        Output::Bf16(out) => {
            let finisher = Finisher::<bf16>::new(pass, out);
            // SAFETY: as above.
            unsafe { with_curve!(activation, Grade::Near, C => of_form::<bf16, C>(tiles, pass, &finisher, sums)) }
        }
    }
}

/// # Safety
/// The processor has AMX, and AVX-512 with bf16.
unsafe fn of_form<N: Number, C: Curve>(tiles: &Tiles, pass: &Pass<'_>, finisher: &Finisher<N>, sums: &mut [Sums; 2]) {
    let is_tall = pass.operand.rows > TILE_ROWS;
    let count = pass.weights.steps();
    let in_halves = is_tall && HALVES_STEPS.contains(&count);
    let walk = Walk::new(pass);
    // SAFETY: the caller's promise in every arm; `Walk` has checked the addresses.
    unsafe {
        match pass.operand.form {
            Form::Bf16 if in_halves => halves::<N, C, false>(tiles, &walk, finisher, sums),
            Form::Int8 if in_halves => halves::<N, C, true>(tiles, &walk, finisher, sums),
            Form::Bf16 if is_tall => whole::<N, C, BF16>(tiles, &walk, finisher, sums),
            Form::Bf16 => whole::<N, C, BF16_SHORT>(tiles, &walk, finisher, sums),
            Form::Int8 if is_tall => whole::<N, C, INT8>(tiles, &walk, finisher, sums),
            Form::Int8 => whole::<N, C, INT8_SHORT>(tiles, &walk, finisher, sums),
            Form::Bf16Pair if is_tall => whole::<N, C, PAIR>(tiles, &walk, finisher, sums),
            Form::Bf16Pair => whole::<N, C, PAIR_SHORT>(tiles, &walk, finisher, sums),
            Form::F32 => unreachable!("single precision is not packed for tiles"),
        }
    }
}

/// The steps of whole blocks.
const BF16: u8 = 0;
const BF16_SHORT: u8 = 1;
const INT8: u8 = 2;
const INT8_SHORT: u8 = 3;
const PAIR: u8 = 4;
const PAIR_SHORT: u8 = 5;

/// The walk of a strip along its panels.
struct Walk {
    first: Steps,
    panel_bytes: usize,
    panels: usize,
    /// Steps of a panel.
    count: usize,
    /// Rows that count.
    rows: usize,
}

impl Walk {
    fn new(pass: &Pass<'_>) -> Self {
        let (operand, weights) = (&pass.operand, pass.weights.panels(pass.panels.clone()));
        let (panels, count) = (pass.panels.len(), pass.weights.steps());
        let panel_bytes = pass.weights.panel_bytes();
        assert!(panel_bytes == count * operand.form.step_bytes() && weights.len() == panels * panel_bytes && count > 0);
        let tile_rows = operand.rows.next_multiple_of(TILE_ROWS);
        // Every step of every form reads 64 bytes of a row.
        assert!(count * 64 <= operand.row_bytes && operand.bytes.len() >= operand.plane_bytes + tile_rows * operand.row_bytes);
        assert!(tile_rows <= STRIP_ROWS && (operand.form == Form::Bf16Pair) == (operand.plane_bytes > 0));
        // What is fetched is spread over all steps. Without any, an address without memory would cost a walk through the page tables every time.
        let lines = pass.ahead.len() / 64 / (panels * count).max(1);
        let ahead = match pass.ahead.is_empty() {
            true => (operand.bytes.as_ptr(), 0),
            false => (pass.ahead.as_ptr(), 64 * lines.clamp(1, AHEAD_LINES)),
        };
        let first = Steps {
            rows: operand.bytes.as_ptr(),
            row_bytes: operand.row_bytes,
            plane_bytes: operand.plane_bytes,
            weights: weights.as_ptr(),
            ahead,
        };
        Self { first, panel_bytes, panels, count, rows: operand.rows }
    }
}

/// Every panel in two halves: the sums of one are written while the next is computed.
///
/// # Safety
/// The processor has these instructions, and AMX.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn halves<N: Number, C: Curve, const IS_INT8: bool>(_tiles: &Tiles, walk: &Walk, finisher: &Finisher<N>, sums: &mut [Sums; 2]) {
    let finisher = *finisher;
    let (rows, count) = (walk.rows, walk.count);
    let [first, second] = sums;
    let (mut current, mut previous) = (first.as_mut_ptr(), second.as_mut_ptr());
    let mut at = walk.first;
    // Rows of the block before that are finished behind a step, in 2¹⁶ths.
    let share = (rows << 16).div_ceil(2 * count - 2);
    // SAFETY: `Walk` and `Finisher` have checked that all they point to lies inside operand, weights and output; the sums have room for two halves of two
    // tiles each. The first half of all writes what the tiles held before, which its own panel's sums overwrite.
    unsafe {
        for panel in 0..walk.panels {
            let block = finisher.block(panel.saturating_sub(1), previous);
            // The first panel has none before it.
            let share = if panel > 0 { share } else { 0 };
            let (mut done, mut due) = (0, 0);
            let base = (walk.first.rows, walk.first.weights.wrapping_add(panel * walk.panel_bytes));
            (at.rows, at.weights) = base;
            steps::zero_01();
            left::<IS_INT8>(&mut at, 1);
            steps::store_23(previous.add(HALF));
            for _ in 1..count {
                left::<IS_INT8>(&mut at, 1);
                due += share;
                let to = (due >> 16).min(rows);
                block.rows::<C>(done, to);
                done = to;
            }
            (at.rows, at.weights) = (base.0, base.1.wrapping_add(1024));
            steps::zero_23();
            right::<IS_INT8>(&mut at, 1);
            steps::store_01(current);
            for _ in 1..count {
                right::<IS_INT8>(&mut at, 1);
                due += share;
                let to = (due >> 16).min(rows);
                block.rows::<C>(done, to);
                done = to;
            }
            (current, previous) = (previous, current);
        }
        steps::store_23(previous.add(HALF));
        finisher.block(walk.panels - 1, previous).rows::<C>(0, rows);
    }
}

/// # Safety
/// As the steps.
#[inline(always)]
unsafe fn left<const IS_INT8: bool>(at: &mut Steps, count: usize) {
    // SAFETY: the caller's promise.
    unsafe { if IS_INT8 { steps::int8_left(at, count) } else { steps::bf16_left(at, count) } }
}

/// # Safety
/// As the steps.
#[inline(always)]
unsafe fn right<const IS_INT8: bool>(at: &mut Steps, count: usize) {
    // SAFETY: the caller's promise.
    unsafe { if IS_INT8 { steps::int8_right(at, count) } else { steps::bf16_right(at, count) } }
}

/// Every panel at once: while the tiles multiply for one, the vectors finish the one before.
///
/// # Safety
/// The processor has these instructions, and AMX.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn whole<N: Number, C: Curve, const KIND: u8>(_tiles: &Tiles, walk: &Walk, finisher: &Finisher<N>, sums: &mut [Sums; 2]) {
    let finisher = *finisher;
    let (rows, count) = (walk.rows, walk.count);
    let [first, second] = sums;
    let (mut current, mut previous) = (first.as_mut_ptr(), second.as_mut_ptr());
    let mut at = walk.first;
    let share = (rows << 16).div_ceil(count);
    // SAFETY: as in `halves`.
    unsafe {
        for panel in 0..walk.panels {
            (at.rows, at.weights) = (walk.first.rows, walk.first.weights.wrapping_add(panel * walk.panel_bytes));
            let block = finisher.block(panel.saturating_sub(1), previous);
            steps::zero_01();
            steps::zero_23();
            let share = if panel > 0 { share } else { 0 };
            let (mut done, mut due) = (0, 0);
            for _ in 0..count {
                match KIND {
                    BF16 => steps::bf16_32(&mut at, 1),
                    BF16_SHORT => steps::bf16_16(&mut at, 1),
                    INT8 => steps::int8_32(&mut at, 1),
                    INT8_SHORT => steps::int8_16(&mut at, 1),
                    PAIR => steps::pair_32(&mut at, 1),
                    _ => steps::pair_16(&mut at, 1),
                }
                due += share;
                let to = (due >> 16).min(rows);
                block.rows::<C>(done, to);
                done = to;
            }
            // With one row tile the second halves hold nothing.
            steps::store_02(current);
            steps::store_13(current.add(HALF));
            (current, previous) = (previous, current);
        }
        finisher.block(walk.panels - 1, previous).rows::<C>(0, rows);
    }
}
