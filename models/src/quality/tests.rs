//! What the built-in embedder is worth on real benchmarks.

use super::*;

/// Values from scipy's `spearmanr`, printed by `models/fixtures/builtin.py`.
#[test]
fn spearman_equals_scipy_ties_included() {
    let cases: [(&[f64], &[f64], f64); 5] = [
        (&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0], SPEARMAN[0]),
        (&[1.0, 1.0, 2.0, 3.0], &[2.0, 1.0, 2.0, 5.0], SPEARMAN[1]),
        (&[0.0, -1.0, 3.5, 3.5, 3.5, 2.0], &[9.0, 8.0, 8.0, 1.0, 0.5, 0.5], SPEARMAN[2]),
        (&[1.0, 2.0], &[2.0, 1.0], -1.0),
        (&[10.0, 20.0, 30.0], &[0.1, 0.2, 0.3], 1.0),
    ];
    for (xs, ys, expected) in cases {
        let found = spearman(xs, ys).unwrap();
        assert!((found - expected).abs() < 1e-12, "{xs:?} {ys:?}: {found}, expected {expected}");
    }
}

const SPEARMAN: [f64; 3] = [0.8207826816681233, 0.8333333333333335, -0.46897904961054176];

#[test]
fn spearman_is_undefined_without_spread_pairs_or_numbers() {
    let cases: [(&[f64], &[f64]); 5] =
        [(&[], &[]), (&[1.0], &[1.0]), (&[1.0, 1.0], &[1.0, 2.0]), (&[1.0, 2.0], &[1.0]), (&[1.0, f64::NAN], &[1.0, 2.0])];
    for (xs, ys) in cases {
        assert_eq!(spearman(xs, ys), None, "{xs:?} {ys:?}");
    }
}

/// Values from trec_eval's `ndcg_cut`, printed by `models/fixtures/builtin.py`.
#[test]
fn ndcg_equals_trec_eval() {
    let grades = |pairs: &[(&str, f64)]| pairs.iter().map(|(id, grade)| ((*id).to_owned(), *grade)).collect::<HashMap<_, _>>();
    let cases = [
        (vec!["a", "b", "c"], grades(&[("a", 1.0)]), 10, 1.0),
        (vec!["x", "a", "c"], grades(&[("a", 1.0)]), 10, NDCG[0]),
        (vec!["x", "a", "y", "b"], grades(&[("a", 1.0), ("b", 2.0), ("z", 1.0)]), 10, NDCG[1]),
        (vec!["x", "a", "y", "b"], grades(&[("a", 1.0), ("b", 2.0), ("z", 1.0)]), 3, NDCG[2]),
        (vec!["x", "y"], grades(&[("a", 1.0)]), 10, 0.0),
        (vec!["a"], grades(&[("a", 0.0)]), 10, 0.0),
    ];
    for (ranked, judged, k, expected) in cases {
        let found = ndcg(&ranked, &judged, k);
        assert!((found - expected).abs() < 1e-12, "{ranked:?} at {k}: {found}, expected {expected}");
    }
}

const NDCG: [f64; 3] = [0.6309297535714575, 0.47662611018851303, 0.20151514190050246];

#[test]
fn a_passage_named_twice_counts_once() {
    let grades = HashMap::from([("a".to_owned(), 1.0)]);
    assert_eq!(ndcg(&["a", "a", "a"], &grades, 10), 1.0);
}

#[test]
fn readers_keep_quotation_marks_and_name_the_bad_line() {
    let pairs = read_sts("x.csv", "g\tf\t2012\t1\t4.25\tHe said \"no.\tHe \"declined\".\textra\r\n").unwrap();
    assert_eq!(pairs, [ScoredPair { score: 4.25, first: "He said \"no.".into(), second: "He \"declined\".".into() }]);
    let bad = [
        read_sts("x.csv", "a\tb\tc\td\t1\te\tf\na\tb\n").unwrap_err(),
        read_sts("x.csv", "a\tb\tc\td\t1\te\tf\na\tb\tc\td\tNaN\te\tf\n").unwrap_err(),
        read_passages("x.jsonl", "{\"_id\":\"1\",\"text\":\"t\"}\n{\"_id\":2}\n").map(|_| ()).unwrap_err(),
        read_judgements("x.tsv", "query-id\tcorpus-id\tscore\n1\t2\n").map(|_| ()).unwrap_err(),
    ];
    for error in bad {
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}

#[test]
fn judgements_keep_the_order_of_queries_and_all_their_passages() {
    let judgements = read_judgements("x.tsv", "query-id\tcorpus-id\tscore\n7\ta\t1\n3\tb\t2\n7\tc\t0\n").unwrap();
    assert_eq!(judgements[0], ("7".into(), HashMap::from([("a".into(), 1.0), ("c".into(), 0.0)])));
    assert_eq!(judgements[1], ("3".into(), HashMap::from([("b".into(), 2.0)])));
}
