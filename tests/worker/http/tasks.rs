//! Tasks, batches, statuses and binary parts.

use serde_json::{Value, json};

use super::harness::{Served, plain, served};

fn echo(value: u32) -> Value {
    json!({ "type": { "custom": "test" }, "data": { "operation": "echo", "value": value } })
}

#[tokio::test]
async fn a_task_is_submitted_watched_listed_and_cancelled() {
    let worker = plain().await;
    let waited = worker.post("/v1/tasks?wait_ms=20000", &echo(5)).await;
    assert_eq!(waited.status, 200, "{waited:?}");
    let view = waited.json();
    assert_eq!((view["status"].clone(), view["result"]["output"]["echo"].clone()), (json!("completed"), json!(5)));
    let id = view["id"].as_str().unwrap();
    assert_eq!(worker.get(&format!("/v1/tasks/{id}")).await.json(), view);

    let mut labelled = echo(6);
    labelled["labels"] = json!({ "run": "7" });
    assert_eq!(worker.post("/v1/tasks", &labelled).await.status, 202);
    let listed = worker.get("/v1/tasks?label=run%3D7").await.json();
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(1), "{listed}");
    let page = worker.get("/v1/tasks?limit=1&type=test").await.json();
    let next = page["next"].as_str().unwrap();
    assert_eq!(next, id, "oldest first");
    assert_eq!(worker.get(&format!("/v1/tasks?limit=10&after={next}")).await.json()["tasks"].as_array().map(Vec::len), Some(1));

    let hanging = worker.submit(json!({ "operation": "hang" })).await;
    let short = worker.post("/v1/tasks?wait_ms=1", &json!({ "type": { "custom": "test" }, "data": { "operation": "hang" } })).await;
    assert_eq!(short.status, 202);
    worker.until(&hanging, "running").await;
    let cancelled = worker.call(&format!("DELETE /v1/tasks/{hanging}"), &[], b"").await;
    assert_eq!((cancelled.status, cancelled.json()["status"].clone()), (200, json!("cancelled")));
    let again = worker.call(&format!("DELETE /v1/tasks/{hanging}"), &[], b"").await;
    assert_eq!((again.status, again.code().as_str()), (409, "already_terminal"));
    worker.stop().await;
}

#[tokio::test]
async fn a_failed_task_shows_its_error() {
    let worker = plain().await;
    let failed =
        worker.post("/v1/tasks?wait_ms=20000", &json!({ "type": { "custom": "test" }, "data": { "operation": "nonsense" } })).await;
    let view = failed.json();
    assert_eq!((failed.status, view["status"].clone()), (200, json!("failed")), "the call worked, the task did not");
    assert_eq!((view["error"]["code"].clone(), view["error"]["param"].clone()), (json!("invalid_payload"), json!("operation")));
    let unsupported = worker.post("/v1/tasks", &json!({ "type": "storage", "data": {} })).await;
    assert_eq!((unsupported.status, unsupported.code().as_str()), (400, "unsupported_task_type"));
    worker.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_returns_the_first_task() {
    let worker = plain().await;
    let post = async |worker: &Served, keys: &[&str], body: Value| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(keys.iter().map(|key| ("idempotency-key", *key)));
        worker.call("POST /v1/tasks", &headers, body.to_string().as_bytes()).await
    };
    let first = post(&worker, &["k-1"], echo(1)).await;
    let second = post(&worker, &["k-1"], echo(1)).await;
    assert_eq!((first.status, second.status), (202, 202));
    assert_eq!(first.json()["id"], second.json()["id"]);
    let other = post(&worker, &["k-1"], echo(2)).await;
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_conflict"));
    let long = "k".repeat(256);
    for keys in [&[""][..], &[long.as_str()], &["a b"], &["k-1", "k-1"]] {
        assert_eq!(post(&worker, keys, echo(1)).await.status, 400, "{keys:?}");
    }
    let mut differs = echo(1);
    differs["idempotency_key"] = json!("k-2");
    assert_eq!(post(&worker, &["k-1"], differs).await.status, 400, "header and body differ");
    worker.stop().await;
}

#[tokio::test]
async fn a_keyed_graph_can_be_repeated_and_a_change_of_it_is_named() {
    let worker = plain().await;
    let graph = |priority: &str, path: &str| {
        json!({ "atomic": true, "tasks": [
            { "name": "a", "type": { "custom": "test" }, "data": { "operation": "echo", "value": [1, 2] }, "idempotency_key": "g-a" },
            { "name": "b", "type": { "custom": "test" }, "idempotency_key": "g-b", "depends_on": ["a"], "priority": priority,
                "data": { "operation": "echo", "value": { "$from": "a", "path": path } } },
        ] })
    };
    let first = worker.post("/v1/tasks/batch", &graph("high", "/echo/1")).await;
    assert_eq!(first.status, 202, "{first:?}");
    let again = worker.post("/v1/tasks/batch", &graph("high", "/echo/1")).await;
    assert_eq!((again.status, again.json()), (202, first.json()));
    for (priority, path, differs) in [("low", "/echo/1", "priority"), ("high", "/echo/0", "data")] {
        let changed = worker.post("/v1/tasks/batch", &graph(priority, path)).await;
        assert_eq!((changed.status, changed.code().as_str()), (422, "idempotency_conflict"));
        let error = changed.json()["error"].clone();
        assert_eq!((&error["differs"], &error["existing"]), (&json!(differs), &first.json()["tasks"][1]["id"]), "{error}");
    }
    assert_eq!(worker.manager.stats().totals.submitted, 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_batch_is_one_graph_or_many_outcomes() {
    let worker = plain().await;
    let graph = json!({ "atomic": true, "tasks": [
        { "name": "a", "type": { "custom": "test" }, "data": { "operation": "echo", "value": [1, 2] } },
        { "name": "b", "type": { "custom": "test" }, "data": { "operation": "echo", "value": { "$from": "a", "path": "/echo/1" } } },
    ] });
    let accepted = worker.post("/v1/tasks/batch", &graph).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let last = accepted.json()["tasks"][1]["id"].as_str().unwrap().to_owned();
    worker.until(&last, "completed").await;
    assert_eq!(worker.get(&format!("/v1/tasks/{last}")).await.json()["result"]["output"]["echo"], 2);

    let half = json!([echo(1), { "type": "storage", "data": {} }, { "type": { "custom": "test" }, "data": { "$from": "b" } }]);
    let mixed = worker.post("/v1/tasks/batch", &half).await;
    assert_eq!(mixed.status, 202);
    let body = mixed.json();
    assert_eq!((body["accepted"].clone(), body["refused"].clone()), (json!(1), json!(2)));
    assert_eq!(body["tasks"][1]["error"]["code"], "unsupported_task_type");
    assert!(body["tasks"][2]["error"]["param"].as_str().is_some_and(|param| param.starts_with("tasks[2].")), "{body}");

    let mut all = half.as_array().unwrap().clone();
    all.remove(0);
    let none = worker.post("/v1/tasks/batch", &json!({ "tasks": all })).await;
    assert_eq!((none.status, none.json()["accepted"].clone()), (400, json!(0)), "nothing was accepted");
    let atomic = worker.post("/v1/tasks/batch", &json!({ "atomic": true, "tasks": half })).await;
    assert_eq!(atomic.status, 400);
    for body in [json!([]), json!({ "tasks": [] }), json!({ "tasks": [echo(1)], "extra": 1 }), json!("x")] {
        assert_eq!(worker.post("/v1/tasks/batch", &body).await.status, 400, "{body}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_malformed_item_has_an_error_of_its_own_and_the_others_are_accepted() {
    let worker = plain().await;
    let mut wrong_priority = echo(2);
    wrong_priority["priority"] = json!("asap");
    let mut unknown_field = echo(3);
    unknown_field["surprise"] = json!(1);
    let untyped = json!({ "data": { "operation": "echo" } });
    let unserved = json!({ "type": "storage", "data": {} });
    let items = json!([wrong_priority, echo(1), unknown_field, 5, ["test", {}], untyped, unserved, echo(4)]);
    for body in [items.clone(), json!({ "tasks": items, "atomic": false })] {
        let answer = worker.post("/v1/tasks/batch", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let outcome = answer.json();
        assert_eq!((&outcome["accepted"], &outcome["refused"]), (&json!(2), &json!(6)));
        for position in [1, 7] {
            worker.until(outcome["tasks"][position]["id"].as_str().unwrap(), "completed").await;
        }
        for (position, param, said) in [
            (0, "tasks[0].priority", "found `asap`; allowed: low, normal, high, critical"),
            (2, "tasks[2].surprise", "unknown field `surprise`"),
            (3, "tasks[3]", "expected an object"),
            (4, "tasks[4]", "expected an object"),
            (5, "tasks[5].type", "missing field `type`"),
            (6, "type", "found type `storage`; this worker serves: "),
        ] {
            let error = &outcome["tasks"][position]["error"];
            assert_eq!(error["param"], param, "{error}");
            assert!(error["message"].as_str().is_some_and(|text| text.contains(said)), "{error}");
        }
    }
    let none = worker.post("/v1/tasks/batch", &json!([5])).await;
    assert_eq!((none.status, none.json()["error"]["param"].clone(), none.json()["refused"].clone()), (400, json!("tasks[0]"), json!(1)));
    let before = worker.get("/v1/tasks").await.json()["tasks"].as_array().map(Vec::len);
    let atomic = worker.post("/v1/tasks/batch", &json!({ "tasks": [echo(1), wrong_priority], "atomic": true })).await;
    assert_eq!((atomic.status, atomic.json()["error"]["param"].clone()), (400, json!("tasks[1].priority")));
    assert_eq!(worker.get("/v1/tasks").await.json()["tasks"].as_array().map(Vec::len), before, "an atomic batch is refused whole");
    worker.stop().await;
}

#[tokio::test]
async fn statuses_come_in_the_order_of_their_ids() {
    let worker = served(|options, _| options.limits.batch_items_max = 3).await;
    let id = worker.submit(json!({ "operation": "echo", "value": 1 })).await;
    worker.until(&id, "completed").await;
    let answer = worker.post("/v1/tasks/status", &json!({ "ids": ["nonsense", id] })).await.json();
    assert_eq!(answer["tasks"][0], json!({ "id": "nonsense", "status": "unknown", "attempt": 0 }));
    assert_eq!(answer["tasks"][1], json!({ "id": id, "status": "completed", "attempt": 1 }));
    let many = worker.post("/v1/tasks/status", &json!({ "ids": [id, id, id, id] })).await;
    assert_eq!((many.status, many.code().as_str()), (400, "out_of_range"));
    let batch = worker.post("/v1/tasks/batch", &json!([echo(1), echo(1), echo(1), echo(1)])).await;
    assert_eq!((batch.status, batch.code().as_str()), (400, "out_of_range"));
    worker.stop().await;
}

#[tokio::test]
async fn binary_parts_go_in_and_out_without_json_numbers() {
    let worker = plain().await;
    let spec = json!({ "type": { "custom": "test" }, "data": { "operation": "parts" } }).to_string();
    let header = json!({
        "__metadata__": { "submission": spec },
        "a": { "dtype": "F32", "shape": [2], "data_offsets": [0, 8] },
    })
    .to_string();
    let body = [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &[0; 8]].concat();
    let kind = [("content-type", "application/vnd.safetensors")];
    let answer = worker.call("POST /v1/tasks?wait_ms=20000", &kind, &body).await;
    let view = answer.json();
    assert_eq!(answer.status, 200, "{view}");
    let id = view["id"].as_str().unwrap();
    assert_eq!(view["parts"][1], json!({ "name": "small", "dtype": "f32", "shape": [2, 2], "bytes": 16 }));
    let raw = worker.get(&format!("/v1/tasks/{id}/parts/small")).await;
    assert_eq!(raw.body, [1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat());
    assert_eq!((raw.header("x-tallow-dtype"), raw.header("x-tallow-shape")), (Some("f32"), Some("2,2")));
    let npy = worker.call(&format!("GET /v1/tasks/{id}/parts/small"), &[("accept", "application/x-npy")], b"").await;
    assert!(npy.body.starts_with(b"\x93NUMPY"), "{:?}", npy.head);
    let all = worker.get(&format!("/v1/tasks/{id}/parts")).await;
    assert_eq!(all.header("content-type"), Some("application/vnd.safetensors"));
    assert!(all.body.ends_with(&[1, 2, 3]), "the narrowest part comes last");
    let missing = worker.get(&format!("/v1/tasks/{id}/parts/none")).await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "part_not_found"));
    let broken = worker.call("POST /v1/tasks", &kind, &body[..body.len() - 1]).await;
    assert_eq!((broken.status, broken.code().as_str()), (400, "invalid_safetensors"));
    worker.stop().await;
}
