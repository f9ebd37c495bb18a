//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864) of queries and keys, in place.
//!
//! `f32` or bf16 in place, `f32` arithmetic. Every head of every token is computed by itself, so no result depends on batch or threads.

mod reference;
mod table;
pub mod tensor;

#[cfg(test)]
mod tests;

use half::bf16;
use rayon::prelude::*;

use crate::gemm::Output;
use crate::lanes::{Element, Lanes, on_lanes};
use crate::{Isa, KernelError, threads};

pub use reference::rotate as reference_rotate;
pub use table::{ROTARY_POSITIONS_MAX, RotaryTable, Scaling, frequencies};

/// Numbers below which a second thread does not pay.
const SPLIT_NUMBERS: usize = 1 << 16;

/// Which numbers of a head make a pair that is turned together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Number `i` and number `i + dims / 2` (the checkpoints of transformers).
    #[default]
    Halves,
    /// Numbers `2 i` and `2 i + 1` (GPT-J, the original Llama files).
    Pairs,
}

/// Where the heads to be turned lie in a row.
#[derive(Clone, Copy, Debug)]
pub struct RotarySpec<'a> {
    /// Numbers per row, of queries, keys and values.
    pub row: usize,
    /// Heads to turn, from the beginning of the row: those of queries and keys together.
    pub heads: usize,
    /// Numbers per head; the table's first ones are turned, the rest stay.
    pub head_dim: usize,
    /// Which numbers make a pair.
    pub order: Order,
    /// Cosines and sines.
    pub table: &'a RotaryTable,
}

/// Turns the first heads of every row by the angle of its position, in place.
///
/// Shapes: `rows` `[tokens, row]`, `positions` `[tokens]`. NaN stays in its pair. Splits over the rayon pool of the calling thread by rows.
/// Errors: `Mismatch` for sizes that do not fit, `OutOfRange` for a position beyond the table; nothing is changed then.
pub fn rotate(rows: Output<'_>, positions: &[u32], spec: &RotarySpec<'_>) -> Result<(), KernelError> {
    rotate_on(Isa::active(), rows, positions, spec)
}

/// The same for a given level of instructions, for tests and comparisons.
pub fn rotate_on(isa: Isa, rows: Output<'_>, positions: &[u32], spec: &RotarySpec<'_>) -> Result<(), KernelError> {
    let mismatch = |what, expected, got| Err(KernelError::Mismatch { op: "rotary", what, expected, got });
    if rows.len() != positions.len() * spec.row {
        return mismatch("numbers", positions.len() * spec.row, rows.len());
    }
    if spec.head_dim < spec.table.dims() {
        return mismatch("numbers per head", spec.table.dims(), spec.head_dim);
    }
    if spec.heads.saturating_mul(spec.head_dim) > spec.row {
        return mismatch("numbers per row", spec.heads.saturating_mul(spec.head_dim), spec.row);
    }
    if let Some(position) = positions.iter().find(|position| **position as usize >= spec.table.positions()) {
        let (max, got) = (spec.table.positions().saturating_sub(1), *position as usize);
        return Err(KernelError::OutOfRange { op: "rotary", what: "position", max, got });
    }
    match rows {
        Output::F32(rows) => split(isa, rows, positions, spec),
        Output::Bf16(rows) => split::<bf16>(isa, rows, positions, spec),
    }
    Ok(())
}

/// Turns on as many threads as pay. The sizes were checked.
fn split<T: Element>(isa: Isa, rows: &mut [T], positions: &[u32], spec: &RotarySpec<'_>) {
    // SAFETY (both calls): rows, positions and table fit each other, as was checked.
    if rows.len() < SPLIT_NUMBERS || threads::count() == 1 {
        // SAFETY: see above.
        return unsafe { turn::<T>(isa, rows, positions, spec) };
    }
    let tokens = SPLIT_NUMBERS.div_ceil(spec.row);
    // SAFETY: see above.
    let piece = |(rows, positions): (&mut [T], &[u32])| unsafe { turn::<T>(isa, rows, positions, spec) };
    rows.par_chunks_mut(tokens * spec.row).zip(positions.par_chunks(tokens)).for_each(piece);
}

on_lanes! {
    fn turn[T: Element](rows: &mut [T], positions: &[u32], spec: &RotarySpec<'_>) = body
}

/// Safety: as [`Lanes`]; the sizes were checked by [`rotate_on`].
#[inline(always)]
unsafe fn body<L: Lanes, T: Element>(rows: &mut [T], positions: &[u32], spec: &RotarySpec<'_>) {
    if positions.is_empty() || spec.heads == 0 {
        return;
    }
    for (row, position) in rows.chunks_exact_mut(spec.row).zip(positions) {
        let (cosines, sines) = spec.table.at(*position as usize);
        for head in row.chunks_exact_mut(spec.head_dim).take(spec.heads) {
            // SAFETY: the head holds two numbers for each cosine; the caller is compiled for the level.
            unsafe {
                match spec.order {
                    Order::Halves => halves::<L, T>(head, cosines, sines),
                    Order::Pairs => pairs::<L, T>(head, cosines, sines),
                }
            }
        }
    }
}

/// Safety: as [`Lanes`]; the head holds two numbers for each cosine.
#[inline(always)]
unsafe fn halves<L: Lanes, T: Element>(head: &mut [T], cosines: &[f32], sines: &[f32]) {
    let pairs = cosines.len();
    for at in (0..pairs).step_by(L::COUNT) {
        let len = L::COUNT.min(pairs - at);
        // SAFETY: `at + len` is at most the number of pairs; the caller is compiled for the level.
        unsafe {
            let (first, second) = (head.as_mut_ptr().add(at), head.as_mut_ptr().add(pairs + at));
            let (x, y) = (T::load::<L>(first, len), T::load::<L>(second, len));
            let (cosine, sine) = (f32::load::<L>(cosines.as_ptr().add(at), len), f32::load::<L>(sines.as_ptr().add(at), len));
            T::store(x.mul(cosine).sub(y.mul(sine)), first, len);
            T::store(y.mul(cosine).add(x.mul(sine)), second, len);
        }
    }
}

/// The same for pairs of neighbours, which are taken apart and put together again. Safety: as [`halves`].
#[inline(always)]
unsafe fn pairs<L: Lanes, T: Element>(head: &mut [T], cosines: &[f32], sines: &[f32]) {
    let mut numbers = [0f32; 32];
    for ((head, cosines), sines) in head.chunks_mut(2 * L::COUNT).zip(cosines.chunks(L::COUNT)).zip(sines.chunks(L::COUNT)) {
        let address = head.as_mut_ptr();
        let count = 2 * cosines.len();
        // SAFETY: the chunk holds `count` numbers, of which at most `COUNT` are moved at a time; the caller is compiled for the level.
        unsafe {
            for at in (0..count).step_by(L::COUNT) {
                T::load::<L>(address.add(at), L::COUNT.min(count - at)).store(numbers.as_mut_ptr().add(at));
            }
            for ((pair, cosine), sine) in numbers.as_chunks_mut::<2>().0.iter_mut().zip(cosines).zip(sines) {
                *pair = [pair[0] * cosine - pair[1] * sine, pair[1] * cosine + pair[0] * sine];
            }
            for at in (0..count).step_by(L::COUNT) {
                T::store(L::load(numbers.as_ptr().add(at)), address.add(at), L::COUNT.min(count - at));
            }
        }
    }
}
