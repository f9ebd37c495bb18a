//! The plainest rotation, in `f64`, of one head.

use super::Order;

/// Turns the first `2 * angles.len()` numbers of a head, pair by pair, by the angles, and multiplies them by `size`.
#[must_use]
pub fn rotate(head: &[f64], angles: &[f64], size: f64, order: Order) -> Vec<f64> {
    let mut out = head.to_vec();
    for (pair, angle) in angles.iter().enumerate() {
        let (first, second) = match order {
            Order::Halves => (pair, pair + angles.len()),
            Order::Pairs => (2 * pair, 2 * pair + 1),
        };
        out[first] = size * (head[first] * angle.cos() - head[second] * angle.sin());
        out[second] = size * (head[second] * angle.cos() + head[first] * angle.sin());
    }
    out
}
