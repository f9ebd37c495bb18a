//! Text processing through the executor's door, as a task: parsing, work and answer included. Throughput in bytes of source text.
//!
//! With `TALLOW_TEST_DATA` the text is a real book repeated to 10 MB; without it, one that is made up. `text-splitter` runs beside `chunk` as the peer.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tallow::{Task, TaskExecutor, TaskPriority, TaskType, TextProcessingExecutor};

const TEXT_BYTES: usize = 10_000_000;
/// The peer's time grows with the square of the length, so it also runs on a tenth.
const SHORT_BYTES: usize = 1_000_000;

fn book() -> String {
    let source = std::env::var_os("TALLOW_TEST_DATA")
        .map(|folder| std::path::Path::new(&folder).join("war-and-peace/war-and-peace.txt"))
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_else(made_up);
    let mut text = source.repeat(TEXT_BYTES / source.len() + 1);
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    text
}

/// Paragraphs of sentences of words, the same every time.
fn made_up() -> String {
    let words =
        ["winter", "the", "river", "carried", "of", "ships", "and", "a", "Natasha", "slowly", "to", "evening", "it", "was", "promised"];
    let mut state = 1_u32;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % bound
    };
    let mut text = String::new();
    for paragraph in 0..2_000 {
        for _sentence in 0..4 {
            text.push_str("Then");
            for _word in 0..8 + next(12) {
                text.push(if next(12) == 0 { '\n' } else { ' ' });
                text.push_str(words[next(words.len())]);
            }
            text.push_str(". ");
        }
        text.push_str(if paragraph % 40 == 39 { "\n\n\n" } else { "\n\n" });
    }
    text
}

fn markdown(text: &str) -> String {
    text.split("\n\n")
        .enumerate()
        .map(|(idx, part)| if idx % 20 == 0 { format!("## Part {idx}\n\n{part}\n\n") } else { format!("{part}\n\n") })
        .collect()
}

fn code(bytes: usize) -> String {
    let item = "/// Adds what there is to add.\n#[must_use]\npub fn add(first: u64, second: u64) -> u64 {\n    let sum = first + second;\n    if sum > 10 {\n        return sum * 2;\n    }\n    sum\n}\n\n";
    item.repeat(bytes / item.len() + 1)
}

fn task(operation: &str, text: &str, settings: Value) -> Task {
    let mut data = settings;
    data["operation"] = json!(operation);
    data["text"] = json!(text);
    Task::new(TaskType::TextProcessing, TaskPriority::Normal, data)
}

fn execute(executor: &TextProcessingExecutor, runtime: &tokio::runtime::Runtime, task: &Task) -> Value {
    runtime.block_on(executor.execute(task)).expect("the requests of this bench are valid").output
}

fn chunking(criterion: &mut Criterion) {
    let (executor, runtime) = (TextProcessingExecutor::default(), tokio::runtime::Runtime::new().expect("a runtime starts"));
    let text = book();
    let cases = [
        ("characters", text.clone(), json!({ "by": "characters", "size": 1_000 })),
        ("characters_overlap", text.clone(), json!({ "by": "characters", "size": 1_000, "overlap": 200 })),
        ("words", text.clone(), json!({ "by": "words", "size": 200 })),
        ("sentences", text.clone(), json!({ "by": "sentences", "size": 8 })),
        ("markdown", markdown(&text), json!({ "by": "markdown", "size": 1_000 })),
        ("code", code(TEXT_BYTES), json!({ "by": "code", "language": "rust", "size": 1_000 })),
    ];
    let mut group = criterion.benchmark_group("chunk_10mb");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for (name, text, settings) in cases {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let task = task("chunk", &text, settings);
        group.bench_function(name, |bencher| bencher.iter(|| black_box(execute(&executor, &runtime, &task))));
    }
    group.finish();

    let short = &text[..text.floor_char_boundary(SHORT_BYTES)];
    let mut group = criterion.benchmark_group("chunk_1mb_peers");
    group.sample_size(10).throughput(Throughput::Bytes(short.len() as u64));
    let ours = task("chunk", short, json!({ "size": 1_000 }));
    group.bench_function("tallow", |bencher| bencher.iter(|| black_box(execute(&executor, &runtime, &ours))));
    let splitter = text_splitter::TextSplitter::new(1_000);
    group.bench_function("text_splitter", |bencher| {
        bencher.iter(|| splitter.chunk_indices(short).map(|(at, text)| (at, text.to_owned())).collect::<Vec<_>>())
    });
    group.finish();
}

fn operations(criterion: &mut Criterion) {
    let (executor, runtime) = (TextProcessingExecutor::default(), tokio::runtime::Runtime::new().expect("a runtime starts"));
    let text = book();
    let cases = [
        ("statistics", json!({})),
        ("word_count", json!({})),
        ("character_counts", json!({})),
        ("word_frequencies", json!({})),
        ("reverse", json!({})),
        ("tokenize", json!({})),
        ("normalize", json!({ "whitespace": "lines", "straighten_quotes": true })),
        ("html_to_text", json!({})),
        ("detect_language", json!({})),
        ("keywords", json!({})),
        ("summarize", json!({})),
        ("detect_pii", json!({})),
        ("redact_pii", json!({})),
        ("extract", json!({ "pattern": r"\b[A-Z]\w+ [A-Z]\w+" })),
        ("search", json!({ "patterns": ["prince andrew", "natasha", "moscow"] })),
    ];
    let mut group = criterion.benchmark_group("text_10mb");
    group.sample_size(10).measurement_time(Duration::from_secs(5)).throughput(Throughput::Bytes(text.len() as u64));
    for (operation, settings) in cases {
        let task = task(operation, &text, settings);
        group.bench_function(BenchmarkId::from_parameter(operation), |bencher| {
            bencher.iter(|| black_box(execute(&executor, &runtime, &task)))
        });
    }
    group.finish();

    let documents: Vec<String> = text.split("\n\n").filter(|part| !part.trim().is_empty()).take(10_000).map(str::to_owned).collect();
    let bytes: usize = documents.iter().map(String::len).sum();
    let data = json!({ "operation": "near_duplicates", "texts": documents });
    let task = Task::new(TaskType::TextProcessing, TaskPriority::Normal, data);
    let mut group = criterion.benchmark_group("near_duplicates_10000_documents");
    group.sample_size(10).throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("minhash_128", |bencher| bencher.iter(|| black_box(execute(&executor, &runtime, &task))));
    group.finish();
}

criterion_group!(benches, chunking, operations);
criterion_main!(benches);
