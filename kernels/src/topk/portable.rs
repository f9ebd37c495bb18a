//! The best few of a stream of scores: a heap whose top is the worst one kept.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{Hit, Metric};

/// A score as a key of which larger is closer.
#[inline(always)]
pub(super) fn key(metric: Metric, score: f64) -> f64 {
    if metric.larger_is_closer() { score } else { -score }
}

/// A kept row; the greatest of two is the one that ranks last.
#[derive(Clone, Copy)]
struct Kept {
    key: f64,
    index: u32,
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        // NaN ranks after every number; -0.0 and 0.0 tie.
        let keys = match (self.key.is_nan(), other.key.is_nan()) {
            (false, false) => other.key.partial_cmp(&self.key).unwrap_or(Ordering::Equal),
            (left, right) => left.cmp(&right),
        };
        keys.then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Kept {}

/// The best rows seen so far.
pub(super) struct Best {
    k: usize,
    threshold: Option<f64>,
    heap: BinaryHeap<Kept>,
}

impl Best {
    /// Room for `k` rows, all with keys not below the threshold.
    pub(super) fn new(k: usize, threshold: Option<f64>) -> Self {
        Self { k, threshold, heap: BinaryHeap::new() }
    }

    /// Offers the scores of consecutive rows from `from` on.
    pub(super) fn offer(&mut self, from: u32, scores: &[f64], metric: Metric) {
        for (index, score) in (from..).zip(scores) {
            self.push(Kept { key: key(metric, *score), index });
        }
    }

    /// Takes over what another part of the rows kept.
    pub(super) fn merge(&mut self, other: Self) {
        other.heap.into_iter().for_each(|kept| self.push(kept));
    }

    /// The kept rows, closest first.
    pub(super) fn into_hits(self, metric: Metric) -> Vec<Hit> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|kept| Hit { index: kept.index, score: key(metric, kept.key) }).collect()
    }

    #[inline]
    fn push(&mut self, kept: Kept) {
        // `!(a >= b)` instead of `a < b`: a NaN key never passes a threshold.
        if self.threshold.is_some_and(|threshold| !matches!(kept.key.partial_cmp(&threshold), Some(Ordering::Greater | Ordering::Equal))) {
            return;
        }
        if self.heap.len() < self.k {
            self.heap.push(kept);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && kept < *worst
        {
            *worst = kept;
        }
    }
}
