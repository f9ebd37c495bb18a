//! How far a kernel may be from the exact answer: the only place where a tolerance is written down.
//!
//! Source of the bounds: N. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, section 3.1: a sum of `n` rounded terms
//! errs by at most `n u / (1 - n u)` times the sum of the terms' magnitudes, `u` being the unit round-off.

use crate::distance::{FOLD, LANES};

/// Unit round-off of `f32`.
pub const UNIT_F32: f64 = 1.0 / (1u64 << 24) as f64;

/// Bound on the error of a sum of `terms` products or differences in `f32` over [`LANES`] lanes, folded into `f64` every [`FOLD`] terms.
///
/// `magnitude` is the exact sum of the terms' absolute values. The chain inside a fold is at most `FOLD / LANES` additions, the lanes are
/// joined by four more and a term itself carries up to three roundings.
#[must_use]
pub fn lane_sum(terms: usize, magnitude: f64) -> f64 {
    let chain = terms.min(FOLD).div_ceil(LANES) as f64 + 4.0 + 3.0;
    chain * UNIT_F32 / (1.0 - chain * UNIT_F32) * magnitude + f64::from(f32::MIN_POSITIVE)
}

/// Bound on the error of one element of a matrix product over `terms` products in `f32`, summed in one chain.
#[must_use]
pub fn chain_sum(terms: usize, magnitude: f64) -> f64 {
    let chain = terms as f64 + 2.0;
    chain * UNIT_F32 / (1.0 - chain * UNIT_F32) * magnitude + f64::from(f32::MIN_POSITIVE)
}

/// Bound on the error of a cosine of `terms` dimensions: one dot product and two norms, each relative to the product of the norms.
#[must_use]
pub fn cosine(terms: usize) -> f64 {
    2.0 * lane_sum(terms, 1.0)
}

/// Bound on what the order of a sum in f64 does to a score of this magnitude whose terms are up to a thousand in all.
#[must_use]
pub fn wide_order(score: f64) -> f64 {
    1e-9 * score.abs().max(1e-3)
}

/// Bound on one rounding to `f32` of a value of this magnitude.
#[must_use]
pub fn rounded(magnitude: f64) -> f64 {
    magnitude * UNIT_F32 + f64::from(f32::MIN_POSITIVE)
}

/// Bound on the error of one element of a product over packed weights, beside the rounding of its operands: `terms` products summed in `f32` in one chain.
///
/// `splits` is true where each `f32` operand may be the sum of two bf16 whose smallest product is left out: 2⁻¹⁶ of each product for that, and as
/// much for what each of the two roundings leaves.
#[must_use]
pub fn packed_product(terms: usize, magnitude: f64, splits: bool) -> f64 {
    let split = if splits { 3.0 / f64::from(1u32 << 16) * magnitude } else { 0.0 };
    chain_sum(3 * terms.next_multiple_of(64), magnitude) + split
}

/// Bound on the error of one number of an attention whose queries, keys and values are within ±2 with heads of up to 128 numbers and scores of a
/// few units: the error of a score is that of its product, and shifts the weights of the values by as much.
#[must_use]
pub fn attention(is_exact: bool) -> f64 {
    if is_exact { 2e-4 } else { 6e-2 }
}

/// Bound on the error of an activation at `x`: erf, tanh and exp are within two units in the last place, and are scaled by the argument and rounded
/// a few more times.
#[must_use]
pub fn activation(x: f64) -> f64 {
    5.0 * UNIT_F32 * x.abs().clamp(1.0, 1e30)
}

/// The same at near grade: what a rounding to bf16 hides, half its unit in the last place at the larger of 1 and the argument.
#[must_use]
pub fn activation_near(x: f64) -> f64 {
    x.abs().clamp(1.0, f64::from(f32::MAX)) / 1024.0
}

/// Bound on one rounding to bf16 of a value of this magnitude.
#[must_use]
pub fn rounded_half(magnitude: f64) -> f64 {
    magnitude / 256.0 + f64::from(f32::MIN_POSITIVE)
}

/// Bound on the error of one number of a norm over `dim` numbers: the sums' chains shift all numbers alike, a common offset costs one rounding of
/// itself.
#[must_use]
pub fn norm(dim: usize, exact: f64, offset: f64) -> f64 {
    let chain = dim as f64 / 32.0 + 16.0;
    chain * UNIT_F32 * exact.abs().max(1.0) + 4.0 * UNIT_F32 * offset.abs()
}
