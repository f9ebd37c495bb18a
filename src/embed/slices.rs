//! How a list of texts is cut into what is tokenised and handed in together, and how each of them is worked on. Pure.

use std::ops::Range;

use rayon::prelude::*;

/// Bytes of text after which a slice ends, so that the first of many long texts are computed while the next are tokenised.
const SLICE_BYTES: usize = 64 << 10;
/// Slices that are held at once: one that is tokenised, and others that wait or are computed.
pub const SLICES_HELD: usize = 4;

/// Ranges of at most a [`SLICES_HELD`]th of `held_max` texts and about [`SLICE_BYTES`] bytes, one text at least, given the bytes of each text.
pub(super) fn slices(bytes: &[usize], held_max: usize) -> Vec<Range<usize>> {
    let count_max = (held_max / SLICES_HELD).max(1);
    let mut found = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (index, &bytes) in bytes.iter().enumerate() {
        held += bytes;
        if index + 1 - start >= count_max || held >= SLICE_BYTES {
            found.push(start..index + 1);
            (start, held) = (index + 1, 0);
        }
    }
    if start < bytes.len() {
        found.push(start..bytes.len());
    }
    found
}

/// What `work` makes of every item and its index, in order; split over the pool that the calling thread belongs to, if it belongs to one.
///
/// Errors: one of those of `work`.
pub fn each_of<T: Sync, R: Send, E: Send>(items: &[T], work: impl Fn(usize, &T) -> Result<R, E> + Sync) -> Result<Vec<R>, E> {
    // Outside a pool rayon would start one of its own and have this thread wait for it.
    if items.len() > 1 && rayon::current_thread_index().is_some() {
        items.par_iter().enumerate().map(|(index, item)| work(index, item)).collect()
    } else {
        items.iter().enumerate().map(|(index, item)| work(index, item)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_all_within_their_bounds() {
        for (bytes, held_max) in [(vec![], 8), (vec![10; 7], 8), (vec![SLICE_BYTES * 2; 3], 512), (vec![20_000; 100], 512), (vec![1; 9], 1)]
        {
            let found = slices(&bytes, held_max);
            let covered: Vec<usize> = found.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..bytes.len()).collect::<Vec<_>>());
            for slice in &found {
                let before_last: usize = bytes[slice.start..slice.end - 1].iter().sum();
                assert!(slice.len() <= (held_max / SLICES_HELD).max(1) && before_last < SLICE_BYTES);
            }
        }
    }
}
