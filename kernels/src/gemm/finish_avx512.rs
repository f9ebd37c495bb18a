//! The epilogue on 512-bit lanes, from the sums to the output in one pass.

use std::arch::x86_64::*;
use std::ops::Range;

use half::bf16;

use super::epilogue::Finish;
use super::strip::Sums;
use super::{Output, PANEL_COLUMNS, STRIP_ROWS};
use crate::activation::curves::{Curve, with_curve};
use crate::isa::Amx;

const LANES: usize = 16;

/// Some rows of one block's sums, and the scales of its rows and of all columns with `int8`.
pub(super) struct Block<'a> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub sums: &'a Sums,
    pub scales: Option<(&'a [f32; STRIP_ROWS], &'a [f32])>,
}

/// Finishes some rows of a block and writes them.
pub(super) fn block(_proof: Amx, finish: &Finish<'_>, block: &Block<'_>, out: &mut Output<'_>) {
    let rows = block.rows.end;
    if block.rows.is_empty() {
        return;
    }
    assert!(rows <= STRIP_ROWS && rows <= finish.rows.0.len() && block.columns.len() <= PANEL_COLUMNS);
    assert!(finish.target(rows - 1, block.columns.end) <= out.len(), "the block lies inside the output");
    assert!(finish.epilogue.bias.is_none_or(|bias| bias.len() >= block.columns.end));
    let residual_end = (finish.rows.1 + rows - 1) * finish.row_columns + block.columns.end;
    assert!(finish.epilogue.residual.is_none_or(|residual| residual.len() >= residual_end));
    assert!(block.scales.is_none_or(|(_, columns)| columns.len() >= block.columns.end));
    // SAFETY: the proof can only be had where the processor has AVX-512 with bf16; every address was checked above.
    unsafe {
        match out {
            Output::F32(out) => with_curve!(finish.epilogue.activation, Grade::Full, C => run::<f32, C>(finish, block, out.as_mut_ptr())),
            Output::Bf16(out) => with_curve!(finish.epilogue.activation, Grade::Near, C => run::<bf16, C>(finish, block, out.as_mut_ptr())),
        }
    }
}

/// A number of the output.
trait Number: Copy {
    /// Writes 32 numbers.
    ///
    /// # Safety
    /// The processor has AVX-512 with bf16, and they are writable.
    unsafe fn write(target: *mut Self, values: [__m512; 2]);
    /// Writes those of 16 numbers that the mask names.
    ///
    /// # Safety
    /// The same.
    unsafe fn write_some(target: *mut Self, mask: __mmask16, values: __m512);
}

// SAFETY of the blocks below: the methods are only inlined into `run`, which is compiled for these instructions; the callers grant the memory.
impl Number for f32 {
    #[inline(always)]
    unsafe fn write(target: *mut Self, [first, second]: [__m512; 2]) {
        // SAFETY: see above.
        unsafe {
            _mm512_storeu_ps(target, first);
            _mm512_storeu_ps(target.add(LANES), second);
        }
    }
    #[inline(always)]
    unsafe fn write_some(target: *mut Self, mask: __mmask16, values: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_mask_storeu_ps(target, mask, values) }
    }
}

impl Number for bf16 {
    #[inline(always)]
    unsafe fn write(target: *mut Self, [first, second]: [__m512; 2]) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(target.cast(), std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first))) }
    }
    #[inline(always)]
    unsafe fn write_some(target: *mut Self, mask: __mmask16, values: __m512) {
        // SAFETY: see above.
        unsafe { _mm256_mask_storeu_epi16(target.cast(), mask, std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values))) }
    }
}

/// # Safety
/// The processor has these instructions and the block's addresses were checked.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn run<N: Number, C: Curve>(finish: &Finish<'_>, block: &Block<'_>, out: *mut N) {
    let (from, width) = (block.columns.start, block.columns.len());
    let mask_of = |half: usize| -> __mmask16 { ((1u32 << width.saturating_sub(half * LANES).min(LANES)) - 1) as __mmask16 };
    let masks = [mask_of(0), mask_of(1)];
    // SAFETY: the caller's promise; masks end at the last column.
    unsafe {
        let of_columns =
            |values: &[f32]| [0, 1].map(|half| _mm512_maskz_loadu_ps(masks[half], values.as_ptr().wrapping_add(from + half * LANES)));
        let bias = finish.epilogue.bias.map_or_else(|| [_mm512_setzero_ps(); 2], of_columns);
        let column_scales = block.scales.map(|(rows, columns)| (rows, of_columns(columns)));
        let residual = finish.epilogue.residual.map(<[f32]>::as_ptr);
        for row in block.rows.clone() {
            let sums = block.sums.as_ptr().add(row * PANEL_COLUMNS);
            let mut values = [_mm512_loadu_ps(sums), _mm512_loadu_ps(sums.add(LANES))];
            if let Some((row_scales, column_scales)) = column_scales {
                let row_scale = _mm512_set1_ps(row_scales[row]);
                for (value, scale) in values.iter_mut().zip(column_scales) {
                    *value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_castps_si512(*value)), _mm512_mul_ps(scale, row_scale));
                }
            }
            values = [C::at(_mm512_add_ps(values[0], bias[0])), C::at(_mm512_add_ps(values[1], bias[1]))];
            if let Some(residual) = residual {
                let residual = residual.add((finish.rows.1 + row) * finish.row_columns + from);
                for (half, value) in values.iter_mut().enumerate() {
                    *value = _mm512_add_ps(*value, _mm512_maskz_loadu_ps(masks[half], residual.wrapping_add(half * LANES)));
                }
            }
            let target = out.add(finish.target(row, from));
            if width == PANEL_COLUMNS {
                N::write(target, values);
            } else {
                N::write_some(target, masks[0], values[0]);
                N::write_some(target.wrapping_add(LANES), masks[1], values[1]);
            }
        }
    }
}
