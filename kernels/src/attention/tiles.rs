//! The products of attention on AMX tiles, 16 queries wide, in one plane of bf16 or two. All operands are whole tiles.
//!
//! Each step is a piece of assembly of its own, so that the caller can put vectors between them; a step's sums are stored by another piece later, when
//! the tiles have them. Tile registers keep what they hold from one piece to the next: the compiler has no instructions that use them.

use std::arch::asm;

use half::bf16;

use crate::amx::TILE_ROWS;

/// The operands' numbers of one step.
pub(super) const SIDE: usize = 2 * TILE_ROWS;
/// Numbers of a tile of bf16.
pub(super) const TILE: usize = TILE_ROWS * SIDE;

/// Tiles of bf16, step behind step; how far it is from the first plane to the second, in numbers.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub at: *const bf16,
    pub plane: usize,
}

impl Operand {
    /// The same from another tile on.
    #[inline(always)]
    pub(super) fn tile(self, tile: usize) -> Self {
        Self { at: self.at.wrapping_add(tile.wrapping_mul(TILE)), ..self }
    }
}

/// Scores of 16 keys and 16 queries over `steps` steps of the head's numbers.
///
/// # Safety
/// This thread's tiles are full ones; the operands have as many tiles in every plane; `steps` is not 0.
#[inline(always)]
pub(super) unsafe fn score<const PLANES: usize>(keys: Operand, queries: Operand, steps: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if PLANES == 1 {
            asm!(
                "tilezero tmm0",
                "2:",
                "tileloadd tmm4, [{a} + {t}*1]",
                "tileloadd tmm5, [{b} + {t}*1]",
                "tdpbf16ps tmm0, tmm4, tmm5",
                "add {a}, 1024",
                "add {b}, 1024",
                "dec {count}",
                "jnz 2b",
                a = inout(reg) keys.at => _,
                b = inout(reg) queries.at => _,
                t = in(reg) 64usize,
                count = inout(reg) steps => _,
                out("tmm0") _, out("tmm4") _, out("tmm5") _,
                options(nostack, readonly),
            );
        } else {
            // High times low, low times high, high times high.
            asm!(
                "tilezero tmm0",
                "2:",
                "tileloadd tmm4, [{a} + {t}*1]",
                "tileloadd tmm5, [{b1} + {t}*1]",
                "tdpbf16ps tmm0, tmm4, tmm5",
                "tileloadd tmm5, [{b} + {t}*1]",
                "tileloadd tmm1, [{a1} + {t}*1]",
                "tdpbf16ps tmm0, tmm1, tmm5",
                "tdpbf16ps tmm0, tmm4, tmm5",
                "add {a}, 1024",
                "add {b}, 1024",
                "add {a1}, 1024",
                "add {b1}, 1024",
                "dec {count}",
                "jnz 2b",
                a = inout(reg) keys.at => _,
                a1 = inout(reg) keys.at.wrapping_add(keys.plane) => _,
                b = inout(reg) queries.at => _,
                b1 = inout(reg) queries.at.wrapping_add(queries.plane) => _,
                t = in(reg) 64usize,
                count = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _,
                options(nostack, readonly),
            );
        }
    }
}

/// Writes the scores: 16 rows of 16, a row for each key.
///
/// # Safety
/// This thread's tiles are full ones, and 256 numbers are writable.
#[inline(always)]
pub(super) unsafe fn store_scores(target: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("tilestored [{c} + {t}*1], tmm0", c = in(reg) target, t = in(reg) 64usize, options(nostack, preserves_flags));
    }
}

/// Begins a mixture: sums of zero.
///
/// # Safety
/// This thread's tiles are full ones.
#[inline(always)]
pub(super) unsafe fn mix_nothing() {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("tilezero tmm2", "tilezero tmm3", out("tmm2") _, out("tmm3") _, options(nostack, nomem, preserves_flags));
    }
}

/// Adds 32 keys' values, weighted by the terms of 16 queries, to the mixture. The values are two tiles of 16 of the head's numbers, `second` numbers
/// apart.
///
/// # Safety
/// This thread's tiles are full ones; the operands have such tiles in every plane.
#[inline(always)]
pub(super) unsafe fn mix<const PLANES: usize>((values, second): (Operand, usize), terms: Operand) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tileloadd tmm6, [{b} + {t}*1]",
            "tileloadd tmm7, [{a} + {t}*1]",
            "tdpbf16ps tmm2, tmm7, tmm6",
            "tileloadd tmm7, [{a1} + {t}*1]",
            "tdpbf16ps tmm3, tmm7, tmm6",
            a = in(reg) values.at,
            a1 = in(reg) values.at.wrapping_add(second),
            b = in(reg) terms.at,
            t = in(reg) 64usize,
            out("tmm2") _, out("tmm3") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly, preserves_flags),
        );
        if PLANES == 2 {
            // `tmm6` and `tmm7` still hold the high terms and the second tile's high values.
            asm!(
                "tileloadd tmm1, [{b1} + {t}*1]",
                "tdpbf16ps tmm3, tmm7, tmm1",
                "tileloadd tmm7, [{a} + {t}*1]",
                "tdpbf16ps tmm2, tmm7, tmm1",
                "tileloadd tmm7, [{low} + {t}*1]",
                "tdpbf16ps tmm2, tmm7, tmm6",
                "tileloadd tmm7, [{low1} + {t}*1]",
                "tdpbf16ps tmm3, tmm7, tmm6",
                a = in(reg) values.at,
                low = in(reg) values.at.wrapping_add(values.plane),
                low1 = in(reg) values.at.wrapping_add(values.plane).wrapping_add(second),
                b1 = in(reg) terms.at.wrapping_add(terms.plane),
                t = in(reg) 64usize,
                out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm7") _,
                options(nostack, readonly, preserves_flags),
            );
        }
    }
}

/// Writes the mixture: 32 rows of 16, a row for each of the head's numbers.
///
/// # Safety
/// This thread's tiles are full ones, and 512 numbers are writable.
#[inline(always)]
pub(super) unsafe fn store_mixed(target: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilestored [{c} + {t}*1], tmm2",
            "tilestored [{c} + {t}*1 + 1024], tmm3",
            c = in(reg) target, t = in(reg) 64usize,
            options(nostack, preserves_flags)
        );
    }
}
