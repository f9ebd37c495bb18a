//! Every text operation stays within the memory it declares, counted by the allocator.

mod counting;

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tallow::{Task, TaskExecutor, TaskPriority, TaskType, TextProcessingExecutor, json_bytes};

use counting::{HELD, PEAK};

const TEXT_BYTES: usize = 120_000;

/// Ordinary prose, text without repetition, and text that is nothing but short words.
fn texts() -> [(&'static str, String); 3] {
    let prose = "The ships came slowly up the river in the evening. Nobody had expected them before Friday, and the harbour was empty.\n\n";
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 12
    };
    let unique: String = (0..TEXT_BYTES / 9).map(|_| format!("w{:07x} ", next())).collect();
    let tiny: String = (0..TEXT_BYTES / 2).map(|at| if at % 60 == 59 { ".\n" } else { "a " }).collect();
    [("prose", prose.repeat(TEXT_BYTES / prose.len())), ("unique words", unique), ("short words", tiny)]
}

fn requests(text: &str) -> Vec<Value> {
    let mut requests: Vec<Value> = [
        json!({ "operation": "statistics" }),
        json!({ "operation": "word_count" }),
        json!({ "operation": "character_counts" }),
        json!({ "operation": "word_frequencies", "top": 1_000 }),
        json!({ "operation": "reverse" }),
        json!({ "operation": "tokenize" }),
        json!({ "operation": "tokenize", "unit": "characters" }),
        json!({ "operation": "count_tokens", "unit": "words" }),
        json!({ "operation": "normalize", "form": "nfkd", "straighten_quotes": true, "whitespace": "collapse" }),
        json!({ "operation": "html_to_text" }),
        json!({ "operation": "chunk", "size": 500, "overlap": 100 }),
        json!({ "operation": "chunk", "size": 20 }),
        json!({ "operation": "chunk", "by": "words", "size": 100 }),
        json!({ "operation": "chunk", "by": "markdown", "size": 500 }),
        json!({ "operation": "chunk", "by": "code", "language": "rust", "size": 500 }),
        json!({ "operation": "detect_language" }),
        json!({ "operation": "keywords", "language": "en" }),
        json!({ "operation": "summarize" }),
        json!({ "operation": "detect_pii" }),
        json!({ "operation": "redact_pii" }),
        json!({ "operation": "extract", "pattern": r"(\w)(\w*)", "matches_max": 1_000_000 }),
        json!({ "operation": "search", "patterns": ["a", "the", "w1"], "matches_max": 1_000_000 }),
    ]
    .into();
    for request in &mut requests {
        request["text"] = json!(text);
    }
    let documents: Vec<&str> =
        text.split_inclusive('\n').flat_map(|line| line.as_bytes().chunks(400)).filter_map(|part| str::from_utf8(part).ok()).collect();
    requests.push(json!({ "operation": "near_duplicates", "texts": documents, "pairs_max": 1_000_000 }));
    requests.push(json!({ "operation": "similarity", "text_a": text, "text_b": text, "measures": ["cosine", "jaccard_shingles", "jaccard_trigrams"] }));
    requests.push(json!({ "operation": "diff", "old": text, "new": text.replace("ri", "ir"), "effort_ms": 200 }));
    requests.push(json!({ "operation": "diff", "old": text, "new": text.replace("ri", "ir"), "level": "words", "effort_ms": 200 }));
    requests
}

/// The request as it is shown in messages.
fn without_texts(request: &Value) -> String {
    let is_text = |key: &str| ["text", "texts", "text_a", "text_b", "old", "new"].contains(&key);
    let fields = request.as_object().into_iter().flatten().filter(|(key, _)| !is_text(key));
    fields.map(|(key, value)| format!("{key}={value} ")).collect()
}

#[test]
fn no_operation_holds_more_than_it_declares() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let executor = TextProcessingExecutor::default();
    let mut failures = Vec::new();
    for (name, text) in texts() {
        for request in requests(&text) {
            let settings: String = without_texts(&request);
            let task = Task::new(TaskType::TextProcessing, TaskPriority::Normal, request);
            let declared = executor.prepare(&task).expect("the requests of this test are valid").demand.host_bytes;
            // Tables that live as long as the process are built by the first run.
            runtime.block_on(executor.execute(&task)).expect("the requests of this test are valid");
            let before = HELD.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            let answer = runtime.block_on(executor.execute(&task)).expect("the requests of this test are valid");
            // The payload is held before the run and is part of what is declared.
            let held = PEAK.load(Ordering::Relaxed) - before + json_bytes(&task.payload.data) as i64;
            println!("{name:>13} {settings}: declared {:.1} MB, held {:.1} MB", declared as f64 / 1e6, held as f64 / 1e6);
            if held > declared as i64 {
                failures.push(format!("{name} {settings}: declared {declared}, held {held}"));
            }
            drop(answer);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
