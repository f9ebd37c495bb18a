//! The score of one pair in f64, its terms summed over sixteen lanes in one order on every level of instructions.

use super::StoredRows;
use super::candidates::Rescore;
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
            let mut score = [0.0];
            bit_scores(self.isa, query, &words[self.row * stride..][..stride], &mut score);
            return score[0];
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

/// A rescorer and the query that it compares rows with.
pub(super) struct Against<'a, 'b> {
    pub rescorer: &'a mut Rescorer<'b>,
    pub query: &'a Query<'a>,
}

impl<'a> Rescorer<'a> {
    pub(super) fn new(isa: Isa, places: &'a [Place<'a>], dim: usize) -> Self {
        Self { places, scorer: Scorer::new(isa, StoredRows::F32(&[]), dim) }
    }

    /// The block of a row that is counted over all blocks. Blocks without rows begin where the next one does.
    fn place(&self, row: u64) -> &'a Place<'a> {
        &self.places[self.places.partition_point(|place| place.first <= row) - 1]
    }
}

impl Rescore for Against<'_, '_> {
    fn score(&mut self, row: u64) -> f64 {
        let place = self.rescorer.place(row);
        let scorer = &mut self.rescorer.scorer;
        scorer.rows = place.block.rows;
        scorer.load((row - place.first) as usize);
        scorer.score(self.query)
    }

    fn fetch(&self, row: u64) {
        let place = self.rescorer.place(row);
        place.block.rows.fetch((row - place.first) as usize, self.rescorer.scorer.dim);
    }
}

/// The scores of consecutive packed rows, one for each of `out`.
pub(super) fn bit_scores(isa: Isa, query: &Query<'_>, rows: &[u64], out: &mut [f64]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the value can only be had where the processor has these instructions.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { bits_avx512(query, rows, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2(_) => unsafe { bits_avx2(query, rows, out) },
        _ => bits_body(query, rows, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,popcnt")]
unsafe fn bits_avx512(query: &Query<'_>, rows: &[u64], out: &mut [f64]) {
    bits_body(query, rows, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn bits_avx2(query: &Query<'_>, rows: &[u64], out: &mut [f64]) {
    bits_body(query, rows, out);
}

#[inline(always)]
fn bits_body(query: &Query<'_>, rows: &[u64], out: &mut [f64]) {
    for (row, out) in rows.chunks_exact(query.words.len()).zip(out) {
        let pairs = query.words.iter().zip(row);
        *out = if query.metric == Metric::Hamming {
            pairs.map(|(left, right)| (left ^ right).count_ones()).sum::<u32>().into()
        } else {
            let (both, either) = pairs
                .fold((0, 0), |(both, either), (left, right)| (both + (left & right).count_ones(), either + (left | right).count_ones()));
            ratio(both, either)
        };
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

/// The same sums with eight lanes in a register, which the compiler does not find by itself.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512(kind: Kind, left: &[f32], right: &[f32]) -> f64 {
    use std::arch::x86_64::*;
    let (left, left_tail) = left.as_chunks::<LANES>();
    let (right, right_tail) = right.as_chunks::<LANES>();
    let mut sums = [_mm512_setzero_pd(); 2];
    for (left, right) in left.iter().zip(right) {
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: sixteen numbers are there.
            let (left, right) = unsafe { (_mm256_loadu_ps(left.as_ptr().add(8 * half)), _mm256_loadu_ps(right.as_ptr().add(8 * half))) };
            let (left, right) = (_mm512_cvtps_pd(left), _mm512_cvtps_pd(right));
            let term = match kind {
                Kind::Dot => _mm512_mul_pd(left, right),
                Kind::L2 => _mm512_mul_pd(_mm512_sub_pd(left, right), _mm512_sub_pd(left, right)),
                Kind::L1 => _mm512_abs_pd(_mm512_sub_pd(left, right)),
            };
            *sum = _mm512_add_pd(*sum, term);
        }
    }
    let mut lanes = [0f64; LANES];
    // SAFETY: there is room for sixteen numbers.
    unsafe {
        _mm512_storeu_pd(lanes.as_mut_ptr(), sums[0]);
        _mm512_storeu_pd(lanes.as_mut_ptr().add(8), sums[1]);
    }
    match kind {
        Kind::Dot => finish(lanes, (left_tail, right_tail), |left, right| left * right),
        Kind::L2 => finish(lanes, (left_tail, right_tail), |left, right| (left - right) * (left - right)),
        Kind::L1 => finish(lanes, (left_tail, right_tail), |left, right| (left - right).abs()),
    }
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
    finish(sums, (left_tail, right_tail), term)
}

/// Adds the last lanes' terms, then the lanes in a fixed tree.
#[inline(always)]
fn finish(mut sums: [f64; LANES], (left, right): (&[f32], &[f32]), term: impl Fn(f64, f64) -> f64) -> f64 {
    for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
        *sum += term(f64::from(*left), f64::from(*right));
    }
    let eight: [f64; 8] = std::array::from_fn(|lane| sums[lane] + sums[lane + 8]);
    let four: [f64; 4] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}
