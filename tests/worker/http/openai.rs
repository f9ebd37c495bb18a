//! The OpenAI surface.

use base64::Engine as _;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::harness::{TOKEN, plain};

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
