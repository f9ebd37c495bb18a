//! Reranking in the shape of Cohere and Jina, and the routes of text-embeddings-inference, on tiny models with transformers' answers behind them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tallow::resource::{BudgetLimits, ComputePool, Ledger};
use tallow::{InferenceOptions, ModelInferenceExecutor};

use super::harness::{Served, serving};

fn heads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures/heads")
}

async fn worker() -> Served {
    let mut options = InferenceOptions::default();
    options.source.model_dirs = vec![heads()];
    let limits = BudgetLimits { host_bytes: 2 << 30, threads: 2, devices: std::collections::BTreeMap::default() };
    let executor = ModelInferenceExecutor::with_options(ComputePool::new(2).unwrap(), Ledger::new(&limits), options);
    serving(Arc::new(executor), |_, _| {}).await
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(heads().join(name).join("golden.json")).unwrap()).unwrap()
}

fn close(found: &Value, expected: &Value) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((found - expected).abs() <= 1e-4, "{found} and {expected}");
}

async fn post(worker: &Served, path: &str, body: Value) -> Value {
    let answer = worker.post(path, &body).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

#[tokio::test]
async fn documents_are_reranked_in_both_shapes() {
    let worker = worker().await;
    let documents = json!(["a man is playing guitar.", "the cat sits outside", "rayleigh scattering, mostly! 日本語"]);
    let mut asked = json!({ "model": "bert-rerank", "query": "why is the sky blue?", "documents": documents, "return_documents": true });
    let whole = post(&worker, "/v1/rerank", asked.clone()).await;
    let results = whole["results"].as_array().unwrap();
    assert_eq!((results.len(), &whole["model"], &whole["object"]), (3, &json!("bert-rerank"), &json!("list")));
    assert!(whole["id"].is_string());
    let inputs: Vec<Value> = std::iter::once(asked["query"].clone()).chain(documents.as_array().unwrap().iter().cloned()).collect();
    let tokens = post(&worker, "/tokenize", json!({ "model": "bert-rerank", "inputs": inputs })).await;
    let counts: Vec<usize> = tokens.as_array().unwrap().iter().map(|tokens| tokens.as_array().unwrap().len()).collect();
    // Two texts alone have four special tokens, a pair has three.
    let expected: usize = counts[1..].iter().map(|document| counts[0] + document - 1).sum();
    assert_eq!(whole["usage"], json!({ "prompt_tokens": expected, "total_tokens": expected }));
    for ranked in results {
        assert_eq!(ranked["document"]["text"], documents[ranked["index"].as_u64().unwrap() as usize]);
    }
    let scored = results.iter().find(|ranked| ranked["index"] == 2).unwrap();
    close(&scored["relevance_score"], &golden("bert-rerank")["rerank"][1]);
    asked["documents"] = json!(documents.as_array().unwrap().iter().map(|text| json!({ "text": text })).collect::<Vec<Value>>());
    asked["return_documents"] = json!(false);
    asked["top_n"] = json!(1);
    let best = post(&worker, "/v1/rerank", asked).await;
    assert_eq!(best["results"], json!([{ "index": results[0]["index"], "relevance_score": results[0]["relevance_score"] }]));

    let texts = json!({ "model": "bert-rerank", "query": "why is the sky blue?", "texts": documents, "return_text": true });
    let ranks = post(&worker, "/rerank", texts).await;
    for (rank, ranked) in ranks.as_array().unwrap().iter().zip(results) {
        assert_eq!((&rank["index"], &rank["text"]), (&ranked["index"], &ranked["document"]["text"]));
        close(&rank["score"], &ranked["relevance_score"]);
    }
    worker.stop().await;
}

#[tokio::test]
async fn texts_pairs_and_batches_are_predicted() {
    let worker = worker().await;
    let golden = golden("bert-nli");
    let ask = |inputs: Value| json!({ "model": "bert-nli", "inputs": inputs });
    let single = post(&worker, "/predict", ask(golden["texts"][0].clone())).await;
    let batch = post(&worker, "/predict", ask(json!([[golden["texts"][0]], [golden["texts"][1]]]))).await;
    for (text, row) in [(0, &single), (0, &batch[0]), (1, &batch[1])] {
        for (found, expected) in row.as_array().unwrap().iter().zip(golden["scores"][text].as_array().unwrap()) {
            assert_eq!(found["label"], expected["label"]);
            close(&found["score"], &expected["score"]);
        }
    }
    let pair = post(&worker, "/predict", json!({ "model": "bert-nli", "inputs": golden["pairs"][1], "raw_scores": true })).await;
    let largest = golden["pair_logits"][1].as_array().unwrap().iter().filter_map(Value::as_f64).fold(f64::NEG_INFINITY, f64::max);
    close(&pair[0]["score"], &json!(largest));
    let refused = worker.post("/predict", &ask(json!([["a"], ["b", "c"]]))).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_payload"));
    worker.stop().await;
}

#[tokio::test]
async fn texts_are_embedded_tokenised_and_compared() {
    let worker = worker().await;
    let ask = |inputs: Value| json!({ "model": "bert-mlm", "inputs": inputs });
    let dense = post(&worker, "/embed", ask(json!(["the cat", "x"]))).await;
    let norm: f64 = dense[0].as_array().unwrap().iter().filter_map(Value::as_f64).map(|x| x * x).sum();
    assert!((norm - 1.0).abs() < 1e-5 && dense.as_array().unwrap().len() == 2);
    let golden = golden("bert-mlm");
    let all = post(&worker, "/embed_all", ask(golden["sparse_texts"][0].clone())).await;
    close(&all[0][1][3], &golden["hidden"][0][1][3]);
    let sparse = post(&worker, "/embed_sparse", ask(golden["sparse_texts"].clone())).await;
    let first = &sparse[1][0];
    close(&first["value"], &golden["sparse"][1][first["index"].as_u64().unwrap() as usize]);

    let text = "Zürich мир 日本";
    let tokens = post(&worker, "/tokenize", ask(json!(text))).await;
    let tokens = tokens[0].as_array().unwrap();
    assert_eq!(tokens[0], json!({ "id": 2, "text": "[CLS]", "special": true, "start": null, "stop": null }));
    for token in tokens.iter().filter(|token| token["special"] == false) {
        let (start, stop) = (token["start"].as_u64().unwrap() as usize, token["stop"].as_u64().unwrap() as usize);
        assert_eq!(token["text"], text.chars().skip(start).take(stop - start).collect::<String>());
    }
    let bare = post(&worker, "/tokenize", json!({ "model": "bert-mlm", "inputs": [text], "add_special_tokens": false })).await;
    assert_eq!(bare[0].as_array().unwrap().len(), tokens.len() - 2);
    let compared = json!({ "inputs": { "source_sentence": "the sky is blue", "sentences": ["the sky is blue", "tea is warm"] } });
    let cosines = post(&worker, "/similarity", compared).await;
    close(&cosines[0], &json!(1.0));
    let info = worker.get("/info").await.json();
    assert_eq!((&info["auto_truncate"], &info["model_dtype"]), (&json!(false), &json!("float32")));
    assert!(info["models"].as_array().unwrap().iter().any(|model| model["name"] == "bert-mlm"));
    worker.stop().await;
}

#[tokio::test]
async fn what_a_model_does_not_offer_and_what_is_too_long_are_said() {
    let worker = worker().await;
    let long = "cat ".repeat(60);
    let cases = [
        ("/v1/rerank", json!({ "query": "a", "documents": ["b"] }), 422, "model_unsupported"),
        ("/rerank", json!({ "model": "bert-rerank", "query": "a", "texts": [long] }), 400, "invalid_payload"),
        ("/embed", json!({ "model": "bert-nli", "inputs": "a" }), 422, "model_unsupported"),
        ("/predict", json!({ "model": "no-such-model", "inputs": "a" }), 404, "model_not_found"),
        ("/predict", json!({ "model": "../bert-nli", "inputs": "a" }), 400, "invalid_model_name"),
        ("/embed", json!({ "inputs": "a", "truncation_direction": "left" }), 400, "invalid_payload"),
        ("/v1/rerank", json!({ "query": "a", "documents": ["b"], "rank_fields": ["x"] }), 400, "unknown_field"),
    ];
    for (path, body, status, code) in cases {
        let answer = worker.post(path, &body).await;
        assert_eq!(answer.code(), code, "{path} {body}: {answer:?}");
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
    }
    let cut = post(&worker, "/rerank", json!({ "model": "bert-rerank", "query": "a", "texts": [long], "truncate": true })).await;
    assert_eq!(cut.as_array().unwrap().len(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn answers_in_other_shapes_name_the_precision_too() {
    let worker = worker().await;
    let text = "the cat sits outside";
    let asks = [
        ("/v1/embeddings", json!({ "model": "bert-mlm", "input": text })),
        ("/embed", json!({ "model": "bert-mlm", "inputs": text })),
        ("/v1/rerank", json!({ "model": "bert-rerank", "query": text, "documents": [text] })),
        ("/rerank", json!({ "model": "bert-rerank", "query": text, "texts": [text] })),
    ];
    for (path, body) in asks {
        let answer = worker.post(path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        // What `auto` takes depends on the processor.
        let precision = answer.header("x-tallow-precision");
        assert!(precision.is_some_and(|name| ["exact", "bf16", "int8"].contains(&name)), "{path}: {precision:?}");
    }
    worker.stop().await;
}
