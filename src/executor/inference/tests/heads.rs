//! Operations on heads as their callers see them, on tiny models with transformers' answers behind them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::*;
use crate::task::{CancelHandle, TaskPriority};

fn heads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures/heads")
}

fn executor() -> ModelInferenceExecutor {
    let limits = BudgetLimits { host_bytes: 2 << 30, threads: 2, devices: std::collections::BTreeMap::default() };
    let options =
        InferenceOptions { source: SourceOptions { model_dirs: vec![heads()], ..SourceOptions::default() }, ..InferenceOptions::default() };
    ModelInferenceExecutor::with_options(ComputePool::new(2).unwrap(), Ledger::new(&limits), options)
}

fn task(data: Value) -> Task {
    Task::new(TaskType::ModelInference, TaskPriority::Normal, data)
}

async fn run(data: Value) -> Result<TaskResult, TaskError> {
    executor().execute(&task(data)).await
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(heads().join(name).join("golden.json")).unwrap()).unwrap()
}

fn close(found: &Value, expected: &Value) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((found - expected).abs() <= 1e-4, "{found} and {expected}");
}

#[tokio::test]
async fn documents_are_ordered_as_a_cross_encoder_scores_them() {
    let golden = golden("bert-rerank");
    // The golden pairs have queries of their own, so each is asked alone.
    for (pair, score) in golden["pairs"].as_array().unwrap().iter().zip(golden["rerank"].as_array().unwrap()) {
        let ask =
            json!({ "operation": "rerank", "model": "bert-rerank", "query": pair[0], "documents": pair[1], "long_input": "truncate" });
        close(&run(ask).await.unwrap().output["results"][0]["relevance_score"], score);
    }
    let documents = json!(["a man is playing guitar.", "", "the cat sits outside", "a man is playing guitar."]);
    let ask =
        json!({ "operation": "rerank", "model": "bert-rerank", "query": "the cat", "documents": documents, "return_documents": true });
    let answer = run(ask.clone()).await.unwrap();
    let results = answer.output["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert!(results.windows(2).all(|pair| pair[0]["relevance_score"].as_f64() >= pair[1]["relevance_score"].as_f64()));
    assert!(results.iter().all(|ranked| ranked["document"] == documents[ranked["index"].as_u64().unwrap() as usize]));
    let place = |index: u64| results.iter().position(|ranked| ranked["index"] == index).unwrap();
    assert_eq!(place(0) + 1, place(3), "equals keep their order");
    assert_eq!((&answer.metadata["activation"], &answer.metadata["operation"]), (&json!("sigmoid"), &json!("rerank")));
    assert_eq!(
        answer.output["usage"]["prompt_tokens"],
        answer.metadata["token_counts"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>()
    );
    let mut best = ask;
    best["top_n"] = json!(1);
    best["raw_scores"] = json!(true);
    let best = run(best).await.unwrap();
    assert_eq!(best.output["results"].as_array().unwrap().len(), 1);
    let logit = best.output["results"][0]["relevance_score"].as_f64().unwrap();
    close(&json!(1.0 / (1.0 + (-logit).exp())), &results[0]["relevance_score"]);
}

#[tokio::test]
async fn texts_and_pairs_are_classified_as_transformers_does() {
    let golden = golden("roberta-nli");
    let answer = run(json!({ "operation": "classify", "model": "roberta-nli", "texts": golden["texts"] })).await.unwrap();
    for (found, expected) in answer.output["items"].as_array().unwrap().iter().zip(golden["scores"].as_array().unwrap()) {
        assert_eq!(found.as_array().unwrap().len(), 3);
        for (found, expected) in found.as_array().unwrap().iter().zip(expected.as_array().unwrap()) {
            assert_eq!(found["label"], expected["label"]);
            close(&found["score"], &expected["score"]);
        }
    }
    let column = |index: usize| golden["pairs"].as_array().unwrap().iter().map(|pair| pair[index].clone()).collect::<Vec<Value>>();
    let ask = json!({
        "operation": "classify", "model": "roberta-nli", "texts": column(0), "text_pairs": column(1), "raw_scores": true, "top_k": 1,
        "long_input": "truncate",
    });
    let answer = run(ask).await.unwrap();
    assert_eq!(answer.metadata["truncated"], json!([3]));
    for (found, logits) in answer.output["items"].as_array().unwrap().iter().zip(golden["pair_logits"].as_array().unwrap()) {
        let best = logits.as_array().unwrap().iter().filter_map(Value::as_f64).fold(f64::NEG_INFINITY, f64::max);
        close(&found[0]["score"], &json!(best));
    }
}

#[tokio::test]
async fn spans_carry_character_and_byte_places() {
    let golden = golden("xlm-roberta-tags");
    let texts = golden["texts"].as_array().unwrap();
    let ask = json!({ "operation": "tag", "model": "xlm-roberta-tags", "texts": texts, "aggregation_strategy": "max" });
    let answer = run(ask).await.unwrap();
    for (index, text) in texts.iter().enumerate() {
        let text = text.as_str().unwrap();
        let found = answer.output["items"][index].as_array().unwrap();
        let expected = golden["spans"]["max"][index].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (span, expected) in found.iter().zip(expected) {
            assert_eq!((&span["label"], &span["word"]), (&expected["entity_group"], &expected["word"]));
            assert_eq!((&span["start"], &span["end"]), (&expected["start"], &expected["end"]));
            close(&span["score"], &expected["score"]);
            let bytes = span["start_byte"].as_u64().unwrap() as usize..span["end_byte"].as_u64().unwrap() as usize;
            assert_eq!(span["text"], text[bytes]);
        }
    }
}

#[tokio::test]
async fn masks_get_words_and_a_text_without_one_is_named() {
    let golden = golden("distilbert-mlm");
    let ask = json!({ "operation": "fill_mask", "model": "distilbert-mlm", "texts": golden["texts"], "top_k": 4 });
    let answer = run(ask).await.unwrap();
    let text = golden["texts"][0].as_str().unwrap();
    let mask = &answer.output["items"][0][0];
    let bytes = mask["start_byte"].as_u64().unwrap() as usize..mask["end_byte"].as_u64().unwrap() as usize;
    assert_eq!(&text[bytes], "[MASK]");
    for (item, places) in golden["fills"].as_array().unwrap().iter().enumerate() {
        for (place, candidates) in places.as_array().unwrap().iter().enumerate() {
            for (index, expected) in candidates.as_array().unwrap().iter().enumerate() {
                let found = &answer.output["items"][item][place]["candidates"][index];
                for key in ["token", "token_str", "sequence"] {
                    assert_eq!(found[key], expected[key]);
                }
                close(&found["score"], &expected["score"]);
            }
        }
    }
    let refused = run(json!({ "operation": "fill_mask", "model": "distilbert-mlm", "texts": ["a [MASK]", "a <mask>"] })).await.unwrap_err();
    assert!(refused.to_string().contains("texts[1]`: no mask; this model's mask is spelled `[MASK]`"), "{refused}");
}

#[tokio::test]
async fn labels_of_the_callers_own_are_judged_by_entailment_or_by_embedding() {
    let golden = golden("bert-nli");
    for (key, multi) in [("zero_shot", false), ("zero_shot_multi", true)] {
        for expected in golden[key].as_array().unwrap() {
            let ask = json!({
                "operation": "zero_shot", "model": "bert-nli", "text": expected["sequence"], "candidate_labels": ["cat", "guitar", "Zürich"],
                "hypothesis_template": "this is a {}.", "multi_label": multi,
            });
            let answer = run(ask).await.unwrap().output;
            assert_eq!(answer["method"], "entailment");
            for (index, label) in expected["labels"].as_array().unwrap().iter().enumerate() {
                assert_eq!(&answer["items"][0][index]["label"], label);
                close(&answer["items"][0][index]["score"], &expected["scores"][index]);
            }
        }
    }
    let labels = json!(["cooking", "astronomy"]);
    let ask = json!({ "operation": "zero_shot", "texts": ["telescopes show distant galaxies and stars"], "labels": labels });
    let answer = run(ask).await.unwrap();
    assert_eq!((&answer.output["method"], &answer.output["items"][0][0]["label"]), (&json!("embedding"), &json!("astronomy")));
    assert!(answer.metadata["scores"].as_str().unwrap().contains("cosine"));
}

#[tokio::test]
async fn token_and_sparse_vectors_agree_with_their_models() {
    let golden = golden("bert-mlm");
    let text = "the cat sits outside";
    let ask = |encoding: &str| json!({ "operation": "embed_tokens", "model": "bert-mlm", "texts": [text, "x"], "encoding": encoding });
    let whole = run(ask("float")).await.unwrap().output;
    let first = &whole["items"][0];
    assert_eq!(first["tokens"], json!(["[CLS]", "the", "cat", "sit", "##s", "outside", "[SEP]"]));
    assert_eq!((&first["start_bytes"][4], &first["end_bytes"][4]), (&json!(11), &json!(12)));
    for (found, expected) in first["embeddings"].as_array().unwrap().iter().zip(golden["hidden"][0].as_array().unwrap()) {
        found.as_array().unwrap().iter().zip(expected.as_array().unwrap()).for_each(|(found, expected)| close(found, expected));
    }
    let part = run(ask("part")).await.unwrap().output;
    let inlined: crate::task::Part = serde_json::from_value(part["parts"]["embeddings"].clone()).unwrap();
    assert_eq!(inlined.shape(), [10, 16]);
    let bare =
        run(json!({ "operation": "embed_tokens", "model": "bert-mlm", "text": text, "skip_special_tokens": true })).await.unwrap().output;
    assert_eq!(bare["items"][0]["embeddings"].as_array().unwrap().len(), 5);
    close(&bare["items"][0]["embeddings"][0][3], &first["embeddings"][1][3]);

    let sparse = run(json!({ "operation": "embed_sparse", "model": "bert-splade", "texts": [text], "top_n": 3 })).await.unwrap().output;
    let expected = self::golden("bert-splade")["sparse"][0].clone();
    let items = sparse["items"][0].as_array().unwrap();
    assert_eq!((items.len(), &sparse["dimensions"]), (3, &json!(44)));
    items.iter().for_each(|item| close(&item["value"], &expected[item["index"].as_u64().unwrap() as usize]));
    let mut sorted: Vec<f64> = expected.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    close(&items[2]["value"], &json!(sorted[2]));
}

#[tokio::test]
async fn what_a_model_has_no_head_for_is_refused_at_admission_with_what_it_offers() {
    let cases = [
        (
            json!({ "operation": "rerank", "model": "bert-nli", "query": "a", "documents": ["b"] }),
            "offers embed_tokens, classify, zero_shot",
        ),
        (json!({ "operation": "classify", "model": "bert-mlm", "text": "a" }), "offers embed, embed_tokens, embed_sparse, fill_mask"),
        (json!({ "operation": "embed", "model": "bert-rerank", "text": "a" }), "offers embed_tokens, classify, rerank"),
        (json!({ "operation": "similarity", "model": "bert-tags", "text_a": "a", "text_b": "b" }), "offers embed_tokens, tag"),
        (json!({ "operation": "tag", "text": "a" }), "offers embed, similarity, zero_shot, tokenize, count_tokens"),
        (json!({ "operation": "zero_shot", "model": "bert-rerank", "text": "a", "labels": ["b"] }), "entailment label"),
        (json!({ "operation": "embed_sparse", "model": "bert-tags", "text": "a" }), "masked-language-model head"),
    ];
    let executor = executor();
    for (ask, words) in cases {
        let refused = executor.prepare(&task(ask.clone())).map(drop).unwrap_err();
        assert_eq!(refused.code(), "model_unsupported", "{ask}: {refused}");
        assert!(refused.to_string().contains(words), "{ask}: {refused}");
    }
    assert!(executor.loaded_models().is_empty(), "a refusal loads nothing");
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_path_of_the_field() {
    let long = "cat ".repeat(60);
    let cases = [
        (json!({ "operation": "rerank", "model": "bert-rerank", "documents": ["a"] }), "query"),
        (json!({ "operation": "rerank", "model": "bert-rerank", "query": "a", "documents": [] }), "documents"),
        (json!({ "operation": "rerank", "model": "bert-rerank", "query": "a", "documents": ["b"], "top_n": 0 }), "top_n"),
        (json!({ "operation": "rerank", "model": "bert-rerank", "query": "a", "documents": [long] }), "`documents[0]`: 64 tokens"),
        (json!({ "operation": "classify", "model": "bert-nli", "texts": ["a"], "text_pairs": ["b", "c"] }), "text_pairs"),
        (json!({ "operation": "classify", "model": "bert-nli", "texts": ["a"], "top_k": 4 }), "top_k"),
        (json!({ "operation": "tag", "model": "bert-tags", "texts": ["a"], "aggregation": "best" }), "aggregation"),
        (json!({ "operation": "fill_mask", "model": "bert-mlm", "texts": ["[MASK]"], "top_k": 1001 }), "top_k"),
        (json!({ "operation": "zero_shot", "model": "bert-nli", "text": "a", "labels": [] }), "labels"),
        (
            json!({ "operation": "zero_shot", "model": "bert-nli", "text": "a", "labels": ["b"], "hypothesis_template": "it is" }),
            "hypothesis_template",
        ),
        (json!({ "operation": "embed_sparse", "model": "bert-mlm", "text": "a", "top_n": 0 }), "top_n"),
    ];
    for (ask, words) in cases {
        let refused = run(ask.clone()).await.unwrap_err();
        assert_eq!(refused.code(), "invalid_payload", "{ask}: {refused}");
        assert!(refused.to_string().contains(words), "{ask}: {refused}");
    }
}

#[tokio::test]
async fn one_loaded_model_serves_several_operations() {
    let executor = executor();
    for operation in ["embed", "embed_tokens", "embed_sparse", "fill_mask", "tokenize", "count_tokens"] {
        let answer = executor.execute(&task(json!({ "operation": operation, "model": "bert-mlm", "text": "the [MASK]" }))).await.unwrap();
        assert_eq!(answer.output["model"], "bert-mlm", "{operation}");
    }
    let loaded = executor.loaded_models();
    assert_eq!(loaded.len(), 1);
    assert!(loaded[0].operations.contains(&"fill_mask") && !loaded[0].operations.contains(&"rerank"));
}

#[tokio::test]
async fn a_cancelled_task_ends_with_its_cause() {
    let task = task(json!({ "operation": "rerank", "model": "bert-rerank", "query": "a", "documents": ["b"] }));
    let cancel = CancelHandle::default();
    cancel.cancel(TaskError::Cancelled { reason: "no longer wanted".into() });
    let ctx = TaskContext::new(cancel, Arc::new(crate::task::PartSink::default()));
    assert_eq!(executor().execute_with(&task, &ctx).await, Err(TaskError::Cancelled { reason: "no longer wanted".into() }));
}

#[tokio::test]
async fn every_answer_and_every_listing_names_the_precision() {
    let asks = [
        json!({ "operation": "embed", "model": "bert-mlm", "text": "a" }),
        json!({ "operation": "similarity", "model": "bert-mlm", "text_a": "a", "text_b": "b" }),
        json!({ "operation": "tokenize", "model": "bert-mlm", "text": "a" }),
        json!({ "operation": "count_tokens", "model": "bert-mlm", "text": "a" }),
        json!({ "operation": "embed_tokens", "model": "bert-mlm", "text": "a" }),
        json!({ "operation": "embed_sparse", "model": "bert-mlm", "text": "a" }),
        json!({ "operation": "fill_mask", "model": "bert-mlm", "text": "a [MASK]" }),
        json!({ "operation": "rerank", "model": "bert-rerank", "query": "a", "documents": ["b"] }),
        json!({ "operation": "classify", "model": "bert-nli", "text": "a" }),
        json!({ "operation": "zero_shot", "model": "bert-nli", "text": "a", "candidate_labels": ["b"] }),
        json!({ "operation": "tag", "model": "bert-tags", "text": "a" }),
    ];
    for precision in Precision::ALL {
        let limits = BudgetLimits { host_bytes: 2 << 30, threads: 2, devices: std::collections::BTreeMap::default() };
        let source = SourceOptions { model_dirs: vec![heads()], ..SourceOptions::default() };
        let options = InferenceOptions { source, precision: PrecisionPolicy::fixed(precision), ..InferenceOptions::default() };
        let executor = ModelInferenceExecutor::with_options(ComputePool::new(2).unwrap(), Ledger::new(&limits), options);
        assert_eq!(executor.reports()[0].operations.len(), asks.len(), "every operation is asked");
        for ask in &asks {
            let answer = executor.execute(&task(ask.clone())).await.unwrap();
            assert_eq!(answer.metadata["precision"], precision.name(), "{ask}");
        }
        let details = executor.reports()[0].details.clone();
        assert_eq!(details["precision"], precision.name());
        assert!(details["isa"].is_string() && details["auto_precision"].as_str().unwrap().contains("exact"), "{details}");
        for model in details["models"].as_array().unwrap() {
            assert_eq!((&model["precision"], &model["precision_reason"]), (&json!(precision.name()), &json!("asked for")), "{model}");
        }
    }
}
