//! Rows picked from tables by number and added up: the embeddings of tokens, positions and segments in one pass.
//!
//! `f32` tables and sums, added in the order of the tables. A row is computed by itself, so no result depends on batch or threads.

mod reference;
pub mod tensor;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::lanes::{Lanes, on_lanes};
use crate::{Isa, KernelError, threads};

pub use reference::gather as reference_gather;

/// Numbers below which a second thread does not pay.
const SPLIT_NUMBERS: usize = 1 << 17;

/// Rows of one table.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    /// `[rows, dim]`.
    pub table: &'a [f32],
    /// The row for each row of the result.
    pub ids: &'a [u32],
    /// Every number is multiplied by it.
    pub factor: f32,
}

/// Writes `parts[0].table[parts[0].ids[i]] · factor + parts[1].table[...] · factor + ...` into row `i` of `out` `[ids, dim]`; NaN and infinities as addition has them.
///
/// Splits over the rayon pool of the calling thread. Errors: `OutOfRange` without a part, for `dim` 0 or an id without a row, `Mismatch` for sizes that
/// do not fit; nothing is written then.
pub fn gather(parts: &[Picked<'_>], dim: usize, out: &mut [f32]) -> Result<(), KernelError> {
    gather_on(Isa::active(), parts, dim, out)
}

/// The same for a given level of instructions, for tests and comparisons.
pub fn gather_on(isa: Isa, parts: &[Picked<'_>], dim: usize, out: &mut [f32]) -> Result<(), KernelError> {
    check(parts, dim, out.len())?;
    if out.len() < SPLIT_NUMBERS || threads::count() == 1 {
        // SAFETY: sizes and ids were checked.
        unsafe { rows(isa, parts, 0, dim, out) };
        return Ok(());
    }
    let piece_rows = (SPLIT_NUMBERS / 2).div_ceil(dim);
    // SAFETY: sizes and ids were checked; a piece begins with the row that is passed.
    out.par_chunks_mut(piece_rows * dim).enumerate().for_each(|(index, piece)| unsafe { rows(isa, parts, index * piece_rows, dim, piece) });
    Ok(())
}

fn check(parts: &[Picked<'_>], dim: usize, numbers: usize) -> Result<(), KernelError> {
    let out_of_range = |what, max, got| Err(KernelError::OutOfRange { op: "gather", what, max, got });
    let mismatch = |what, expected, got| Err(KernelError::Mismatch { op: "gather", what, expected, got });
    if parts.is_empty() {
        return out_of_range("tables", usize::MAX, 0);
    }
    if dim == 0 {
        return out_of_range("dimensions", usize::MAX, 0);
    }
    for part in parts {
        if !part.table.len().is_multiple_of(dim) {
            return mismatch("numbers in the last row of a table", dim, part.table.len() % dim);
        }
        if part.ids.len() != numbers / dim || !numbers.is_multiple_of(dim) {
            return mismatch("outputs", part.ids.len() * dim, numbers);
        }
        let count = part.table.len() / dim;
        if let Some(&id) = part.ids.iter().find(|&&id| id as usize >= count) {
            return out_of_range("rows of a table", count, id as usize);
        }
    }
    Ok(())
}

on_lanes! {
    fn rows(parts: &[Picked<'_>], first: usize, dim: usize, out: &mut [f32]) = body
}

/// Writes the rows from `first` on. Safety: as [`Lanes`]; sizes and ids were checked, and `first` is the row that `out` begins with.
#[inline(always)]
unsafe fn body<L: Lanes>(parts: &[Picked<'_>], first: usize, dim: usize, out: &mut [f32]) {
    for (row, out) in out.chunks_exact_mut(dim).enumerate() {
        for at in (0..dim).step_by(L::COUNT) {
            let len = L::COUNT.min(dim - at);
            // SAFETY: `at + len` is at most `dim`; the caller is compiled for the level.
            unsafe { add::<L>(parts, (first + row, dim), (out.as_mut_ptr().add(at), at, len)) };
        }
    }
}

/// Writes `len` of 1..=`COUNT` numbers of one row. Safety: as [`body`].
#[inline(always)]
unsafe fn add<L: Lanes>(parts: &[Picked<'_>], (row, dim): (usize, usize), (out, at, len): (*mut f32, usize, usize)) {
    // SAFETY: granted by the caller.
    unsafe {
        let load = |part: &Picked<'_>| {
            let source = part.table.as_ptr().add(*part.ids.get_unchecked(row) as usize * dim + at);
            <f32 as crate::lanes::Element>::load::<L>(source, len)
        };
        let mut sum: Option<L> = None;
        for part in parts {
            let value = load(part);
            let value = if part.factor == 1.0 { value } else { value.mul(L::splat(part.factor)) };
            sum = Some(match sum {
                Some(sum) => sum.add(value),
                None => value,
            });
        }
        if let Some(sum) = sum {
            <f32 as crate::lanes::Element>::store::<L>(sum, out, len);
        }
    }
}
