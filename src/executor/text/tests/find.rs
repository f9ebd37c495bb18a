//! Regular expressions and searches.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{run, try_run};

#[test]
fn groups_are_named_numbered_and_placed() {
    let output =
        run(json!({ "operation": "extract", "text": "née 2024-05-06, 2023-01-02", "pattern": r"(?P<year>\d{4})-(\d\d)-(\d\d)(!)?" }));
    assert_eq!(output["count"], 2);
    let first = &output["matches"][0];
    assert_eq!((&first["text"], &first["start_byte"], &first["start_char"]), (&json!("2024-05-06"), &json!(5), &json!(4)));
    assert_eq!(first["groups"].as_array().unwrap().len(), 3);
    assert_eq!(first["groups"][0], json!({ "group": 1, "name": "year", "text": "2024", "start_byte": 5, "end_byte": 9 }));
}

#[test]
fn a_capped_list_of_matches_says_that_there_are_more() {
    for (matches_max, count, truncated) in [(2, 2, true), (3, 3, false), (4, 3, false)] {
        let output = run(json!({ "operation": "extract", "text": "a a a", "pattern": "a", "matches_max": matches_max }));
        assert_eq!((&output["count"], &output["truncated"]), (&json!(count), &json!(truncated)));
        let output = run(json!({ "operation": "search", "text": "a a a", "patterns": ["a"], "matches_max": matches_max }));
        assert_eq!((&output["count"], &output["truncated"]), (&json!(3), &json!(truncated)));
        assert_eq!(output["matches"].as_array().unwrap().len(), count);
    }
}

#[test]
fn an_expression_that_looks_ahead_at_every_match_is_stopped_and_the_answer_says_why() {
    // Every single letter is matched only after the rest of the text was searched for something longer.
    let request = json!({
        "operation": "extract", "text": "A".repeat(200_000), "pattern": ".*[^A-Z]|[A-Z]", "matches_max": 1_000_000, "effort_ms": 30
    });
    let output = run(request);
    assert_eq!((&output["truncated"], &output["truncated_by"]), (&json!(true), &json!("effort")));
    let count = output["count"].as_u64().unwrap();
    assert!((1..200_000).contains(&count), "{count}");
    let capped = run(json!({ "operation": "extract", "text": "a a", "pattern": "a", "matches_max": 1 }));
    assert_eq!(capped["truncated_by"], "matches_max");
    assert!(try_run(json!({ "operation": "extract", "text": "a", "pattern": "a", "effort_ms": 0 })).is_err());
    let whole = run(json!({ "operation": "extract", "text": "a a", "pattern": "a" }));
    assert!(whole.get("truncated_by").is_none(), "{whole}");
}

fn found(text: &str, patterns: &[&str], settings: Value) -> Vec<String> {
    let mut request = settings;
    request["operation"] = json!("search");
    request["text"] = json!(text);
    request["patterns"] = json!(patterns);
    run(request)["matches"].as_array().unwrap().iter().map(|found| found["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn searches_look_through_case_and_form() {
    let cases: [(&str, &[&str], Value, &[&str]); 16] = [
        ("The THE the", &["the"], json!({}), &["The", "THE", "the"]),
        ("The THE the", &["the"], json!({ "fold_case": false }), &["the"]),
        ("STRASSE Straße", &["straße"], json!({}), &["STRASSE", "Straße"]),
        ("ß", &["s"], json!({}), &[]),
        ("ΟΔΟΣ οδός", &["οδοσ"], json!({}), &["ΟΔΟΣ"]),
        ("cafe\u{301} café cafe", &["café"], json!({}), &["cafe\u{301}", "café"]),
        ("cafe\u{301} café cafe", &["cafe"], json!({}), &["cafe"]),
        ("cafe\u{301} café cafe", &["café"], json!({ "normalization": "none" }), &["café"]),
        ("résumé resume", &["resume"], json!({ "normalization": "accents" }), &["résumé", "resume"]),
        ("ﬁle file", &["file"], json!({ "normalization": "compatibility" }), &["ﬁle", "file"]),
        ("ﬁle file", &["ile"], json!({ "normalization": "compatibility" }), &["ile"]),
        ("cat concat cats cat.", &["cat"], json!({ "whole_word": true }), &["cat", "cat"]),
        ("he hers she", &["he", "she", "hers"], json!({}), &["he", "hers", "she"]),
        ("he hers", &["he", "hers her"], json!({ "whole_word": true }), &["he"]),
        ("two\nlines", &["two\nlines"], json!({}), &["two\nlines"]),
        ("東京タワー", &["京"], json!({}), &["京"]),
    ];
    let mut failures = Vec::new();
    for (text, patterns, settings, expected) in cases {
        let found = found(text, patterns, settings.clone());
        if found != expected {
            failures.push(format!("{text:?} {patterns:?} {settings}: {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

proptest! {
    #[test]
    fn a_search_without_folding_is_leftmost_longest(text in "[ab ]{0,40}", patterns in prop::collection::vec("[ab]{1,3}", 1..4)) {
        let mut expected = Vec::new();
        let mut at = 0;
        while at < text.len() {
            match patterns.iter().filter(|pattern| text[at..].starts_with(pattern.as_str())).max_by_key(|pattern| pattern.len()) {
                Some(pattern) => {
                    expected.push(pattern.clone());
                    at += pattern.len();
                }
                None => at += 1,
            }
        }
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        prop_assert_eq!(found(&text, &patterns, json!({ "fold_case": false, "normalization": "none" })), expected);
    }
}
