//! Searching a version of a set: the closest rows of each query, or all within a threshold.

use rayon::prelude::*;
use tallow_kernels::search::{Block, Certainty, Hit, Search, Within, range, search};
use tallow_kernels::{KernelError, Rows};

use super::set::Watch;
use super::version::Version;
use super::{Bits, Filter, Place, SetError, SetSpec};

/// Queries that go through the rows together; between two such batches progress is told.
const BATCH_QUERIES: usize = 1024;

/// What is searched for in a set.
#[derive(Clone, Copy, Debug)]
pub struct SetQuery<'a> {
    /// `[queries, dim]`; for binary sets a bit is set where a value is above zero.
    pub queries: Rows<'a>,
    /// How many rows each query wants; `None` for all within the threshold.
    pub k: Option<usize>,
    /// Only rows at least this close.
    pub threshold: Option<f64>,
    /// Most hits of all queries together where `k` is `None`; more are an error.
    pub hits_max: usize,
    /// Only rows that it admits.
    pub filter: Option<&'a Filter>,
    /// Whether a sketch may leave rows out.
    pub certainty: Certainty,
}

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Where it lies in the version that was searched.
    pub place: Place,
    /// Its score by the set's metric.
    pub score: f64,
}

/// The rows of each query, closest first, and how they were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Of each query; ties go to the row that is longer in the set, rows whose score is NaN come last.
    pub hits: Vec<Vec<Found>>,
    /// True when the rows are those of a comparison of all pairs.
    pub is_exact: bool,
    /// Live rows.
    pub rows: usize,
    /// Live rows that the filter left to be compared.
    pub admitted: usize,
}

/// Parts with rows to compare, as the kernels take them.
struct Scanned<'a> {
    parts: Vec<u32>,
    /// The number of each part's first row, counted over all of them.
    firsts: Vec<u64>,
    blocks: Vec<Block<'a>>,
}

/// Searches a version. Splits over the rayon pool of the calling thread.
///
/// Errors: `Invalid` at `k`, `threshold`, `queries` or below `filter`; at `threshold` when more than `hits_max` rows are within it; `Stopped`.
pub fn search_version(version: &Version, spec: &SetSpec, query: &SetQuery<'_>, watch: Watch<'_>) -> Result<Answer, SetError> {
    if query.queries.dim() != spec.dim {
        return Err(SetError::invalid("queries", format!("found {} dimensions; the set's rows have {}", query.queries.dim(), spec.dim)));
    }
    if let Some(filter) = query.filter {
        filter.check()?;
        version.check_filter(filter)?;
    }
    let masks = version.parts.par_iter().map(|part| watch.check().map(|()| version.admitted(part, query.filter)));
    let masks: Vec<Option<Bits>> = masks.collect::<Result<_, _>>()?;
    let scanned = scanned(version, &masks);
    let rows = version.len();
    let admitted = match query.filter {
        None => rows,
        Some(_) => masks.iter().flatten().map(Bits::count).sum(),
    };
    let mut answer = Answer { hits: Vec::with_capacity(query.queries.len()), is_exact: true, rows, admitted };
    let mut left = query.hits_max;
    for from in (0..query.queries.len()).step_by(BATCH_QUERIES) {
        watch.check()?;
        let to = query.queries.len().min(from + BATCH_QUERIES);
        let (hits, is_exact) = batch(&scanned.blocks, spec, (query, query.queries.slice(from..to), left), watch)?;
        left = left.saturating_sub(hits.iter().map(Vec::len).sum());
        answer.is_exact &= is_exact;
        answer.hits.extend(hits.iter().map(|hits| hits.iter().map(|hit| scanned.found(hit)).collect::<Vec<_>>()));
        (watch.progress)(to as f32 / query.queries.len() as f32);
    }
    Ok(answer)
}

fn batch(
    blocks: &[Block<'_>],
    spec: &SetSpec,
    (query, queries, hits_max): (&SetQuery<'_>, Rows<'_>, usize),
    watch: Watch<'_>,
) -> Result<(Vec<Vec<Hit>>, bool), SetError> {
    let SetQuery { threshold, certainty, .. } = *query;
    let (metric, stop) = (spec.metric, watch.stop);
    match (query.k, threshold) {
        (Some(k), _) => {
            let found =
                search(queries, blocks, &Search { metric, k, threshold, certainty }, stop).map_err(|error| refused("queries", &error))?;
            Ok((found.hits, found.is_exact))
        }
        (None, Some(threshold)) => {
            let found = range(queries, blocks, &Within { metric, threshold, hits_max }, stop);
            found.map(|hits| (hits, true)).map_err(|error| match error {
                KernelError::OutOfRange { what: "hits", .. } => {
                    let limit = query.hits_max;
                    SetError::invalid("threshold", format!("more than {limit} rows are within it; ask for fewer, or raise `hits_max`"))
                }
                other => refused("queries", &other),
            })
        }
        (None, None) => Err(SetError::invalid("k", "missing; a search needs `k`, `threshold` or both")),
    }
}

fn refused(field: &str, error: &KernelError) -> SetError {
    match error {
        KernelError::Stopped => SetError::Stopped,
        other => SetError::invalid(field, other.to_string()),
    }
}

/// The parts that have rows to compare.
fn scanned<'a>(version: &'a Version, masks: &'a [Option<Bits>]) -> Scanned<'a> {
    let mut scanned = Scanned { parts: Vec::new(), firsts: Vec::new(), blocks: Vec::new() };
    let mut first = 0;
    for (at, (part, mask)) in version.parts.iter().zip(masks).enumerate() {
        if mask.as_ref().is_some_and(|mask| mask.count() == 0) {
            continue;
        }
        scanned.parts.push(at as u32);
        scanned.firsts.push(first);
        scanned.blocks.push(part.segment.block(mask.as_ref()));
        first += part.segment.len() as u64;
    }
    scanned
}

impl Scanned<'_> {
    fn found(&self, hit: &Hit) -> Found {
        let block = self.firsts.partition_point(|first| *first <= hit.row) - 1;
        Found { place: Place { part: self.parts[block], row: (hit.row - self.firsts[block]) as u32 }, score: hit.score }
    }
}
