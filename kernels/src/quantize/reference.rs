//! The plainest version in `f64`.

/// One row as 8-bit integers and its scale.
#[must_use]
pub fn int8_row(row: &[f32]) -> (Vec<i8>, f32) {
    let largest = row.iter().map(|v| v.abs()).fold(0.0, f32::max);
    let scale = largest / 127.0;
    let step = |value: &f32| if scale == 0.0 { 0.0 } else { (f64::from(*value) / f64::from(scale)).round_ties_even() };
    (row.iter().map(|value| step(value).clamp(-127.0, 127.0) as i8).collect(), scale)
}
