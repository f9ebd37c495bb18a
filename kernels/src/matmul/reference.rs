//! The plainest version in `f64`.

use super::RightLayout;
use crate::Rows;

/// The product of `a` `[rows, inner]` and `b`, row-major `[rows, columns]`, and the same product of absolute values.
#[must_use]
pub fn matmul(a: Rows<'_>, b: Rows<'_>, layout: RightLayout) -> (Vec<f64>, Vec<f64>) {
    let columns = if layout == RightLayout::AsIs { b.dim() } else { b.len() };
    let at = |inner: usize, column: usize| match layout {
        RightLayout::AsIs => f64::from(b.row(inner)[column]),
        RightLayout::Transposed => f64::from(b.row(column)[inner]),
    };
    let mut product = Vec::new();
    let mut magnitude = Vec::new();
    for row in a.iter() {
        for column in 0..columns {
            let terms = || row.iter().enumerate().map(|(inner, value)| f64::from(*value) * at(inner, column));
            product.push(terms().sum());
            magnitude.push(terms().map(f64::abs).sum());
        }
    }
    (product, magnitude)
}
