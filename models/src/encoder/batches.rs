//! Sequences in groups of like length, computed side by side.

use candle_core::Device;
use rayon::prelude::*;
use tallow_kernels::threads;

use crate::ModelError;

/// Most tokens that are computed together on one thread: what they become stays near the processor, and the weights are read often enough for each.
const BATCH_TOKENS_MAX: usize = 256;
/// Tokens that are not cut further for the sake of another thread.
const BATCH_TOKENS_MIN: usize = 64;
/// Sequences that are computed together on one thread.
const BATCH_ROWS: usize = 64;

/// Indices by length, longest first, cut into batches of at most [`BATCH_ROWS`] rows and as many tokens as let every thread have some (one row at least).
fn length_sorted(lengths: &[usize], threads: usize) -> Vec<Vec<usize>> {
    let tokens_max = lengths.iter().sum::<usize>().div_ceil(threads).clamp(BATCH_TOKENS_MIN, BATCH_TOKENS_MAX);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(lengths[index]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for index in order {
        tokens += lengths[index];
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_ROWS && tokens <= tokens_max => batch.push(index),
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
    let batches = length_sorted(lengths, rayon::current_num_threads());
    // Batches side by side keep every core busy, and none of them waits for another thread inside a layer; fewer batches than threads are split inside
    // their layers instead. A GPU takes them one after the other.
    let done: Vec<T> = if device.is_cpu() {
        if batches.len() < rayon::current_num_threads() {
            batches.iter().map(|batch| compute(batch)).collect::<Result<_, _>>()?
        } else {
            batches.par_iter().map(|batch| threads::alone(|| compute(batch))).collect::<Result<_, _>>()?
        }
    } else {
        batches.iter().map(|batch| compute(batch)).collect::<Result<_, _>>()?
    };
    Ok((batches, done))
}
