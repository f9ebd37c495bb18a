//! The OpenAI surface.

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use std::path::Path;
use std::sync::Arc;

use tallow::resource::{BudgetLimits, ComputePool, Ledger};
use tallow::{InferenceOptions, ModelInferenceExecutor};

use super::harness::{TOKEN, plain, served, serving};

#[tokio::test]
async fn texts_become_vectors_in_openais_shape() {
    let worker = plain().await;
    let floats = worker.post("/v1/embeddings", &json!({ "input": ["abc", "abcde"], "model": "org/scripted", "user": "u" })).await;
    assert_eq!(floats.status, 200, "{floats:?}");
    assert_eq!(
        floats.json(),
        json!({
            "object": "list",
            "data": [
                { "object": "embedding", "index": 0, "embedding": [3.0, -0.5] },
                { "object": "embedding", "index": 1, "embedding": [5.0, -0.5] },
            ],
            "model": "scripted",
            "usage": { "prompt_tokens": 7, "total_tokens": 7 },
        })
    );
    let base64 = worker.post("/v1/embeddings", &json!({ "input": "abcd", "encoding_format": "base64" })).await.json();
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64["data"][0]["embedding"].as_str().unwrap()).unwrap();
    assert_eq!(bytes, [4.0f32.to_le_bytes(), (-0.5f32).to_le_bytes()].concat());
    worker.stop().await;
}

#[tokio::test]
async fn what_would_be_silently_wrong_is_refused() {
    let worker = plain().await;
    let many = vec!["x"; 2049];
    let long = "m".repeat(300);
    for (body, status, code) in [
        (json!({ "input": [1, 2, 3] }), 400, "token_ids_unsupported"),
        (json!({ "input": [[1, 2], [3]] }), 400, "token_ids_unsupported"),
        (json!({ "input": "" }), 400, "invalid_payload"),
        (json!({ "input": [] }), 400, "out_of_range"),
        (json!({ "input": many }), 400, "out_of_range"),
        (json!({ "input": ["a", null] }), 400, "invalid_payload"),
        (json!({ "input": { "a": 1 } }), 400, "invalid_payload"),
        (json!({}), 400, "invalid_payload"),
        (json!({ "input": "a", "dimensions": 0 }), 400, "out_of_range"),
        (json!({ "input": "a", "dimensions": -1 }), 400, "invalid_payload"),
        (json!({ "input": "a", "encoding_format": "int3" }), 400, "invalid_payload"),
        (json!({ "input": "a", "url": "file:///etc/passwd" }), 400, "unknown_field"),
        (json!({ "input": "a", "model": "absent" }), 404, "model_not_found"),
        (json!({ "input": "a", "model": "" }), 400, "invalid_model_name"),
        (json!({ "input": "a", "model": "../../etc/passwd" }), 400, "invalid_model_name"),
        (json!({ "input": "a", "model": "a/../b" }), 400, "invalid_model_name"),
        (json!({ "input": "a", "model": "/etc" }), 400, "invalid_model_name"),
        (json!({ "input": "a", "model": "a\u{0}b" }), 400, "invalid_model_name"),
        (json!({ "input": "a", "model": long }), 400, "invalid_model_name"),
    ] {
        let answer = worker.post("/v1/embeddings", &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{:.80}", body.to_string());
    }
    let ids = worker.post("/v1/embeddings", &json!({ "input": [1] })).await;
    assert!(ids.json()["error"]["message"].as_str().is_some_and(|text| text.contains("check_embedding_ctx_length=False")));
    worker.stop().await;
}

#[tokio::test]
async fn a_caller_who_goes_away_cancels_the_task() {
    let worker = plain().await;
    let body = json!({ "input": "a", "model": "hang" }).to_string();
    let mut stream = TcpStream::connect(worker.address).await.unwrap();
    let head = format!(
        "POST /v1/embeddings HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        worker.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let id = loop {
        let listed = worker.get("/v1/tasks?status=running").await.json();
        if let Some(id) = listed["tasks"][0]["id"].as_str() {
            break id.to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "the task never ran");
    };
    drop(stream);
    worker.until(&id, "cancelled").await;
    assert_eq!(worker.get(&format!("/v1/tasks/{id}")).await.json()["error"]["reason"], "the caller disconnected");
    worker.stop().await;
}

/// `tiny-bert` gives 16 numbers, takes 40 tokens and was trained for no shorter length.
#[tokio::test]
async fn what_the_model_refuses_is_told_in_the_words_of_the_call() {
    let mut options = InferenceOptions::default();
    options.source.model_dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures")];
    let limits = BudgetLimits { host_bytes: 2 << 30, threads: 2, devices: std::collections::BTreeMap::default() };
    let executor = ModelInferenceExecutor::with_options(ComputePool::new(2).unwrap(), Ledger::new(&limits), options);
    let worker = serving(Arc::new(executor), |_, _| {}).await;
    let long = "the cat sits outside . ".repeat(20);
    let asked = |input: Value, dimensions: Value| json!({ "model": "tiny-bert", "input": input, "dimensions": dimensions });
    for (body, param, said) in [
        (
            asked(json!(["a cat", long]), Value::Null),
            "input[1]",
            "`input[1]`: the text has 102 tokens, the model takes at most 40; shorten or split it",
        ),
        (asked(json!(long), Value::Null), "input", "`input`: the text has 102 tokens"),
        (asked(json!(["a", "b", "c", ""]), Value::Null), "input[3]", "input[3] is empty"),
        (asked(json!(["a", " \n\u{3000}"]), Value::Null), "input[1]", "input[1] is blank"),
        (asked(json!("  "), Value::Null), "input", "input is blank"),
        (asked(json!("a cat"), json!(4)), "dimensions", "found 4; the model was trained for 16 (it declares no shorter ones)"),
        (asked(json!("a cat"), json!(17)), "dimensions", "found 17"),
    ] {
        let answer = worker.post("/v1/embeddings", &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_payload"), "{body}");
        let error = answer.json()["error"].clone();
        let message = error["message"].as_str().unwrap();
        assert_eq!(error["param"], param, "{message}");
        assert!(message.contains(said), "{message}");
        assert!(!message.contains("long_input") && !message.contains("any_dimensions"), "{message}");
    }
    let nothing = json!({ "model": null, "encoding_format": null, "dimensions": null, "user": null });
    let mut body = asked(json!("a cat"), json!(16));
    assert_eq!(worker.post("/v1/embeddings", &body).await.status, 200);
    body.as_object_mut().unwrap().extend(nothing.as_object().unwrap().clone());
    let answer = worker.post("/v1/embeddings", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["data"][0]["embedding"].is_array(), "floats are the default");
    // The routes of text-embeddings-inference cut to any length, as it does, and take null for what is left out.
    let short = json!({ "model": "tiny-bert", "inputs": "a cat", "dimensions": 4, "truncate": null, "normalize": null, "truncation_direction": null });
    let answer = worker.post("/embed", &short).await;
    assert_eq!((answer.status, answer.json()[0].as_array().map(Vec::len)), (200, Some(4)), "{answer:?}");
    let answer = worker.post("/embed", &json!({ "model": "tiny-bert", "inputs": ["a", long] })).await;
    assert_eq!(answer.json()["error"]["param"], "inputs[1]");
    assert!(answer.json()["error"]["message"].as_str().is_some_and(|text| text.contains("set `truncate` to true")), "{answer:?}");
    worker.stop().await;
}

#[tokio::test]
async fn models_on_disk_are_listed_beside_those_in_memory_each_once() {
    let on_disk = json!([{ "name": "org/scripted", "place": "cache" }, { "name": "org/asleep", "place": "cache", "memory_bytes": 7 }]);
    let worker = served(|options, _| options.known_models = Arc::new(move || Ok(on_disk.as_array().unwrap().clone()))).await;
    let listed = worker.get("/v1/models").await.json();
    let models = listed["data"].as_array().unwrap();
    let told: Vec<_> = models.iter().map(|model| (model["id"].as_str().unwrap(), model["loaded"].as_bool().unwrap())).collect();
    assert_eq!(told, [("org/scripted", true), ("org/asleep", false)]);
    assert!(models.iter().all(|model| model["object"] == "model" && model["owned_by"] == "tallow"), "{listed}");
    assert_eq!(worker.get("/v1/models/org/asleep").await.json()["memory_bytes"], 7);
    worker.stop().await;
    let broken = served(|options, _| options.known_models = Arc::new(|| Err("/cache/of/someone: denied".into()))).await;
    let answer = broken.get("/v1/models").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert!(!answer.json().to_string().contains("someone"), "a path of the host stays inside");
    broken.stop().await;
}
