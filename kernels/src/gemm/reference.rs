//! The plainest product: every operand rounded as the precision says, everything else in f64.

use half::bf16;

use super::convert::{int8_scale, to_int8};
use super::{Epilogue, Precision};

/// `x` `[rows, inner]` times `weights` `[columns, inner]` transposed, with the epilogue, in f64. The sizes must fit each other; panics otherwise.
#[must_use]
pub fn gemm(x: &[f32], weights: &[f32], (inner, precision): (usize, Precision), epilogue: &Epilogue<'_>) -> Vec<f64> {
    let x = rounded(x, inner, precision);
    let w = rounded(weights, inner, precision);
    let columns = w.len() / inner;
    let mut out = Vec::with_capacity(x.len() / inner * columns);
    for row in x.chunks_exact(inner) {
        for (column, weights) in w.chunks_exact(inner).enumerate() {
            let product: f64 = row.iter().zip(weights).map(|(a, b)| a * b).sum();
            out.push(epilogue.reference(product, out.len(), column));
        }
    }
    out
}

fn rounded(rows: &[f32], inner: usize, precision: Precision) -> Vec<f64> {
    match precision {
        Precision::Exact => rows.iter().map(|&value| f64::from(value)).collect(),
        Precision::Bf16 => rows.iter().map(|&value| bf16::from_f32(value).to_f64()).collect(),
        Precision::Int8 => rows
            .chunks_exact(inner)
            .flat_map(|row| {
                let (scale, inverse) = int8_scale(row);
                row.iter().map(move |&value| f64::from(to_int8(value, inverse)) * f64::from(scale))
            })
            .collect(),
    }
}
