//! One query against all rows, which pass by once at the speed of the memory: products in f32 with what is stored, widened in registers.

use std::cmp::Ordering;
use std::ops::Range;

use half::{bf16, f16};

use super::bound::{self, Bound, Key, Test};
use super::candidates::Candidates;
use super::exact::{Against, Query, Rescorer};
use super::pieces::{Place, spread};
use super::stored::fetch;
use super::{Sketch, StoredRows};
use crate::lanes::{Lanes, on_lanes};
use crate::{Isa, KernelError, Stop};

/// Rows whose products are tested together.
const ROWS: usize = 256;
/// Rows that are multiplied side by side.
const SIDE_BY_SIDE: usize = 4;
/// Bytes that are fetched ahead: the processor's own guesses end at a page, which is a few rows.
const AHEAD_BYTES: usize = 4096;

/// One query, and what is needed of it.
struct Stream<'a> {
    isa: Isa,
    query: &'a Query<'a>,
    unit: Vec<f32>,
    /// What holds of products with rows, and of those with their sketches.
    bounds: [Bound; 2],
    stop: Stop<'a>,
}

/// What a thread holds.
struct Worker<'a> {
    candidates: Candidates,
    rescorer: Rescorer<'a>,
    products: [f32; ROWS],
}

/// The candidates for a query whose length is bounded and not zero, one per thread that took part. `new` makes them before any row.
pub(super) fn run(
    isa: Isa,
    (key, is_guess): (Key, bool),
    (query, places): (&Query<'_>, &[Place<'_>]),
    (new, stop): (&(dyn Fn() -> Candidates + Sync), Stop<'_>),
) -> Result<Vec<Candidates>, KernelError> {
    let (norm, values) = (query.norm(), query.values());
    let unit: Vec<f32> = values.iter().map(|value| (f64::from(*value) / norm) as f32).collect();
    let left = values.iter().zip(&unit).map(|(value, unit)| f64::from(*value) / norm - f64::from(*unit));
    let residual = left.map(|left| left * left).sum::<f64>().sqrt();
    let bound = Bound::new((key, norm), residual, (0.0, values.len()));
    let stream = Stream { isa, query, unit, bounds: [bound, if is_guess { bound.guess() } else { bound }], stop };
    let worker = || Worker { candidates: new(), rescorer: Rescorer::new(isa, places, values.len()), products: [0.0; ROWS] };
    let work = |worker: &mut Worker<'_>, place: &Place<'_>, rows: Range<usize>| stream.piece(worker, (place, rows));
    let workers = spread(places, &worker, &work, stop)?;
    Ok(workers.into_iter().map(|worker| worker.candidates).collect())
}

impl Stream<'_> {
    fn piece(&self, worker: &mut Worker<'_>, (place, rows): (&Place<'_>, Range<usize>)) -> Result<(), KernelError> {
        for from in rows.clone().step_by(ROWS) {
            if (self.stop)() {
                return Err(KernelError::Stopped);
            }
            let rows = from..rows.end.min(from + ROWS);
            if rows.clone().any(|row| place.block.admits(row)) {
                self.multiply(place, rows.clone(), &mut worker.products[..rows.len()]);
                self.sift(worker, (place, rows));
            }
        }
        Ok(())
    }

    /// The products of the rows as they are stored, or of their sketches; those of 8-bit integers without their scales.
    fn multiply(&self, place: &Place<'_>, rows: Range<usize>, out: &mut [f32]) {
        let dim = self.unit.len();
        let range = rows.start * dim..rows.end * dim;
        let (isa, unit) = (self.isa, &self.unit[..]);
        // SAFETY: `products` demands nothing beside the level, of which `isa` is the proof, and checks the lengths.
        unsafe {
            match (place.block.sketch, place.block.rows) {
                (Some(Sketch::Int8 { values, .. }), _) | (None, StoredRows::Int8 { values, .. }) => {
                    products(isa, unit, &values[range], out)
                }
                (None, StoredRows::F32(values)) => products(isa, unit, &values[range], out),
                (None, StoredRows::F16(values)) => products(isa, unit, &values[range], out),
                (None, StoredRows::Bf16(values)) => products(isa, unit, &values[range], out),
                (None, StoredRows::Binary(_)) => unreachable!("packed bits are compared by metrics without products"),
            }
        }
    }

    /// Takes up the rows whose products pass their tests.
    fn sift(&self, worker: &mut Worker<'_>, (place, rows): (&Place<'_>, Range<usize>)) {
        let (scales, residuals): (Option<&[f32]>, Option<&[f32]>) = match (place.block.sketch, place.block.rows) {
            (Some(Sketch::Int8 { scales, residuals, .. }), _) => (Some(scales), Some(residuals)),
            (None, StoredRows::Int8 { scales, .. }) => (Some(scales), None),
            _ => (None, None),
        };
        let bound = &self.bounds[usize::from(place.block.sketch.is_some())];
        if let Some(scales) = scales {
            worker.products.iter_mut().zip(&scales[rows.clone()]).for_each(|(product, scale)| *product *= scale);
        }
        let norms = &place.block.norms[rows.clone()];
        let residuals = residuals.map(|residuals| &residuals[rows.clone()]);
        let mut passes = [false; ROWS];
        test(bound.test(worker.candidates.floor(), 1.0), (&worker.products, norms, residuals), &mut passes);
        for at in (0..rows.len()).filter(|at| passes[*at]) {
            if !place.block.admits(rows.start + at) {
                continue;
            }
            let known = bound::Row { norm: norms[at], residual: residuals.map_or(0.0, |residuals| residuals[at]) };
            let interval = bound.interval(worker.products[at].into(), known);
            if worker.candidates.push(place.first + (rows.start + at) as u64, interval) {
                worker.candidates.tighten(bound, &mut Against { rescorer: &mut worker.rescorer, query: self.query });
            }
        }
    }
}

/// Tells which rows pass: their keys may reach the floor of the test, or nothing is known of them.
fn test(test: Test, (products, norms, residuals): (&[f32; ROWS], &[f32], Option<&[f32]>), passes: &mut [bool; ROWS]) {
    let decide = |product: f32, norm: f32, residual: f32| {
        let least = norm * test.alpha + norm * norm * test.beta + residual * test.rho + test.gamma;
        // NaN on either side passes.
        let is_below = matches!(product.partial_cmp(&least), Some(Ordering::Less));
        !is_below || !bound::is_bounded(norm.into()) || !residual.is_finite()
    };
    match residuals {
        None => (0..norms.len()).for_each(|at| passes[at] = decide(products[at], norms[at], 0.0)),
        Some(residuals) => (0..norms.len()).for_each(|at| passes[at] = decide(products[at], norms[at], residuals[at])),
    }
}

/// A stored number.
trait Cell: Copy + Default {
    /// Widened; what is not finite may become some other number. Safety: as [`Lanes::load`].
    unsafe fn load<L: Lanes>(source: *const Self) -> L;
}

/// Writes the loading of one kind of number.
macro_rules! cell {
    ($kind:ty, $load:ident) => {
        impl Cell for $kind {
            #[inline(always)]
            unsafe fn load<L: Lanes>(source: *const Self) -> L {
                // SAFETY: granted by the caller.
                unsafe { L::$load(source) }
            }
        }
    };
}

cell!(f32, load);
cell!(f16, load_f16);
cell!(bf16, load_half);
cell!(i8, load_bytes);

on_lanes! {
    fn products[C: Cell](query: &[f32], rows: &[C], out: &mut [f32]) = products_body
}

/// The product of the query with every row. Safety: as [`Lanes`].
#[inline(always)]
unsafe fn products_body<L: Lanes, C: Cell>(query: &[f32], rows: &[C], out: &mut [f32]) {
    let dim = query.len();
    assert!(rows.len() == out.len() * dim, "one product per row");
    for (at, out) in out.chunks_mut(SIDE_BY_SIDE).enumerate() {
        let rows = &rows[at * SIDE_BY_SIDE * dim..];
        // SAFETY: as many rows follow as there are products; the caller is compiled for the level of `L`.
        unsafe {
            if let Ok(out) = <&mut [f32; SIDE_BY_SIDE]>::try_from(&mut *out) {
                side_by_side::<L, C, SIDE_BY_SIDE>(query, rows, out);
            } else {
                for (at, out) in out.iter_mut().enumerate() {
                    side_by_side::<L, C, 1>(query, &rows[at * dim..], std::array::from_mut(out));
                }
            }
        }
    }
}

/// The products of `R` rows. Safety: as [`Lanes`]; `R` rows are there.
#[inline(always)]
unsafe fn side_by_side<L: Lanes, C: Cell, const R: usize>(query: &[f32], rows: &[C], out: &mut [f32; R]) {
    let dim = query.len();
    let whole = dim / L::COUNT * L::COUNT;
    // SAFETY: every row has `dim` values, and the loads of whole lanes end at or before them; the rest is copied.
    unsafe {
        let mut sums = [L::splat(0.0); R];
        for at in (0..whole).step_by(L::COUNT) {
            let query = L::load(query.as_ptr().add(at));
            for (row, sum) in sums.iter_mut().enumerate() {
                let source = rows.as_ptr().add(row * dim + at);
                fetch(source.cast::<u8>().wrapping_add(AHEAD_BYTES));
                *sum = C::load::<L>(source).mul_add(query, *sum);
            }
        }
        if whole < dim {
            let tail = L::load_part(query.as_ptr().add(whole), dim - whole);
            for (row, sum) in sums.iter_mut().enumerate() {
                let mut values = [C::default(); 16];
                std::ptr::copy_nonoverlapping(rows.as_ptr().add(row * dim + whole), values.as_mut_ptr(), dim - whole);
                *sum = C::load::<L>(values.as_ptr()).mul_add(tail, *sum);
            }
        }
        *out = sums.map(|sum| sum.sum_across());
    }
}
