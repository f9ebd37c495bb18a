//! A batch of queries against all rows: products of strips of rows with panels of queries, whose sums are tested while they are near and never stored.

use super::candidates::Candidates;
use super::exact::{self, Against, Rescorer};
use super::packed::{Packed, Scheme, Unit};
use super::pieces::{Place, spread};
use super::sieve::{self, Passed, Products, Tests};
use super::strip::{CONVERTED_ROWS, Converted};
use super::{bound, packed};
use crate::gemm::strip::Sums;
use crate::gemm::{PANEL_COLUMNS, STRIP_ROWS, portable};
use crate::{Isa, KernelError, Stop};

/// Some queries whose lengths are bounded, and what is needed of each.
pub(super) struct Batch<'a> {
    isa: Isa,
    dim: usize,
    queries: &'a [exact::Query<'a>],
    packed: Vec<Packed>,
    places: &'a [Place<'a>],
}

/// What a thread holds.
struct Worker<'a> {
    candidates: Vec<Candidates>,
    /// The packed queries that the tests are made for.
    scheme: Option<Scheme>,
    tests: Tests,
    passed: Passed,
    converted: Converted,
    sums: Box<[Sums; 2]>,
    rescorer: Rescorer<'a>,
}

impl<'a> Batch<'a> {
    /// Packs the queries for every form that the blocks need.
    pub(super) fn new(
        isa: Isa,
        (key, is_guess): (bound::Key, bool),
        (units, queries): (&[Unit<'_>], &'a [exact::Query<'a>]),
        places: &'a [Place<'a>],
    ) -> Result<Self, KernelError> {
        let dim = units[0].values.len();
        let mut packed: Vec<Packed> = Vec::with_capacity(Scheme::COUNT);
        for place in places {
            let scheme = packed::Scheme::of(isa, &place.block);
            if packed.iter().all(|packed| packed.scheme != scheme) {
                let new = Packed::new((isa, scheme), key, units, dim)?;
                packed.push(if is_guess && scheme == Scheme::Sketch { new.guess() } else { new });
            }
        }
        Ok(Self { isa, dim, queries, packed, places })
    }

    /// The candidates of every query, one list per thread that took part. `new` makes those of a query before any row.
    pub(super) fn run(&self, new: &(dyn Fn(usize) -> Candidates + Sync), stop: Stop<'_>) -> Result<Vec<Vec<Candidates>>, KernelError> {
        let count = self.queries.len();
        let worker = || Worker {
            candidates: (0..count).map(new).collect(),
            scheme: None,
            tests: Tests::default(),
            passed: Passed::new(count.div_ceil(PANEL_COLUMNS)),
            converted: Converted::default(),
            sums: Box::new([Sums([0.0; STRIP_ROWS * PANEL_COLUMNS]); 2]),
            rescorer: Rescorer::new(self.isa, self.places, self.dim),
        };
        let work = |worker: &mut Worker<'_>, place: &Place<'_>, rows: std::ops::Range<usize>| self.piece(worker, (place, rows), stop);
        let workers = spread(self.places, &worker, &work, stop)?;
        Ok(workers.into_iter().map(|worker| worker.candidates).collect())
    }

    fn piece(
        &self,
        worker: &mut Worker<'_>,
        (place, rows): (&Place<'_>, std::ops::Range<usize>),
        stop: Stop<'_>,
    ) -> Result<(), KernelError> {
        let scheme = Scheme::of(self.isa, &place.block);
        let packed = self.packed.iter().find(|packed| packed.scheme == scheme).expect("queries are packed for every block");
        if worker.scheme != Some(scheme) {
            worker.scheme = Some(scheme);
            worker.tests = Tests::new(packed, &worker.candidates);
        }
        let engine = Engine::new(self.isa, scheme);
        let mut rows = rows.filter(|row| place.block.admits(*row)).map(|row| row as u32).peekable();
        while rows.peek().is_some() {
            if stop() {
                return Err(KernelError::Stopped);
            }
            worker.converted.rows.clear();
            worker.converted.rows.extend(rows.by_ref().take(CONVERTED_ROWS));
            worker.converted.fill(self.isa, packed, place, self.dim);
            for from in (0..worker.converted.rows.len()).step_by(STRIP_ROWS) {
                engine.strip(packed, worker, (place, from));
                self.take(packed, worker, (place, from));
            }
        }
        Ok(())
    }

    /// Takes up what passed of the strip that begins at row `from`.
    fn take(&self, packed: &Packed, worker: &mut Worker<'_>, (place, from): (&Place<'_>, usize)) {
        let passed = std::mem::take(&mut worker.passed.len);
        for at in 0..passed {
            let (place_in_strip, product) = (worker.passed.places[at] as usize, worker.passed.products[at]);
            let (query, row) = (place_in_strip / STRIP_ROWS, from + place_in_strip % STRIP_ROWS);
            // Behind the last query a panel is filled up with zeros.
            let Some(candidates) = worker.candidates.get_mut(query) else { continue };
            let (bound, facts) = (&packed.bounds[query], worker.converted.facts[row]);
            let row = worker.converted.rows[row] as usize;
            let known = bound::Row { norm: place.block.norms[row], residual: facts.residual };
            let interval = bound.interval(f64::from(product) * f64::from(packed.scales[query]), known);
            if candidates.push(place.first + row as u64, interval) {
                candidates.tighten(bound, &mut Against { rescorer: &mut worker.rescorer, query: &self.queries[query] });
                worker.tests.set(packed, (query, &*candidates));
            }
        }
    }
}

/// What computes the products.
enum Engine {
    Vectors(Isa),
    /// Tiles, configured for this thread.
    #[cfg(target_arch = "x86_64")]
    Tiles(crate::amx::Tiles),
}

impl Engine {
    fn new(isa: Isa, scheme: Scheme) -> Self {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(proof) if scheme != Scheme::Single => Self::Tiles(crate::amx::Tiles::configure(proof)),
            _ => Self::Vectors(isa),
        }
    }

    /// Multiplies and tests one strip against all queries.
    fn strip(&self, packed: &Packed, worker: &mut Worker<'_>, (place, from): (&Place<'_>, usize)) {
        let operand = worker.converted.operand(packed, from);
        let facts = &worker.converted.facts[from..from + operand.rows];
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Tiles(tiles) => {
                let ahead = worker.converted.ahead(packed.scheme, (place, from));
                let strip = super::amx::Strip { packed, operand, facts, tests: &worker.tests, ahead };
                super::amx::run(tiles, &strip, &mut worker.sums, &mut worker.passed);
            }
            Self::Vectors(isa) => {
                for panel in 0..packed.panels() {
                    portable::block((&packed.weights, &operand), panel, &mut worker.sums[0]);
                    let products = Products { sums: &worker.sums[0], panel, is_int8: packed.scheme.is_int8() };
                    sieve::block(*isa, products, (facts, &worker.tests), &mut worker.passed);
                }
            }
        }
    }
}
