//! Sums of chosen rows: the centers of clusters.
//!
//! `f32` values times `f64` scales, added in `f64` in the order in which the rows are named, so a sum is the same on every level of instructions.

mod portable;
mod reference;

#[cfg(test)]
mod tests;

use crate::{Isa, KernelError, Rows};

pub use reference::sums as reference_sums;

/// Adds the named rows, each times its scale, to `out` `[dim]`. Without scales every row counts once; with them there is one for each row of `rows`.
///
/// NaN and infinities as addition has them. On the calling thread. Errors: `Mismatch` for an `out` or scales of another length, `OutOfRange` for a row
/// that is not there; nothing is added then.
pub fn sums(rows: Rows<'_>, members: &[u32], scales: Option<&[f64]>, out: &mut [f64]) -> Result<(), KernelError> {
    sums_on(Isa::active(), (rows, members), scales, out)
}

/// [`sums`] on a chosen level of instructions.
pub fn sums_on(isa: Isa, (rows, members): (Rows<'_>, &[u32]), scales: Option<&[f64]>, out: &mut [f64]) -> Result<(), KernelError> {
    if out.len() != rows.dim() {
        return Err(KernelError::Mismatch { op: "sums", what: "dimensions", expected: rows.dim(), got: out.len() });
    }
    if let Some(scales) = scales.filter(|scales| scales.len() != rows.len()) {
        return Err(KernelError::Mismatch { op: "sums", what: "scales", expected: rows.len(), got: scales.len() });
    }
    let largest = members.iter().copied().max().map_or(0, |row| row as usize + 1);
    if largest > rows.len() {
        return Err(KernelError::OutOfRange { op: "sums", what: "rows", max: rows.len(), got: largest });
    }
    portable::add(isa, (rows, members), scales, out);
    Ok(())
}
