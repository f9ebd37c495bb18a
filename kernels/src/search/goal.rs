//! From a batch of queries to the best rows of each: what goes which way, in groups that bound the memory.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rayon::prelude::*;

use super::batch::Batch;
use super::bound::{self, Bound, Key};
use super::candidates::Candidates;
use super::exact::{Against, Query, Rescorer};
use super::packed::Unit;
use super::pieces::Place;
use super::{scan, stream};
use crate::best::Best;
use crate::distance::Metric;
use crate::gemm::{GEMM_DIM_MAX, has_int8_products};
use crate::{Isa, KernelError, Rows, Stop, threads};

/// Queries that are compared together at most.
const GROUP: usize = 1024;
/// Memory of the candidates of a group, per thread.
const GROUP_BYTES: usize = 64 << 20;
/// Queries of a group at least: a panel.
const GROUP_MIN: usize = 32;

/// The best rows that are wanted of each query.
#[derive(Clone)]
pub(super) struct Goal {
    pub metric: Metric,
    pub k: usize,
    pub threshold: Option<f64>,
    /// Rows that are scored for each that is wanted, where a sketch may guess.
    pub oversample: Option<usize>,
    /// Counts the rows that are kept of all queries, where `k` does not bound them.
    pub counter: Option<Arc<AtomicUsize>>,
}

/// True where a sketch is used at all.
pub(super) fn may_guess(isa: Isa, metric: Metric) -> bool {
    Key::of(metric).is_some() && has_int8_products(isa)
}

impl Goal {
    /// The best rows of each query.
    pub(super) fn reach(&self, isa: Isa, (queries, places): (Rows<'_>, &[Place<'_>]), stop: Stop<'_>) -> Result<Vec<Best>, KernelError> {
        let rows: usize = places.iter().map(|place| place.len).sum();
        // Rows that are counted end the search before they fill the memory.
        let kept = if self.counter.is_some() { 0 } else { self.k.saturating_mul(self.oversample.unwrap_or(1)).min(rows) };
        let group = (GROUP_BYTES / Candidates::bytes(kept)).clamp(GROUP_MIN, GROUP);
        let mut best = Vec::with_capacity(queries.len());
        for from in (0..queries.len()).step_by(group) {
            best.extend(self.group(isa, (queries.slice(from..queries.len().min(from + group)), places), stop)?);
        }
        Ok(best)
    }

    fn best(&self) -> Best {
        let best = Best::new(self.metric, (self.k, self.threshold));
        match &self.counter {
            Some(counter) => best.counted(Arc::clone(counter)),
            None => best,
        }
    }

    fn group(&self, isa: Isa, (queries, places): (Rows<'_>, &[Place<'_>]), stop: Stop<'_>) -> Result<Vec<Best>, KernelError> {
        let queries = queries.iter().map(|query| Query::new(isa, self.metric, query));
        let key = Key::of(self.metric).filter(|_| queries.len() > 0 && places.iter().any(|place| place.len > 0));
        let dim_fits = |query: &Query<'_>| query.values().len() <= GEMM_DIM_MAX;
        let Some(key) = key else { return scan::run(isa, (&queries.collect::<Vec<_>>(), places), &|| self.best(), stop) };
        let (bounded, others): (Vec<_>, Vec<_>) =
            queries.enumerate().partition(|(_, query)| query.norm() > 0.0 && bound::is_bounded(query.norm()) && dim_fits(query));
        let (others_at, others): (Vec<usize>, Vec<Query<'_>>) = others.into_iter().unzip();
        let (bounded_at, bounded): (Vec<usize>, Vec<Query<'_>>) = bounded.into_iter().unzip();
        let mut all: Vec<(usize, Best)> = Vec::with_capacity(others.len() + bounded.len());
        if !others.is_empty() {
            all.extend(others_at.into_iter().zip(scan::run(isa, (&others, places), &|| self.best(), stop)?));
        }
        if !bounded.is_empty() {
            all.extend(bounded_at.into_iter().zip(self.bounded(isa, (key, bounded), places, stop)?));
        }
        all.sort_unstable_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, best)| best).collect())
    }

    /// The best rows of queries whose products are bounded.
    fn bounded(
        &self,
        isa: Isa,
        (key, queries): (Key, Vec<Query<'_>>),
        places: &[Place<'_>],
        stop: Stop<'_>,
    ) -> Result<Vec<Best>, KernelError> {
        let dim = queries[0].values().len();
        let units: Vec<Unit<'_>> = queries.iter().map(|query| Unit { norm: query.norm(), values: query.values() }).collect();
        let plain: Vec<Bound> = units.iter().map(|unit| Bound::new((key, unit.norm), 0.0, (0.0, 0))).collect();
        let new = |query: usize| match (self.oversample, self.threshold) {
            (Some(oversample), _) => Candidates::guess(self.best(), self.k.saturating_mul(oversample)),
            (None, Some(threshold)) => Candidates::new(self.best(), plain[query].key(threshold)),
            (None, None) => Candidates::new(self.best(), f64::NEG_INFINITY),
        };
        let is_guess = self.oversample.is_some();
        let mut parts = if let [query] = &queries[..] {
            stream::run(isa, (key, is_guess), (query, places), (&|| new(0), stop))?.into_iter().map(|candidates| vec![candidates]).collect()
        } else {
            Batch::new(isa, (key, is_guess), (&units, &queries), places)?.run(&new, stop)?
        };
        let mut candidates = parts.pop().unwrap_or_default();
        for part in parts {
            candidates.iter_mut().zip(part).for_each(|(candidates, part)| candidates.merge(part));
        }
        let finish = |(query, candidates): (usize, Candidates)| {
            if stop() {
                return Err(KernelError::Stopped);
            }
            let mut rescorer = Rescorer::new(isa, places, dim);
            Ok(candidates.finish(&plain[query], &mut Against { rescorer: &mut rescorer, query: &queries[query] }))
        };
        if threads::count() == 1 || queries.len() == 1 {
            return candidates.into_iter().enumerate().map(finish).collect();
        }
        candidates.into_par_iter().enumerate().map(finish).collect()
    }
}
