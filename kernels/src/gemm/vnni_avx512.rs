//! Blocks of int8 on the dot products of AVX-512 VNNI (`vpdpbusd`), for processors that have them without tiles.
//!
//! The weights lie as the tiles want them, 64 bytes per step and 16 columns, which is what this instruction reads as well. It takes unsigned bytes on one
//! side: activations are moved up by 128, and 128 times the sum of each column's weights is taken off again, exactly. (`vdpbf16ps` is slower than
//! widening and multiplying in f32 on the processors at hand, so there is no variant for bf16.)

use std::arch::x86_64::*;

use super::PANEL_COLUMNS;
use super::pack::Form;
use super::rows::Operand;
use super::strip::Sums;
use crate::Isa;

/// Rows whose sums are held in registers together: 24 of 32.
const ROWS: usize = 12;
const LANES: usize = 16;

/// One block whose operands were checked.
pub(super) struct Block<'a> {
    pub operand: &'a Operand<'a>,
    pub panel: &'a [u8],
    /// Sums of the weights of the panel's columns.
    pub column_sums: &'a [i32],
    pub steps: usize,
}

/// True where the level and the processor have the instruction.
pub(super) fn is_there(isa: Isa) -> bool {
    matches!(isa, Isa::Avx512(_) | Isa::Amx(_)) && is_x86_feature_detected!("avx512vnni")
}

/// Computes the block and says true, where the processor has the instructions and the block is of int8.
pub(super) fn block(isa: Isa, block: &Block<'_>, sums: &mut Sums) -> bool {
    let fits = block.operand.form == Form::Int8 && block.column_sums.len() >= PANEL_COLUMNS;
    if !fits || !is_there(isa) {
        return false;
    }
    // SAFETY: the processor has AVX-512 by the level and these instructions as was asked; the caller has checked the operands.
    unsafe { rows(block, sums) };
    true
}

/// # Safety
/// The processor has these instructions; rows, panel and sums are as large as the block says, and there is a sum for every column of the panel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn rows(block: &Block<'_>, sums: &mut Sums) {
    let sums: *mut i32 = sums.as_mut_ptr().cast();
    let mut row = 0;
    // SAFETY: the caller's promise; rows end at the last that counts.
    unsafe {
        while row + ROWS <= block.operand.rows {
            tile::<ROWS>(block, row, sums);
            row += ROWS;
        }
        while row < block.operand.rows {
            tile::<1>(block, row, sums);
            row += 1;
        }
    }
}

/// # Safety
/// As [`rows`], for `R` rows from `row` on.
#[inline(always)]
unsafe fn tile<const R: usize>(block: &Block<'_>, row: usize, sums: *mut i32) {
    let rows = block.operand.bytes.as_ptr().wrapping_add(row.wrapping_mul(block.operand.row_bytes));
    // SAFETY: the caller's promise; each step reads 64 bytes of a row and 2,048 of the panel.
    unsafe {
        let columns = block.column_sums.as_ptr();
        let (left, right) = (_mm512_loadu_si512(columns.cast()), _mm512_loadu_si512(columns.wrapping_add(LANES).cast()));
        let zero = _mm512_setzero_si512();
        let mut acc = [[_mm512_sub_epi32(zero, _mm512_slli_epi32::<7>(left)), _mm512_sub_epi32(zero, _mm512_slli_epi32::<7>(right))]; R];
        for step in 0..block.steps {
            for group in 0..LANES {
                let weights = block.panel.as_ptr().wrapping_add(step * 2048 + group * 64);
                let left = _mm512_loadu_si512(weights.cast());
                let right = _mm512_loadu_si512(weights.wrapping_add(1024).cast());
                for (at, acc) in acc.iter_mut().enumerate() {
                    let x = rows.wrapping_add(at.wrapping_mul(block.operand.row_bytes)).wrapping_add(step * 64 + group * 4);
                    // Flipping the sign bit adds 128.
                    let x = _mm512_set1_epi32((x.cast::<u32>().read_unaligned() ^ 0x8080_8080).cast_signed());
                    acc[0] = _mm512_dpbusd_epi32(acc[0], x, left);
                    acc[1] = _mm512_dpbusd_epi32(acc[1], x, right);
                }
            }
        }
        for (at, acc) in acc.iter().enumerate() {
            let target = sums.wrapping_add((row + at) * PANEL_COLUMNS);
            _mm512_storeu_si512(target.cast(), acc[0]);
            _mm512_storeu_si512(target.wrapping_add(LANES).cast(), acc[1]);
        }
    }
}
