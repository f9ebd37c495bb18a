//! The plainest version in `f64`: the truth the others are tested against.

use super::Metric;

/// The exact score of two rows of equal length, summed in `f64` from left to right.
#[must_use]
pub fn score(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    match metric {
        Metric::Dot => pairs().map(|(a, b)| a * b).sum(),
        Metric::L2Squared => pairs().map(|(a, b)| (a - b) * (a - b)).sum(),
        Metric::L2 => score(Metric::L2Squared, a, b).sqrt(),
        Metric::L1 => pairs().map(|(a, b)| (a - b).abs()).sum(),
        Metric::Hamming => pairs().filter(|(a, b)| a != b).count() as f64,
        Metric::Jaccard => {
            let both = pairs().filter(|(a, b)| *a != 0.0 && *b != 0.0).count() as f64;
            let either = pairs().filter(|(a, b)| *a != 0.0 || *b != 0.0).count() as f64;
            if either == 0.0 { 1.0 } else { both / either }
        }
        Metric::Cosine => {
            let (left, right) = (score(Metric::Dot, a, a), score(Metric::Dot, b, b));
            if left.is_nan() || right.is_nan() {
                f64::NAN
            } else if left == 0.0 || right == 0.0 {
                0.0
            } else {
                (score(Metric::Dot, a, b) / (left.sqrt() * right.sqrt())).clamp(-1.0, 1.0)
            }
        }
    }
}
