//! Fewer bits per value: binary16, bfloat16, 8-bit integers with one scale per row, and one bit.
//!
//! Every function works row by row on the calling thread's rayon pool; no row depends on another. Values must be finite and representable.

mod portable;
mod reference;

#[cfg(test)]
mod tests;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::{BitRows, KernelError, Rows, first_non_finite};

pub use reference::int8_row as reference_int8_row;

/// Values per piece of parallel work.
const PIECE: usize = 1 << 14;

/// Rounds to binary16, ties to even. Errors: `NotRepresentable` for a value that is not finite or rounds beyond 65,504.
pub fn to_f16(rows: Rows<'_>) -> Result<Vec<f16>, KernelError> {
    let mut out = vec![f16::ZERO; rows.values().len()];
    out.par_chunks_mut(PIECE).zip(rows.values().par_chunks(PIECE)).for_each(|(out, values)| out.convert_from_f32_slice(values));
    representable("quantize to f16", rows, |index| out[index].is_finite())?;
    Ok(out)
}

/// Rounds to bfloat16, ties to even. Errors: `NotRepresentable` for a value that is not finite or rounds to an infinity.
pub fn to_bf16(rows: Rows<'_>) -> Result<Vec<bf16>, KernelError> {
    let mut out = vec![bf16::ZERO; rows.values().len()];
    out.par_chunks_mut(PIECE).zip(rows.values().par_chunks(PIECE)).for_each(|(out, values)| out.convert_from_f32_slice(values));
    representable("quantize to bf16", rows, |index| out[index].is_finite())?;
    Ok(out)
}

/// Widens binary16; exact.
#[must_use]
pub fn from_f16(values: &[f16]) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(PIECE).zip(values.par_chunks(PIECE)).for_each(|(out, values)| values.convert_to_f32_slice(out));
    out
}

/// Widens bfloat16; exact.
#[must_use]
pub fn from_bf16(values: &[bf16]) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(PIECE).zip(values.par_chunks(PIECE)).for_each(|(out, values)| values.convert_to_f32_slice(out));
    out
}

/// Rows of 8-bit integers with one scale each.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Rows {
    /// Integers -127..=127, `[rows, dim]`.
    pub values: Vec<i8>,
    /// What one step is worth, `[rows]`; 0.0 for a row without anything representable.
    pub scales: Vec<f32>,
}

/// Symmetric 8-bit integers: the scale of a row is its largest magnitude over 127, values are rounded to the nearest step, ties to even.
///
/// The error of a value is at most half a step (and its rounding to `f32`). Errors: `NotRepresentable` for a value that is not finite.
pub fn to_int8(rows: Rows<'_>) -> Result<Int8Rows, KernelError> {
    finite("quantize to int8", rows)?;
    let dim = rows.dim();
    let mut values = vec![0i8; rows.values().len()];
    let mut scales = vec![0.0f32; rows.len()];
    let pieces = values.par_chunks_mut(dim).zip(scales.par_iter_mut()).with_min_len(PIECE.div_ceil(dim));
    pieces.zip(rows.values().par_chunks(dim)).for_each(|((out, scale), row)| *scale = portable::int8_row(row, out));
    Ok(Int8Rows { values, scales })
}

/// Widens 8-bit integers `[rows, dim]` by the scales of their rows `[rows]`.
///
/// Errors: `OutOfRange` for `dim` 0, `Mismatch` when the values are no whole rows or the scales are not one per row.
pub fn from_int8(values: &[i8], scales: &[f32], dim: usize) -> Result<Vec<f32>, KernelError> {
    if dim == 0 {
        return Err(KernelError::OutOfRange { op: "dequantize int8", what: "dimensions", max: crate::DIM_MAX, got: 0 });
    }
    let expected = scales.len().saturating_mul(dim);
    if values.len() != expected {
        return Err(KernelError::Mismatch { op: "dequantize int8", what: "values", expected, got: values.len() });
    }
    let mut out = vec![0.0f32; values.len()];
    out.par_chunks_mut(dim).zip(values.par_chunks(dim)).zip(scales).for_each(|((out, row), scale)| {
        out.iter_mut().zip(row).for_each(|(out, value)| *out = f32::from(*value) * scale);
    });
    Ok(out)
}

/// One bit per value, set where the value is above zero; rows of `dim / 8` bytes rounded up, most significant bit first, padded with zeros.
///
/// Errors: `NotRepresentable` for NaN.
pub fn to_bits(rows: Rows<'_>) -> Result<Vec<u8>, KernelError> {
    representable("quantize to binary", rows, |index| !rows.values()[index].is_nan())?;
    let stride = rows.dim().div_ceil(8);
    let mut out = vec![0u8; rows.len() * stride];
    out.par_chunks_mut(stride).zip(rows.values().par_chunks(rows.dim())).for_each(|(out, row)| portable::bits_row(row, out));
    Ok(out)
}

/// Widens bits: set is 1.0, not set is -1.0, so that products of widened rows count agreements minus disagreements.
#[must_use]
pub fn from_bits(rows: BitRows<'_>) -> Vec<f32> {
    let widen = |row: usize| (0..rows.bits()).map(move |bit| if rows.row(row)[bit / 8] >> (7 - bit % 8) & 1 == 1 { 1.0 } else { -1.0 });
    (0..rows.len()).flat_map(widen).collect()
}

/// Errors: `NotRepresentable` with the first value that is not finite.
fn finite(op: &'static str, rows: Rows<'_>) -> Result<(), KernelError> {
    match first_non_finite(rows.values()) {
        None => Ok(()),
        Some(index) => {
            Err(KernelError::NotRepresentable { op, row: index / rows.dim(), column: index % rows.dim(), value: rows.values()[index] })
        }
    }
}

/// Errors: `NotRepresentable` with the first value whose index does not pass.
fn representable(op: &'static str, rows: Rows<'_>, passes: impl Fn(usize) -> bool + Sync) -> Result<(), KernelError> {
    let (dim, count) = (rows.dim(), rows.values().len());
    // Whole pieces are judged without a way out, which the compiler vectorises; the index is looked for only where a piece fails.
    let fails = |piece: &usize| (piece * PIECE..count.min((piece + 1) * PIECE)).fold(false, |fails, index| fails | !passes(index));
    let Some(piece) = (0..count.div_ceil(PIECE)).into_par_iter().find_first(fails) else { return Ok(()) };
    let index = (piece * PIECE..count).find(|index| !passes(*index)).expect("this piece fails");
    Err(KernelError::NotRepresentable { op, row: index / dim, column: index % dim, value: rows.values()[index] })
}
