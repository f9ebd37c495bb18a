//! The plainest version, left to right in `f64`.

use super::Norm;

/// One row scaled to norm one; a zero row as it is.
#[must_use]
pub fn normalize(norm: Norm, row: &[f32]) -> Vec<f32> {
    let values = row.iter().map(|v| f64::from(*v));
    let length = match norm {
        Norm::L2 => values.map(|v| v * v).sum::<f64>().sqrt(),
        Norm::L1 => values.map(f64::abs).sum(),
        Norm::Max => values.fold(0.0, |a: f64, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b.abs()) }),
    };
    if length == 0.0 { row.to_vec() } else { row.iter().map(|v| (f64::from(*v) / length) as f32).collect() }
}
