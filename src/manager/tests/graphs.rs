//! Tasks that depend on each other.

use serde_json::json;

use super::{manager, task, until};
use crate::manager::{StatusKind, resolve_names};
use crate::task::{Submission, SubmissionSpec, TaskError, TaskId};

fn specs(json: serde_json::Value) -> Vec<SubmissionSpec> {
    serde_json::from_value(json).expect("specs")
}

#[tokio::test]
async fn a_graph_runs_in_order_and_values_and_parts_flow_through_it() {
    let (manager, _) = manager(|_| {});
    let batch = specs(json!([
        {"name": "join", "type": "text_processing", "data": {
            "texts": {"$from": "chunk", "path": "/chunks/*/text"},
            "numbers": {"$from": "embed", "part": "numbers"},
            "first": {"$from": "chunk", "path": "/chunks/0"},
            "whole": {"$from": "empty"}}},
        {"name": "chunk", "type": "text_processing", "data": {"chunks": [{"text": "a"}, {"text": "b"}]}},
        {"name": "embed", "type": "text_processing", "data": {"do": "parts"}, "depends_on": ["chunk"]},
        {"name": "empty", "type": "text_processing", "data": {"$ref": "not a reference"}},
    ]));
    let submissions = resolve_names(batch, "someone").expect("resolves");
    let ids = manager.submit_all(submissions).await.expect("accepted");
    let result = manager.wait(&ids[0]).await.expect("completes");
    assert_eq!(result.output["texts"], json!(["a", "b"]));
    assert_eq!(result.output["first"], json!({"text": "a"}));
    assert_eq!(result.output["whole"], json!({"$ref": "not a reference"}));
    assert_eq!(result.output["numbers"], json!({"$part": "from_1"}), "references are counted in the order of their places");
    let parts = manager.parts(&ids[2]).expect("known");
    assert_eq!(parts["numbers"].to_f32().expect("floats"), [1.0, 2.0]);
    assert_eq!(manager.owner(&ids[2]).expect("known").as_ref(), "someone");
    let shown = manager.get_task(&ids[0]).expect("known").payload.data;
    assert_eq!(shown["first"]["$from"], ids[1].to_string(), "the payload is shown as it was submitted");
}

#[tokio::test]
async fn the_failure_of_a_task_fails_everything_behind_it() {
    let (manager, _) = manager(|_| {});
    let root = manager.submit_task(task(json!({"do": "obey"}))).await.expect("accepted");
    let mut chain = vec![root];
    for _ in 0..500 {
        let last = *chain.last().expect("some");
        chain.push(manager.submit(Submission::new(task(json!({}))).depends_on(last)).await.expect("accepted"));
    }
    assert_eq!(manager.stats().blocked, 500);
    until("it runs", || manager.stats().running == 1).await;
    manager.cancel_task(&root).await.expect("cancelled");
    let error = manager.wait(&chain[500]).await.expect_err("fails");
    assert!(matches!(error, TaskError::DependencyFailed { dependency, .. } if dependency == root), "it names where the failure began");
    assert_eq!(manager.stats().blocked, 0);
    let late = manager.submit(Submission::new(task(json!({}))).depends_on(root)).await.expect("accepted");
    assert_eq!(manager.wait(&late).await.expect_err("fails").code(), "dependency_failed");
}

#[tokio::test]
async fn a_reference_to_what_is_not_there_fails_with_its_place() {
    let (manager, _) = manager(|_| {});
    let source = manager.submit_task(task(json!({"list": [1]}))).await.expect("accepted").to_string();
    let cases = [
        (json!({"a": {"b": [{"$from": source, "path": "/nothing"}]}}), "data.a.b.0", "field `nothing`"),
        (json!({"a": {"$from": source, "path": "/list/7"}}), "data.a", "element `7`"),
        (json!({"a": {"$from": source, "path": "/list/*/x"}}), "data.a", "`x` in a number"),
        (json!({"a": {"$from": source, "part": "p"}}), "data.a", "no part `p`; it has none"),
        (json!({"refuse": {"$from": source, "path": "/list"}, "panic_in_prepare": null}), "", ""),
    ];
    for (data, field, reason) in cases {
        let id = manager.submit_task(task(data.clone())).await.expect("accepted");
        match manager.wait(&id).await {
            Err(TaskError::InvalidPayload { field: found, reason: why }) => {
                assert_eq!(found, field, "{data}");
                assert!(why.contains(reason), "{why}");
            }
            Ok(_) if field.is_empty() => {}
            other => panic!("{data}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn malformed_references_are_refused_at_once() {
    let (manager, _) = manager(|_| {});
    let id = TaskId::new().to_string();
    let cases = [
        json!({"$from": 7}),
        json!({"$from": "no id"}),
        json!({"$from": id, "path": "no/slash"}),
        json!({"$from": id, "path": "/a", "part": "b"}),
        json!({"$from": id, "else": 1}),
        json!({"$from": id, "path": "/a".repeat(100)}),
        json!({"$from": id, "path": "/*/*/*/*/*"}),
    ];
    for reference in cases {
        let refused = manager.submit_task(task(json!({"x": reference}))).await;
        assert_eq!(refused.map_err(|error| error.code()), Err("invalid_payload"), "{reference}");
    }
    let unknown = manager.submit_task(task(json!({"x": {"$from": id}}))).await;
    assert_eq!(unknown.map_err(|error| error.code()), Err("not_found"));
    let many: Vec<_> = (0..300).map(|_| json!({"$from": id})).collect();
    assert_eq!(manager.submit_task(task(json!(many))).await.map_err(|error| error.code()), Err("invalid_payload"));
    let mut deep = json!(1);
    for _ in 0..70 {
        deep = json!([deep]);
    }
    assert_eq!(manager.submit_task(task(deep)).await.map_err(|error| error.code()), Err("invalid_payload"));
}

#[tokio::test]
async fn only_own_tasks_may_be_referred_to() {
    let (manager, _) = manager(|_| {});
    let own = manager.submit(Submission::new(task(json!({"x": 1}))).submitter("a")).await.expect("accepted");
    let spy = Submission::new(task(json!({"x": {"$from": own.to_string()}})));
    let refused = manager.submit(spy.clone().submitter("b")).await;
    assert_eq!(refused, Err(TaskError::NotFound { task_id: own }), "as if it did not exist");
    manager.submit(spy.submitter("a")).await.expect("accepted");
}

#[tokio::test]
async fn a_batch_is_accepted_whole_or_not_at_all() {
    let (manager, _) = manager(|_| {});
    let (a, b) = (task(json!({})), task(json!({})));
    let circle = vec![Submission::new(a.clone()).depends_on(b.id), Submission::new(b.clone()).depends_on(a.id)];
    assert_eq!(manager.submit_all(circle).await.map_err(|error| error.code()), Err("invalid_payload"));
    let selfish = manager.submit(Submission::new(a.clone()).depends_on(a.id)).await;
    assert_eq!(selfish.map_err(|error| error.code()), Err("invalid_payload"));
    let twins = vec![Submission::new(a.clone()), Submission::new(a.clone())];
    assert_eq!(manager.submit_all(twins).await.map_err(|error| error.code()), Err("invalid_payload"));
    let bad = vec![Submission::new(a.clone()), Submission::new(task(json!({"refuse": true})))];
    let refused = manager.submit_all(bad).await;
    assert!(matches!(refused, Err(TaskError::InvalidPayload { field, .. }) if field == "tasks[1].data.refuse"));
    assert_eq!(manager.stats().totals.submitted, 0);
    let mixed = vec![Submission::new(task(json!({"refuse": true}))), Submission::new(a)];
    let outcomes = manager.submit_batch(mixed).await;
    assert!(outcomes[0].is_err() && outcomes[1].is_ok(), "a plain batch has independent outcomes");
}

#[test]
fn names_of_a_batch_are_checked() {
    let of = |data: serde_json::Value| specs(json!([{"name": "a", "type": "text_processing", "data": data}]));
    let field = |specs| match resolve_names(specs, "") {
        Err(TaskError::InvalidPayload { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(of(json!({"x": [{"$from": "b"}]}))), "tasks[0].data.x.0.$from");
    assert_eq!(field(of(json!({"x": {"$from": "a"}}))), "tasks[0].data.x.$from");
    let twice = json!([{"name": "a", "type": "storage", "data": 1}, {"name": "a", "type": "storage", "data": 1}]);
    assert_eq!(field(specs(twice)), "tasks[1].name");
    let empty = json!([{"name": "", "type": "storage", "data": 1}]);
    assert_eq!(field(specs(empty)), "tasks[0].name");
    let unknown = json!([{"type": "storage", "data": 1, "depends_on": ["x"]}]);
    assert_eq!(field(specs(unknown)), "tasks[0].depends_on[0]");
    let late = json!([{"type": "storage", "data": 1, "deadline_ms": 0}]);
    assert_eq!(field(specs(late)), "tasks[0].deadline_ms");
}

#[tokio::test]
async fn a_repeated_graph_refers_to_the_tasks_that_exist() {
    let (manager, _) = manager(|_| {});
    let batch = || {
        let specs = specs(json!([
            {"name": "a", "type": "text_processing", "data": {"v": 1}, "idempotency_key": "k"},
            {"name": "b", "type": "text_processing", "data": {"x": {"$from": "a", "path": "/v"}}},
        ]));
        resolve_names(specs, "me").expect("resolves")
    };
    let first = manager.submit_all(batch()).await.expect("accepted");
    manager.wait(&first[1]).await.expect("completes");
    let second = manager.submit_all(batch()).await.expect("accepted");
    assert_eq!(first[0], second[0]);
    assert_ne!(first[1], second[1]);
    assert_eq!(manager.wait(&second[1]).await.expect("completes").output, json!({"x": 1}));
    assert_eq!(manager.status(&second[1]).expect("known").status, StatusKind::Completed);
}
