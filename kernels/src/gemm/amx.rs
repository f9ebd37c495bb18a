//! One block of 32 rows and 32 columns on AMX tiles: two row tiles of activations times two column tiles of weights, four accumulators.
//!
//! Tile registers cannot be operands of `asm!`, so every loop over steps of the inner dimension is one piece of assembly. A strip of at most 16 rows
//! uses one row tile and two accumulators.

use std::arch::asm;
use std::ops::Range;

use super::finish_avx512::{self, Block};
use super::pack::Form;
use super::strip::{Operand, Pass, Sums};
use super::{Output, PANEL_COLUMNS, STRIP_ROWS};
use crate::amx::{TILE_ROWS, Tiles};
use crate::isa::Amx;

const SUMS_ROW_BYTES: usize = PANEL_COLUMNS * 4;
/// Pieces into which the steps of a panel are cut, each followed by as many rows of the block before: tiles and vectors have ports of their own, but
/// the processor does not look far enough ahead to find work for both by itself.
const PIECES: usize = 3;

/// All panels of a pass: while the tiles multiply for one panel, the vectors finish the one before.
pub(super) fn run((proof, tiles): (Amx, &Tiles), pass: &Pass<'_>, sums: &mut [Sums; 2], out: &mut Output<'_>) {
    let rows = pass.finish.rows.0.len();
    let steps = pass.weights.steps();
    let [first, second] = sums;
    let (mut current, mut previous) = (first, second);
    let mut waiting: Option<usize> = None;
    for panel in pass.panels.clone() {
        let mut product = Product::begin(tiles, pass, panel);
        for piece in 0..PIECES {
            product.advance(steps * (piece + 1) / PIECES - steps * piece / PIECES);
            if let Some(before) = waiting {
                finish(proof, (pass, before), (previous, rows * piece / PIECES..rows * (piece + 1) / PIECES), out);
            }
        }
        product.end(current);
        std::mem::swap(&mut current, &mut previous);
        waiting = Some(panel);
    }
    if let Some(before) = waiting {
        finish(proof, (pass, before), (previous, 0..rows), out);
    }
}

fn finish(proof: Amx, (pass, panel): (&Pass<'_>, usize), (sums, rows): (&Sums, Range<usize>), out: &mut Output<'_>) {
    let first = panel * PANEL_COLUMNS;
    let columns = first..(first + PANEL_COLUMNS).min(pass.finish.columns.end);
    finish_avx512::block(proof, &pass.finish, &Block { rows, columns, sums, scales: pass.all_scales() }, out);
}

/// The product of one strip and one panel in the making: its sums are in the tile registers from `begin` to `end`.
///
/// No other code of this crate touches tile registers in between, and the compiler has no instructions that do.
struct Product<'a> {
    _tiles: &'a Tiles,
    form: Form,
    is_tall: bool,
    call: Call,
    steps_left: usize,
}

/// Addresses of the next step.
struct Call {
    top: *const u8,
    row_bytes: usize,
    /// From a row of rounded values to the same row of what the rounding left.
    low_offset: usize,
    weights: *const u8,
}

impl<'a> Product<'a> {
    /// Begins with zero.
    fn begin(tiles: &'a Tiles, pass: &Pass<'a>, panel: usize) -> Self {
        let operand: &Operand<'_> = &pass.operand;
        let weights = pass.weights.panel(panel);
        let steps = pass.weights.steps();
        assert!(weights.len() == steps * operand.form.step_bytes());
        // Every step of every form reads 64 bytes of a row.
        assert!(steps * 64 <= operand.row_bytes && operand.plane_rows >= operand.rows.next_multiple_of(TILE_ROWS));
        assert!(operand.bytes.len() >= operand.planes() * operand.plane_rows * operand.row_bytes && operand.rows <= STRIP_ROWS);
        let is_tall = operand.rows > TILE_ROWS;
        let call = Call {
            top: operand.bytes.as_ptr(),
            row_bytes: operand.row_bytes,
            low_offset: operand.plane_rows * operand.row_bytes,
            weights: weights.as_ptr(),
        };
        // SAFETY: `Tiles` says that this thread's tiles are full ones.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, nomem, preserves_flags)
            );
        }
        Self { _tiles: tiles, form: operand.form, is_tall, call, steps_left: steps }
    }

    /// Adds the products of the next `count` steps.
    fn advance(&mut self, count: usize) {
        assert!(count <= self.steps_left, "the product has as many steps as it began with");
        self.steps_left -= count;
        if count == 0 {
            return;
        }
        // SAFETY: `Tiles` says that this thread's tiles are full ones. `begin` has checked that every row of 64 bytes of every step lies inside the operand
        // (with one row tile for up to 16 rows, two beyond) and the panel; the steps are counted.
        unsafe {
            match (self.form, self.is_tall) {
                (Form::Bf16, true) => bf16_32(&mut self.call, count),
                (Form::Bf16, false) => bf16_16(&mut self.call, count),
                (Form::Int8, true) => int8_32(&mut self.call, count),
                (Form::Int8, false) => int8_16(&mut self.call, count),
                (Form::Bf16Pair, true) => pair_32(&mut self.call, count),
                (Form::Bf16Pair, false) => pair_16(&mut self.call, count),
                (Form::F32, _) => unreachable!("single precision is not packed for tiles"),
            }
        }
    }

    /// Writes the sums.
    fn end(self, sums: &mut Sums) {
        assert_eq!(self.steps_left, 0, "all steps are done");
        // SAFETY: `Tiles` says that this thread's tiles are full ones; the sums are as large as four tiles.
        unsafe {
            asm!(
                "tilestored [{c} + {u}*1], tmm0",
                "tilestored [{c} + {u}*1 + 64], tmm1",
                c = in(reg) sums.as_mut_ptr(), u = in(reg) SUMS_ROW_BYTES,
                options(nostack, preserves_flags)
            );
            if self.is_tall {
                asm!(
                    "tilestored [{c} + {u}*1 + 2048], tmm2",
                    "tilestored [{c} + {u}*1 + 2112], tmm3",
                    c = in(reg) sums.as_mut_ptr(), u = in(reg) SUMS_ROW_BYTES,
                    options(nostack, preserves_flags)
                );
            }
        }
    }
}

/// The steps of one form: runs `$body` once per step. In `$body`, `{a}` is the first row tile, `{a1}` the second, `{low}` the first of what the rounding
/// left, `{s}` the stride of their rows, `{b}` the step's weights and `{t}` 64.
macro_rules! steps {
    ($name:ident, [$($body:expr),* $(,)?], $weight_bytes:literal) => {
        /// # Safety
        /// This thread's tiles are full ones, and all rows and weights of `count` steps are readable; `count` is not 0.
        unsafe fn $name(call: &mut Call, count: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    ".p2align 5",
                    "2:",
                    $($body,)*
                    "add {a}, 64",
                    "add {a1}, 64",
                    "add {low}, 64",
                    concat!("add {b}, ", $weight_bytes),
                    "dec {count}",
                    "jnz 2b",
                    "/* {low1} */",
                    a = inout(reg) call.top,
                    a1 = inout(reg) call.top.wrapping_add(TILE_ROWS * call.row_bytes) => _,
                    low = inout(reg) call.top.wrapping_add(call.low_offset) => _,
                    low1 = in(reg) TILE_ROWS * call.row_bytes,
                    s = in(reg) call.row_bytes,
                    b = inout(reg) call.weights,
                    t = in(reg) 64usize,
                    count = inout(reg) count => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly),
                );
            }
        }
    };
}

macro_rules! tall {
    ($name:ident, $multiply:literal) => {
        steps!(
            $name,
            [
                "tileloadd tmm4, [{a} + {s}*1]",
                "tileloadd tmm6, [{b} + {t}*1]",
                concat!($multiply, " tmm0, tmm4, tmm6"),
                "tileloadd tmm7, [{b} + {t}*1 + 1024]",
                concat!($multiply, " tmm1, tmm4, tmm7"),
                "tileloadd tmm5, [{a1} + {s}*1]",
                concat!($multiply, " tmm2, tmm5, tmm6"),
                concat!($multiply, " tmm3, tmm5, tmm7"),
            ],
            "2048"
        );
    };
}

macro_rules! short {
    ($name:ident, $multiply:literal) => {
        steps!(
            $name,
            [
                "tileloadd tmm4, [{a} + {s}*1]",
                "tileloadd tmm6, [{b} + {t}*1]",
                concat!($multiply, " tmm0, tmm4, tmm6"),
                "tileloadd tmm7, [{b} + {t}*1 + 1024]",
                concat!($multiply, " tmm1, tmm4, tmm7"),
            ],
            "2048"
        );
    };
}

tall!(bf16_32, "tdpbf16ps");
short!(bf16_16, "tdpbf16ps");
tall!(int8_32, "tdpbssd");
short!(int8_16, "tdpbssd");

// High times low, then high times high, then low times high.
steps!(
    pair_32,
    [
        "tileloadd tmm4, [{a} + {s}*1]",
        "tileloadd tmm6, [{b} + {t}*1 + 2048]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {t}*1 + 3072]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm5, [{a1} + {s}*1]",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
        "tileloadd tmm6, [{b} + {t}*1]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {t}*1 + 1024]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
        "tileloadd tmm4, [{low} + {s}*1]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "add {low}, {low1}",
        "tileloadd tmm5, [{low} + {s}*1]",
        "sub {low}, {low1}",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
    ],
    "4096"
);

steps!(
    pair_16,
    [
        "tileloadd tmm4, [{a} + {s}*1]",
        "tileloadd tmm6, [{b} + {t}*1 + 2048]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {t}*1 + 3072]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm6, [{b} + {t}*1]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {t}*1 + 1024]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm5, [{low} + {s}*1]",
        "tdpbf16ps tmm0, tmm5, tmm6",
        "tdpbf16ps tmm1, tmm5, tmm7",
    ],
    "4096"
);
