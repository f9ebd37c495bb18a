//! Similarity, near-duplicates and differences.

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{run, try_run};
use crate::executor::text::similarity::Similarity;
use crate::executor::text::{Operation, Scope, TextState};
use crate::task::{CancelHandle, PartSink, Parts, TaskError, TaskSink};

fn scores(a: &str, b: &str, measures: &[&str]) -> Vec<f64> {
    let output = run(json!({ "operation": "similarity", "text_a": a, "text_b": b, "measures": measures, "shingle_size": 2 }));
    output["scores"].as_array().unwrap().iter().map(|score| score["score"].as_f64().unwrap()).collect()
}

#[test]
fn measures_give_the_values_computed_by_hand() {
    // Words {the, cat, sat} and {the, cat, ran, away}: two shared of five.
    let measures = ["jaccard_words", "dice", "cosine", "jaccard_shingles"];
    let found = scores("The cat sat", "the cat ran away", &measures);
    let expected = [2.0 / 5.0, 4.0 / 7.0, 2.0 / 12.0_f64.sqrt(), 1.0 / 4.0];
    found.iter().zip(expected).for_each(|(found, expected)| assert!((found - expected).abs() < 1e-12, "{found} {expected}"));
    // The classic examples of Levenshtein, Damerau and Winkler.
    let found = scores("kitten", "sitting", &["levenshtein"]);
    assert!((found[0] - (1.0 - 3.0 / 7.0)).abs() < 1e-12);
    let found = scores("ca", "abc", &["damerau_levenshtein"]);
    assert!((found[0] - (1.0 - 2.0 / 3.0)).abs() < 1e-12);
    let found = scores("MARTHA", "MARHTA", &["jaro_winkler"]);
    assert!((found[0] - 0.961_111_111).abs() < 1e-6);
}

#[test]
fn every_measure_is_one_for_equal_texts_and_symmetric() {
    let all =
        ["jaccard_words", "jaccard_shingles", "jaccard_trigrams", "cosine", "dice", "levenshtein", "damerau_levenshtein", "jaro_winkler"];
    for text in ["", "a", "The same Text, twice", "日本語のテキスト"] {
        assert!(scores(text, text, &all).iter().all(|score| (score - 1.0).abs() < 1e-12), "{text}");
    }
    let (a, b) = ("one two three", "three two one zero");
    assert_eq!(scores(a, b, &all[..5]), scores(b, a, &all[..5]));
    assert_eq!(scores("", "words here", &["cosine", "jaccard_words", "levenshtein"]), [0.0, 0.0, 0.0]);
}

#[test]
fn character_measures_are_bounded_for_a_pair_and_for_all_together() {
    let (x, y, folds) = ("x".repeat(9_000), "y".repeat(9_000), "\u{390}".repeat(9_000));
    let cases = [
        (json!({ "text_a": x, "text_b": y, "measures": ["cosine", "damerau_levenshtein"] }), "text_b", "81000000"),
        (json!({ "text_a": x, "texts_b": vec![&y; 30], "measures": ["levenshtein"] }), "texts_b", "2430000000"),
        (json!({ "text_a": x, "texts_b": vec![&y; 15], "measures": ["levenshtein", "jaro_winkler"] }), "texts_b", "2430000000"),
        // Folded, each of these letters is three.
        (json!({ "text_a": folds, "text_b": folds, "measures": ["levenshtein"] }), "text_b", "729000000"),
    ];
    for (mut request, field, reason) in cases {
        request["operation"] = json!("similarity");
        match try_run(request) {
            Err(TaskError::InvalidPayload { field: f, reason: r }) if f == field && r.contains(reason) => {}
            other => panic!("{field} {reason}: {other:?}"),
        }
    }
}

#[test]
fn character_measures_stop_when_cancelled() {
    let request = json!({ "text_a": "abc", "texts_b": ["abd"], "measures": ["levenshtein", "damerau_levenshtein", "jaro_winkler"] });
    let request = serde_json::from_value(request).unwrap();
    let cancel = CancelHandle::default();
    cancel.cancel(TaskError::Cancelled { reason: "no longer wanted".into() });
    let state = TextState { tokenizers: None };
    let parts = Parts::default();
    let sink: Arc<dyn TaskSink> = Arc::new(PartSink::default());
    let scope = Scope { state: &state, parts: &parts, sink: &sink, cancel: &cancel };
    assert_eq!(Similarity::run(&request, &scope).unwrap_err(), TaskError::Cancelled { reason: "no longer wanted".into() });
}

/// The pairs that comparing every document with every other finds.
fn pairs_by_brute_force(texts: &[String], threshold: f64, size: usize) -> HashSet<(u64, u64)> {
    let sets: Vec<HashSet<Vec<String>>> = texts
        .iter()
        .map(|text| {
            let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
            if words.len() < size {
                return words.is_empty().then(HashSet::new).unwrap_or_else(|| HashSet::from([words]));
            }
            words.windows(size).map(<[String]>::to_vec).collect()
        })
        .collect();
    let mut pairs = HashSet::new();
    for a in 0..sets.len() {
        for b in a + 1..sets.len() {
            let shared = sets[a].intersection(&sets[b]).count();
            let union = sets[a].len() + sets[b].len() - shared;
            if union == 0 || shared as f64 / union as f64 >= threshold && shared > 0 {
                pairs.insert((a as u64, b as u64));
            }
        }
    }
    pairs
}

fn pairs_of(output: &Value) -> Vec<(u64, u64)> {
    output["pairs"].as_array().unwrap().iter().map(|pair| (pair["a"].as_u64().unwrap(), pair["b"].as_u64().unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn with_one_row_per_band_near_duplicates_are_those_of_brute_force(
        texts in prop::collection::vec("([a-d]{1,2} ){0,12}", 1..12), size in 1_usize..4, threshold in 0.5_f64..1.0,
    ) {
        // 512 bands of one row miss a pair of index 0.5 with a chance of 2^-512.
        let request = json!({ "operation": "near_duplicates", "texts": texts, "threshold": threshold, "shingle_size": size, "permutations": 512, "bands": 512 });
        let output = run(request);
        let expected = pairs_by_brute_force(&texts, threshold, size);
        let found = pairs_of(&output);
        prop_assert!(found.is_sorted());
        prop_assert_eq!(found.iter().copied().collect::<HashSet<_>>(), expected.clone());
        prop_assert_eq!(output["pair_count"].as_u64().unwrap() as usize, expected.len());
        // Groups are the connected components of the pairs.
        let grouped: u64 = output["groups"].as_array().unwrap().iter().map(|group| group["members"].as_array().unwrap().len() as u64 - 1).sum();
        prop_assert_eq!(output["distinct_count"].as_u64().unwrap(), texts.len() as u64 - grouped);
        for (a, b) in expected {
            let together = output["groups"].as_array().unwrap().iter().any(|group| {
                let members = group["members"].as_array().unwrap();
                members.contains(&json!(a)) && members.contains(&json!(b))
            });
            prop_assert!(together);
        }
    }
}

#[test]
fn a_large_set_with_planted_copies_gives_them_back() {
    let words =
        |seed: u64| -> Vec<String> { (0..200).map(|at| format!("w{}", (seed * 7919 + at * 104_729 + seed * at) % 50_021)).collect() };
    let mut texts: Vec<String> = (0..400_u64).map(|seed| words(seed).join(" ")).collect();
    for seed in 0..40_u64 {
        let mut copy = words(seed);
        copy[100] = "changed".into();
        texts.push(copy.join(" "));
    }
    let output = run(json!({ "operation": "near_duplicates", "texts": texts, "threshold": 0.9 }));
    let expected: Vec<(u64, u64)> = (0..40).map(|seed| (seed, 400 + seed)).collect();
    assert_eq!(pairs_of(&output), expected);
    assert!(output["recall_at_threshold"].as_f64().unwrap() >= 0.99);
    for pair in output["pairs"].as_array().unwrap() {
        // 198 shingles each, 195 shared: 195 / 201. Three standard errors of 128 functions.
        let (jaccard, estimated) = (pair["jaccard"].as_f64().unwrap(), pair["estimated"].as_f64().unwrap());
        assert!((jaccard - 195.0 / 201.0).abs() < 1e-9);
        assert!((estimated - jaccard).abs() < 3.0 * (0.03 * 0.97 / 128.0_f64).sqrt() + 0.01, "{estimated}");
    }
}

#[test]
fn copies_are_counted_without_listing_all() {
    let output = run(json!({ "operation": "near_duplicates", "texts": vec!["the same few words here"; 2_000], "pairs_max": 10 }));
    assert_eq!(output["pair_count"], 2_000 * 1_999 / 2);
    assert_eq!(output["pairs"].as_array().unwrap().len(), 10);
    assert_eq!(output["pairs_truncated"], true);
    assert_eq!(output["distinct_count"], 1);
}

#[test]
fn a_line_difference_is_the_unified_format() {
    let output = run(json!({ "operation": "diff", "old": "a\nb\nc\n", "new": "a\nx\nc\nd\n", "context": 1 }));
    assert_eq!(output["diff"], "--- old\n+++ new\n@@ -1,3 +1,4 @@\n a\n-b\n+x\n c\n+d\n");
    assert_eq!((&output["added"], &output["removed"], &output["unchanged"]), (&json!(2), &json!(1), &json!(2)));
    assert_eq!((&output["equal"], &output["effort_exhausted"]), (&json!(false), &json!(false)));
    assert!((output["ratio"].as_f64().unwrap() - 4.0 / 7.0).abs() < 1e-12);
    let same = run(json!({ "operation": "diff", "old": "a\n", "new": "a\n" }));
    assert_eq!((&same["diff"], &same["equal"], &same["ratio"]), (&json!(""), &json!(true), &json!(1.0)));
}

#[test]
fn a_word_difference_shows_changes_inline() {
    let output = run(json!({ "operation": "diff", "old": "The quick fox", "new": "The slow fox", "level": "words" }));
    assert_eq!(output["diff"], "The [-quick-]{+slow+} fox");
}

#[test]
fn a_hopeless_difference_ends_in_time_and_says_so() {
    let text = |salt: usize| (0..60_000).map(|at| format!("{}\n", (at * 7919 + salt * 31) % 977)).collect::<String>();
    let output = run(json!({ "operation": "diff", "old": text(1), "new": text(2), "effort_ms": 20 }));
    assert_eq!(output["effort_exhausted"], true);
    assert_eq!(output["removed"].as_u64().unwrap() + output["unchanged"].as_u64().unwrap(), 60_000);
    assert_eq!(output["added"].as_u64().unwrap() + output["unchanged"].as_u64().unwrap(), 60_000);
}
