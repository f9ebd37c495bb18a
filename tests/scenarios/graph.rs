//! A whole book through chunk, embed and search as one submission; vectors never leave the worker as JSON.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tallow::manager::StatusKind;
use tallow::{ExecutorRegistry, Submission, SubmissionSpec, TaskManager, resolve_names};

use crate::support::{registry, runtime, soon, together};

type Manager = TaskManager<ExecutorRegistry>;

/// The book, or `None` where no data was given; data that was given and is not there is an error.
fn book() -> Option<String> {
    let Some(folder) = std::env::var_os("TALLOW_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: TALLOW_TEST_DATA does not name a folder");
        return None;
    };
    let path = folder.join("sherlock/sherlock-holmes-huge-ascii.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.len() > 100_000, "the book is a whole one");
    Some(text)
}

fn graph(text: &str, question: &str) -> Vec<Submission> {
    let specs = json!([
        {"name": "hits", "type": "vector_computation", "data": {
            "operation": "top_k", "k": 5, "metric": "cosine",
            "queries": {"$from": "question", "part": "embeddings"}, "vectors": {"$from": "vectors", "part": "embeddings"}}},
        {"name": "vectors", "type": "model_inference", "data": {
            "operation": "embed", "encoding": "part", "texts": {"$from": "pieces", "path": "/chunks/*/text"}}},
        {"name": "question", "type": "model_inference", "data": {"operation": "embed", "encoding": "part", "texts": [question]}},
        {"name": "pieces", "type": "text_processing", "data": {"operation": "chunk", "by": "characters", "size": 600, "text": text}},
    ]);
    let specs: Vec<SubmissionSpec> = serde_json::from_value(specs).expect("four specs");
    resolve_names(specs, "reader").expect("every name is known")
}

async fn answer(manager: &Manager, text: &str, question: &str) -> Vec<String> {
    let ids = manager.submit_all(graph(text, question)).await.expect("accepted");
    let hits = soon("the search ends", manager.wait(&ids[0])).await.expect("completes").output;
    let vectors = soon("the vectors", manager.wait(&ids[1])).await.expect("completes").output;
    assert!(vectors.get("embeddings").is_none_or(Value::is_null), "vectors are a binary part");
    let part = manager.parts(&ids[1]).expect("known")["embeddings"].clone();
    let pieces = soon("the chunks", manager.wait(&ids[3])).await.expect("completes").output;
    let chunks = pieces["chunks"].as_array().expect("an array").clone();
    assert_eq!(part.shape()[0], chunks.len());
    let indices = first_row(&hits);
    assert_eq!(indices.len(), 5, "{hits}");
    let found: Vec<String> = indices.iter().map(|index| chunks[*index]["text"].as_str().expect("a text").to_owned()).collect();
    for index in indices {
        let (from, to) = (chunks[index]["start_byte"].as_u64().expect("a number"), chunks[index]["end_byte"].as_u64().expect("a number"));
        assert_eq!(text[from as usize..to as usize], *chunks[index]["text"].as_str().expect("a text"), "offsets lead back to the source");
    }
    found
}

/// The indices of the first query's hits.
fn first_row(hits: &Value) -> Vec<usize> {
    let row = hits["indices"][0].as_array();
    row.map(|row| row.iter().filter_map(Value::as_u64).map(|index| index as usize).collect()).unwrap_or_default()
}

#[test]
fn a_book_is_cut_embedded_and_searched_in_one_submission() {
    let _together = together();
    let Some(book) = book() else { return };
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let began = Instant::now();
        let found = answer(&manager, &book, "What was the Red-headed League and why did Jabez Wilson join it?").await;
        println!("{} bytes through chunk, embed and search in {:?}", book.len(), began.elapsed());
        let mentions =
            |text: &String| ["red-head", "red head", "league", "jabez wilson"].iter().any(|word| text.to_lowercase().contains(word));
        let count = found.iter().filter(|text| mentions(text)).count();
        assert!(count >= 3, "{count} of 5 are about it: {found:#?}");
        let found = answer(&manager, &book, "the snake that Dr. Roylott used, the speckled band").await;
        let mentions = |text: &String| ["band", "snake", "roylott", "adder", "swamp"].iter().any(|word| text.to_lowercase().contains(word));
        assert!(found.iter().filter(|text| mentions(text)).count() >= 3, "{found:#?}");
        assert_eq!(manager.stats().blocked, 0);
        assert_eq!(manager.ledger().snapshot().threads.used, 0);
    });
}

#[test]
fn a_graph_whose_first_task_fails_ends_as_a_whole() {
    let _together = together();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let refused = manager.submit_all(graph("x", "y")).await.expect("accepted");
        soon("a text of one letter is a book too", manager.wait(&refused[0])).await.map_or_else(
            |error| assert_eq!(error.code(), "invalid_payload", "k may be more than there are chunks: {error}"),
            |result| assert_eq!(first_row(&result.output), [0]),
        );
        // No white space, no chunk: there is nothing to embed, and those behind are told.
        let ids = manager.submit_all(graph("   ", "y")).await.expect("accepted");
        let error = soon("the search cannot run", manager.wait(&ids[0])).await.expect_err("nothing to search");
        assert_eq!(error.code(), "dependency_failed", "{error}");
        assert_eq!(manager.status(&ids[3]).expect("known").status, StatusKind::Completed);
        soon("a drain", manager.drain(Duration::from_secs(5))).await;
    });
}
