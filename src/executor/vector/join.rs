//! All pairs of two sets of rows, or of one with itself, that are close enough.
//!
//! Metrics that products decide go through the search kernels: some rows at a time are searched for their few closest within the threshold among all that
//! they are paired with; rows that have more than those are searched again, piece by piece, for all of them. Other metrics, and packed bits, are compared
//! pair by pair. Either way pairs come row by row, so that nothing but the pairs of some rows is held.

use std::cmp::Ordering;

use tallow_kernels::distance::{self, Metric};
use tallow_kernels::search::{Block, Certainty, Hit, Search, StoredRows, Within, norms, range, search};
use tallow_kernels::{KernelError, Operand, Rows, Stop};

/// Rows that are searched for together.
const GROUP: usize = 1024;
/// Closest rows that the first search gives.
const FEW: usize = 64;
/// Rows that are searched for together where there are more, at most.
const CROWDED_GROUP: usize = 128;
/// Memory of their partners, unless those of a single row take more.
const CROWDED_BYTES: usize = 64 << 20;
/// Rows of a piece for those.
const PIECE: usize = 8192;
/// Rows that are compared pair by pair together, and those that they are compared with.
const TILE: (usize, usize) = (64, 4096);

/// Which pairs are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join<'a> {
    /// How rows are compared.
    pub(super) metric: Metric,
    /// Scores at least this close count.
    pub(super) threshold: f64,
    /// One side.
    pub(super) a: Operand<'a>,
    /// The other; None pairs every row of `a` with the later ones.
    pub(super) b: Option<Operand<'a>>,
}

/// Why a join ended early.
pub(super) enum JoinEnd {
    /// The kernels refused or were stopped.
    Kernel(KernelError),
    /// The visitor has enough.
    Enough,
}

impl From<KernelError> for JoinEnd {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

/// Takes a row of `a` with its partners, closest first, ties by index; rows come in ascending order. Ends the join by answering false.
pub(super) type Visit<'a> = &'a mut dyn FnMut(usize, &[Hit]) -> bool;

/// Bytes that a join holds beside the rows and what its visitor keeps.
pub(super) fn bytes(a_rows: usize, b_rows: usize, dim: usize) -> u64 {
    // Lengths; candidates of the first search; hits of a piece where rows are crowded as candidates, and all of them; queries as they are packed.
    let (group, queries) = (crowded_group(b_rows).min(a_rows), GROUP.min(a_rows));
    let candidates = (queries * FEW.min(b_rows) * 128).max(group * PIECE.min(b_rows) * 48);
    let found = 2 * group * b_rows * size_of::<Hit>();
    (b_rows * 4 + candidates + found + queries * dim * 12 + TILE.0 * TILE.1 * 8) as u64
}

/// Rows whose partners, were they all rows, are held together.
fn crowded_group(b_rows: usize) -> usize {
    (CROWDED_BYTES / (b_rows.max(1) * size_of::<Hit>())).clamp(1, CROWDED_GROUP)
}

impl<'a> Join<'a> {
    fn other(&self) -> Operand<'a> {
        self.b.unwrap_or(self.a)
    }

    /// The first partner of a row.
    fn first_partner(&self, row: usize) -> usize {
        if self.b.is_some() { 0 } else { row + 1 }
    }

    /// Visits all pairs. `progress` is told the share of the work that is done.
    pub(super) fn run(&self, visit: Visit<'_>, progress: &dyn Fn(f32), stop: Stop<'_>) -> Result<(), JoinEnd> {
        match (self.a, self.other(), self.metric) {
            (Operand::Real(a), Operand::Real(b), Metric::Cosine | Metric::Dot | Metric::L2 | Metric::L2Squared) => {
                self.by_search((a, b), visit, progress, stop)
            }
            _ => self.by_tiles(visit, progress, stop),
        }
    }

    fn by_search(&self, (a, b): (Rows<'_>, Rows<'_>), visit: Visit<'_>, progress: &dyn Fn(f32), stop: Stop<'_>) -> Result<(), JoinEnd> {
        let lengths = norms(StoredRows::F32(b.values()), b.dim())?;
        let plan = Search { metric: self.metric, k: FEW, threshold: Some(self.threshold), certainty: Certainty::Exact };
        for from in (0..a.len()).step_by(GROUP) {
            let to = a.len().min(from + GROUP);
            // Where a set is joined with itself, pairs within the group are found twice and a row finds itself.
            let first = if self.b.is_some() { 0 } else { from };
            let block = block_of(b, &lengths, first..b.len());
            let mut found = search(a.slice(from..to), &[block], &plan, stop)?.hits;
            let crowded: Vec<usize> = (from..to).filter(|row| found[row - from].len() == FEW).collect();
            let mut crowded = crowded.chunks(crowded_group(b.len())).peekable();
            for row in from..to {
                if let Some(rows) = crowded.next_if(|rows| rows[0] == row) {
                    self.crowded((a, b), (rows, &lengths), &mut |row, hits| found[row - from] = hits, (first, stop))?;
                }
                let hits = std::mem::take(&mut found[row - from]);
                let first_partner = self.first_partner(row);
                let hits: Vec<Hit> = hits.into_iter().map(|hit| Hit { row: hit.row + first as u64, ..hit }).collect();
                let hits: Vec<Hit> = hits.into_iter().filter(|hit| hit.row >= first_partner as u64).collect();
                if !hits.is_empty() && !visit(row, &hits) {
                    return Err(JoinEnd::Enough);
                }
            }
            progress(self.share(to));
        }
        Ok(())
    }

    /// All partners of rows that have many.
    fn crowded(
        &self,
        (a, b): (Rows<'_>, Rows<'_>),
        (rows, lengths): (&[usize], &[f32]),
        take: &mut dyn FnMut(usize, Vec<Hit>),
        (first, stop): (usize, Stop<'_>),
    ) -> Result<(), KernelError> {
        let queries: Vec<f32> = rows.iter().flat_map(|row| a.row(*row)).copied().collect();
        let queries = Rows::new(&queries, a.dim())?;
        let mut all: Vec<Vec<Hit>> = vec![Vec::new(); rows.len()];
        for from in (first..b.len()).step_by(PIECE) {
            let piece = from..b.len().min(from + PIECE);
            let plan = Within { metric: self.metric, threshold: self.threshold, hits_max: rows.len() * piece.len() };
            let found = range(queries, &[block_of(b, lengths, piece)], &plan, stop)?;
            for (all, found) in all.iter_mut().zip(found) {
                all.extend(found.into_iter().map(|hit| Hit { row: hit.row + (from - first) as u64, ..hit }));
            }
        }
        for (row, mut hits) in rows.iter().zip(all) {
            self.sort(&mut hits);
            take(*row, hits);
        }
        Ok(())
    }

    fn by_tiles(&self, visit: Visit<'_>, progress: &dyn Fn(f32), stop: Stop<'_>) -> Result<(), JoinEnd> {
        let (a, b) = (self.a, self.other());
        let mut scores = vec![0.0; TILE.0 * TILE.1];
        for from in (0..a.len()).step_by(TILE.0) {
            let to = a.len().min(from + TILE.0);
            let mut found: Vec<Vec<Hit>> = vec![Vec::new(); to - from];
            let first = if self.b.is_some() { 0 } else { from };
            for right in (first..b.len()).step_by(TILE.1) {
                let width = TILE.1.min(b.len() - right);
                let scores = &mut scores[..(to - from) * width];
                distance::scores(self.metric, a.slice(from..to), b.slice(right..right + width), scores, stop)?;
                for ((row, found), scores) in (from..).zip(&mut found).zip(scores.chunks_exact(width)) {
                    let hits = (right as u64..).zip(scores).map(|(row, score)| Hit { row, score: *score });
                    found.extend(hits.filter(|hit| self.passes(hit.score) && hit.row >= self.first_partner(row) as u64));
                }
            }
            for (row, mut hits) in (from..).zip(found) {
                self.sort(&mut hits);
                if !hits.is_empty() && !visit(row, &hits) {
                    return Err(JoinEnd::Enough);
                }
            }
            progress(self.share(to));
        }
        Ok(())
    }

    fn passes(&self, score: f64) -> bool {
        if self.metric.larger_is_closer() { score >= self.threshold } else { score <= self.threshold }
    }

    /// Closest first, ties by index.
    fn sort(&self, hits: &mut [Hit]) {
        let key = |hit: &Hit| if self.metric.larger_is_closer() { -hit.score } else { hit.score };
        hits.sort_unstable_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal).then(a.row.cmp(&b.row)));
    }

    /// The share of the pairs that begin with the first rows.
    fn share(&self, rows: usize) -> f32 {
        let share = rows as f64 / self.a.len() as f64;
        (if self.b.is_some() { share } else { share * (2.0 - share) }) as f32
    }
}

fn block_of<'a>(rows: Rows<'a>, lengths: &'a [f32], range: std::ops::Range<usize>) -> Block<'a> {
    let values = &rows.values()[range.start * rows.dim()..range.end * rows.dim()];
    Block { rows: StoredRows::F32(values), norms: &lengths[range], sketch: None, admitted: None }
}
