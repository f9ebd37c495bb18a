//! A submission that is repeated under its idempotency key: alone, as a graph, in part, after a restart, and with something changed.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{manager, task, turns};
use crate::journal::MemoryJournal;
use crate::manager::{StatusKind, resolve_names};
use crate::task::{Submission, SubmissionSpec, TaskError, TaskId, TaskPriority};

/// Two keyed tasks, of which the second reads the first and waits for it and for a third one.
fn graph() -> Value {
    json!([
        {"name": "join", "type": "text_processing", "idempotency_key": "k-join", "depends_on": ["side"],
            "data": {"x": {"$from": "source", "path": "/v"}}},
        {"name": "source", "type": "text_processing", "idempotency_key": "k-source", "data": {"v": 7}},
        {"name": "side", "type": "text_processing", "idempotency_key": "k-side", "data": {}},
    ])
}

fn submissions(graph: Value) -> Vec<Submission> {
    let specs: Vec<SubmissionSpec> = serde_json::from_value(graph).expect("specs");
    resolve_names(specs, "me").expect("resolves")
}

fn conflict(outcome: Result<Vec<TaskId>, TaskError>) -> (TaskId, String) {
    match outcome {
        Err(TaskError::IdempotencyConflict { existing, differs, .. }) => (existing, differs),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_repeated_graph_gives_the_same_ids_and_creates_nothing() {
    let (manager, _) = manager(|_| {});
    let first = manager.submit_all(submissions(graph())).await.expect("accepted");
    assert_eq!(manager.submit_all(submissions(graph())).await, Ok(first.clone()), "while it is open");
    assert_eq!(manager.wait(&first[0]).await.expect("completes").output, json!({"x": 7}));
    let mut renamed = graph();
    for (at, name) in ["j", "so", "si"].iter().enumerate() {
        renamed[at]["name"] = json!(name);
    }
    renamed[0]["depends_on"] = json!(["si", "si"]);
    renamed[0]["data"]["x"]["$from"] = json!("so");
    renamed[0]["labels"] = json!({"try": "3"});
    renamed[0]["deadline_ms"] = json!(1);
    assert_eq!(manager.submit_all(submissions(renamed)).await, Ok(first.clone()), "names, labels and deadlines are no part of it");
    assert_eq!(manager.stats().totals.submitted, 3);
}

#[tokio::test]
async fn a_graph_that_is_known_in_part_is_completed_by_what_is_new() {
    let journal = Arc::new(MemoryJournal::new());
    let kept = journal.clone();
    let (manager, _) = manager(move |options| options.journal = kept);
    let source = manager.submit_all(submissions(json!([graph()[1]]))).await.expect("accepted")[0];
    let ids = manager.submit_all(submissions(graph())).await.expect("accepted");
    assert_eq!(ids[1], source);
    assert_eq!(manager.stats().totals.submitted, 3);
    assert_eq!(manager.wait(&ids[0]).await.expect("completes").output, json!({"x": 7}));
    let shown = manager.get_task(&ids[0]).expect("known").payload.data;
    assert_eq!(shown["x"]["$from"], source.to_string(), "the payload names the task that exists");
    assert_eq!(manager.submit_all(submissions(graph())).await, Ok(ids), "and is known as a whole from then on");
}

#[tokio::test]
async fn a_changed_edge_payload_priority_or_number_of_retries_is_named() {
    let (manager, _) = manager(|_| {});
    let ids = manager.submit_all(submissions(graph())).await.expect("accepted");
    let changes = [
        ("depends_on", "/0/depends_on", json!(["source"]), 0),
        ("depends_on", "/0/depends_on", json!([]), 0),
        ("data", "/0/data/x/$from", json!("side"), 0),
        ("data", "/0/data/x/path", json!("/w"), 0),
        ("data", "/1/data/v", json!(8), 1),
        ("type", "/1/type", json!("vector_computation"), 1),
    ];
    for (field, at, changed, task) in changes {
        let mut graph = graph();
        *graph.pointer_mut(at).expect("there") = changed.clone();
        let found = conflict(manager.submit_all(submissions(graph)).await);
        assert_eq!(found, (ids[task], field.to_owned()), "{at} = {changed}");
    }
    for (field, value) in
        [("priority", json!("high")), ("retries_max", json!(1)), ("parts", json!({"p": {"dtype": "u8", "shape": [1], "base64": "AA=="}}))]
    {
        let mut graph = graph();
        graph[2][field] = value;
        assert_eq!(conflict(manager.submit_all(submissions(graph)).await), (ids[2], field.to_owned()));
    }
    let message = manager
        .submit_all(submissions(json!([{"type": "text_processing", "data": {}, "idempotency_key": "k-side", "priority": "low"}])))
        .await;
    let message = message.expect_err("differs").to_string();
    assert!(["k-side", "`priority`", "new key", &ids[2].to_string()].iter().all(|part| message.contains(part)), "{message}");
    assert_eq!(manager.stats().totals.submitted, 3, "a refusal keeps nothing");
}

#[tokio::test]
async fn a_graph_is_recognised_after_a_restart() {
    let journal = Arc::new(MemoryJournal::new());
    let (before, after) = (journal.clone(), journal);
    let (first, _) = manager(move |options| options.journal = before);
    let side = first.submit_all(submissions(json!([graph()[2]]))).await.expect("accepted")[0];
    let mut hung = graph();
    hung[1]["data"]["do"] = json!("hang");
    let ids = first.submit_all(submissions(hung.clone())).await.expect("accepted");
    assert_eq!(ids[2], side);
    turns().await;
    drop(first);
    let (second, _) = manager(move |options| options.journal = after);
    assert_eq!(second.submit_all(submissions(hung)).await, Ok(ids.clone()));
    assert_eq!(second.status(&ids[0]).expect("known").status, StatusKind::Pending, "it still waits for what exists");
    assert_eq!(conflict(second.submit_all(submissions(graph())).await), (ids[1], "data".to_owned()));
}

#[tokio::test]
async fn ids_that_were_drawn_by_the_caller_count_as_little_as_names() {
    let (manager, _) = manager(|_| {});
    let batch = |priority| {
        let source = task(json!({"v": 1}));
        let mut reads = task(json!({"x": {"$from": source.id.to_string(), "path": "/v"}}));
        reads.priority = priority;
        let on = source.id;
        vec![Submission::new(source).idempotency_key("a"), Submission::new(reads).depends_on(on).idempotency_key("b")]
    };
    let ids = manager.submit_all(batch(TaskPriority::Normal)).await.expect("accepted");
    assert_eq!(manager.submit_all(batch(TaskPriority::Normal)).await, Ok(ids.clone()));
    assert_eq!(conflict(manager.submit_all(batch(TaskPriority::Critical)).await), (ids[1], "priority".to_owned()));
}
