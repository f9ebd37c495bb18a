//! The best few rows of a stream of scores: a heap whose top is the worst one kept.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicUsize};

use crate::distance::Metric;

/// A score as a key of which larger is closer.
#[inline(always)]
pub(crate) fn key(metric: Metric, score: f64) -> f64 {
    if metric.larger_is_closer() { score } else { -score }
}

/// A kept row; the greatest of two is the one that ranks last.
#[derive(Clone, Copy)]
struct Kept {
    key: f64,
    row: u64,
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        // NaN ranks after every number; -0.0 and 0.0 tie.
        let keys = match (self.key.is_nan(), other.key.is_nan()) {
            (false, false) => other.key.partial_cmp(&self.key).unwrap_or(Ordering::Equal),
            (left, right) => left.cmp(&right),
        };
        keys.then(self.row.cmp(&other.row))
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

/// The best rows seen so far, whatever the order they came in.
pub(crate) struct Best {
    metric: Metric,
    k: usize,
    /// As a key.
    threshold: Option<f64>,
    heap: BinaryHeap<Kept>,
    /// Rows with lower keys are not among the best.
    cut: f64,
    /// Counts the rows that all share.
    counter: Option<Arc<AtomicUsize>>,
}

impl Best {
    /// Room for `k` rows, all with scores within the threshold.
    pub(crate) fn new(metric: Metric, (k, threshold): (usize, Option<f64>)) -> Self {
        Self {
            metric,
            k,
            threshold: threshold.map(|score| key(metric, score)),
            heap: BinaryHeap::new(),
            cut: f64::NEG_INFINITY,
            counter: None,
        }
    }

    /// The same, with every row that is kept counted.
    pub(crate) fn counted(self, counter: Arc<AtomicUsize>) -> Self {
        Self { counter: Some(counter), ..self }
    }

    /// True where rows are counted: there is no telling how many there will be.
    pub(crate) fn is_counted(&self) -> bool {
        self.counter.is_some()
    }

    /// Offers a row.
    #[inline]
    pub(crate) fn offer(&mut self, row: u64, score: f64) {
        let key = key(self.metric, score);
        if key < self.cut {
            return;
        }
        let before = self.heap.len();
        self.push(Kept { key, row });
        if let Some(counter) = &self.counter {
            counter.fetch_add(self.heap.len() - before, atomic::Ordering::Relaxed);
        }
        if self.heap.len() == self.k {
            // No number is lower than NaN.
            self.cut = self.heap.peek().map_or(f64::NEG_INFINITY, |worst| worst.key);
        }
    }

    /// Takes over what another part of the rows kept.
    pub(crate) fn merge(&mut self, other: Self) {
        other.heap.into_iter().for_each(|kept| self.push(kept));
    }

    /// Rows kept at most.
    pub(crate) fn capacity(&self) -> usize {
        self.k
    }

    /// The scores of the kept rows, in no order.
    pub(crate) fn scores(&self) -> impl Iterator<Item = f64> {
        self.heap.iter().map(|kept| key(self.metric, kept.key))
    }

    /// Rows kept.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The kept rows with their scores, closest first.
    pub(crate) fn into_ranked(self) -> impl Iterator<Item = (u64, f64)> {
        let metric = self.metric;
        self.heap.into_sorted_vec().into_iter().map(move |kept| (kept.row, key(metric, kept.key)))
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
