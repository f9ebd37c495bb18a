//! What is refused, and how the refusal reads.

use serde_json::json;

use super::{run, try_run};
use crate::task::TaskError;
use crate::task::text::{TEXTS_MAX, TextAnswer, WordCountOutput};

#[test]
fn bad_requests_name_the_field_what_was_found_and_what_is_allowed() {
    let long = "x".repeat(100 * 1024);
    let cases = [
        (json!({ "operation": "shred", "text": "x" }), "operation", "known: statistics, word_count"),
        (json!({ "operation": "word_count" }), "text", "missing"),
        (json!({ "operation": "word_count", "text": null }), "text", "missing"),
        (json!({ "operation": "word_count", "text": 3 }), "text", "expected a string"),
        (json!({ "operation": "word_count", "text": "x", "texts": [] }), "texts", "not both"),
        (json!({ "operation": "word_count", "texts": [] }), "texts", "1 to 65536"),
        (json!({ "operation": "word_count", "texts": ["x", 4] }), "texts[1]", "expected a string"),
        (json!({ "operation": "word_count", "texts": vec![""; TEXTS_MAX + 1] }), "texts", "found 65537"),
        (json!({ "operation": "word_count", "text": "x", "size": 3 }), "size", "unknown field `size`"),
        (json!({ "operation": "statistics", "text": "x", "words_per_minute": 0 }), "words_per_minute", "found 0; 1 to 10000"),
        (json!({ "operation": "statistics", "text": "x", "words_per_minute": 1.5 }), "words_per_minute", "1.5"),
        (json!({ "operation": "chunk", "text": "x", "size": 0 }), "size", "found 0; 1 to 1000000"),
        (json!({ "operation": "chunk", "text": "x", "size": -1 }), "size", "`-1`"),
        (json!({ "operation": "chunk", "text": "x", "size": 2_000_000 }), "size", "found 2000000"),
        (json!({ "operation": "chunk", "text": "x", "size": 10, "overlap": 10 }), "overlap", "less than `size` (10)"),
        (json!({ "operation": "chunk", "text": "x", "by": "paragraphs" }), "by", "found `paragraphs`; allowed: "),
        (json!({ "operation": "chunk", "text": "x", "by": "code" }), "language", "missing"),
        (json!({ "operation": "chunk", "text": "x", "language": "rust" }), "language", "only allowed"),
        (json!({ "operation": "chunk", "text": "x", "by": "words", "unit": "words" }), "unit", "only allowed"),
        (json!({ "operation": "chunk", "text": "x", "model": "m" }), "model", "only allowed"),
        (json!({ "operation": "tokenize", "text": "x", "unit": "bytes" }), "unit", "found `bytes`; allowed: "),
        (json!({ "operation": "extract", "text": "x", "pattern": "(" }), "pattern", "unclosed group"),
        (json!({ "operation": "extract", "text": "x", "pattern": long }), "pattern", "found 102400 bytes; 1 to 8192"),
        (json!({ "operation": "extract", "text": "x", "pattern": r"\w{200}{200}" }), "pattern", "size limit"),
        (json!({ "operation": "extract", "text": "x", "pattern": r"(a)\1" }), "pattern", "backreferences are not supported"),
        (json!({ "operation": "extract", "text": "x", "pattern": "(a)".repeat(65) }), "pattern", "found 65 groups"),
        (json!({ "operation": "extract", "text": "x", "pattern": "a", "matches_max": 0 }), "matches_max", "found 0"),
        (json!({ "operation": "search", "text": "x", "patterns": [] }), "patterns", "found 0"),
        (json!({ "operation": "search", "text": "x", "patterns": ["a", ""] }), "patterns[1]", "found 0 bytes"),
        (
            json!({ "operation": "search", "text": "x", "patterns": ["\u{301}"], "normalization": "accents", "fold_case": true, "size": 1 }),
            "size",
            "unknown field",
        ),
        (json!({ "operation": "keywords", "text": "x", "language": "klingon" }), "language", "unknown language `klingon`"),
        (json!({ "operation": "keywords", "text": "x", "ngram_max": 6 }), "ngram_max", "1 to 5"),
        (json!({ "operation": "summarize", "text": "x", "redundancy_max": 1.5 }), "redundancy_max", "found 1.5; 0 to 1"),
        (json!({ "operation": "detect_language", "text": "x", "languages": ["eng", "auto"] }), "languages[1]", "expected a language code"),
        (json!({ "operation": "redact_pii", "text": "x", "style": "hash" }), "key", "16 to 1024 bytes, found 0"),
        (json!({ "operation": "redact_pii", "text": "x", "key": "0123456789abcdef" }), "key", "only allowed"),
        (json!({ "operation": "similarity", "text_a": "x" }), "text_b", "either"),
        (json!({ "operation": "similarity", "text_a": "x", "text_b": "y", "measures": [] }), "measures", "found 0"),
        (
            json!({ "operation": "similarity", "text_a": "x".repeat(20_000), "texts_b": ["y", "y".repeat(20_000)], "measures": ["levenshtein"] }),
            "texts_b[1]",
            "400000000",
        ),
        (json!({ "operation": "near_duplicates", "texts": ["x"], "threshold": 0 }), "threshold", "found 0"),
        (json!({ "operation": "near_duplicates", "texts": ["x"], "bands": 7 }), "bands", "must divide"),
        (json!({ "operation": "diff", "old": "x" }), "data", "missing field `new`"),
        (json!({ "operation": "diff", "old": "x", "new": "y", "effort_ms": 0 }), "effort_ms", "1 to 60000"),
        (json!({ "operation": "decode", "bytes": {} }), "bytes", "either"),
        (json!({ "operation": "decode", "bytes": { "base64": "%%%%" } }), "bytes.base64", "not base64"),
        (json!({ "operation": "decode", "bytes": { "$part": "p" } }), "bytes.$part", "no part `p`"),
        (json!({ "operation": "decode", "bytes": { "base64": "" }, "encoding": "utf-99" }), "encoding", "unknown label"),
        (json!({ "operation": "html_to_text", "text": "<div>".repeat(5_000) }), "text", "nested up to 5000 deep"),
    ];
    let mut failures = Vec::new();
    for (request, field, reason) in cases {
        let shown: String = request.to_string().chars().take(120).collect();
        match try_run(request) {
            Err(TaskError::InvalidPayload { field: f, reason: r }) if f == field && r.contains(reason) => {}
            other => failures.push(format!("{shown}: {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_bad_text_of_many_is_named() {
    let error = try_run(json!({ "operation": "html_to_text", "texts": ["fine", "<b>".repeat(3_000)] })).unwrap_err();
    assert!(matches!(error, TaskError::InvalidPayload { field, .. } if field == "texts[1]"));
}

#[test]
fn model_tokens_without_a_tokenizer_are_a_missing_model() {
    for request in [
        json!({ "operation": "tokenize", "text": "x", "unit": "model", "model": "minilm" }),
        json!({ "operation": "count_tokens", "text": "x", "model": "minilm" }),
        json!({ "operation": "chunk", "text": "x", "by": "tokens", "model": "minilm" }),
        json!({ "operation": "chunk", "text": "x", "by": "markdown", "unit": "tokens", "model": "minilm" }),
    ] {
        assert!(matches!(try_run(request), Err(TaskError::ModelMissing { model, .. }) if model == "minilm"));
    }
}

#[test]
fn hostile_expressions_end_at_once() {
    let text = format!("{}!", "a".repeat(1_000_000));
    let output = run(json!({ "operation": "extract", "text": text, "pattern": "(a+)+$" }));
    assert_eq!(output["count"], 0);
}

#[test]
fn answers_read_back_as_their_types() {
    let one: TextAnswer<WordCountOutput> = serde_json::from_value(run(json!({ "operation": "word_count", "text": "a b" }))).unwrap();
    assert_eq!(one, TextAnswer::One(WordCountOutput { word_count: 2 }));
    let many: TextAnswer<WordCountOutput> = serde_json::from_value(run(json!({ "operation": "word_count", "texts": ["a b"] }))).unwrap();
    assert_eq!(many, TextAnswer::Many { results: vec![WordCountOutput { word_count: 2 }], count: 1 });
}
