//! Speed of searching a resident set, beside what the memory and the products could do: `cargo bench -p tallow-kernels --bench search [name] [level] [rows] [dim]`.
//!
//! Names: `batch`, `one`, `nearest`, `memory`. Without rows and dimensions 200,000 x 384. Prints recall@10 beside every speed: the share of the ids of an
//! exact comparison that were found. Runs on the threads of rayon's pool (`RAYON_NUM_THREADS`).

use std::hint::black_box;
use std::time::{Duration, Instant};

use half::{bf16, f16};
use rayon::prelude::*;
use tallow_kernels::distance::Metric;
use tallow_kernels::search::{Block, Certainty, Found, Hit, Int8Sketch, Search, StoredRows, nearest_on, norms, search_on};
use tallow_kernels::{Isa, Rows, never_stop};

/// Queries of a batch.
const BATCH: usize = 1000;
/// Queries that are asked one by one.
const SINGLE: usize = 20;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let numbers: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let (rows, dim) = (numbers.first().copied().unwrap_or(200_000), numbers.get(1).copied().unwrap_or(384));
    let named =
        |names: &[&str], name: &str| words.iter().all(|word| !names.contains(&word.as_str())) || words.iter().any(|word| word == name);
    let is_wanted = |name: &str| named(&["memory", "batch", "one", "nearest"], name);
    let levels = || Isa::available().into_iter().rev().filter(|isa| named(&["portable", "avx2", "avx512", "amx"], isa.name()));
    println!("{rows} x {dim}, {} threads", rayon::current_num_threads());
    if is_wanted("memory") {
        println!("memory: {:.1} GB/s read", memory());
    }
    if is_wanted("batch") || is_wanted("one") {
        let set = Set::new(rows, dim);
        for isa in levels() {
            if is_wanted("batch") {
                set.batch(isa);
            }
            if is_wanted("one") {
                set.one(isa);
                if dim.is_multiple_of(64) {
                    set.bits(isa);
                }
            }
        }
    }
    if is_wanted("nearest") {
        levels().for_each(|isa| nearest(isa, (rows, dim)));
    }
}

/// Seconds of the fastest round.
fn fastest(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::MAX;
    while start.elapsed() < Duration::from_secs(1) {
        let round = Instant::now();
        work();
        best = best.min(round.elapsed().as_secs_f64());
    }
    best
}

/// Seconds of one round.
fn once<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let round = Instant::now();
    let value = work();
    (round.elapsed().as_secs_f64(), value)
}

/// GB/s at which all threads together read from far memory: sums of words, which the compiler turns into loads and additions of whole vectors.
fn memory() -> f64 {
    let words = vec![1u64; 1 << 28];
    let piece = words.len() / rayon::current_num_threads();
    let seconds = fastest(|| {
        let sum = |words: &[u64]| words.iter().fold(0u64, |sum, word| sum ^ word);
        black_box(words.par_chunks(piece).map(sum).reduce(|| 0, |left, right| left ^ right));
    });
    words.len() as f64 * 8.0 / seconds / 1e9
}

/// Numbers that are nearly normally distributed, from a generator (xorshift64) that begins with `seed`.
fn normal(seed: u64, out: &mut [f32]) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let parts = [state & 0xFFFF, state >> 16 & 0xFFFF, state >> 32 & 0xFFFF, state >> 48];
        (parts.iter().sum::<u64>() as f32 / 65536.0 - 2.0) * 1.732
    };
    out.iter_mut().for_each(|out| *out = next());
}

/// The same rows in every width.
struct Set {
    dim: usize,
    queries: Vec<f32>,
    f32: Vec<f32>,
    f16: Vec<f16>,
    bf16: Vec<bf16>,
    int8: Int8Sketch,
    norms: Vec<f32>,
}

impl Set {
    fn new(rows: usize, dim: usize) -> Self {
        let mut f32 = vec![0f32; rows * dim];
        f32.par_chunks_mut(dim * 1024).enumerate().for_each(|(piece, out)| normal(piece as u64 + 1, out));
        let mut queries = vec![0f32; BATCH * dim];
        normal(1 << 40, &mut queries);
        let int8 = Int8Sketch::of(StoredRows::F32(&f32), dim).expect("whole rows");
        let norms = norms(StoredRows::F32(&f32), dim).expect("whole rows");
        let f16 = f32.par_iter().map(|value| f16::from_f32(*value)).collect();
        let bf16 = f32.par_iter().map(|value| bf16::from_f32(*value)).collect();
        Self { dim, queries, f32, f16, bf16, int8, norms }
    }

    fn rows(&self) -> usize {
        self.norms.len()
    }

    /// One query by the signs of all rows, compared by the bits that differ.
    fn bits(&self, isa: Isa) {
        let words: Vec<u64> =
            self.f32.par_chunks(64).map(|values| values.iter().fold(0, |word, value| word << 1 | u64::from(*value > 0.0))).collect();
        let block = Block { rows: StoredRows::Binary(&words), norms: &[], sketch: None, admitted: None };
        let queries = Rows::new(&self.queries[..self.dim], self.dim).expect("a row");
        let plan = Search { metric: Metric::Hamming, k: 10, threshold: None, certainty: Certainty::Exact };
        let seconds = fastest(|| drop(black_box(search_on(isa, (queries, &[block]), &plan, &never_stop).expect("valid"))));
        println!("one {isa} Hamming binary: {:.2} ms, {:.1} GB/s", seconds * 1e3, words.len() as f64 * 8.0 / seconds / 1e9);
    }

    /// Blocks of every width with their names, and the bytes of a row that a search reads. What is stored in fewer bits is another set, near enough for its speed.
    fn blocks(&self) -> Vec<(&'static str, Block<'_>, usize)> {
        let block = |rows| Block { rows, norms: &self.norms, sketch: None, admitted: None };
        let sketched = Block { sketch: Some(self.int8.sketch()), ..block(StoredRows::F32(&self.f32)) };
        let int8 = StoredRows::Int8 { values: &self.int8.values, scales: &self.int8.scales };
        vec![
            ("f32", block(StoredRows::F32(&self.f32)), self.dim * 4),
            ("f32 with sketch", sketched, self.dim),
            ("f16", block(StoredRows::F16(&self.f16)), self.dim * 2),
            ("bf16", block(StoredRows::Bf16(&self.bf16)), self.dim * 2),
            ("int8", block(int8), self.dim),
        ]
    }

    fn batch(&self, isa: Isa) {
        let queries = Rows::new(&self.queries, self.dim).expect("whole rows");
        let operations = 2.0 * (self.rows() * self.queries.len()) as f64;
        for metric in [Metric::Cosine, Metric::L2] {
            let mut truth = None;
            for (name, block, _) in self.blocks() {
                let plan = Search { metric, k: 10, threshold: None, certainty: Certainty::Exact };
                let search = || search_on(isa, (queries, &[block]), &plan, &never_stop).expect("valid");
                let (seconds, found) = (0..2).map(|_| once(search)).min_by(|a, b| a.0.total_cmp(&b.0)).expect("two rounds");
                let share = recall(&found, truth.get_or_insert_with(|| found.clone()));
                let speed = operations / seconds / 1e9;
                println!("batch {isa} {metric:?} {name}: {:.0} queries/s, {speed:.0} GFLOP/s, recall {share:.4}", BATCH as f64 / seconds);
            }
        }
    }

    fn one(&self, isa: Isa) {
        let queries = Rows::new(&self.queries, self.dim).expect("whole rows");
        for metric in [Metric::Cosine, Metric::L2] {
            let mut truth: Option<Vec<Found>> = None;
            for (name, block, row_bytes) in self.blocks() {
                let plan = Search { metric, k: 10, threshold: None, certainty: Certainty::Exact };
                let search = |query: usize| search_on(isa, (queries.slice(query..query + 1), &[block]), &plan, &never_stop).expect("valid");
                let timed: Vec<(f64, Found)> = (0..SINGLE).map(|query| once(|| search(query))).collect();
                let seconds = timed.iter().map(|(seconds, _)| *seconds).fold(f64::MAX, f64::min);
                let found: Vec<Found> = timed.into_iter().map(|(_, found)| found).collect();
                let truth = truth.get_or_insert_with(|| found.clone());
                let share = found.iter().zip(&*truth).map(|(found, truth)| recall(found, truth)).sum::<f64>() / SINGLE as f64;
                let speed = (self.rows() * row_bytes) as f64 / seconds / 1e9;
                println!("one {isa} {metric:?} {name}: {:.2} ms, {speed:.1} GB/s, recall {share:.4}", seconds * 1e3);
            }
        }
    }
}

/// The share of the true rows that were found.
fn recall(found: &Found, truth: &Found) -> f64 {
    let hit = |found: &[Hit], truth: &[Hit]| truth.iter().filter(|hit| found.iter().any(|other| other.row == hit.row)).count();
    let pairs = || found.hits.iter().zip(&truth.hits);
    pairs().map(|(found, truth)| hit(found, truth)).sum::<usize>() as f64 / pairs().map(|(_, truth)| truth.len()).sum::<usize>() as f64
}

/// Points around a thousand centers.
fn nearest(isa: Isa, (count, dim): (usize, usize)) {
    let (mut points, mut centers) = (vec![0f32; count * dim], vec![0f32; BATCH * dim]);
    normal(7, &mut centers);
    points.par_chunks_mut(dim).enumerate().for_each(|(at, point)| {
        normal(at as u64 + 11, point);
        point.iter_mut().zip(&centers[at % BATCH * dim..]).for_each(|(value, center)| *value += center);
    });
    let pair = (Rows::new(&points, dim).expect("whole rows"), Rows::new(&centers, dim).expect("whole rows"));
    let mut out = vec![Hit { row: 0, score: 0.0 }; count];
    let seconds = fastest(|| nearest_on(isa, Metric::L2Squared, pair, (&mut out, &never_stop)).expect("valid"));
    let speed = 2.0 * (count * dim * BATCH) as f64 / seconds / 1e9;
    println!("nearest {isa} of {BATCH} centers: {:.1} ms, {speed:.0} GFLOP/s", seconds * 1e3);
}
