//! Who is let in, and what everyone else is told.

use std::time::Duration;

use serde_json::{Value, json};
use tallow::http::{AppState, HttpOptions, serve};
use tallow::security::Access;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::harness::{OTHER_TOKEN, TOKEN, plain, served};

#[tokio::test]
async fn every_documented_route_is_closed_to_strangers_and_open_to_the_token() {
    let worker = plain().await;
    let document = worker.get("/openapi.json").await.json();
    let mut closed = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // An id that no task has; event streams of all tasks never end, so their HEAD is asked for.
            let path = path.replace("{id}", "0198c0de-0000-7000-8000-000000000000").replace("{name}", "x");
            let method = if path == "/v1/events" { "HEAD".to_owned() } else { method.to_uppercase() };
            let line = format!("{method} {path}");
            let json = [("content-type", "application/json")];
            let stranger = worker.bare(&line, &json, b"").await;
            if operation["security"] == json!([]) {
                assert_eq!(stranger.status, 200, "{line} is public");
                continue;
            }
            closed += 1;
            assert_eq!(stranger.status, 401, "{line} without a token");
            assert_eq!(stranger.header("www-authenticate"), Some("Bearer realm=\"tallow\""));
            let right = format!("Bearer {TOKEN}");
            let long = format!("Bearer {}", "x".repeat(10_000));
            let flipped = format!("Bearer {}", TOKEN.replace("alice", "alicf"));
            let cut = &right[..right.len() - 1];
            for wrong in ["Bearer", "Bearer ", "Basic abc", "garbage", TOKEN, long.as_str(), flipped.as_str(), cut] {
                let answer = worker.bare(&line, &[json[0], ("authorization", wrong)], b"").await;
                assert_eq!(answer.status, 401, "{line} with {wrong:.20}");
            }
            let twice = worker.bare(&line, &[json[0], ("authorization", &right), ("authorization", &right)], b"").await;
            assert_eq!(twice.status, 401, "{line} with two headers");
            let known = worker.bare(&line, &[json[0], ("authorization", &right)], b"").await;
            assert!(known.status != 401 && known.status < 500, "{line} with the token: {}", known.status);
            let listed = operation["responses"].get(known.status.to_string()).is_some();
            assert!(listed, "{line} answered {}, which its document does not list", known.status);
        }
    }
    assert!(closed >= 15, "only {closed} closed routes were tried");
    worker.stop().await;
}

#[tokio::test]
async fn what_no_route_serves_is_refused_in_the_same_shape() {
    let worker = plain().await;
    let unknown = worker.get("/v2/nothing").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "route_not_found"));
    let wrong = worker.call("PUT /v1/tasks", &[], b"").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
    assert!(wrong.header("allow").is_some_and(|allow| allow.contains("POST")), "{}", wrong.head);
    let stranger = worker.bare("GET /v2/nothing", &[], b"").await;
    assert_eq!((stranger.status, stranger.code().as_str()), (401, "unauthorized"), "paths cannot be probed without a token");
    let given = worker.call("GET /v2/nothing", &[("x-request-id", "my-id.7")], b"").await;
    assert_eq!(given.header("x-request-id"), Some("my-id.7"));
    let odd = worker.call("GET /v2/nothing", &[("x-request-id", "a b\"c")], b"").await;
    assert_ne!(odd.header("x-request-id"), Some("a b\"c"));
    worker.stop().await;
}

#[tokio::test]
async fn a_foreign_host_name_is_refused_on_loopback() {
    let worker = served(|options, _| options.allowed_hosts.push("worker.example".into())).await;
    for (host, status) in [("evil.example", 403), ("localhost:1", 200), ("worker.example", 200), ("127.0.0.1.evil.example", 403)] {
        assert_eq!(worker.call("GET /v1/models", &[("host", host)], b"").await.status, status, "{host}");
        assert_eq!(worker.bare("GET /livez", &[("host", host)], b"").await.status, status, "{host}");
    }
    let refused = worker.call("GET /v1/models", &[("host", "evil.example")], b"").await.json();
    assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("tallow serve --allowed-host NAME")), "{refused}");
    let absolute = worker.call("GET http://evil.example/v1/models", &[], b"").await;
    assert_eq!(absolute.status, 403, "an absolute target names the host");
    let twice = worker.call("GET /v1/models", &[("host", "localhost"), ("host", "localhost")], b"").await;
    assert_eq!(twice.status, 400);
    worker.stop().await;
}

#[tokio::test]
async fn one_caller_cannot_tell_anothers_task_from_none() {
    let worker = plain().await;
    let id = worker.submit(json!({ "operation": "hang" })).await;
    let bob = format!("Bearer {OTHER_TOKEN}");
    let headers = [("authorization", bob.as_str()), ("x-request-id", "same"), ("content-type", "application/json")];
    for line in ["GET /v1/tasks/ID", "DELETE /v1/tasks/ID", "GET /v1/tasks/ID/events", "GET /v1/tasks/ID/parts", "GET /v1/tasks/ID/parts/x"]
    {
        let foreign = worker.bare(&line.replace("ID", &id), &headers, b"").await;
        let none = "0198c0de-0000-7000-8000-000000000000";
        let unknown = worker.bare(&line.replace("ID", none), &headers, b"").await;
        assert_eq!(foreign.status, 404, "{line}");
        let text = |answer: &super::harness::Answer, id: &str| String::from_utf8_lossy(&answer.body).replace(id, "ID");
        assert_eq!(text(&foreign, &id), text(&unknown, none), "{line}");
    }
    let statuses = worker.bare("POST /v1/tasks/status", &headers, json!({ "ids": [id] }).to_string().as_bytes()).await.json();
    assert_eq!(statuses["tasks"][0]["status"], "unknown");
    assert_eq!(worker.bare("GET /v1/tasks", &headers, b"").await.json()["tasks"], json!([]));
    let depends = json!({ "type": { "custom": "test" }, "data": { "operation": "echo", "value": { "$from": id, "path": "" } } });
    let stolen = worker.bare("POST /v1/tasks", &headers, depends.to_string().as_bytes()).await;
    assert_eq!(stolen.status, 404, "another's result cannot be taken by reference");
    assert_eq!(worker.call(&format!("DELETE /v1/tasks/{id}"), &[], b"").await.status, 200);
    worker.stop().await;
}

#[tokio::test]
async fn an_open_api_is_served_on_loopback_only() {
    let open = || AppState::new(plain_manager(), HttpOptions::new(Access::Open));
    let everywhere = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(everywhere, open(), CancellationToken::new()).await;
    assert!(refused.is_err(), "an open API must not be reachable from other machines");
    let worker = served(|options, _| options.access = Access::Open).await;
    assert_eq!(worker.bare("GET /v1/models", &[], b"").await.status, 200);
    worker.stop().await;
}

fn plain_manager() -> std::sync::Arc<tallow::http::ApiManager> {
    let executor: std::sync::Arc<dyn tallow::TaskExecutor> = std::sync::Arc::new(super::harness::Scripted::new());
    std::sync::Arc::new(tallow::TaskManager::new(executor))
}

#[tokio::test]
async fn a_draining_worker_says_so_and_still_answers() {
    let worker = plain().await;
    assert_eq!(worker.bare("GET /readyz", &[], b"").await.status, 200);
    worker.manager.drain(Duration::ZERO).await;
    worker.state.begin_drain();
    for path in ["/readyz", "/health"] {
        let answer = worker.bare(&format!("GET {path}"), &[], b"").await;
        assert_eq!((answer.status, answer.json()["reasons"].clone()), (503, json!(["draining"])), "{path}");
    }
    assert_eq!(worker.bare("GET /livez", &[], b"").await.status, 200);
    let refused = worker.post("/v1/tasks", &json!({ "type": { "custom": "test" }, "data": { "operation": "echo" } })).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "shutting_down"));
    assert!(refused.header("retry-after").is_some());
    worker.stop().await;
}

#[tokio::test]
async fn the_page_and_the_documents_of_the_worker_are_there() {
    let worker = plain().await;
    let page = worker.get("/docs").await;
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert_eq!(page.status, 200);
    assert!(!text.contains("http://") && !text.contains("https://"), "the page loads nothing from elsewhere");
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    let locked = worker.bare("GET /docs", &[("accept", "text/html")], b"").await;
    assert_eq!(locked.status, 401);
    assert!(String::from_utf8_lossy(&locked.body).contains("id=\"token\""), "a browser gets a field for the token");
    let id = worker.submit(json!({ "operation": "echo", "value": 1 })).await;
    worker.until(&id, "completed").await;
    let document = worker.get("/v1/executors").await.json();
    assert_eq!(document["executors"][0]["name"], "scripted");
    let done = &document["throughput"][0];
    assert_eq!((&done["operation"], &done["tasks"], &done["documents"]), (&json!("test"), &json!(1), &json!(0)), "{document}");
    assert!(done["tasks_per_s"].as_f64().is_some_and(|rate| rate > 0.0) && document["queue"].get("operations").is_none(), "{document}");
    assert!(document["memory"]["host"]["limit"].as_u64().is_some_and(|limit| limit > 0), "{document}");
    assert!(document["queue"]["open_tasks"].is_array(), "{document}");
    let models = worker.get("/v1/models").await.json();
    assert_eq!(models["data"][0]["id"], "org/scripted");
    let model = worker.get("/v1/models/org/scripted").await.json();
    assert_eq!((model["object"].clone(), model["digest"].clone()), (json!("model"), json!("sha256:00")));
    assert_eq!(worker.get("/v1/models/org/none").await.code(), "model_not_found");
    let spec = worker.get("/openapi.json").await.json();
    assert_eq!(spec["openapi"], Value::from("3.1.0"));
    worker.stop().await;
}
