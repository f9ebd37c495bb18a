//! The same sums in `f64` over eight lanes, for the pairs whose `f32` partial sums overflow, underflow or vanish.

use super::lanes::Term;

/// The sum of the terms of two rows of equal length.
pub(super) fn sum<T: Term>(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let (a_tail, b_tail) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            lanes[lane] += T::wide(f64::from(a[lane]), f64::from(b[lane]));
        }
    }
    for (lane, (a, b)) in a_tail.iter().zip(b_tail).enumerate() {
        lanes[lane] += T::wide(f64::from(*a), f64::from(*b));
    }
    lanes.iter().sum()
}
