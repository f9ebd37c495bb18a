//! The epilogue on 512-bit lanes, from the sums to the output in one pass.

use std::arch::x86_64::*;

use half::bf16;

use super::PANEL_COLUMNS;
use super::amx::HALF;
use super::strip::Pass;
use crate::activation::curves::Curve;

const LANES: usize = 16;

/// A number of the output.
pub(super) trait Number: Copy {
    /// Writes those of 32 numbers that the masks name, the first ones.
    ///
    /// # Safety
    /// The processor has AVX-512 with bf16, and they are writable.
    unsafe fn write(target: *mut Self, masks: [__mmask16; 2], values: [__m512; 2]);
}

// SAFETY of the blocks below: the methods are only inlined into functions compiled for these instructions; the callers grant the memory.
impl Number for f32 {
    #[inline(always)]
    unsafe fn write(target: *mut Self, masks: [__mmask16; 2], [first, second]: [__m512; 2]) {
        // SAFETY: see above.
        unsafe {
            _mm512_mask_storeu_ps(target, masks[0], first);
            _mm512_mask_storeu_ps(target.wrapping_add(LANES), masks[1], second);
        }
    }
}

impl Number for bf16 {
    #[inline(always)]
    unsafe fn write(target: *mut Self, masks: [__mmask16; 2], [first, second]: [__m512; 2]) {
        let mask = u32::from(masks[0]) | u32::from(masks[1]) << LANES;
        // SAFETY: see above.
        unsafe {
            let rounded = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
            _mm512_mask_storeu_epi16(target.cast(), mask, rounded);
        }
    }
}

/// The numbers of a block's columns, zeros behind them.
///
/// # Safety
/// The processor has AVX-512, and the numbers that the masks name are readable.
#[inline(always)]
unsafe fn load(source: *const f32, masks: [__mmask16; 2]) -> [__m512; 2] {
    // SAFETY: the caller's promise.
    unsafe { [_mm512_maskz_loadu_ps(masks[0], source), _mm512_maskz_loadu_ps(masks[1], source.wrapping_add(LANES))] }
}

/// The same from number `first` on; zeros from null. Not a closure: one that is not inlined is compiled without the instructions.
///
/// # Safety
/// As [`load`].
#[inline(always)]
unsafe fn load_or_zero(source: *const f32, first: usize, masks: [__mmask16; 2]) -> [__m512; 2] {
    // SAFETY: the caller's promise.
    unsafe { if source.is_null() { [_mm512_setzero_ps(); 2] } else { load(source.wrapping_add(first), masks) } }
}

/// Where the blocks of a pass go and what is done to them, as addresses that were checked once. Null where there is none.
#[derive(Clone, Copy)]
pub(super) struct Finisher<N> {
    /// Of the strip's first row and the first panel's first column.
    out: *mut N,
    /// From a row of the output to the next.
    stride: usize,
    /// Columns from the first panel to the last one's end.
    columns: usize,
    bias: *const f32,
    residual: *const f32,
    residual_stride: usize,
    row_scales: *const f32,
    column_scales: *const f32,
}

impl<N: Number> Finisher<N> {
    /// The finisher of a pass whose output is `out`. Panics when the pass does not lie inside its operands.
    pub(super) fn new(pass: &Pass<'_>, out: &mut [N]) -> Self {
        let finish = &pass.finish;
        let (rows, first) = (finish.rows.0.len(), pass.panels.start * PANEL_COLUMNS);
        let end = (pass.panels.end * PANEL_COLUMNS).min(finish.columns.end);
        assert!(rows > 0 && rows == pass.operand.rows && first < end && finish.target(rows - 1, end) <= out.len());
        let bias = finish.epilogue.bias.map_or(std::ptr::null(), |bias| bias[first..end].as_ptr());
        let residual = finish.epilogue.residual.map_or(std::ptr::null(), |residual| {
            let from = finish.rows.1 * finish.row_columns + first;
            residual[from..(finish.rows.1 + rows - 1) * finish.row_columns + end].as_ptr()
        });
        let (row_scales, column_scales) = match pass.all_scales() {
            Some((rows, columns)) => (rows.as_ptr(), columns[first..end].as_ptr()),
            None => (std::ptr::null(), std::ptr::null()),
        };
        Self {
            out: out[finish.target(0, first)..].as_mut_ptr(),
            stride: finish.columns.len(),
            columns: end - first,
            bias,
            residual,
            residual_stride: finish.row_columns,
            row_scales,
            column_scales,
        }
    }

    /// The block of panel `panel`, counted from the pass's first, whose sums lie in two halves.
    ///
    /// # Safety
    /// The processor has AVX-512 with bf16; the caller is compiled for it; the panel is the pass's, and operands and output are still there.
    #[inline(always)]
    pub(super) unsafe fn block(&self, panel: usize, sums: *const f32) -> Block<N> {
        let first = panel * PANEL_COLUMNS;
        let width = (self.columns - first).min(PANEL_COLUMNS);
        let masks = [((1u32 << width.min(LANES)) - 1) as __mmask16, ((1u32 << width.saturating_sub(LANES)) - 1) as __mmask16];
        // SAFETY: the caller's promise; masks end at the last column.
        let (bias, column_scales) = unsafe { (load_or_zero(self.bias, first, masks), load_or_zero(self.column_scales, first, masks)) };
        Block {
            masks,
            bias,
            column_scales,
            row_scales: self.row_scales,
            residual: if self.residual.is_null() { self.residual } else { self.residual.wrapping_add(first) },
            residual_stride: self.residual_stride,
            out: self.out.wrapping_add(first),
            stride: self.stride,
            sums,
        }
    }
}

/// One block, with the numbers of its columns at hand.
pub(super) struct Block<N> {
    masks: [__mmask16; 2],
    bias: [__m512; 2],
    column_scales: [__m512; 2],
    row_scales: *const f32,
    residual: *const f32,
    residual_stride: usize,
    out: *mut N,
    stride: usize,
    sums: *const f32,
}

impl<N: Number> Block<N> {
    /// Finishes the rows `from..to`.
    ///
    /// # Safety
    /// As [`Finisher::block`]; the rows are the pass's, and their sums readable.
    #[inline(always)]
    pub(super) unsafe fn rows<C: Curve>(&self, from: usize, to: usize) {
        let mut row = from;
        while row < to {
            // SAFETY: the caller's promise.
            unsafe {
                let sums = self.sums.wrapping_add(row.wrapping_mul(LANES));
                let (mut left, mut right) = (_mm512_loadu_ps(sums), _mm512_loadu_ps(sums.wrapping_add(HALF)));
                if !self.row_scales.is_null() {
                    let scale = _mm512_set1_ps(*self.row_scales.wrapping_add(row));
                    left = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_castps_si512(left)), _mm512_mul_ps(self.column_scales[0], scale));
                    right = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_castps_si512(right)), _mm512_mul_ps(self.column_scales[1], scale));
                }
                left = C::at(_mm512_add_ps(left, self.bias[0]));
                right = C::at(_mm512_add_ps(right, self.bias[1]));
                if !self.residual.is_null() {
                    let more = load(self.residual.wrapping_add(row.wrapping_mul(self.residual_stride)), self.masks);
                    left = _mm512_add_ps(left, more[0]);
                    right = _mm512_add_ps(right, more[1]);
                }
                N::write(self.out.wrapping_add(row.wrapping_mul(self.stride)), self.masks, [left, right]);
            }
            row += 1;
        }
    }
}
