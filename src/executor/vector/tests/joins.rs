//! Joins against a comparison of all pairs in f64.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Scores in f64 as the words define them.
fn score(metric: &str, a: &[f32], b: &[f32]) -> f64 {
    let sum = |term: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| term(f64::from(*a), f64::from(*b))).sum::<f64>();
    let dot = sum(&|a, b| a * b);
    match metric {
        "dot" => dot,
        "l2" => sum(&|a, b| (a - b).powi(2)).sqrt(),
        "l1" => sum(&|a, b| (a - b).abs()),
        _ => {
            let lengths =
                (a.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() * b.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()).sqrt();
            if lengths == 0.0 { 0.0 } else { dot / lengths }
        }
    }
}

/// Pairs of row numbers with their scores.
type Pairs = Vec<(usize, usize, f64)>;

fn pairs_of(output: &Value) -> Pairs {
    let scores = numbers(&output["scores"]);
    rows(&output["pairs"]).iter().zip(scores).map(|(pair, score)| (pair[0] as usize, pair[1] as usize, score)).collect()
}

fn brute(metric: &str, (a, b): (&[Vec<f32>], Option<&[Vec<f32>]>), threshold: f64) -> Pairs {
    let mut pairs = Vec::new();
    for (i, left) in a.iter().enumerate() {
        let first = if b.is_some() { 0 } else { i + 1 };
        for (j, right) in b.unwrap_or(a).iter().enumerate().skip(first) {
            let score = score(metric, left, right);
            if if metric.starts_with('l') { score <= threshold } else { score >= threshold } {
                pairs.push((i, j, score));
            }
        }
    }
    pairs
}

#[tokio::test]
async fn pairs_are_those_of_a_comparison_of_all_in_double_precision() {
    // Groups of rows that are alike, of more members than the first search gives.
    let mut a = values(61, 700, 24);
    for row in 100..500 {
        a[row] = a[row % 5].iter().zip(&values(row as u64, 1, 24)[0]).map(|(base, noise)| base + 0.02 * noise).collect();
    }
    let b = [&a[90..130], &values(67, 30, 24)[..]].concat();
    for (metric, threshold) in [("cosine", 0.98), ("dot", 1.5), ("l2", 0.2), ("l1", 0.9)] {
        for other in [None, Some(&b[..])] {
            let mut data = json!({"operation": "similarity_join", "a": a, "threshold": threshold, "metric": metric});
            if let Some(b) = other {
                data["b"] = json!(b);
            }
            let output = run(data).await.unwrap();
            let want = brute(metric, (&a, other), threshold);
            let mut got = pairs_of(&output);
            assert_eq!(output["pair_count"], json!(want.len()), "{metric}");
            assert!(want.len() > 300 && got.is_sorted_by_key(|(a, _, _)| *a), "{metric}: {}", want.len());
            got.sort_by_key(|(a, b, _)| (*a, *b));
            for (got, want) in got.iter().zip(&want) {
                assert!((got.0, got.1) == (want.0, want.1) && (got.2 - want.2).abs() < 1e-6, "{metric}: {got:?} {want:?}");
            }
        }
    }
}

#[tokio::test]
async fn partners_come_closest_first_and_equal_ones_by_index() {
    let a = json!([[1, 0], [0, 1], [1, 0], [4, 1], [1, 0]]);
    let output = run(json!({"operation": "similarity_join", "vectors": a, "threshold": 0.9})).await.unwrap();
    assert_eq!(output["pairs"], json!([[0, 2], [0, 4], [0, 3], [2, 4], [2, 3], [3, 4]]));
    assert_eq!(output["order"], json!("descending"));
    let none = json!({"operation": "similarity_join", "a": [[1, 0], [0, 1]], "threshold": 0.9});
    let output = run(none.clone()).await.unwrap();
    assert_eq!((&output["pairs"], &output["scores"]), (&json!([]), &json!([])));
    let mut as_part = none;
    as_part["encoding"] = json!("part");
    let (_output, parts) = run_with(as_part, Parts::default()).await.unwrap();
    assert_eq!(parts["pairs"].shape(), [0, 2]);
}

#[tokio::test]
async fn more_pairs_than_allowed_are_an_error_that_names_the_bound() {
    let many = json!({"operation": "similarity_join", "a": vec![[1, 2]; 200], "threshold": 0.9, "pairs_max": 19_899});
    let error = run(many.clone()).await.unwrap_err();
    let TaskError::InvalidPayload { field, reason } = &error else { panic!("{error}") };
    assert!(field == "pairs_max" && reason.contains("more than 19899 pairs"), "{reason}");
    let mut enough = many;
    enough["pairs_max"] = json!(19_900);
    assert_eq!(run(enough).await.unwrap()["pair_count"], json!(19_900));
}

#[tokio::test]
async fn bits_are_joined_too() {
    let bits = json!({"base64": "8A/w", "dtype": "u8", "shape": [3, 1]});
    let output = run(json!({"operation": "similarity_join", "a": bits, "threshold": 1, "metric": "hamming"})).await.unwrap();
    assert_eq!((&output["pairs"], &output["scores"], &output["order"]), (&json!([[0, 2]]), &json!([0.0]), &json!("ascending")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whole numbers: ties, equal rows and scores that are exactly the threshold.
    #[test]
    fn near_duplicates_are_the_groups_of_all_pairs(cells in prop::collection::vec(-2i8..3, 2..120), dim in 1usize..4, threshold in 0u8..4) {
        let vectors: Vec<Vec<f32>> = cells.chunks_exact(dim).map(|row| row.iter().map(|cell| f32::from(*cell)).collect()).collect();
        prop_assume!(!vectors.is_empty());
        let data = json!({"operation": "near_duplicates", "vectors": vectors, "threshold": threshold, "metric": "l2"});
        let output = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(data)).unwrap();
        let pairs = brute("l2", (&vectors, None), f64::from(threshold));
        prop_assert_eq!(&output["pair_count"], &json!(pairs.len()));
        let mut group: Vec<usize> = (0..vectors.len()).collect();
        for (a, b, _score) in &pairs {
            let (from, to) = (group[*a].max(group[*b]), group[*a].min(group[*b]));
            group.iter_mut().filter(|name| **name == from).for_each(|name| *name = to);
        }
        let of = |name: usize| (0..group.len()).filter(|row| group[*row] == name).collect::<Vec<_>>();
        let want: Vec<Vec<usize>> = (0..group.len()).map(of).filter(|members| members.len() > 1).collect();
        prop_assert_eq!(&output["groups"], &json!(want));
    }
}
