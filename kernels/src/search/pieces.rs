//! The rows of all blocks cut into pieces, taken by threads one after the other.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::Block;
use crate::{KernelError, Stop, threads};

/// Rows of a piece: some milliseconds for a batch of queries.
const PIECE_ROWS: usize = 4096;
/// Rows of the smallest piece that is worth a thread of its own.
const PIECE_ROWS_MIN: usize = 256;

/// A block with the number of its first row.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub block: Block<'a>,
    pub first: u64,
    pub len: usize,
}

/// Work on a piece of a block with what the thread holds.
pub(super) type Work<'a, S> = &'a (dyn Fn(&mut S, &Place<'_>, Range<usize>) -> Result<(), KernelError> + Sync);

/// Runs `work` once for every piece of every block. Each thread makes what it holds with `new`; what they hold in the end is given back, in no order.
pub(super) fn spread<S: Send>(
    places: &[Place<'_>],
    new: &(dyn Fn() -> S + Sync),
    work: Work<'_, S>,
    stop: Stop<'_>,
) -> Result<Vec<S>, KernelError> {
    let rows: usize = places.iter().map(|place| place.len).sum();
    let count = threads::count();
    let size = (rows / (4 * count)).clamp(PIECE_ROWS_MIN, PIECE_ROWS);
    let pieces = |place: usize| (0..places[place].len).step_by(size).map(move |from| (place, from));
    let pieces: Vec<(usize, usize)> = (0..places.len()).flat_map(pieces).collect();
    let next = AtomicUsize::new(0);
    let worker = |_| {
        let mut held = new();
        while let Some(&(place, from)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop() {
                return Err(KernelError::Stopped);
            }
            let place = &places[place];
            work(&mut held, place, from..place.len.min(from + size))?;
        }
        Ok(held)
    };
    let count = count.min(pieces.len()).max(1);
    if count == 1 { worker(0).map(|held| vec![held]) } else { (0..count).into_par_iter().with_max_len(1).map(worker).collect() }
}
