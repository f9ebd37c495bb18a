//! Sequences in groups of like length, computed side by side.

use candle_core::Device;
use rayon::prelude::*;

use crate::ModelError;

/// Tokens that are computed together on one thread: small enough that a stop is noticed soon, large enough for the matrix products.
const BATCH_TOKENS: usize = 1024;
/// Sequences that are computed together on one thread.
const BATCH_ROWS: usize = 64;

/// Indices by length, longest first, cut into batches of at most [`BATCH_ROWS`] rows and [`BATCH_TOKENS`] tokens (one row at least).
fn length_sorted(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(lengths[index]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for index in order {
        tokens += lengths[index];
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_ROWS && tokens <= BATCH_TOKENS => batch.push(index),
            _ => {
                batches.push(vec![index]);
                tokens = lengths[index];
            }
        }
    }
    batches
}

/// Which sequences were computed together, and what came out of each group.
pub(super) type Computed<T> = (Vec<Vec<usize>>, Vec<T>);

/// The batches of sequences of these lengths, and what `compute` makes of each. Errors: the first of `compute`.
pub(super) fn compute<T: Send>(
    lengths: &[usize],
    device: &Device,
    compute: impl Fn(&[usize]) -> Result<T, ModelError> + Sync,
) -> Result<Computed<T>, ModelError> {
    let batches = length_sorted(lengths);
    // Batches side by side keep every core busy where a product is too small to be split; a GPU takes them one after the other.
    let done: Vec<T> = if device.is_cpu() {
        batches.par_iter().map(|batch| compute(batch)).collect::<Result<_, _>>()?
    } else {
        batches.iter().map(|batch| compute(batch)).collect::<Result<_, _>>()?
    };
    Ok((batches, done))
}
