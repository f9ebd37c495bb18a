//! The nearest of a few centers for many points: points are the rows of the product and centers its columns, packed once.
//!
//! With `v` the approximate product of the scaled center `c / |c|` and a point `p`, a center's key for that point is `v * factor - square`, in which the factor is
//! `|c|` for dot, 1 for cosine and `2 |c|` for L2, whose square is `|c|²`. It is off by at most `factor * error * |p|` (see [`super::bound`]). The centers
//! whose keys may be the highest, mostly one or two, are compared in f64.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::bound::{self, Key};
use super::exact::{self, Scorer};
use super::packed::{Packed, Scheme, Unit};
use super::pieces::Place;
use super::strip::Converted;
use super::{Block, Certainty, Hit, Search, StoredRows, norms, search_on};
use crate::distance::Metric;
use crate::gemm::strip::Sums;
use crate::gemm::{GEMM_DIM_MAX, PANEL_COLUMNS, STRIP_ROWS, portable};
use crate::{Isa, KernelError, Rows, Stop, threads};

/// Centers whose products with a strip of points are held together at most: half a megabyte.
const CENTERS_MAX: usize = 4096;
/// Points of a piece of work.
const PIECE: usize = 256;
/// Points that are fetched ahead.
const FETCHED: usize = 4;
/// More than the roundings of a comparison in f32, relative to its terms.
const SLACK: f32 = 4e-6;

/// The square of columns behind the last center: beyond those of all others.
const FAR: f32 = 1e30;

/// All centers.
struct Centers<'a> {
    isa: Isa,
    metric: Metric,
    values: Rows<'a>,
    packed: Packed,
    /// Per column of whole panels; columns behind the last center have keys that are never the highest.
    factors: Vec<f32>,
    squares: Vec<f32>,
    /// What a key is off by at most, per length of the point.
    errors: Vec<f32>,
}

/// What a thread holds.
#[derive(Default)]
struct Scratch {
    converted: Converted,
    /// One per panel.
    sums: Vec<Sums>,
    lengths: Vec<f32>,
    likely: Vec<u32>,
    /// What the keys of a point are at most, whole panels.
    uppers: Vec<f32>,
}

/// What is to be told of a point.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Its closest center and the score.
    Score,
    /// Its closest center; the score is NaN where products alone tell which it is. With the lengths of all points.
    Center(&'a [f32]),
}

/// The closest center of every point. The sizes were checked.
pub(super) fn run(
    isa: Isa,
    (metric, points, centers): (Metric, Rows<'_>, Rows<'_>),
    (out, wanted): (&mut [Hit], Wanted<'_>),
    stop: Stop<'_>,
) -> Result<(), KernelError> {
    let packed = Centers::new(isa, metric, centers)?;
    let panels = packed.as_ref().map_or(0, |centers| centers.packed.panels());
    let scratch = || Scratch {
        sums: vec![Sums([0.0; STRIP_ROWS * PANEL_COLUMNS]); panels],
        uppers: vec![0.0; panels * PANEL_COLUMNS],
        ..Scratch::default()
    };
    let work = |scratch: &mut Scratch, (index, out): (usize, &mut [Hit])| {
        if stop() {
            return Err(KernelError::Stopped);
        }
        let range = index * PIECE..index * PIECE + out.len();
        let points = points.slice(range.clone());
        let wanted = match wanted {
            Wanted::Score => Wanted::Score,
            Wanted::Center(lengths) => Wanted::Center(&lengths[range]),
        };
        match &packed {
            Some(centers) => centers.piece(points, (scratch, out, wanted), stop),
            None => one_by_one(isa, (metric, points, centers), out, stop),
        }
    };
    if threads::count() == 1 {
        let mut scratch = scratch();
        return out.chunks_mut(PIECE).enumerate().try_for_each(|piece| work(&mut scratch, piece));
    }
    out.par_chunks_mut(PIECE).enumerate().try_for_each_init(scratch, work)
}

/// The same by a search for every point.
fn one_by_one(
    isa: Isa,
    (metric, points, centers): (Metric, Rows<'_>, Rows<'_>),
    out: &mut [Hit],
    stop: Stop<'_>,
) -> Result<(), KernelError> {
    let norms = norms(StoredRows::F32(centers.values()), centers.dim())?;
    let block = Block { rows: StoredRows::F32(centers.values()), norms: &norms, sketch: None, admitted: None };
    let plan = Search { metric, k: 1, threshold: None, certainty: Certainty::Exact };
    let found = search_on(isa, (points, &[block]), &plan, stop)?;
    out.iter_mut().zip(&found.hits).for_each(|(out, hits)| *out = hits[0]);
    Ok(())
}

/// What cannot be compared may be the closest.
#[inline(always)]
fn reaches(upper: f32, floor: f32) -> bool {
    !matches!(upper.partial_cmp(&floor), Some(Ordering::Less))
}

impl<'a> Centers<'a> {
    /// None for metrics that products say nothing about, and where the products of a center are not bounded or there are too many of them.
    fn new(isa: Isa, metric: Metric, centers: Rows<'a>) -> Result<Option<Self>, KernelError> {
        let Some(key) = Key::of(metric) else { return Ok(None) };
        if centers.len() > CENTERS_MAX || centers.dim() > GEMM_DIM_MAX {
            return Ok(None);
        }
        let lengths: Vec<f64> = centers.iter().map(|center| exact::Query::new(isa, Metric::Dot, center).norm()).collect();
        if lengths.iter().any(|length| !bound::is_bounded(*length)) {
            return Ok(None);
        }
        let scheme = if matches!(isa, Isa::Amx(_)) { Scheme::Rounded } else { Scheme::Single };
        // A center of zeros is as good as scaled.
        let unit = |(values, length): (&'a [f32], &f64)| Unit { norm: if *length == 0.0 { 1.0 } else { *length }, values };
        let units: Vec<Unit<'_>> = centers.iter().zip(&lengths).map(unit).collect();
        let packed = Packed::new((isa, scheme), key, &units, centers.dim())?;
        let columns = packed.panels() * PANEL_COLUMNS;
        let (mut factors, mut squares, mut errors) = (vec![0f32; columns], vec![FAR; columns], vec![0f32; columns]);
        for (center, length) in lengths.iter().enumerate() {
            let (factor, square) = match key {
                Key::Cosine if *length == 0.0 => (0.0, 0.0),
                Key::Cosine => (1.0, 0.0),
                Key::Dot => (*length, 0.0),
                Key::L2 | Key::L2Squared => (2.0 * length, length * length),
            };
            (factors[center], squares[center]) = (factor as f32, square as f32);
            errors[center] = (packed.bounds[center].error() * factor * (1.0 + f64::from(SLACK))) as f32;
        }
        Ok(Some(Self { isa, metric, values: centers, packed, factors, squares, errors }))
    }

    fn piece(
        &self,
        points: Rows<'_>,
        (scratch, out, wanted): (&mut Scratch, &mut [Hit], Wanted<'_>),
        stop: Stop<'_>,
    ) -> Result<(), KernelError> {
        let Scratch { converted, sums, lengths, likely, uppers } = scratch;
        let norms = match wanted {
            Wanted::Center(lengths) => lengths,
            Wanted::Score => {
                let mut own = Scorer::new(self.isa, StoredRows::F32(points.values()), points.dim());
                lengths.clear();
                lengths.extend((0..points.len()).map(|point| {
                    StoredRows::F32(points.values()).fetch(point + FETCHED, points.dim());
                    own.load(point);
                    own.square().sqrt() as f32
                }));
                &lengths[..]
            }
        };
        let block = Block { rows: StoredRows::F32(points.values()), norms, sketch: None, admitted: None };
        let place = Place { block, first: 0, len: points.len() };
        converted.rows.clear();
        converted.rows.extend(0..points.len() as u32);
        converted.fill(self.isa, &self.packed, &place, points.dim());
        let mut scorer = Scorer::new(self.isa, StoredRows::F32(self.values.values()), points.dim());
        for from in (0..points.len()).step_by(STRIP_ROWS) {
            if stop() {
                return Err(KernelError::Stopped);
            }
            let rows = from..points.len().min(from + STRIP_ROWS);
            self.multiply(converted, from, sums);
            for at in rows {
                let length = converted.facts[at].norm;
                // Nothing is known of points without bounds, and all centers are the same to one of zeros by their angle.
                if length.is_nan() || length == 0.0 {
                    one_by_one(self.isa, (self.metric, points.slice(at..at + 1), self.values), &mut out[at..at + 1], stop)?;
                    continue;
                }
                likely.clear();
                self.likely(sums, (at - from, length), (likely, uppers));
                if let (Wanted::Center(_), [center]) = (wanted, &likely[..]) {
                    out[at] = Hit { row: (*center).into(), score: f64::NAN };
                    continue;
                }
                let query = exact::Query::new(self.isa, self.metric, points.row(at));
                out[at] = self.closest(&query, likely, &mut scorer);
            }
        }
        Ok(())
    }

    /// The products of one strip with all centers.
    fn multiply(&self, converted: &Converted, from: usize, sums: &mut [Sums]) {
        let operand = converted.operand(&self.packed, from);
        #[cfg(target_arch = "x86_64")]
        if let (Isa::Amx(proof), Scheme::Rounded) = (self.isa, self.packed.scheme) {
            let tiles = crate::amx::Tiles::configure(proof);
            return super::amx::products(&tiles, (&self.packed, &operand), sums);
        }
        for (panel, sums) in sums.iter_mut().enumerate() {
            portable::block((&self.packed.weights, &operand), panel, sums);
        }
    }

    /// The centers that may be the closest of a row of the strip.
    fn likely(&self, sums: &[Sums], row: (usize, f32), out: (&mut Vec<u32>, &mut [f32])) {
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the value can only be had where the processor has these instructions.
            Isa::Avx512(_) | Isa::Amx(_) => unsafe { self.likely_avx512(sums, row, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx2(_) => unsafe { self.likely_avx2(sums, row, out) },
            _ => self.likely_body(sums, row, out),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn likely_avx512(&self, sums: &[Sums], row: (usize, f32), out: (&mut Vec<u32>, &mut [f32])) {
        self.likely_body(sums, row, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn likely_avx2(&self, sums: &[Sums], row: (usize, f32), out: (&mut Vec<u32>, &mut [f32])) {
        self.likely_body(sums, row, out);
    }

    #[inline(always)]
    fn likely_body(&self, sums: &[Sums], (row, length): (usize, f32), (likely, uppers): (&mut Vec<u32>, &mut [f32])) {
        let (uppers, _) = uppers.as_chunks_mut::<PANEL_COLUMNS>();
        let mut highest = [f32::NEG_INFINITY; PANEL_COLUMNS];
        for ((panel, sums), upper) in sums.iter().enumerate().zip(uppers.iter_mut()) {
            let (keys, off) = self.keys(sums, panel, (row, length));
            for column in 0..PANEL_COLUMNS {
                let lower = keys[column] - off[column];
                highest[column] = if lower > highest[column] { lower } else { highest[column] };
                upper[column] = keys[column] + off[column];
            }
        }
        let floor = highest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (panel, upper) in uppers.iter().enumerate() {
            let has_any = upper.iter().fold(false, |has_any, upper| has_any | reaches(*upper, floor));
            if has_any {
                let passes = (0..PANEL_COLUMNS).filter(|column| reaches(upper[*column], floor));
                let passes = passes.map(|column| panel * PANEL_COLUMNS + column);
                likely.extend(passes.filter(|center| *center < self.values.len()).map(|center| center as u32));
            }
        }
    }

    /// The keys of a row and a panel of centers, and what they are off by at most.
    #[inline(always)]
    fn keys(&self, sums: &Sums, panel: usize, (row, length): (usize, f32)) -> ([f32; PANEL_COLUMNS], [f32; PANEL_COLUMNS]) {
        let (sums, _) = sums.as_chunks::<PANEL_COLUMNS>();
        let sums = &sums[row];
        let first = panel * PANEL_COLUMNS;
        let factors = &self.factors[first..first + PANEL_COLUMNS];
        let squares = &self.squares[first..first + PANEL_COLUMNS];
        let errors = &self.errors[first..first + PANEL_COLUMNS];
        let (mut keys, mut off) = ([0f32; PANEL_COLUMNS], [0f32; PANEL_COLUMNS]);
        for column in 0..PANEL_COLUMNS {
            keys[column] = sums[column] * factors[column] - squares[column];
            off[column] = errors[column] * length + squares[column] * SLACK;
        }
        (keys, off)
    }

    /// The closest of some centers in ascending order.
    fn closest(&self, query: &exact::Query<'_>, likely: &[u32], scorer: &mut Scorer<'_>) -> Hit {
        let mut best: Option<(f64, Hit)> = None;
        for &center in likely {
            scorer.load(center as usize);
            let score = scorer.score(query);
            let key = crate::best::key(self.metric, score);
            if best.is_none_or(|(highest, _)| key > highest || highest.is_nan()) {
                best = Some((key, Hit { row: center.into(), score }));
            }
        }
        best.expect("the center with the highest lower bound is likely").1
    }
}
