//! The plainest form, in f64.

use super::Picked;

/// As [`super::gather`]; the sizes must fit, it panics otherwise.
#[must_use]
pub fn gather(parts: &[Picked<'_>], dim: usize) -> Vec<f64> {
    let rows = parts.first().map_or(0, |part| part.ids.len());
    let number = |row: usize, at: usize| -> f64 {
        parts.iter().map(|part| f64::from(part.table[part.ids[row] as usize * dim + at]) * f64::from(part.factor)).sum()
    };
    (0..rows).flat_map(|row| (0..dim).map(move |at| (row, at))).map(|(row, at)| number(row, at)).collect()
}
