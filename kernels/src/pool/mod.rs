//! One row from many: how an encoder's token states become one vector. Sums accumulate in `f64` and are rounded once to `f32`.

#[cfg(test)]
mod tests;

use crate::{KernelError, Rows};

/// How the rows of one sequence become one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Average of all rows.
    Mean,
    /// The first row.
    First,
    /// The last row.
    Last,
    /// The largest value of each column; NaN wins.
    Max,
}

/// Pools `rows` `[tokens, dim]` (padding already left out) into `out` `[dim]`, on the calling thread.
///
/// Errors: `OutOfRange` without rows, `Mismatch` when `out` has another length.
pub fn pool(pooling: Pooling, rows: Rows<'_>, out: &mut [f32]) -> Result<(), KernelError> {
    if rows.is_empty() {
        return Err(KernelError::OutOfRange { op: "pool", what: "rows", max: usize::MAX, got: 0 });
    }
    if out.len() != rows.dim() {
        return Err(KernelError::Mismatch { op: "pool", what: "outputs", expected: rows.dim(), got: out.len() });
    }
    match pooling {
        Pooling::First => out.copy_from_slice(rows.row(0)),
        Pooling::Last => out.copy_from_slice(rows.row(rows.len() - 1)),
        Pooling::Max => {
            out.copy_from_slice(rows.row(0));
            for row in rows.iter().skip(1) {
                out.iter_mut().zip(row).for_each(|(out, value)| *out = if value > out || value.is_nan() { *value } else { *out });
            }
        }
        Pooling::Mean => {
            let mut sums = vec![0.0f64; rows.dim()];
            weighted_sum(rows, None, &mut sums)?;
            let count = rows.len() as f64;
            out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / count) as f32);
        }
    }
    Ok(())
}

/// Adds every row of `rows` `[rows, dim]`, times its weight if there are weights `[rows]`, to `sums` `[dim]` in `f64`, in the order of the rows.
///
/// Errors: `Mismatch` when a length differs.
pub fn weighted_sum(rows: Rows<'_>, weights: Option<&[f64]>, sums: &mut [f64]) -> Result<(), KernelError> {
    if sums.len() != rows.dim() {
        return Err(KernelError::Mismatch { op: "weighted sum", what: "outputs", expected: rows.dim(), got: sums.len() });
    }
    if let Some(weights) = weights
        && weights.len() != rows.len()
    {
        return Err(KernelError::Mismatch { op: "weighted sum", what: "weights", expected: rows.len(), got: weights.len() });
    }
    for (index, row) in rows.iter().enumerate() {
        match weights {
            None => sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value)),
            Some(weights) => sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) * weights[index]),
        }
    }
    Ok(())
}
