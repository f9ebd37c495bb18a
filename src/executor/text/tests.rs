//! Claims about the executor as a whole; families of operations have theirs below and beside their code.

mod compare;
mod data;
mod find;
mod normalize;
mod refusals;
mod sentences;
mod understand;

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::task::{CancelHandle, PartSink, TaskPriority};

static POOL: LazyLock<ComputePool> = LazyLock::new(|| ComputePool::new(2).unwrap());

fn task(data: Value) -> Task {
    Task::new(TaskType::TextProcessing, TaskPriority::Normal, data)
}

/// Runs one task through admission and the executor, as a manager would.
pub(super) fn try_run(data: Value) -> Result<Value, TaskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let executor = TextProcessingExecutor::new(POOL.clone());
    runtime.block_on(executor.execute(&task(data))).map(|result| result.output)
}

/// The same for a task that must succeed.
pub(super) fn run(data: Value) -> Value {
    try_run(data.clone()).unwrap_or_else(|error| panic!("{}: {error}", data["operation"]))
}

/// A request of every operation for one text, without `operation`-specific settings beyond what is required.
pub(super) fn every_operation(text: &str) -> Vec<Value> {
    let on_text = [
        json!({ "operation": "statistics" }),
        json!({ "operation": "word_count" }),
        json!({ "operation": "character_counts" }),
        json!({ "operation": "word_frequencies", "stop_words": "auto" }),
        json!({ "operation": "reverse" }),
        json!({ "operation": "tokenize", "unit": "words" }),
        json!({ "operation": "tokenize", "unit": "sentences" }),
        json!({ "operation": "tokenize", "unit": "graphemes" }),
        json!({ "operation": "tokenize", "unit": "characters", "lowercase": true }),
        json!({ "operation": "count_tokens", "unit": "words" }),
        json!({ "operation": "normalize", "form": "nfkc", "straighten_quotes": true, "strip_accents": true, "case": "fold", "whitespace": "lines" }),
        json!({ "operation": "normalize", "html": true, "line_endings": "crlf", "form": "nfd", "case": "upper", "whitespace": "collapse" }),
        json!({ "operation": "html_to_text" }),
        json!({ "operation": "chunk", "size": 7, "overlap": 3 }),
        json!({ "operation": "chunk", "by": "words", "size": 4, "overlap": 2 }),
        json!({ "operation": "chunk", "by": "sentences", "size": 2, "overlap": 1 }),
        json!({ "operation": "chunk", "by": "markdown", "size": 9, "overlap": 2 }),
        json!({ "operation": "chunk", "by": "code", "language": "rust", "size": 9 }),
        json!({ "operation": "chunk", "by": "code", "language": "python", "size": 9, "overlap": 4 }),
        json!({ "operation": "chunk", "by": "code", "language": "javascript", "size": 2, "unit": "words" }),
        json!({ "operation": "detect_language", "top": 5 }),
        json!({ "operation": "keywords", "ngram_max": 5 }),
        json!({ "operation": "summarize", "sentences": 2 }),
        json!({ "operation": "detect_pii" }),
        json!({ "operation": "redact_pii", "style": "hash", "key": "0123456789abcdef" }),
        json!({ "operation": "extract", "pattern": r"(?P<first>\w)(.*)$", "multi_line": true }),
        json!({ "operation": "search", "patterns": ["e", "ss", "test", "ﬁ"], "normalization": "accents", "whole_word": true }),
        json!({ "operation": "search", "patterns": [text.chars().take(3).chain(['x']).collect::<String>()], "normalization": "compatibility" }),
    ];
    let mut requests: Vec<Value> = on_text
        .into_iter()
        .map(|mut request| {
            request["text"] = json!(text);
            request
        })
        .collect();
    let all_measures = json!([
        "jaccard_words",
        "jaccard_shingles",
        "jaccard_trigrams",
        "cosine",
        "dice",
        "levenshtein",
        "damerau_levenshtein",
        "jaro_winkler"
    ]);
    requests.push(json!({ "operation": "similarity", "text_a": text, "text_b": "a test", "measures": all_measures }));
    requests.push(json!({ "operation": "near_duplicates", "texts": [text, "a test", text] }));
    requests.push(json!({ "operation": "diff", "old": text, "new": "a test" }));
    requests.push(json!({ "operation": "diff", "old": "a test", "new": text, "level": "words" }));
    requests.push(json!({ "operation": "decode", "bytes": { "base64": base64_of(text.as_bytes()) } }));
    requests
}

pub(super) fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Every operation runs on the text; offsets of every answer lie on character boundaries and tell the truth.
pub(super) fn check_every_operation(text: &str) {
    for request in every_operation(text) {
        let output = try_run(request.clone()).unwrap_or_else(|error| panic!("{error} {}: {request}", error.detail()));
        check_offsets(text, &output);
    }
}

fn check_offsets(text: &str, value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| check_offsets(text, item)),
        Value::Object(fields) => {
            if let (Some(start), Some(end)) = (fields.get("start_byte"), fields.get("end_byte")) {
                let range = start.as_u64().unwrap() as usize..end.as_u64().unwrap() as usize;
                let slice = text.get(range.clone()).unwrap_or_else(|| panic!("{range:?} is no range of {text:?}"));
                if let Some(start_char) = fields.get("start_char") {
                    assert_eq!(start_char.as_u64().unwrap() as usize, text[..range.start].chars().count());
                    assert_eq!(fields["end_char"].as_u64().unwrap() as usize, text[..range.end].chars().count());
                }
                // Keywords collapse white space and tokens may be folded; everything else is a slice of the source.
                if let Some(found) = fields.get("text").and_then(Value::as_str).filter(|_| fields.contains_key("start_char")) {
                    assert_eq!(found, slice);
                }
            }
            fields.values().for_each(|field| check_offsets(text, field));
        }
        _ => {}
    }
}

#[test]
fn the_origin_word_count_works_unchanged() {
    assert_eq!(run(json!({ "operation": "word_count", "text": "Hello, big world" })), json!({ "word_count": 3 }));
}

#[test]
fn statistics_of_a_small_text_are_those_counted_by_hand() {
    let text = "Dr. Smith didn't pay $3.50.\nShe left 👨‍👩‍👧!\n\nCafe\u{301} \u{2013} end";
    let output = run(json!({ "operation": "statistics", "text": text, "words_per_minute": 60 }));
    assert_eq!(output["bytes"], text.len());
    assert_eq!(output["characters"], text.chars().count());
    // The family is one grapheme of five characters, the accent belongs to its letter.
    assert_eq!(output["graphemes"].as_u64().unwrap() as usize, text.chars().count() - 4 - 1);
    // Dr, Smith, didn't, pay, 3.50, She, left, Café, end.
    assert_eq!(output["words"], 9);
    assert_eq!(output["distinct_words"], 9);
    assert_eq!(output["lines"], 4);
    assert_eq!(output["paragraphs"], 2);
    assert_eq!(output["reading_time_s"], 9.0);
}

#[test]
fn words_of_languages_without_spaces_come_from_dictionaries() {
    let cases = [
        ("ภาษาไทยเป็นภาษา", vec!["ภาษา", "ไทย", "เป็น", "ภาษา"]),
        ("日本語の文章", vec!["日本語", "の", "文章"]),
        ("今天天气很好", vec!["今天", "天气", "很好"]),
    ];
    for (text, expected) in cases {
        let output = run(json!({ "operation": "tokenize", "text": text }));
        let words: Vec<&str> = output["tokens"].as_array().unwrap().iter().map(|token| token["text"].as_str().unwrap()).collect();
        assert_eq!(words, expected);
    }
}

#[test]
fn reversing_keeps_user_perceived_characters_whole() {
    let cases = [("abc", "cba"), ("e\u{301}a", "ae\u{301}"), ("🇩🇪🇫🇷", "🇫🇷🇩🇪"), ("a\r\nb", "b\r\na"), ("👩‍🚀!", "!👩‍🚀"), ("", "")];
    for (text, reversed) in cases {
        assert_eq!(run(json!({ "operation": "reverse", "text": text }))["text"], reversed);
    }
}

#[test]
fn many_texts_answer_like_each_alone() {
    let texts = ["One text. Two sentences!", "", "日本語のテキスト。", "Ünïcödé ~ <b>bold</b> mail@example.org"];
    for request in every_operation("x") {
        let (mut batch, fields) = (request.clone(), request.as_object().unwrap());
        if !fields.contains_key("text") || fields["operation"] == "chunk" {
            continue;
        }
        batch.as_object_mut().unwrap().remove("text");
        batch["texts"] = json!(texts);
        let results = run(batch);
        assert_eq!(results["count"], texts.len());
        for (idx, text) in texts.iter().enumerate() {
            let mut single = request.clone();
            single["text"] = json!(text);
            assert_eq!(results["results"][idx], run(single), "{request}");
        }
    }
}

#[test]
fn chunks_of_many_texts_are_those_of_each_with_its_index() {
    let texts = ["one two three four", "", "five six seven"];
    let output = run(json!({ "operation": "chunk", "texts": texts, "by": "words", "size": 2 }));
    let shown: Vec<(u64, &str)> = output["chunks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chunk| (chunk["text_idx"].as_u64().unwrap(), chunk["text"].as_str().unwrap()))
        .collect();
    assert_eq!(shown, [(0, "one two"), (0, "three four"), (2, "five six"), (2, "seven")]);
}

#[test]
fn a_cancelled_task_stops_with_its_cause() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let executor = TextProcessingExecutor::new(POOL.clone());
    for request in every_operation(&"Some words here.\n".repeat(100)) {
        let (task, cancel) = (task(request.clone()), CancelHandle::default());
        let ctx = TaskContext::new(cancel.clone(), Arc::new(PartSink::default()));
        cancel.cancel(TaskError::Cancelled { reason: "no longer wanted".into() });
        let error = runtime.block_on(executor.execute_with(&task, &ctx)).unwrap_err();
        assert_eq!(error, TaskError::Cancelled { reason: "no longer wanted".into() }, "{request}");
    }
}

#[test]
fn every_operation_is_listed_once_with_schemas_that_name_it() {
    let report = &TextProcessingExecutor::new(POOL.clone()).reports()[0];
    let mut names: Vec<&str> = report.operations.iter().map(|operation| operation.name.as_str()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for operation in &report.operations {
        assert_eq!(operation.request_schema["properties"]["operation"]["const"], operation.name.as_str());
        assert_eq!(operation.request_schema["additionalProperties"], false, "{}", operation.name);
        assert!(operation.summary.ends_with('.'), "{}", operation.name);
    }
    let covered: std::collections::HashSet<String> =
        every_operation("x").into_iter().map(|request| request["operation"].as_str().unwrap().to_owned()).collect();
    assert_eq!(covered.len(), count, "every operation takes part in the tests over all operations");
}

#[test]
fn a_declared_memory_bound_reaches_the_demand() {
    let options = TextOptions { max_memory_mb: 7, ..TextOptions::default() };
    let executor = TextProcessingExecutor::with_options(POOL.clone(), options);
    let demand = executor.prepare(&task(json!({ "operation": "word_count", "text": "x" }))).unwrap().demand;
    assert_eq!(demand.share, Some(MemoryShare { account: "text".into(), limit_bytes: 7 << 20 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_operation_fails_on_any_text(text in "(\\PC|[\\r\\n\\t\u{0}\u{85}\u{200d}\u{301}\u{fe0f}\u{1f1e9}#*`>-]){0,60}") {
        check_every_operation(&text);
    }
}
