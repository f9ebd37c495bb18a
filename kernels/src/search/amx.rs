//! One strip of rows against all panels of queries on AMX tiles: the vectors test one block while the tiles compute the next.
//!
//! As in the products of [`crate::gemm`], everything of a strip is one function without calls. Sums go to memory only to come from the tiles into vectors, 4 KiB
//! that stay in the first cache; what passes its test, which is rare, is appended to a list.

use std::arch::x86_64::*;

use super::packed::Packed;
use super::sieve::{Passed, Tests};
use super::strip::Facts;
use crate::amx::{TILE_ROWS, Tiles};
use crate::gemm::amx_steps::{self as steps, AHEAD_LINES, Steps};
use crate::gemm::rows::Operand;
use crate::gemm::strip::Sums;
use crate::gemm::{PANEL_COLUMNS, STRIP_ROWS};

/// Numbers of half a block's sums: 32 rows of 16 columns, row by row, the left half first.
const HALF: usize = STRIP_ROWS * PANEL_COLUMNS / 2;

/// One strip and all panels.
pub(super) struct Strip<'a> {
    pub packed: &'a Packed,
    pub operand: Operand<'a>,
    /// One per row that counts.
    pub facts: &'a [Facts],
    pub tests: &'a Tests,
    /// What is to be fetched meanwhile: from where on, and bytes.
    pub ahead: (*const u8, usize),
}

/// Tests the products of the strip with all queries and appends what passes.
pub(super) fn run(tiles: &Tiles, strip: &Strip<'_>, sums: &mut [Sums; 2], passed: &mut Passed) {
    let (packed, operand) = (strip.packed, &strip.operand);
    let (panels, steps) = (packed.panels(), packed.weights.steps());
    let tile_rows = operand.rows.next_multiple_of(TILE_ROWS);
    assert!(steps > 0 && steps * 64 <= operand.row_bytes && operand.bytes.len() >= tile_rows * operand.row_bytes);
    assert!(operand.rows == strip.facts.len() && tile_rows <= STRIP_ROWS);
    assert!(packed.weights.panels(0..panels).len() == panels * steps * 2048, "both forms of tiles take 2 KiB a step");
    let tests = [&strip.tests.alpha, &strip.tests.beta, &strip.tests.gamma, &strip.tests.rho];
    assert!(tests.iter().all(|test| test.len() == panels * PANEL_COLUMNS));
    let room = passed.len + panels * PANEL_COLUMNS * operand.rows + PANEL_COLUMNS;
    assert!(passed.places.len() >= room && passed.products.len() >= room);
    // SAFETY: `Tiles` can only be had where the processor has AMX, and AVX-512 with it; all sizes were checked.
    unsafe {
        match (packed.scheme.is_int8(), operand.rows > TILE_ROWS) {
            (false, true) => whole::<BF16>(tiles, strip, sums, passed),
            (false, false) => whole::<BF16_SHORT>(tiles, strip, sums, passed),
            (true, true) => whole::<INT8>(tiles, strip, sums, passed),
            (true, false) => whole::<INT8_SHORT>(tiles, strip, sums, passed),
        }
    }
}

/// The products of a strip with all panels, row by row in memory.
pub(super) fn products(_tiles: &Tiles, (packed, operand): (&Packed, &Operand<'_>), sums: &mut [Sums]) {
    let (panels, count) = (packed.panels(), packed.weights.steps());
    let tile_rows = operand.rows.next_multiple_of(TILE_ROWS);
    assert!(count > 0 && count * 64 <= operand.row_bytes && operand.bytes.len() >= tile_rows * operand.row_bytes);
    assert!(tile_rows <= STRIP_ROWS && sums.len() == panels && !packed.scheme.is_int8());
    let weights = packed.weights.panels(0..panels);
    assert!(weights.len() == panels * count * 2048, "tiles take 2 KiB a step");
    let (rows, row_bytes) = (operand.bytes.as_ptr(), operand.row_bytes);
    for (panel, sums) in sums.iter_mut().enumerate() {
        let weights = weights.as_ptr().wrapping_add(panel * count * 2048);
        let mut at = Steps { rows, row_bytes, plane_bytes: 0, weights, ahead: (rows, 0) };
        // SAFETY: `Tiles` can only be had where the processor has AMX; all sizes were checked.
        unsafe {
            steps::zero_01();
            steps::zero_23();
            if operand.rows > TILE_ROWS {
                steps::bf16_32(&mut at, count)
            } else {
                steps::bf16_16(&mut at, count)
            }
            steps::store_rows(sums.as_mut_ptr());
        }
    }
}

const BF16: u8 = 0;
const BF16_SHORT: u8 = 1;
const INT8: u8 = 2;
const INT8_SHORT: u8 = 3;

/// # Safety
/// The processor has these instructions, and AMX; [`run`] has checked the sizes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn whole<const KIND: u8>(_tiles: &Tiles, strip: &Strip<'_>, sums: &mut [Sums; 2], passed: &mut Passed) {
    let (rows, count, panels) = (strip.operand.rows, strip.packed.weights.steps(), strip.packed.panels());
    let weights = strip.packed.weights.panels(0..panels).as_ptr();
    let [first, second] = sums;
    let (mut current, mut previous) = (first.as_mut_ptr(), second.as_mut_ptr());
    let (rows_at, row_bytes) = (strip.operand.bytes.as_ptr(), strip.operand.row_bytes);
    // What is fetched is spread over all steps. Without any, an address without memory would cost a walk through the page tables every time.
    let lines = strip.ahead.1.div_ceil(64).div_ceil(panels * count);
    let ahead = if lines == 0 { (rows_at, 0) } else { (strip.ahead.0, 64 * lines.min(AHEAD_LINES)) };
    let mut at = Steps { rows: rows_at, row_bytes, plane_bytes: 0, weights, ahead };
    let share = (rows << 16).div_ceil(count);
    let mut found = Found { places: passed.places.as_mut_ptr(), products: passed.products.as_mut_ptr(), len: passed.len };
    // SAFETY: the sizes were checked; the sums have room for two halves of two tiles each.
    unsafe {
        for panel in 0..panels {
            (at.rows, at.weights) = (rows_at, weights.wrapping_add(panel * count * 2048));
            let block = Block::new(strip, panel.saturating_sub(1), previous);
            steps::zero_01();
            steps::zero_23();
            let share = if panel > 0 { share } else { 0 };
            let (mut done, mut due) = (0, 0);
            for _ in 0..count {
                match KIND {
                    BF16 => steps::bf16_32(&mut at, 1),
                    BF16_SHORT => steps::bf16_16(&mut at, 1),
                    INT8 => steps::int8_32(&mut at, 1),
                    _ => steps::int8_16(&mut at, 1),
                }
                due += share;
                let to = (due >> 16).min(rows);
                block.rows::<KIND>((done, to), &mut found);
                done = to;
            }
            // With one row tile the second halves hold nothing.
            steps::store_02(current);
            steps::store_13(current.add(HALF));
            (current, previous) = (previous, current);
        }
        Block::new(strip, panels - 1, previous).rows::<KIND>((0, rows), &mut found);
    }
    passed.len = found.len;
}

/// Where what passes goes.
struct Found {
    places: *mut u32,
    products: *mut f32,
    len: usize,
}

/// One block of sums and the tests of its columns.
struct Block {
    facts: *const Facts,
    sums: *const f32,
    /// Left and right half.
    alpha: [__m512; 2],
    beta: [__m512; 2],
    gamma: [__m512; 2],
    rho: [__m512; 2],
    /// Places of the first row's columns.
    places: [__m512i; 2],
}

impl Block {
    /// # Safety
    /// The processor has AVX-512; there are tests for the panel.
    #[inline(always)]
    unsafe fn new(strip: &Strip<'_>, panel: usize, sums: *const f32) -> Self {
        let first = panel * PANEL_COLUMNS;
        // SAFETY: the caller's promise.
        let halves = |values: &[f32]| unsafe {
            let start = values.as_ptr().add(first);
            [_mm512_loadu_ps(start), _mm512_loadu_ps(start.add(16))]
        };
        // SAFETY: the caller's promise.
        let places = unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let left = _mm512_mullo_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(first as i32)), _mm512_set1_epi32(STRIP_ROWS as i32));
            [left, _mm512_add_epi32(left, _mm512_set1_epi32((16 * STRIP_ROWS) as i32))]
        };
        let tests = strip.tests;
        Self {
            facts: strip.facts.as_ptr(),
            sums,
            alpha: halves(&tests.alpha),
            beta: halves(&tests.beta),
            gamma: halves(&tests.gamma),
            rho: halves(&tests.rho),
            places,
        }
    }

    /// Tests the rows of a range.
    ///
    /// # Safety
    /// The processor has AVX-512; the rows are in the block, and there is room for what is found and a vector more.
    #[inline(always)]
    unsafe fn rows<const KIND: u8>(&self, (from, to): (usize, usize), found: &mut Found) {
        for row in from..to {
            // SAFETY: the caller's promise.
            unsafe {
                let facts = &*self.facts.add(row);
                let (norm, square) = (_mm512_set1_ps(facts.norm), _mm512_set1_ps(facts.square));
                for half in 0..2 {
                    let sums = self.sums.add(half * HALF + row * 16);
                    let mut least = _mm512_fmadd_ps(norm, self.alpha[half], _mm512_fmadd_ps(square, self.beta[half], self.gamma[half]));
                    let values = if KIND == INT8 || KIND == INT8_SHORT {
                        least = _mm512_fmadd_ps(_mm512_set1_ps(facts.residual), self.rho[half], least);
                        _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums.cast())), _mm512_set1_ps(facts.scale))
                    } else {
                        _mm512_loadu_ps(sums)
                    };
                    // NaN on either side passes.
                    let passes = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(values, least);
                    if passes != 0 {
                        let places = _mm512_add_epi32(self.places[half], _mm512_set1_epi32(row as i32));
                        _mm512_storeu_ps(found.products.add(found.len), _mm512_maskz_compress_ps(passes, values));
                        _mm512_storeu_si512(found.places.add(found.len).cast(), _mm512_maskz_compress_epi32(passes, places));
                        found.len += passes.count_ones() as usize;
                    }
                }
            }
        }
    }
}
