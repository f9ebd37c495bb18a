//! The score of one pair in f64, its terms summed over sixteen lanes in one order on every level of instructions.

use super::StoredRows;
use super::pieces::Place;
use crate::Isa;
use crate::distance::Metric;

/// Partial sums. Element `i` goes to lane `i mod LANES`, the last lanes' missing ones add nothing.
const LANES: usize = 16;

/// A query and what the metric needs of it.
pub(super) struct Query<'a> {
    values: &'a [f32],
    metric: Metric,
    /// Squared length, but with metrics that bits can be compared by.
    square: f64,
    /// Set where a value is above zero, as packed rows have it.
    words: Vec<u64>,
}

impl<'a> Query<'a> {
    pub(super) fn new(isa: Isa, metric: Metric, values: &'a [f32]) -> Self {
        let square = if metric.applies_to_bits() { 0.0 } else { sum(isa, Kind::Dot, values, values) };
        let words = if metric.applies_to_bits() { pack(values) } else { Vec::new() };
        Self { values, metric, square, words }
    }

    /// Its length.
    pub(super) fn norm(&self) -> f64 {
        self.square.sqrt()
    }

    pub(super) fn values(&self) -> &'a [f32] {
        self.values
    }
}

/// The bits of the values, set above zero, in the words of [`StoredRows::Binary`].
pub(super) fn pack(values: &[f32]) -> Vec<u64> {
    let byte = |values: &[f32]| values.iter().enumerate().fold(0u8, |byte, (at, value)| byte | u8::from(*value > 0.0) << (7 - at));
    let word = |values: &[f32]| values.chunks(8).rev().fold(0u64, |word, values| word << 8 | u64::from(byte(values)));
    values.chunks(64).map(word).collect()
}

/// Scores rows one at a time.
pub(super) struct Scorer<'a> {
    isa: Isa,
    rows: StoredRows<'a>,
    dim: usize,
    row: usize,
    widened: Vec<f32>,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(isa: Isa, rows: StoredRows<'a>, dim: usize) -> Self {
        Self { isa, rows, dim, row: 0, widened: vec![0.0; dim] }
    }

    /// Takes up a row.
    pub(super) fn load(&mut self, row: usize) {
        self.row = row;
        if !matches!(self.rows, StoredRows::F32(_) | StoredRows::Binary(_)) {
            self.rows.widen(row, &mut self.widened);
        }
    }

    fn values(&self) -> &[f32] {
        match self.rows {
            StoredRows::F32(values) => &values[self.row * self.dim..][..self.dim],
            _ => &self.widened,
        }
    }

    /// The squared length of the row.
    pub(super) fn square(&self) -> f64 {
        sum(self.isa, Kind::Dot, self.values(), self.values())
    }

    /// The score of the row.
    pub(super) fn score(&self, query: &Query<'_>) -> f64 {
        if let StoredRows::Binary(words) = self.rows {
            let stride = self.dim.div_ceil(64);
            return bits(query, &words[self.row * stride..][..stride]);
        }
        let (left, right) = (query.values, self.values());
        match query.metric {
            Metric::Dot => sum(self.isa, Kind::Dot, left, right),
            Metric::L2Squared => sum(self.isa, Kind::L2, left, right),
            Metric::L2 => sum(self.isa, Kind::L2, left, right).sqrt(),
            Metric::L1 => sum(self.isa, Kind::L1, left, right),
            Metric::Cosine => cosine(sum(self.isa, Kind::Dot, left, right), query.square, self.square()),
            Metric::Hamming => left.iter().zip(right).filter(|(left, right)| left != right).count() as f64,
            Metric::Jaccard => {
                let count =
                    |set: fn(bool, bool) -> bool| left.iter().zip(right).filter(|(l, r)| set(**l != 0.0, **r != 0.0)).count() as u32;
                ratio(count(|left, right| left && right), count(|left, right| left || right))
            }
        }
    }
}

/// Scores rows of all blocks.
pub(super) struct Rescorer<'a> {
    places: &'a [Place<'a>],
    scorer: Scorer<'a>,
}

impl<'a> Rescorer<'a> {
    pub(super) fn new(isa: Isa, places: &'a [Place<'a>], dim: usize) -> Self {
        Self { places, scorer: Scorer::new(isa, StoredRows::F32(&[]), dim) }
    }

    /// The score of a row, counted over all blocks.
    pub(super) fn score(&mut self, row: u64, query: &Query<'_>) -> f64 {
        let place = self.places.partition_point(|place| place.first <= row) - 1;
        // Blocks without rows begin where the next one does.
        let place = &self.places[place];
        self.scorer.rows = place.block.rows;
        self.scorer.load((row - place.first) as usize);
        self.scorer.score(query)
    }
}

/// The score of packed bits.
fn bits(query: &Query<'_>, row: &[u64]) -> f64 {
    let count =
        |combine: fn(u64, u64) -> u64| query.words.iter().zip(row).map(|(left, right)| combine(*left, *right).count_ones()).sum::<u32>();
    match query.metric {
        Metric::Hamming => count(|left, right| left ^ right).into(),
        _ => ratio(count(|left, right| left & right), count(|left, right| left | right)),
    }
}

/// A Jaccard similarity from its two counts.
pub(super) fn ratio(both: u32, either: u32) -> f64 {
    if either == 0 { 1.0 } else { f64::from(both) / f64::from(either) }
}

/// A cosine from a product and two squared lengths.
fn cosine(dot: f64, left: f64, right: f64) -> f64 {
    // NaN first: a zero row scores 0.0 against every number, but not against NaN.
    if left.is_nan() || right.is_nan() {
        f64::NAN
    } else if left == 0.0 || right == 0.0 {
        0.0
    } else {
        (dot / (left.sqrt() * right.sqrt())).clamp(-1.0, 1.0)
    }
}

/// What is summed.
#[derive(Clone, Copy)]
enum Kind {
    Dot,
    L2,
    L1,
}

fn sum(isa: Isa, kind: Kind, left: &[f32], right: &[f32]) -> f64 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the value can only be had where the processor has these instructions.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { avx512(kind, left, right) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2(_) => unsafe { avx2(kind, left, right) },
        _ => body(kind, left, right),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512(kind: Kind, left: &[f32], right: &[f32]) -> f64 {
    body(kind, left, right)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(kind: Kind, left: &[f32], right: &[f32]) -> f64 {
    body(kind, left, right)
}

#[inline(always)]
fn body(kind: Kind, left: &[f32], right: &[f32]) -> f64 {
    match kind {
        Kind::Dot => lanes(left, right, |left, right| left * right),
        Kind::L2 => lanes(left, right, |left, right| (left - right) * (left - right)),
        Kind::L1 => lanes(left, right, |left, right| (left - right).abs()),
    }
}

/// A product and the sum are rounded one after the other: what is fused on some levels would be another number on the others.
#[inline(always)]
fn lanes(left: &[f32], right: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0f64; LANES];
    let (left, left_tail) = left.as_chunks::<LANES>();
    let (right, right_tail) = right.as_chunks::<LANES>();
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += term(f64::from(left[lane]), f64::from(right[lane]));
        }
    }
    for (sum, (left, right)) in sums.iter_mut().zip(left_tail.iter().zip(right_tail)) {
        *sum += term(f64::from(*left), f64::from(*right));
    }
    let eight: [f64; 8] = std::array::from_fn(|lane| sums[lane] + sums[lane + 8]);
    let four: [f64; 4] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}
