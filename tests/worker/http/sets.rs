//! Resident sets over HTTP.

use std::sync::Arc;

use serde_json::{Value, json};
use tallow::VectorComputationExecutor;
use tallow::resource::ComputePool;

use super::harness::{Served, serving};

async fn run(worker: &Served, data: Value, parts: Value) -> Value {
    let task = json!({ "type": "vector_computation", "data": data, "parts": parts });
    let answer = worker.post("/v1/tasks?wait_ms=20000", &task).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_set_is_filled_with_bytes_searched_and_listed() {
    let pool = ComputePool::new(2).unwrap();
    let worker = serving(Arc::new(VectorComputationExecutor::new(pool)), |_, _| {}).await;
    run(&worker, json!({ "operation": "set.create", "set": "docs", "dim": 2, "ids": "string" }), json!({})).await;
    let rows = json!({ "v": { "dtype": "f32", "shape": [2, 2], "base64": "AACAPwAAAAAAAAAAAACAPw==" } });
    let append = json!({ "operation": "set.append", "set": "docs", "vectors": { "$part": "v" }, "ids": ["x", "y"] });
    assert_eq!(run(&worker, append, rows).await["result"]["output"]["added"], 2);
    let search = json!({ "operation": "set.search", "set": "docs", "query": [0.1, 2.0], "k": 1 });
    assert_eq!(run(&worker, search, json!({})).await["result"]["output"]["ids"], json!([["y"]]));
    let document = worker.get("/v1/executors").await.json();
    let sets = &document["executors"][0]["details"]["sets"];
    assert_eq!((&sets[0]["set"], &sets[0]["rows"], &sets[0]["state"]), (&json!("docs"), &json!(2), &json!("resident")));
    // Callers from outside name no paths of the host.
    let load = json!({ "operation": "set.load", "set": "docs", "file": "/etc/hosts.npy" });
    let refused = worker.post("/v1/tasks", &json!({ "type": "vector_computation", "data": load })).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_payload"));
    assert_eq!(refused.json()["error"]["param"], "file");
    worker.stop().await;
}
