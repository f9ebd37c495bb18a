//! The best k against a full sort.

use super::*;
use crate::{Rows, never_stop};
use proptest::prelude::*;

fn search(queries: &[f32], rows: &[f32], dim: usize, wanted: TopK) -> Vec<Vec<Hit>> {
    let (queries, rows) = (Rows::new(queries, dim).unwrap(), Rows::new(rows, dim).unwrap());
    top_k(queries.into(), rows.into(), wanted, &never_stop).expect("valid operands")
}

fn wanted(metric: Metric, k: usize) -> TopK {
    TopK { metric, k, threshold: None }
}

fn indices(hits: &[Hit]) -> Vec<u32> {
    hits.iter().map(|hit| hit.index).collect()
}

#[test]
fn ties_go_to_the_lower_index_and_k_above_n_gives_n() {
    let rows = [1.0, 0.0, 0.0, 1.0, 2.0, 0.0, 1.0, 0.0];
    let hits = search(&[1.0, 0.0], &rows, 2, wanted(Metric::Cosine, 10));
    assert_eq!(indices(&hits[0]), [0, 2, 3, 1]);
    let hits = search(&[1.0, 0.0], &rows, 2, wanted(Metric::L2, 2));
    assert_eq!(indices(&hits[0]), [0, 3]);
}

#[test]
fn rows_with_nan_rank_last_for_every_metric_and_never_pass_a_threshold() {
    let rows = [f32::NAN, 1.0, -1.0, 0.5];
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2, Metric::L2Squared, Metric::L1] {
        let hits = search(&[1.0], &rows, 1, wanted(metric, 4));
        assert_eq!(hits[0].len(), 4);
        assert_eq!(hits[0][3].index, 0, "{metric:?}");
        assert!(hits[0][3].score.is_nan());
        let threshold = if metric.larger_is_closer() { f64::NEG_INFINITY } else { f64::INFINITY };
        let hits = search(&[1.0], &rows, 1, TopK { metric, k: 4, threshold: Some(threshold) });
        assert_eq!(hits[0].len(), 3, "{metric:?}");
    }
}

#[test]
fn a_threshold_keeps_scores_at_least_as_close() {
    let rows = [1.0, 2.0, 3.0];
    let hits = search(&[1.0], &rows, 1, TopK { metric: Metric::Dot, k: 3, threshold: Some(2.0) });
    assert_eq!(indices(&hits[0]), [2, 1]);
    let hits = search(&[1.0], &rows, 1, TopK { metric: Metric::L1, k: 3, threshold: Some(1.0) });
    assert_eq!(indices(&hits[0]), [0, 1]);
}

#[test]
fn zero_k_and_other_dimensions_are_refused() {
    let rows = Rows::new(&[1.0, 2.0], 1).unwrap();
    let other = Rows::new(&[1.0, 2.0], 2).unwrap();
    assert!(matches!(top_k(rows.into(), rows.into(), wanted(Metric::Dot, 0), &never_stop), Err(KernelError::OutOfRange { .. })));
    assert!(matches!(top_k(other.into(), rows.into(), wanted(Metric::Dot, 1), &never_stop), Err(KernelError::Mismatch { .. })));
    assert_eq!(top_k(rows.into(), rows.into(), wanted(Metric::Dot, 1), &|| true), Err(KernelError::Stopped));
}

#[test]
fn no_rows_give_no_hits_and_no_queries_give_no_answers() {
    assert_eq!(search(&[1.0, 2.0], &[], 1, wanted(Metric::Dot, 3)), vec![vec![], vec![]]);
    assert!(search(&[], &[1.0], 1, wanted(Metric::Dot, 3)).is_empty());
}

#[test]
fn the_answer_does_not_depend_on_batch_or_threads() {
    let values = |seed: u32, count: usize| -> Vec<f32> {
        // Few distinct values make many ties.
        (0..count as u32).map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed) >> 27) as f32 - 15.0).collect()
    };
    let (queries, rows) = (values(1, 70 * 24), values(2, 5000 * 24));
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for metric in Metric::ALL {
        let whole = pool(1).install(|| search(&queries, &rows, 24, wanted(metric, 37)));
        assert_eq!(whole, pool(7).install(|| search(&queries, &rows, 24, wanted(metric, 37))));
        for query in [0, 31, 32, 69] {
            let single = pool(3).install(|| search(&queries[query * 24..][..24], &rows, 24, wanted(metric, 37)));
            assert_eq!(single[0], whole[query], "{metric:?} {query}");
        }
    }
}

proptest! {
    #[test]
    fn small_integers_give_exactly_the_reference(
        dim in 1usize..20, query_count in 1usize..5, row_count in 0usize..200, k in 1usize..50, seed in any::<u32>(),
    ) {
        // Small integers make every score exact, so the order is comparable to the last tie.
        let values = |salt: u32, count: usize| -> Vec<f32> {
            (0..count as u32).map(|i| ((i.wrapping_add(salt).wrapping_mul(2_654_435_761) ^ seed) >> 29) as f32 - 3.0).collect()
        };
        let (queries, rows) = (values(1, query_count * dim), values(99, row_count * dim));
        for metric in [Metric::Dot, Metric::L2Squared, Metric::L2, Metric::L1, Metric::Hamming, Metric::Jaccard] {
            let want = reference::top_k(Rows::new(&queries, dim).unwrap(), Rows::new(&rows, dim).unwrap(), wanted(metric, k));
            prop_assert_eq!(search(&queries, &rows, dim, wanted(metric, k)), want);
        }
    }
}
