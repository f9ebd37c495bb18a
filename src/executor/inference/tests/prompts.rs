//! Default prompts, blanks at the ends of texts, and the tokens that are told, with sentence-transformers' answers behind them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::*;
use crate::task::TaskPriority;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures")
}

/// A copy of a model as `m` in a folder of its own, with `prompt` as its default prompt.
fn prompted(model: &str, prompt: &str) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(drop).unwrap() }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures().join(model), &folder.path().join("m"));
    let config = json!({ "prompts": { "p": prompt }, "default_prompt_name": "p" });
    std::fs::write(folder.path().join("m/config_sentence_transformers.json"), config.to_string()).unwrap();
    folder
}

async fn ask(folder: &Path, data: Value) -> Result<TaskResult, TaskError> {
    let limits = BudgetLimits { host_bytes: 2 << 30, threads: 2, devices: std::collections::BTreeMap::default() };
    let source = SourceOptions { model_dirs: vec![folder.to_owned()], ..SourceOptions::default() };
    let options = InferenceOptions { source, default_model: "m".into(), ..InferenceOptions::default() };
    let executor = ModelInferenceExecutor::with_options(ComputePool::new(2).unwrap(), Ledger::new(&limits), options);
    executor.execute(&Task::new(TaskType::ModelInference, TaskPriority::Normal, data)).await
}

fn rows(answer: &TaskResult) -> Vec<Vec<f64>> {
    serde_json::from_value(answer.output["embeddings"].clone()).unwrap()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn sum(counts: &Value) -> u64 {
    counts.as_array().unwrap().iter().filter_map(Value::as_u64).sum()
}

#[tokio::test]
async fn texts_are_compared_behind_the_default_prompt_as_they_are_embedded() {
    let folder = prompted("tiny-bert", "why is ");
    let texts = json!(["the cat sits outside", "a man is playing guitar"]);
    let embedded = rows(&ask(folder.path(), json!({ "operation": "embed", "texts": texts })).await.unwrap());
    let bare = rows(&ask(folder.path(), json!({ "operation": "embed", "texts": texts, "prompt": "" })).await.unwrap());
    let (expected, other) = (cosine(&embedded[0], &embedded[1]), cosine(&bare[0], &bare[1]));
    assert!((expected - other).abs() > 1e-3, "the prompt changes the vectors");
    let answer = ask(folder.path(), json!({ "operation": "similarity", "text_a": texts[0], "text_b": texts[1] })).await.unwrap();
    assert!((answer.output["similarity"].as_f64().unwrap() - expected).abs() < 1e-5);
    assert_eq!(answer.metadata["prompt_name"], "p");
    let zero = json!({ "operation": "zero_shot", "text": texts[0], "labels": texts[1], "method": "embedding" });
    let zero = ask(folder.path(), zero).await.unwrap();
    assert!((zero.output["items"][0][0]["score"].as_f64().unwrap() - expected).abs() < 1e-5);
    assert_eq!(zero.metadata["prompt_name"], "p");
}

#[tokio::test]
async fn what_was_done_with_long_texts_is_told_by_field() {
    let folder = prompted("tiny-bert", "");
    let long = "the cat sits outside ".repeat(20);
    let with =
        |policy: &str| json!({ "operation": "similarity", "texts_a": ["x", long], "texts_b": ["x", "y", long], "long_input": policy });
    let refused = ask(folder.path(), with("error")).await.unwrap_err().to_string();
    assert!(
        refused.contains("texts_a[1]`: the text has 82 tokens") || refused.contains("texts_b[2]`: the text has 82 tokens"),
        "{refused}"
    );
    let only_b = json!({ "operation": "similarity", "texts_a": ["x", "y"], "texts_b": ["x", long] });
    let refused = ask(folder.path(), only_b).await.unwrap_err().to_string();
    assert!(refused.contains("texts_b[1]`: the text has 82 tokens, the model takes at most 40"), "{refused}");
    let cut = ask(folder.path(), with("truncate")).await.unwrap();
    assert_eq!(cut.metadata["truncated"], json!({ "texts_a": [1], "texts_b": [2] }));
    assert_eq!(cut.metadata["token_counts"], json!({ "texts_a": [3, 82], "texts_b": [3, 3, 82] }));
    assert_eq!(cut.output["usage"]["prompt_tokens"], 3 + 40 + 3 + 3 + 40);
    let chunked = ask(folder.path(), with("chunk")).await.unwrap();
    let three = json!([{ "text": 1, "chunks": 3 }]);
    assert_eq!((&chunked.metadata["chunked"]["texts_a"], &chunked.metadata["chunked"]["texts_b"][0]["text"]), (&three, &json!(2)));
    assert!(chunked.metadata["chunk_rule"].is_string());
    // 80 words in windows of 38 beside two special tokens each.
    assert_eq!(chunked.output["usage"]["prompt_tokens"], 3 + 86 + 3 + 3 + 86);
}

#[tokio::test]
async fn a_default_prompt_that_is_not_there_is_the_models_fault() {
    let folder = prompted("tiny-bert", "");
    std::fs::write(folder.path().join("m/config_sentence_transformers.json"), r#"{"default_prompt_name": "gone"}"#).unwrap();
    for operation in [json!({ "operation": "embed", "text": "a" }), json!({ "operation": "similarity", "text_a": "a", "text_b": "b" })] {
        let refused = ask(folder.path(), operation).await.unwrap_err();
        assert!(refused.code() == "model_corrupt" && refused.to_string().contains("`gone`"), "{refused}");
    }
    assert!(ask(folder.path(), json!({ "operation": "embed", "text": "a", "prompt": "" })).await.is_ok());
}

#[tokio::test]
async fn prompts_and_blanks_of_queries_and_documents_count_as_sentence_transformers_has_it() {
    let golden: Value = serde_json::from_slice(&std::fs::read(fixtures().join("token_golden.json")).unwrap()).unwrap();
    let documents = &golden["edges"]["texts"];
    for (name, expected) in golden["edges"]["scores"].as_object().unwrap() {
        let (model, kind) = name.split_once(", ").unwrap();
        let folder = prompted(&format!("heads/{model}"), if kind == "prompted" { "why " } else { "" });
        let answer = ask(folder.path(), json!({ "operation": "rerank", "query": "  why is the sky blue? ", "documents": documents })).await;
        let answer = answer.unwrap();
        for ranked in answer.output["results"].as_array().unwrap() {
            let expected = expected[ranked["index"].as_u64().unwrap() as usize].as_f64().unwrap();
            assert!((ranked["relevance_score"].as_f64().unwrap() - expected).abs() <= 1e-4, "{name}: {ranked} and {expected}");
        }
        assert_eq!(answer.output["usage"]["prompt_tokens"], sum(&answer.metadata["token_counts"]), "{name}");
        assert_eq!(answer.metadata["prompt_name"], "p");
    }
}

#[tokio::test]
async fn tokens_that_are_told_are_those_after_every_cut() {
    let folder = prompted("tiny-bert", "why is ");
    let long = "the cat sits outside ".repeat(20);
    let embed = |policy: &str| json!({ "operation": "embed", "texts": ["the cat", long], "long_input": policy });
    let cut = ask(folder.path(), embed("truncate")).await.unwrap();
    assert_eq!((cut.metadata["token_counts"].clone(), cut.output["usage"]["prompt_tokens"].clone()), (json!([6, 84]), json!(46)));
    // 80 words in windows of 36, each with two special tokens and the two of the prompt.
    let chunked = ask(folder.path(), embed("chunk")).await.unwrap();
    assert_eq!(chunked.output["usage"]["prompt_tokens"], 6 + 80 + 3 * 4);
    let folder = prompted("heads/bert-rerank", "");
    let rerank = json!({ "operation": "rerank", "query": "the cat", "documents": ["sky", long], "long_input": "truncate" });
    let answer = ask(folder.path(), rerank).await.unwrap();
    let counts = &answer.metadata["token_counts"];
    let expected = counts[0].as_u64().unwrap() + 40;
    assert!(counts[1].as_u64().unwrap() > 80 && answer.metadata["truncated"] == json!([1]), "{counts}");
    assert_eq!(answer.output["usage"]["prompt_tokens"], expected);
    assert_eq!(answer.output["usage"]["total_tokens"], expected);
    let folder = prompted("heads/bert-nli", "");
    let classify = json!({ "operation": "classify", "texts": ["sky", long], "text_pairs": [long, long], "long_input": "truncate" });
    assert_eq!(ask(folder.path(), classify).await.unwrap().output["usage"]["prompt_tokens"], 80);
}
