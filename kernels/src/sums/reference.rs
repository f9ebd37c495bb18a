//! The plainest version.

use crate::Rows;

/// The sum of the named rows, each times its scale.
#[must_use]
pub fn sums(rows: Rows<'_>, members: &[u32], scales: Option<&[f64]>) -> Vec<f64> {
    let mut out = vec![0.0; rows.dim()];
    for member in members {
        let member = *member as usize;
        for (column, value) in rows.row(member).iter().enumerate() {
            out[column] += f64::from(*value) * scales.map_or(1.0, |scales| scales[member]);
        }
    }
    out
}
