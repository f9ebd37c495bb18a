//! One row over eight `f64` lanes, which the compiler turns into what the target has.

use super::Norm;

/// Scales a row; true when it is zero.
pub(super) fn row(kind: Norm, row: &mut [f32]) -> bool {
    let length = norm(kind, row);
    if length == 0.0 {
        return true;
    }
    row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    false
}

/// The norm of a row.
pub(super) fn norm(kind: Norm, row: &[f32]) -> f64 {
    match kind {
        Norm::L2 => fold(row, |sum, value| sum + value * value, |a, b| a + b).sqrt(),
        Norm::L1 => fold(row, |sum, value| sum + value.abs(), |a, b| a + b),
        Norm::Max => fold(row, larger, larger),
    }
}

/// The larger magnitude; NaN wins.
#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    let b = b.abs();
    if b > a || b.is_nan() { b } else { a }
}

#[inline(always)]
fn fold(row: &[f32], step: impl Fn(f64, f64) -> f64, join: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    let chunks = row.chunks_exact(8);
    let tail = chunks.remainder();
    for chunk in chunks {
        for lane in 0..8 {
            lanes[lane] = step(lanes[lane], f64::from(chunk[lane]));
        }
    }
    for (lane, value) in lanes.iter_mut().zip(tail) {
        *lane = step(*lane, f64::from(*value));
    }
    lanes.into_iter().fold(0.0, join)
}
