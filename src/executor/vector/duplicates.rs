//! `near_duplicates`: all pairs above a threshold, and the groups they form.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use tallow_kernels::search::Hit;

use super::VectorState;
use super::compare::{check_pair, kernel_metric};
use super::input::{load, shape_of};
use super::join::{self, Join};
use super::output::cost;
use super::pairs::ended;
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{DuplicatePair, NearDuplicatesOutput, NearDuplicatesRequest, NonFinite};
use crate::task::{Parts, TaskError};

/// Most pairs that may be asked for.
const PAIRS_MAX: usize = 1_000_000;
/// Most vectors: the work grows with their square.
const ROWS_MAX: usize = 1 << 22;

/// Pairs and groups of vectors that are close to each other.
pub(super) struct NearDuplicates;

impl Operation<VectorState> for NearDuplicates {
    type Request = NearDuplicatesRequest;
    type Output = NearDuplicatesOutput;
    const NAME: &'static str = "near_duplicates";
    const SUMMARY: &'static str = "All pairs of vectors at least this close, exactly, and the groups that chains of pairs form.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = shape_of("vectors", &request.vectors, parts)?;
        check_pair(request.metric, ("vectors", shape), ("vectors", shape))?;
        if !request.threshold.is_finite() {
            return Err(TaskError::invalid("threshold", "must be finite"));
        }
        if request.pairs_max > PAIRS_MAX {
            return Err(TaskError::invalid("pairs_max", format!("found {}; allowed: 0 to {PAIRS_MAX}", request.pairs_max)));
        }
        if shape.rows > ROWS_MAX {
            return Err(TaskError::invalid(
                "vectors",
                format!("found {} vectors; at most {ROWS_MAX} are compared all with all", shape.rows),
            ));
        }
        let pairs = request.pairs_max.min(shape.rows.saturating_mul(shape.rows - 1) / 2) as u64;
        // A pair is held in the heap and as a JSON object of three numbers; a row in the forest and as a number in a group.
        let held = pairs * (24 + 400) + shape.rows as u64 * 120 + join::bytes(shape.rows, shape.rows, shape.dim);
        Ok(cost(shape.bytes() + held, (shape.elements() as u64).saturating_mul(shape.rows as u64) / 2))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let vectors = load("vectors", &request.vectors, scope.parts, NonFinite::Refuse)?;
        let operand = vectors.operand();
        let metric = kernel_metric(request.metric);
        let mut found = Found::new(operand.len(), request.pairs_max);
        let mut visit = |row: usize, hits: &[Hit]| {
            for hit in hits {
                let distance = if metric.larger_is_closer() { -hit.score } else { hit.score };
                found.add(Kept { distance, a: row as u32, b: hit.row as u32 });
            }
            true
        };
        let join = Join { metric, threshold: request.threshold, a: operand, b: None };
        let stop = || scope.cancel.is_cancelled();
        let progress = |share: f32| scope.sink.progress(share, "comparing");
        join.run(&mut visit, &progress, &stop).map_err(|end| ended(end, request.pairs_max, scope.cancel))?;
        let pair_count = found.pair_count;
        let (pairs, groups) = found.into_pairs_and_groups();
        let pair = |kept: Kept| {
            let score = if metric.larger_is_closer() { 0.0 - kept.distance } else { kept.distance };
            DuplicatePair { a: kept.a as usize, b: kept.b as usize, score }
        };
        let pairs: Vec<_> = pairs.into_iter().map(pair).collect();
        Ok(NearDuplicatesOutput { count: operand.len(), pair_count, truncated: pair_count > pairs.len() as u64, pairs, groups })
    }
}

/// A pair; the greatest of two is the one that is listed last.
#[derive(Clone, Copy, Debug)]
struct Kept {
    distance: f64,
    a: u32,
    b: u32,
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        let distances = self.distance.partial_cmp(&other.distance).unwrap_or(Ordering::Equal);
        distances.then(self.a.cmp(&other.a)).then(self.b.cmp(&other.b))
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

/// What has been found so far. The order in which pairs arrive does not change what it ends with.
struct Found {
    pairs_max: usize,
    pair_count: u64,
    pairs: BinaryHeap<Kept>,
    parents: Vec<u32>,
}

impl Found {
    fn new(row_count: usize, pairs_max: usize) -> Self {
        Self { pairs_max, pair_count: 0, pairs: BinaryHeap::new(), parents: (0..row_count as u32).collect() }
    }

    fn add(&mut self, pair: Kept) {
        self.pair_count += 1;
        let (a, b) = (self.root(pair.a), self.root(pair.b));
        // The lower root stays, so that a root is the first of its group.
        self.parents[a.max(b) as usize] = a.min(b);
        if self.pairs.len() < self.pairs_max {
            self.pairs.push(pair);
        } else if let Some(mut last) = self.pairs.peek_mut()
            && pair < *last
        {
            *last = pair;
        }
    }

    /// The first member of a row's group, shortening the way there.
    fn root(&mut self, mut row: u32) -> u32 {
        while self.parents[row as usize] != row {
            let grandparent = self.parents[self.parents[row as usize] as usize];
            self.parents[row as usize] = grandparent;
            row = grandparent;
        }
        row
    }

    fn into_pairs_and_groups(mut self) -> (Vec<Kept>, Vec<Vec<usize>>) {
        let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for row in 0..self.parents.len() as u32 {
            let root = self.root(row);
            groups.entry(root).or_default().push(row as usize);
        }
        let groups = groups.into_values().filter(|group| group.len() > 1).collect();
        (self.pairs.into_sorted_vec(), groups)
    }
}
