//! The products of attention on AMX tiles: 32 rows by 32 columns, in one plane of bf16 or two.

use std::arch::asm;

use half::bf16;

use crate::amx::{TILE_ROWS, Tiles};

/// Rows and columns of a product, two tiles each way; also the operands' numbers of one step.
pub(super) const SIDE: usize = 2 * TILE_ROWS;
/// Numbers of a tile of bf16.
pub(super) const TILE: usize = TILE_ROWS * SIDE;

/// Row-major rows of bf16; from row to row and from plane to plane in numbers.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub at: *const bf16,
    pub row: usize,
    pub plane: usize,
}

/// Tiles of bf16, step behind step; from one column of tiles to the next and from plane to plane in numbers.
#[derive(Clone, Copy)]
pub(super) struct Right {
    pub at: *const bf16,
    pub column: usize,
    pub plane: usize,
}

/// 32 rows by 32 columns over `steps` steps of 32 numbers, into `f32` rows `row` apart, added to what is there if `adds`.
///
/// # Safety
/// The tiles are full ones; operands and result are as large as that in every plane; `steps` is not 0.
#[inline(always)]
pub(super) unsafe fn product<const PLANES: usize>(
    _tiles: &Tiles,
    (left, right): (Left, Right),
    (target, row): (*mut f32, usize),
    (steps, adds): (usize, bool),
) {
    let lower = target.wrapping_add(TILE_ROWS * row);
    // SAFETY: the caller's promise. Tile registers keep what they hold from one block to the next: the compiler has no instructions that use them.
    unsafe {
        if adds {
            asm!(
                "tileloadd tmm0, [{c} + {u}*1]", "tileloadd tmm1, [{c} + {u}*1 + 64]",
                "tileloadd tmm2, [{d} + {u}*1]", "tileloadd tmm3, [{d} + {u}*1 + 64]",
                c = in(reg) target, d = in(reg) lower, u = in(reg) 4 * row,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, readonly, preserves_flags),
            );
        } else {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, nomem, preserves_flags),
            );
        }
        if PLANES == 2 {
            advance((left.at, left.row), (right.at.add(right.plane), right.column), steps);
        }
        advance((left.at, left.row), (right.at, right.column), steps);
        if PLANES == 2 {
            advance((left.at.add(left.plane), left.row), (right.at, right.column), steps);
        }
        asm!(
            "tilestored [{c} + {u}*1], tmm0", "tilestored [{c} + {u}*1 + 64], tmm1",
            "tilestored [{d} + {u}*1], tmm2", "tilestored [{d} + {u}*1 + 64], tmm3",
            c = in(reg) target, d = in(reg) lower, u = in(reg) 4 * row,
            options(nostack, preserves_flags),
        );
    }
}

/// Adds the products of `steps` steps to tiles 0 to 3.
///
/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn advance((left, row): (*const bf16, usize), (right, column): (*const bf16, usize), steps: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            ".p2align 5",
            "2:",
            "tileloadd tmm4, [{a} + {s}*1]",
            "tileloadd tmm6, [{b} + {t}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b1} + {t}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a1} + {s}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 64",
            "add {a1}, 64",
            "add {b}, 1024",
            "add {b1}, 1024",
            "dec {count}",
            "jnz 2b",
            a = inout(reg) left => _,
            a1 = inout(reg) left.wrapping_add(TILE_ROWS * row) => _,
            b = inout(reg) right => _,
            b1 = inout(reg) right.wrapping_add(column) => _,
            s = in(reg) 2 * row,
            t = in(reg) 64usize,
            count = inout(reg) steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
}
