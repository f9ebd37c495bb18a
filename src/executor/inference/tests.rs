//! The inference executor as its callers see it, on tiny models with sentence-transformers' answers behind them.

mod batches;
mod heads;
mod prompts;

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::task::{CancelHandle, PartSink, TaskPriority};

fn executor() -> ModelInferenceExecutor {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures");
    let limits = BudgetLimits { host_bytes: 2 << 30, threads: 2, devices: std::collections::BTreeMap::default() };
    let options = InferenceOptions {
        source: SourceOptions { model_dirs: vec![fixtures], ..SourceOptions::default() },
        default_model: "tiny-bert".into(),
        ..InferenceOptions::default()
    };
    ModelInferenceExecutor::with_options(ComputePool::new(2).unwrap(), Ledger::new(&limits), options)
}

fn task(data: Value) -> Task {
    Task::new(TaskType::ModelInference, TaskPriority::Normal, data)
}

async fn run(data: Value) -> Result<TaskResult, TaskError> {
    executor().execute(&task(data)).await
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[tokio::test]
async fn every_encoding_says_the_same() {
    let texts = json!(["the cat sits outside", "x", "why is the sky blue?"]);
    let answer = |encoding: &str| json!({ "operation": "embed", "texts": texts, "encoding": encoding });
    let float = run(answer("float")).await.unwrap();
    assert_eq!(float.output["count"], 3);
    assert_eq!(float.output["dimensions"], 16);
    assert_eq!(float.output["model"], "tiny-bert");
    assert_eq!(float.metadata["token_counts"][1], 3, "a token and the special ones");
    let base64 = run(answer("base64")).await.unwrap();
    let part = run(answer("part")).await.unwrap();
    let int8 = run(answer("int8")).await.unwrap();
    let binary = run(answer("binary")).await.unwrap();
    let inlined: crate::task::Part = serde_json::from_value(part.output["parts"]["embeddings"].clone()).unwrap();
    assert_eq!(inlined.shape(), [3, 16]);
    assert!(part.output.get("embeddings").is_none());
    let whole = inlined.to_f32().unwrap();
    for row in 0..3 {
        let expected = floats(&float.output["embeddings"][row]);
        assert_eq!(whole[row * 16..(row + 1) * 16], expected);
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(base64.output["embeddings"][row].as_str().unwrap()).unwrap();
        let decoded: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(decoded, expected);
        let scale = int8.output["scales"][row].as_f64().unwrap() as f32;
        let rebuilt = floats(&int8.output["embeddings"][row]);
        assert!(rebuilt.iter().zip(&expected).all(|(q, x)| (q * scale - x).abs() <= scale * 0.51));
        let bits = binary.output["embeddings"][row].as_array().unwrap();
        let bit = |i: usize| bits[i / 8].as_u64().unwrap() >> (7 - i % 8) & 1 == 1;
        assert!(expected.iter().enumerate().all(|(i, &x)| bit(i) == (x > 0.0)));
    }
}

#[tokio::test]
async fn a_long_text_is_refused_cut_or_chunked_and_the_answer_says_so() {
    let long = "the cat sits outside . ".repeat(20);
    let ask = |policy: &str| json!({ "operation": "embed", "texts": ["x", long], "long_input": policy });
    let refused = run(json!({ "operation": "embed", "texts": ["x", long] })).await.unwrap_err().to_string();
    assert!(refused.contains("`texts[1]`: the text has 102 tokens") && refused.contains("at most 40"), "{refused}");
    let cut = run(ask("truncate")).await.unwrap();
    assert_eq!(cut.metadata["truncated"], json!([1]));
    assert_eq!(cut.output["usage"]["prompt_tokens"], 43);
    let chunked = run(ask("chunk")).await.unwrap();
    assert_eq!(chunked.metadata["chunked"], json!([{ "text": 1, "chunks": 3 }]));
    assert_eq!(chunked.metadata["token_counts"], json!([3, 102]));
    assert_ne!(cut.output["embeddings"][1], chunked.output["embeddings"][1]);
    assert_eq!(cut.output["embeddings"][0], chunked.output["embeddings"][0]);
}

#[tokio::test]
async fn prompts_normalisation_and_shortening_are_applied_and_said() {
    let plain = run(json!({ "operation": "embed", "model": "tiny-stack", "text": "the cat" })).await.unwrap();
    let named = run(json!({ "operation": "embed", "model": "tiny-stack", "text": "the cat", "prompt_name": "query" })).await.unwrap();
    let given = run(json!({ "operation": "embed", "model": "tiny-stack", "text": "the cat", "prompt": "why is " })).await.unwrap();
    assert_eq!(named.output["embeddings"], given.output["embeddings"]);
    assert_ne!(named.output["embeddings"], plain.output["embeddings"]);
    assert_eq!(named.metadata["prompt_name"], "query");
    assert_eq!(plain.metadata["normalized"], true);
    let cut = json!({ "operation": "embed", "model": "tiny-stack", "input": "the cat", "dimensions": 4, "any_dimensions": true });
    let short = run(cut).await.unwrap();
    let vector = floats(&short.output["embeddings"][0]);
    assert_eq!(vector.len(), 4);
    assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5, "shortened vectors are normalised again");
    assert!(short.metadata["dimensions_note"].as_str().unwrap().contains("does not declare"));
    let raw = run(json!({ "operation": "embed", "text": "the cat" })).await.unwrap();
    let unit = run(json!({ "operation": "embed", "text": "the cat", "normalize": true })).await.unwrap();
    let norm = |value: &Value| floats(&value["embeddings"][0]).iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((norm(&raw.output) - 1.0).abs() > 0.1 && (norm(&unit.output) - 1.0).abs() < 1e-5);
    assert!(raw.metadata["pooling_source"].as_str().unwrap().contains("assumed"));
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_path_of_the_field() {
    let long_name = "x".repeat(5000);
    let cases = [
        (json!({ "operation": "embed" }), "invalid_payload", "texts"),
        (json!({ "operation": "embed", "texts": [] }), "invalid_payload", "texts"),
        (json!({ "operation": "embed", "texts": [[101, 102]] }), "invalid_payload", "texts[0]"),
        (json!({ "operation": "embed", "texts": [101, 102] }), "invalid_payload", "check_embedding_ctx_length"),
        (json!({ "operation": "embed", "texts": ["a", null] }), "invalid_payload", "texts[1]"),
        (json!({ "operation": "embed", "texts": 5 }), "invalid_payload", "texts"),
        (json!({ "operation": "embed", "texts": "a", "dimensions": 0 }), "invalid_payload", "dimensions"),
        (json!({ "operation": "embed", "texts": "a", "dimensions": 17 }), "invalid_payload", "dimensions"),
        (json!({ "operation": "embed", "texts": "a", "dimensions": -1 }), "invalid_payload", "dimensions"),
        (json!({ "operation": "embed", "texts": "a", "dimensions": 4 }), "invalid_payload", "trained for 16 (it declares no shorter ones)"),
        (json!({ "operation": "embed", "model": "builtin", "texts": "a", "dimensions": 65 }), "invalid_payload", "trained for 64, 128, "),
        (json!({ "operation": "embed", "texts": ["a", ""] }), "invalid_payload", "`texts[1]`: the text is empty"),
        (json!({ "operation": "embed", "texts": "\u{a0}\n" }), "invalid_payload", "`texts[0]`: the text is blank"),
        (json!({ "operation": "similarity", "texts_a": "a", "texts_b": ["a", " "] }), "invalid_payload", "`texts_b[1]`: the text is blank"),
        (json!({ "operation": "zero_shot", "texts": ["a", ""], "labels": ["b"] }), "invalid_payload", "`texts[1]`: the text is empty"),
        (json!({ "operation": "zero_shot", "texts": "a", "labels": ["b", " "] }), "invalid_payload", "`labels[1]`: the text is blank"),
        (json!({ "operation": "embed", "texts": "a", "encoding": "hex" }), "invalid_payload", "encoding"),
        (json!({ "operation": "embed", "texts": "a", "prompt_name": "query" }), "invalid_payload", "prompt_name"),
        (json!({ "operation": "embed", "texts": "a", "prompt": "p", "prompt_name": "q" }), "invalid_payload", "prompt_name"),
        (json!({ "operation": "embed", "texts": "a", "unknown": 1 }), "invalid_payload", "unknown"),
        (json!({ "operation": "embed", "texts": "a", "model": "../../etc/passwd" }), "model_missing", "passwd"),
        (json!({ "operation": "embed", "texts": "a", "model": "a/../b" }), "invalid_payload", "model"),
        (json!({ "operation": "embed", "texts": "a", "model": "no/such" }), "model_missing", "the hub is switched off"),
        (json!({ "operation": "embed", "texts": "a", "model": long_name }), "invalid_payload", "model"),
        (json!({ "operation": "embed", "texts": "a", "model": "" }), "invalid_payload", "model"),
        (json!({ "operation": "fly", "texts": "a" }), "invalid_payload", "count_tokens"),
        (json!({ "operation": 5 }), "invalid_payload", "operation"),
        (json!([]), "invalid_payload", "data"),
    ];
    for (data, code, words) in cases {
        let shown = data.to_string().chars().take(100).collect::<String>();
        let error = run(data).await.err().unwrap_or_else(|| panic!("{shown} was accepted"));
        assert_eq!(error.code(), code, "{shown}: {error}");
        assert!(error.to_string().contains(words), "{shown}: {error}");
    }
    let other = Task::new(TaskType::TextProcessing, TaskPriority::Normal, json!({ "operation": "embed", "texts": "a" }));
    assert_eq!(executor().execute(&other).await, Err(TaskError::UnsupportedTaskType));
}

#[tokio::test]
async fn tokens_carry_their_place_and_counts_name_what_is_too_long() {
    let answer = run(json!({ "operation": "tokenize", "text": "the playing cat" })).await.unwrap().output;
    assert_eq!(answer["items"][0]["tokens"], json!(["[CLS]", "the", "play", "##ing", "cat", "[SEP]"]));
    assert_eq!(answer["items"][0]["start_bytes"], json!([0, 0, 4, 8, 12, 0]));
    assert_eq!(answer["items"][0]["end_bytes"], json!([0, 3, 8, 11, 15, 0]));
    let counted = run(json!({ "operation": "count_tokens", "texts": ["", "cat ".repeat(50)] })).await.unwrap().output;
    assert_eq!(counted["counts"], json!([2, 52]));
    assert_eq!(counted["too_long"], json!([1]));
    assert_eq!(counted["max_tokens"], 40);
}

#[tokio::test]
async fn similarity_compares_every_pair() {
    let one = run(json!({ "operation": "similarity", "text_a": "the cat", "text_b": "the cat" })).await.unwrap().output;
    assert!((one["similarity"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    let many =
        run(json!({ "operation": "similarity", "texts_a": ["the cat", "x"], "texts_b": ["x", "y", "the cat"] })).await.unwrap().output;
    assert!((many["scores"][0][2].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert!((many["scores"][1][0].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert!(many.get("similarity").is_none());
}

#[tokio::test]
async fn a_cancelled_task_ends_with_its_cause() {
    let executor = executor();
    let task = task(json!({ "operation": "embed", "texts": ["a"] }));
    let cancel = CancelHandle::default();
    cancel.cancel(TaskError::Cancelled { reason: "no longer wanted".into() });
    let ctx = TaskContext::new(cancel, Arc::new(PartSink::default()));
    assert_eq!(executor.execute_with(&task, &ctx).await, Err(TaskError::Cancelled { reason: "no longer wanted".into() }));
}

#[tokio::test]
async fn the_built_in_model_answers_under_its_own_name() {
    let answer = ModelInferenceExecutor::default().execute(&task(json!({ "operation": "embed", "text": "the cat" }))).await.unwrap();
    assert_eq!(answer.output["model"], builtin::NAME);
    let by_alias = run(json!({ "operation": "embed", "text": "the cat", "model": "builtin" })).await.unwrap();
    assert_eq!(by_alias.output["embeddings"], answer.output["embeddings"]);
}

#[tokio::test]
async fn the_declared_memory_bounds_models_and_tasks() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures");
    let options = InferenceOptions {
        source: SourceOptions { model_dirs: vec![fixtures], ..SourceOptions::default() },
        max_memory_mb: 1,
        ..InferenceOptions::default()
    };
    let limits = BudgetLimits { host_bytes: 2 << 30, threads: 2, devices: std::collections::BTreeMap::default() };
    let executor = ModelInferenceExecutor::with_options(ComputePool::new(1).unwrap(), Ledger::new(&limits), options);
    let refused = executor.execute(&task(json!({ "operation": "embed", "texts": "a", "model": "tiny-bert" }))).await.unwrap_err();
    assert_eq!(refused.code(), "does_not_fit", "{refused}");
}

#[test]
fn a_stretch_without_blanks_costs_what_the_tokenizer_holds_of_it() {
    use tallow_models::text::{LIBRARY_BYTES, PIECE_BYTES};
    let bytes = 1 << 20;
    let price = |data: Value| executor().demand(&task(data)).host_bytes;
    let differ = LIBRARY_BYTES * (bytes - PIECE_BYTES) as u64 * 2;
    for operation in ["embed", "tokenize", "count_tokens", "embed_tokens"] {
        let ask = |text: String| json!({ "operation": operation, "text": text });
        let (spaced, stretch) = (price(ask("cat ".repeat(bytes / 4))), price(ask("x".repeat(bytes))));
        assert_eq!(stretch - spaced, differ, "{operation}");
    }
}

#[test]
fn every_operation_has_schemas() {
    let reports = executor().reports();
    let names: Vec<&str> = reports[0].operations.iter().map(|operation| operation.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "embed",
            "similarity",
            "tokenize",
            "count_tokens",
            "embed_tokens",
            "embed_sparse",
            "rerank",
            "classify",
            "tag",
            "fill_mask",
            "zero_shot"
        ]
    );
    for operation in &reports[0].operations {
        assert!(operation.request_schema["properties"]["operation"]["const"] == operation.name.as_str());
        assert!(operation.result_schema["properties"].is_object());
    }
}

/// Published for all-MiniLM-L6-v2 with sentence-transformers: 82.03.
#[tokio::test]
async fn minilm_reaches_its_published_sts_figure_through_the_executor() {
    let (Ok(models), Ok(data)) = (std::env::var("TALLOW_TEST_MODELS"), std::env::var("TALLOW_TEST_DATA")) else {
        eprintln!("skipped: TALLOW_TEST_MODELS and TALLOW_TEST_DATA are not both set");
        return;
    };
    let file = std::fs::read_to_string(Path::new(&data).join("stsbenchmark/sts-test.csv")).unwrap();
    let pairs = tallow_models::quality::read_sts("sts-test.csv", &file).unwrap();
    assert_eq!(pairs.len(), 1379, "every line of the test split is read");
    let texts: Vec<&str> = pairs.iter().flat_map(|pair| [pair.first.as_str(), pair.second.as_str()]).collect();
    let model = Path::new(&models).join("all-MiniLM-L6-v2").display().to_string();
    let ask = json!({ "operation": "embed", "texts": texts, "model": model, "encoding": "part" });
    let answer = run(ask).await.unwrap();
    let part: crate::task::Part = serde_json::from_value(answer.output["parts"]["embeddings"].clone()).unwrap();
    let (rows, dim) = (part.to_f32().unwrap(), part.shape()[1]);
    let cosine = |pair: &[f32]| pair[..dim].iter().zip(&pair[dim..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosines: Vec<f64> = rows.chunks_exact(2 * dim).map(cosine).collect();
    let scores: Vec<f64> = pairs.iter().map(|pair| pair.score).collect();
    let spearman = tallow_models::quality::spearman(&cosines, &scores).unwrap();
    assert!((spearman - 0.8203).abs() <= 0.0005, "found {spearman}");
}
