//! What may still be in the answer to one query: rows whose score is known, and rows of which only an interval is.

use super::bound::{Bound, Interval};
use crate::best::Best;

/// Rows of unknown score that are kept beside `k`.
const PENDING: usize = 256;
/// New rows after which the floor is raised, at least.
const DUE: usize = 32;

/// A row of unknown score.
#[derive(Clone, Copy)]
struct Pending {
    row: u64,
    interval: Interval,
}

/// Rows that are fetched before they are scored.
const AHEAD: usize = 3;

/// Scores rows in f64.
pub(super) trait Rescore {
    fn score(&mut self, row: u64) -> f64;
    /// Says that the row will be scored soon.
    fn fetch(&self, row: u64);
}

/// The candidates of one query.
pub(super) struct Candidates {
    /// Rows that may be in the answer, or that are scored where intervals are guesses.
    k: usize,
    is_guess: bool,
    best: Best,
    pending: Vec<Pending>,
    /// Keys below it are those of rows that are not in the answer.
    floor: f64,
    /// Pending rows with which the floor is raised.
    due: usize,
    /// Pending rows that may be kept after that.
    room: usize,
}

impl Candidates {
    /// Memory of one query's candidates at most, in bytes.
    pub(super) fn bytes(k: usize) -> usize {
        (k.saturating_mul(3).saturating_add(2 * PENDING + DUE)).saturating_mul(size_of::<Pending>())
    }

    /// None yet; rows with keys below `floor` do not matter.
    pub(super) fn new(best: Best, floor: f64) -> Self {
        let k = best.capacity();
        // Where there is no telling how many rows there will be, those that are known are counted early.
        let room = if best.is_counted() { PENDING } else { k.saturating_add(PENDING) };
        Self { k, is_guess: false, best, pending: Vec::new(), floor, due: k.clamp(DUE, PENDING), room }
    }

    /// The same where intervals are guesses: the best `rows` by them are scored.
    pub(super) fn guess(best: Best, rows: usize) -> Self {
        Self { k: rows, is_guess: true, room: rows.saturating_add(PENDING), ..Self::new(best, f64::NEG_INFINITY) }
    }

    pub(super) fn floor(&self) -> f64 {
        self.floor
    }

    /// Takes up a row; true when there are so many that [`Self::tighten`] is due.
    pub(super) fn push(&mut self, row: u64, interval: Interval) -> bool {
        if interval.upper >= self.floor {
            self.pending.push(Pending { row, interval });
        }
        self.pending.len() >= self.due
    }

    /// Raises the floor to the k-th highest lower bound, drops what lies below, and scores the best of the rest, which raises the floor further.
    pub(super) fn tighten(&mut self, bound: &Bound, rescore: &mut dyn Rescore) {
        self.raise(bound);
        // Few that are left are told apart by fewer rows in the end.
        if !self.is_guess && self.pending.len() > self.k.saturating_mul(2).saturating_add(DUE) {
            self.settle_best(rescore);
            self.raise(bound);
        }
        if self.pending.len() > self.room {
            self.settle(rescore);
            self.raise(bound);
        }
        self.due = 2 * self.pending.len() + self.k.clamp(DUE, PENDING);
    }

    /// Scores the `k` pending rows with the highest lower bounds.
    fn settle_best(&mut self, rescore: &mut dyn Rescore) {
        let rest = if self.pending.len() > self.k {
            self.pending.select_nth_unstable_by(self.k - 1, |a, b| b.interval.lower.total_cmp(&a.interval.lower));
            self.pending.split_off(self.k)
        } else {
            Vec::new()
        };
        self.settle(rescore);
        self.pending = rest;
    }

    fn raise(&mut self, bound: &Bound) {
        if self.best.len() + self.pending.len() >= self.k {
            let keys = self.best.scores().map(|score| bound.key(score));
            let mut keys: Vec<f64> = keys.chain(self.pending.iter().map(|pending| pending.interval.lower)).collect();
            let (_, kth, _) = keys.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a));
            self.floor = self.floor.max(*kth);
        }
        self.pending.retain(|pending| pending.interval.upper >= self.floor);
    }

    /// Scores everything that is pending.
    fn settle(&mut self, rescore: &mut dyn Rescore) {
        self.pending.sort_unstable_by_key(|pending| pending.row);
        for (at, pending) in self.pending.iter().enumerate() {
            if let Some(next) = self.pending.get(at + AHEAD) {
                rescore.fetch(next.row);
            }
            self.best.offer(pending.row, rescore.score(pending.row));
        }
        self.pending.clear();
    }

    /// Takes over what was found in another part of the rows.
    pub(super) fn merge(&mut self, other: Self) {
        self.best.merge(other.best);
        self.pending.extend(other.pending);
        self.floor = self.floor.max(other.floor);
    }

    /// The best rows, all scored.
    pub(super) fn finish(mut self, bound: &Bound, rescore: &mut dyn Rescore) -> Best {
        self.raise(bound);
        if !self.is_guess {
            self.settle_best(rescore);
            self.raise(bound);
        }
        self.settle(rescore);
        self.best
    }
}
