//! `set.search`.

use std::borrow::Cow;

use tallow_kernels::search::Certainty;
use tallow_kernels::{BitRows, Rows, quantize};

use super::convert::{filter, id_word, meta_words, metric_word};
use super::watched;
use super::write::{check_set, check_shape};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::executor::vector::VectorState;
use crate::executor::vector::input::{Loaded, load, shape_of};
use crate::executor::vector::output::{array_bytes, cost, emit};
use crate::task::vector::set::{SearchCertainty, SearchFacts, SetSearchOutput, SetSearchRequest};
use crate::task::vector::{ArrayEncoding, HitRows, ItemId, Numbers, RankOrder};
use crate::task::{Parts, TaskError};
use crate::vectors::{Answer, Found, IdKind, RowId, SetQuery, SetSpec, SketchKind, Version, search_version};

/// Most hits per query that may be asked for.
const K_MAX: usize = 1_000_000;
/// Most hits of all queries together without `k`.
const HITS_MAX: usize = 10_000_000;
/// Most rows compared exactly for each row wanted.
const OVERSAMPLE_MAX: usize = 1000;
/// Parts of the rows that each keep their own best hits: four per thread of a large host.
const PARTIAL_BESTS: usize = 64;
/// Bytes of what a row carries while it is written.
const META_BYTES: u64 = 512;

/// The closest rows of each query.
pub(in crate::executor::vector) struct Search;

impl Operation<VectorState> for Search {
    type Request = SetSearchRequest;
    type Output = SetSearchOutput;
    const NAME: &'static str = "set.search";
    const SUMMARY: &'static str =
        "The closest rows of a resident set for each query, or all within a threshold, of those that a filter admits.";

    fn check(request: &Self::Request, state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        check_set(&request.set)?;
        let queries = shape_of("queries", &request.queries, parts)?;
        check_wanted(request)?;
        if let Some(found) = &request.filter {
            filter(found)?;
        }
        // What is not known yet, of a set that another task makes first, counts as far as the request bounds it.
        let rows = usize::try_from(state.rows_of(&request.set)).unwrap_or(usize::MAX);
        let known = if rows == 0 { usize::MAX } else { rows };
        let hits = match request.k {
            Some(k) => queries.rows.saturating_mul(k.min(known)),
            None => request.hits_max.min(queries.rows.saturating_mul(known)),
        };
        let out = array_bytes("scores", request.encoding, hits, 8)?.saturating_mul(2);
        let kept = match request.k {
            Some(k) => queries.rows.saturating_mul(k.saturating_mul(PARTIAL_BESTS).min(known)) as u64 * 16,
            None => hits as u64 * 48,
        };
        let carried = if request.metadata { hits as u64 * META_BYTES } else { 0 };
        let masks = rows as u64 / 4;
        let held = [queries.bytes() * 2, out, kept, carried, masks, hits as u64 * 96].into_iter().fold(0, u64::saturating_add);
        let work = (queries.elements() as u64).saturating_mul(if rows == 0 { 1 << 20 } else { rows as u64 });
        Ok(cost(held, work))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let set = watched(scope, "reading the set", |watch| scope.state.sets.get(&request.set, watch))?;
        let spec = set.spec();
        let shape = shape_of("queries", &request.queries, scope.parts)?;
        check_shape("queries", (shape.dim, shape.dtype), (spec.dim, spec.dtype))?;
        let loaded = load("queries", &request.queries, scope.parts, request.non_finite)?;
        let values = widened(&loaded, spec)?;
        let rows = Rows::new(&values, spec.dim).map_err(|error| TaskError::invalid("queries", error.to_string()))?;
        let filter = request.filter.as_ref().map(filter).transpose()?;
        let certainty = match request.certainty {
            SearchCertainty::Exact => Certainty::Exact,
            SearchCertainty::Fast => Certainty::Fast { oversample: request.oversample },
        };
        let query = SetQuery {
            queries: rows,
            k: request.k,
            threshold: request.threshold,
            hits_max: request.hits_max,
            filter: filter.as_ref(),
            certainty,
        };
        let version = set.version();
        let answer = watched(scope, "searching", |watch| search_version(&version, spec, &query, watch))?;
        respond(request, (&version, spec), &answer, scope)
    }
}

fn check_wanted(request: &SetSearchRequest) -> Result<(), TaskError> {
    let within = |field: &str, found: usize, max: usize| {
        if (1..=max).contains(&found) { Ok(()) } else { Err(TaskError::invalid(field, format!("found {found}; allowed: 1 to {max}"))) }
    };
    match (request.k, request.threshold) {
        (None, None) => return Err(TaskError::invalid("k", "missing; a search needs `k`, `threshold` or both")),
        (_, Some(threshold)) if !threshold.is_finite() => return Err(TaskError::invalid("threshold", "must be finite")),
        (Some(k), _) => within("k", k, K_MAX)?,
        (None, Some(_)) => within("hits_max", request.hits_max, HITS_MAX)?,
    }
    within("oversample", request.oversample, OVERSAMPLE_MAX)
}

/// Queries as values: a bit is set where a value is above zero.
fn widened<'a>(loaded: &'a Loaded<'_>, spec: &SetSpec) -> Result<Cow<'a, [f32]>, TaskError> {
    match loaded {
        Loaded::Real(matrix) => Ok(Cow::Borrowed(&matrix.values)),
        Loaded::Bits { bytes, .. } => {
            let bits = BitRows::new(bytes, spec.dim).map_err(|error| TaskError::invalid("queries", error.to_string()))?;
            Ok(Cow::Owned(quantize::from_bits(bits)))
        }
    }
}

/// The answer the way it shall leave.
fn respond(
    request: &SetSearchRequest,
    (version, spec): (&Version, &SetSpec),
    answer: &Answer,
    scope: &Scope<'_, VectorState>,
) -> Result<SetSearchOutput, TaskError> {
    let hits = &answer.hits;
    let metadata = request.metadata.then(|| {
        let carried = |hits: &Vec<Found>| hits.iter().map(|hit| meta_words(version.metadata(hit.place))).collect();
        hits.iter().map(carried).collect()
    });
    let named = |hits: &Vec<Found>| hits.iter().map(|hit| id_word(version.id(hit.place))).collect::<Vec<ItemId>>();
    let score = |hit: &Found| (!hit.score.is_nan()).then_some(hit.score);
    let (ids, scores) = match request.encoding {
        ArrayEncoding::Float => {
            let scores = hits.iter().map(|hits| hits.iter().map(score).collect()).collect();
            (Some(HitRows::Rows(hits.iter().map(named).collect())), Some(HitRows::Rows(scores)))
        }
        encoding => {
            let width = hits.iter().map(Vec::len).max().unwrap_or(0);
            let places = || hits.iter().flat_map(|hits| (0..width).map(|place| hits.get(place)));
            let scores = Numbers::F64(places().map(|hit| hit.map_or(f64::NAN, |hit| hit.score)).collect());
            let shape = vec![hits.len(), width];
            let scores = emit(scope, ("scores", encoding), scores, shape.clone())?.map(HitRows::Padded);
            let ids = match spec.ids {
                IdKind::Text => Some(HitRows::Rows(hits.iter().map(named).collect())),
                IdKind::Integer => {
                    let integer = |hit: &Found| if let RowId::Integer(id) = version.id(hit.place) { id } else { -1 };
                    let ids = Numbers::I64(places().map(|hit| hit.map_or(-1, integer)).collect());
                    emit(scope, ("ids", encoding), ids, shape)?.map(HitRows::Padded)
                }
            };
            (ids, scores)
        }
    };
    let order = if spec.metric.larger_is_closer() { RankOrder::Descending } else { RankOrder::Ascending };
    Ok(SetSearchOutput {
        set: request.set.clone(),
        version: version.number(),
        metric: metric_word(spec.metric),
        order,
        counts: hits.iter().map(Vec::len).collect(),
        ids,
        scores,
        metadata,
        search: facts(spec, answer),
    })
}

fn facts(spec: &SetSpec, answer: &Answer) -> SearchFacts {
    let path = match spec.sketch {
        SketchKind::None => spec.dtype.name().to_owned(),
        SketchKind::Int8 => format!("int8 sketch, then {}", spec.dtype.name()),
    };
    SearchFacts { exact: answer.is_exact, path, rows_compared: answer.admitted, rows_filtered: answer.rows - answer.admitted }
}
