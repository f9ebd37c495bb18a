//! Every door on every level of instructions against the plain version.

mod sets;

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::never_stop;
use crate::noise::noise;
use crate::tolerance::wide_order;
use sets::{STORED, Set, Stored};

fn exactly(metric: Metric, k: usize) -> Search {
    Search { metric, k, threshold: None, certainty: Certainty::Exact }
}

/// Metrics that apply to a stored form.
fn metrics(stored: Stored) -> impl Iterator<Item = Metric> {
    Metric::ALL.into_iter().filter(move |metric| stored != Stored::Binary || metric.applies_to_bits())
}

/// Rows and scores are those of the plain version, whose answer with all rows is `all`, but for the rounding of sums in f64: it depends on their order, and may
/// turn the places of rows whose scores differ by less.
fn assert_same(got: &[Vec<Hit>], (want, all): (&[Vec<Hit>], &[Vec<Hit>]), context: &str) {
    assert_eq!(got.len(), want.len(), "{context}");
    for (query, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.len(), want.len(), "{context}, query {query}: {got:?} for {want:?}");
        let scores: HashMap<u64, f64> = all[query].iter().map(|hit| (hit.row, hit.score)).collect();
        let close = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= wide_order(b);
        for (place, (hit, wanted)) in got.iter().zip(want).enumerate() {
            let context = format!("{context}, query {query}, place {place}: {hit:?} for {wanted:?}");
            assert!(close(hit.score, wanted.score) && close(hit.score, scores[&hit.row]), "{context}");
            assert!(!hit.score.is_nan() || hit.row == wanted.row, "{context}");
        }
        assert_eq!(got.iter().map(|hit| hit.row).collect::<HashSet<_>>().len(), got.len(), "{context}: a row is given twice");
    }
}

/// As `want` does, and with all rows.
fn both(metric: Metric, queries: Rows<'_>, (set, k): (&Set, usize)) -> (Vec<Vec<Hit>>, Vec<Vec<Hit>>) {
    let all = reference_search(queries, &set.blocks(), &exactly(metric, usize::MAX));
    (all.iter().map(|hits| hits[..k.min(hits.len())].to_vec()).collect(), all)
}

fn check(stored: Stored, (queries, values): (&[f32], &[f32]), dim: usize) {
    let queries = Rows::new(queries, dim).expect("whole rows");
    let rows = values.len() / dim;
    let mut set = Set::new(stored, values, (dim, 1 + rows * 2 / 3));
    // Every other set is filtered.
    let is_filtered = (dim + queries.len()) % 2 == 1;
    if is_filtered {
        set.admit(dim, |row| row % 3 != 1);
    }
    for metric in metrics(stored) {
        let (_, all) = both(metric, queries, (&set, rows));
        for k in [1, 10, rows + 3] {
            let plan = exactly(metric, k);
            let want: Vec<_> = all.iter().map(|hits| hits[..k.min(hits.len())].to_vec()).collect();
            for isa in Isa::available() {
                let got = search_on(isa, (queries, &set.blocks()), &plan, &never_stop).expect("valid operands");
                assert!(got.is_exact);
                assert_same(&got.hits, (&want, &all), &format!("{stored:?} {metric:?} dim {dim} k {k} filter {is_filtered} {isa}"));
            }
        }
    }
}

#[test]
fn every_form_and_metric_agrees_with_the_plain_version_at_every_dimension() {
    for dim in (1..=67).chain([384, 768, 4097]) {
        let rows = if dim > 67 { 60 } else { 40 };
        let (queries, values) = (noise(1, 3 * dim), noise(2, rows * dim));
        STORED.into_iter().for_each(|stored| check(stored, (&queries, &values), dim));
    }
}

#[test]
fn batches_of_every_size_agree_with_the_plain_version() {
    let (dim, rows) = (40, 300);
    for count in [0, 1, 2, 15, 16, 17, 31, 32, 33, 70] {
        let (queries, values) = (noise(3, count * dim), noise(4, rows * dim));
        STORED.into_iter().for_each(|stored| check(stored, (&queries, &values), dim));
    }
}

/// Duplicates, ties, zeros, NaN, infinities, and magnitudes from one end of f32 to the other.
fn special(dim: usize) -> Vec<f32> {
    let mut rows: Vec<Vec<f32>> = noise(5, 40 * dim).chunks(dim).map(<[f32]>::to_vec).collect();
    rows.extend(rows.clone());
    let one = |value: f32, at: usize| {
        // Beside the largest, what is small is lost even in f64, and in which order decides how.
        let mut row = vec![if value.is_finite() && value.abs() > 1.0 { 0.0f32 } else { 0.25 }; dim];
        row[at % dim] = value;
        row
    };
    for (at, value) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -f32::MAX, 1e-45, 1e30, 1e-30].into_iter().enumerate() {
        rows.push(one(value, at));
        rows.push(vec![value; dim]);
    }
    rows.extend([vec![0.0; dim], vec![-0.0; dim], vec![1.0; dim], vec![-1.0; dim], vec![1e-38; dim]]);
    rows.concat()
}

#[test]
fn special_values_agree_with_the_plain_version() {
    for dim in [1, 2, 31, 32, 64, 100] {
        let values = special(dim);
        for stored in STORED {
            check(stored, (&values, &values), dim);
        }
    }
}

#[test]
fn small_integers_give_exactly_the_plain_version_with_all_their_ties() {
    let dim = 24;
    let whole = |seed, count: usize| -> Vec<f32> { noise(seed, count).iter().map(|value| (value * 2.4).round()).collect() };
    let (queries, values) = (whole(6, 40 * dim), whole(7, 3000 * dim));
    for stored in [Stored::F32, Stored::F16, Stored::Bf16, Stored::Sketched] {
        let set = Set::new(stored, &values, (dim, 700));
        let queries = Rows::new(&queries, dim).expect("whole rows");
        for metric in metrics(stored).filter(|metric| *metric != Metric::Cosine) {
            let plan = exactly(metric, 20);
            let want = reference_search(queries, &set.blocks(), &plan);
            for isa in Isa::available() {
                let got = search_on(isa, (queries, &set.blocks()), &plan, &never_stop).expect("valid operands");
                assert_eq!(got.hits, want, "{stored:?} {metric:?} {isa}");
            }
        }
    }
}

#[test]
fn the_answer_does_not_depend_on_blocks_batch_or_threads() {
    let (dim, rows, count) = (48, 4000, 70);
    // Few distinct values make many ties.
    let few = |seed, count: usize| -> Vec<f32> { noise(seed, count).iter().map(|value| (value * 3.0).round() / 3.0).collect() };
    let (queries, values) = (few(8, count * dim), few(9, rows * dim));
    let all = Rows::new(&queries, dim).expect("whole rows");
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    for stored in STORED {
        let (whole, cut) = (Set::new(stored, &values, (dim, rows)), Set::new(stored, &values, (dim, 333)));
        for metric in metrics(stored) {
            let plan = exactly(metric, 17);
            let found = |threads, set: &Set, queries| {
                pool(threads).install(|| search(queries, &set.blocks(), &plan, &never_stop)).expect("valid operands").hits
            };
            let want = found(1, &whole, all);
            assert_eq!(found(5, &whole, all), want, "{stored:?} {metric:?} threads");
            assert_eq!(found(3, &cut, all), want, "{stored:?} {metric:?} blocks");
            for query in [0, 31, 69] {
                assert_eq!(found(2, &cut, all.slice(query..query + 1))[0], want[query], "{stored:?} {metric:?} one query");
            }
            for isa in Isa::available() {
                let got = search_on(isa, (all, &cut.blocks()), &plan, &never_stop).expect("valid operands");
                assert_eq!(got.hits, want, "{stored:?} {metric:?} {isa}");
            }
        }
    }
}

#[test]
fn rows_that_are_nearly_the_same_are_told_apart_as_f64_tells_them() {
    // Rows around few centers, so near to each other that rounding to bf16 or int8 makes them the same.
    let (dim, rows) = (96, 2000);
    let centers = noise(10, 4 * dim);
    for gap in [1e-3f32, 1e-5, 1e-7] {
        let offsets = noise(11, rows * dim);
        let values: Vec<f32> = (0..rows * dim).map(|at| centers[at / dim % 4 * dim + at % dim] + gap * offsets[at]).collect();
        for stored in STORED {
            check(stored, (&centers, &values[..600 * dim]), dim);
        }
        let set = Set::new(Stored::Sketched, &values, (dim, rows));
        let queries = Rows::new(&centers, dim).expect("whole rows");
        let plan = exactly(Metric::Cosine, 5);
        let got = search(queries, &set.blocks(), &plan, &never_stop).expect("valid operands");
        let (want, all) = both(Metric::Cosine, queries, (&set, 5));
        assert_same(&got.hits, (&want, &all), &format!("gap {gap}"));
    }
}

#[test]
fn thresholds_keep_what_is_at_least_as_close() {
    let (dim, rows) = (33, 500);
    let (queries, values) = (noise(12, 5 * dim), noise(13, rows * dim));
    let queries = Rows::new(&queries, dim).expect("whole rows");
    for stored in STORED {
        let set = Set::new(stored, &values, (dim, 210));
        for metric in metrics(stored) {
            let first = reference_search(queries, &set.blocks(), &exactly(metric, 40));
            let threshold = first[2][20].score;
            let plan = Search { threshold: Some(threshold), ..exactly(metric, 30) };
            let within = Within { metric, threshold, hits_max: rows * 5 };
            for isa in Isa::available() {
                let context = format!("{stored:?} {metric:?} {isa}");
                let got = search_on(isa, (queries, &set.blocks()), &plan, &never_stop).expect("valid operands");
                let want = reference_search(queries, &set.blocks(), &plan);
                // The score at the threshold itself may be rounded to either side of it.
                let lens = |hits: &[Vec<Hit>]| hits.iter().map(Vec::len).collect::<Vec<_>>();
                assert!(lens(&got.hits).iter().zip(lens(&want)).all(|(got, want)| got.abs_diff(want) <= 1), "{context}");
                let all = range_on(isa, (queries, &set.blocks()), &within, &never_stop).expect("few enough");
                let want = reference_range(queries, &set.blocks(), &within);
                assert!(lens(&all).iter().zip(lens(&want)).all(|(got, want)| got.abs_diff(want) <= 1), "{context}");
                for (got, want) in all.iter().zip(&want) {
                    let len = got.len().min(want.len());
                    let longer = if got.len() > want.len() { got } else { want };
                    assert_same(&[got[..len].to_vec()], (&[want[..len].to_vec()], std::slice::from_ref(longer)), &context);
                }
            }
        }
    }
}

#[test]
fn more_rows_within_a_threshold_than_allowed_are_an_error_that_says_how_many_are() {
    let values = [1.0, 2.0, 3.0, 4.0];
    let set = Set::new(Stored::F32, &values, (1, 4));
    let queries = Rows::new(&[1.0, -1.0], 1).expect("whole rows");
    let within = |hits_max| Within { metric: Metric::Dot, threshold: 2.0, hits_max };
    assert_eq!(range(queries, &set.blocks(), &within(3), &never_stop).expect("just enough")[0].len(), 3);
    let refused = range(queries, &set.blocks(), &within(2), &never_stop);
    assert_eq!(refused, Err(KernelError::OutOfRange { op: "range", what: "hits", max: 2, got: 3 }));
    // Far too many are not collected first: no more are held than pass by between two questions whether to stop.
    let many = vec![1f32; 100_000];
    let set = Set::new(Stored::F32, &many, (1, 100_000));
    for queries in [Rows::new(&many[..1], 1).expect("whole rows"), Rows::new(&many[..40], 1).expect("whole rows")] {
        let refused = range(queries, &set.blocks(), &Within { metric: Metric::Dot, threshold: 0.5, hits_max: 10 }, &never_stop);
        let Err(KernelError::OutOfRange { max: 10, got, .. }) = refused else { panic!("{refused:?}") };
        assert!((11..200_000).contains(&got), "{got} of {}", queries.len() * 100_000);
    }
}

#[test]
fn the_nearest_center_is_the_first_of_a_search() {
    for (dim, count, centers) in [(1, 50, 7), (5, 3000, 140), (64, 200, 33), (100, 70, 1)] {
        let coarse = |seed, count: usize| -> Vec<f32> { noise(seed, count).iter().map(|value| (value * 4.0).round()).collect() };
        let (points, centers) = (coarse(14, count * dim), coarse(15, centers * dim));
        let pair = (Rows::new(&points, dim).expect("whole rows"), Rows::new(&centers, dim).expect("whole rows"));
        for metric in Metric::ALL {
            let want = reference_nearest(metric, pair.0, pair.1);
            let set = Set::new(Stored::F32, pair.1.values(), (dim, pair.1.len()));
            let (_, all) = both(metric, pair.0, (&set, 1));
            for isa in Isa::available() {
                let mut out = vec![Hit { row: 9, score: f64::NAN }; count];
                nearest_on(isa, metric, pair, (&mut out, &never_stop)).expect("valid operands");
                let mut alone = vec![Hit { row: 9, score: 0.5 }; count];
                let lengths = norms(StoredRows::F32(pair.0.values()), dim).expect("whole rows");
                assign_on(isa, (metric, pair), (&mut alone, &lengths), &never_stop).expect("valid operands");
                let is_same = |(a, b): (&Hit, &Hit)| a.row == b.row && (a.score.is_nan() || a.score == b.score);
                assert!(alone.iter().zip(&out).all(is_same), "{metric:?} {dim} {isa}: {alone:?} {out:?}");
                let (out, want): (Vec<_>, Vec<_>) = out.iter().zip(&want).map(|(got, want)| (vec![*got], vec![*want])).unzip();
                if metric == Metric::Cosine {
                    assert_same(&out, (&want, &all), &format!("{dim} {isa}"));
                } else {
                    assert_eq!(out, want, "{metric:?} {dim} {isa}");
                }
            }
        }
    }
}

#[test]
fn a_fast_answer_says_what_it_is_and_scores_what_it_gives() {
    let (dim, rows) = (64, 3000);
    let (queries, values) = (noise(16, 20 * dim), noise(17, rows * dim));
    let queries = Rows::new(&queries, dim).expect("whole rows");
    let sketched = Set::new(Stored::Sketched, &values, (dim, 1100));
    let plan = Search { certainty: Certainty::Fast { oversample: 4 }, ..exactly(Metric::Cosine, 10) };
    for isa in Isa::available() {
        for queries in [queries, queries.slice(3..4)] {
            let got = search_on(isa, (queries, &sketched.blocks()), &plan, &never_stop).expect("valid operands");
            let want = search_on(isa, (queries, &sketched.blocks()), &exactly(Metric::Cosine, rows), &never_stop).expect("valid operands");
            assert_eq!(got.is_exact, !goal::may_guess(isa, Metric::Cosine), "{isa}");
            let mut found = 0;
            for (got, want) in got.hits.iter().zip(&want.hits) {
                assert!(got.len() == 10 && got.iter().all(|hit| want.contains(hit)), "{isa}");
                found += want[..10].iter().filter(|hit| got.contains(hit)).count();
            }
            // Forty rows by 8-bit integers hold all but a few of the ten closest.
            assert!(found * 100 >= 99 * 10 * got.hits.len(), "{isa}: {found}");
            // Without a sketch there is nothing to guess from.
            let plain = Set::new(Stored::Bf16, &values, (dim, 1100));
            assert!(search_on(isa, (queries, &plain.blocks()), &plan, &never_stop).expect("valid operands").is_exact);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let queries = Rows::new(&[1.0, 2.0], 2).expect("whole rows");
    let values = [1.0, 2.0, 3.0, 4.0];
    let whole = Block { rows: StoredRows::F32(&values), norms: &[1.0, 1.0], sketch: None, admitted: None };
    let refused = |block: Block<'_>, metric| search(queries, &[block], &exactly(metric, 1), &never_stop).expect_err("does not fit");
    let mismatch = |op, what, expected, got| KernelError::Mismatch { op, what, expected, got };
    let ragged = Block { rows: StoredRows::F32(&values[..3]), ..whole };
    assert_eq!(refused(ragged, Metric::Dot), mismatch("stored rows", "numbers in the last row", 2, 1));
    assert_eq!(refused(Block { norms: &[1.0], ..whole }, Metric::Dot), mismatch("search", "norms", 2, 1));
    assert_eq!(refused(Block { admitted: Some(&[]), ..whole }, Metric::Dot), mismatch("search", "words of admitted rows", 1, 0));
    let short = Sketch::Int8 { values: &[1; 4], scales: &[1.0; 2], residuals: &[0.0] };
    assert_eq!(refused(Block { sketch: Some(short), ..whole }, Metric::Dot), mismatch("search", "residuals of the sketch", 2, 1));
    let binary = Block { rows: StoredRows::Binary(&[1, 2]), norms: &[], ..whole };
    assert!(matches!(refused(binary, Metric::Cosine), KernelError::Unsupported { .. }));
    let zero = Search { k: 0, ..exactly(Metric::Dot, 1) };
    assert!(matches!(search(queries, &[whole], &zero, &never_stop), Err(KernelError::OutOfRange { what: "k", .. })));
    let never = Search { certainty: Certainty::Fast { oversample: 0 }, ..exactly(Metric::Dot, 1) };
    assert!(matches!(search(queries, &[whole], &never, &never_stop), Err(KernelError::OutOfRange { what: "oversampling", .. })));
    assert_eq!(search(queries, &[whole], &exactly(Metric::Dot, 1), &|| true), Err(KernelError::Stopped));
}

#[test]
fn no_rows_give_no_hits_and_no_queries_no_answers() {
    let none = Rows::new(&[], 3).expect("no rows");
    let query = Rows::new(&[1.0, 2.0, 3.0], 3).expect("one row");
    let plan = exactly(Metric::L2, 4);
    let empty = Block { rows: StoredRows::Bf16(&[]), norms: &[], sketch: None, admitted: None };
    assert_eq!(search(query, &[], &plan, &never_stop).expect("valid").hits, vec![vec![]]);
    assert_eq!(search(query, &[empty, empty], &plan, &never_stop).expect("valid").hits, vec![vec![]]);
    assert!(search(none, &[empty], &plan, &never_stop).expect("valid").hits.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn any_small_set_agrees_with_the_plain_version(
        dim in 1usize..80, count in 1usize..40, rows in 0usize..300, k in 1usize..30, seed in any::<u32>(), coarse in 1u8..20, part in 1usize..200,
    ) {
        let coarse = f32::from(coarse);
        let values = |salt: u64, count: usize| -> Vec<f32> {
            noise(u64::from(seed) + salt, count).iter().map(|value| (value * coarse).round() / coarse).collect()
        };
        let (queries, values) = (values(1, count * dim), values(2, rows * dim));
        let queries = Rows::new(&queries, dim).expect("whole rows");
        for stored in STORED {
            let mut set = Set::new(stored, &values, (dim, part));
            set.admit(dim, |row| (row * 2_654_435_761) >> 3 & 7 != u64::from(seed & 7));
            for metric in metrics(stored) {
                let plan = exactly(metric, k);
                let (want, all) = both(metric, queries, (&set, k));
                for isa in Isa::available() {
                    let got = search_on(isa, (queries, &set.blocks()), &plan, &never_stop).expect("valid operands");
                    assert_same(&got.hits, (&want, &all), &format!("{stored:?} {metric:?} {isa}"));
                }
            }
        }
    }
}
