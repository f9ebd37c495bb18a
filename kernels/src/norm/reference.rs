//! The plainest form, in f64.

use super::Norm;

/// As [`super::normalize`]; the sizes must fit, it panics otherwise.
#[must_use]
pub fn normalize(rows: &[f32], norm: &Norm<'_>, epsilon: f64) -> Vec<f64> {
    let (scale, shift) = match norm {
        Norm::Layer { scale, shift } => (*scale, *shift),
        Norm::Rms { scale } => (*scale, None),
    };
    let dim = scale.len() as f64;
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(scale.len()) {
        let row: Vec<f64> = row.iter().map(|&value| f64::from(value)).collect();
        let mean = if matches!(norm, Norm::Layer { .. }) { row.iter().sum::<f64>() / dim } else { 0.0 };
        let square = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / dim;
        for (at, value) in row.iter().enumerate() {
            let shift = shift.map_or(0.0, |shift| f64::from(shift[at]));
            out.push((value - mean) / (square + epsilon).sqrt() * f64::from(scale[at]) + shift);
        }
    }
    out
}
