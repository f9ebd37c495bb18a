//! What batches mean for a task: what it claims, what it is told of kept results, and that unloading leaves nothing behind.

use std::path::Path;

use serde_json::{Value, json};

use super::super::*;
use super::task;

fn executor(cache_bytes: u64) -> ModelInferenceExecutor {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures");
    let limits = BudgetLimits { host_bytes: 2 << 30, threads: 2, devices: std::collections::BTreeMap::default() };
    let options = InferenceOptions {
        source: SourceOptions { model_dirs: vec![fixtures.clone(), fixtures.join("heads")], ..SourceOptions::default() },
        default_model: "tiny-bert".into(),
        cache_bytes,
        ..InferenceOptions::default()
    };
    ModelInferenceExecutor::with_options(ComputePool::new(2).unwrap(), Ledger::new(&limits), options)
}

#[test]
fn encoder_tasks_claim_no_threads_and_what_they_compute_in_is_the_models() {
    let executor = executor(0);
    let demand = |data: Value| executor.prepare(&task(data)).unwrap().demand;
    let one = demand(json!({ "operation": "embed", "texts": ["the cat"] }));
    let many = demand(json!({ "operation": "embed", "texts": vec!["the cat"; 1000] }));
    assert_eq!((one.threads, many.threads), (0, 0));
    let model = one.model.clone().unwrap();
    assert_eq!(model, many.model.unwrap());
    let sketch = executor.inner.shelf.sketch("tiny-bert").unwrap();
    let room = sketch.working_bytes_per_token * 256 * 2;
    assert!(model.host_bytes > room, "the largest batches of both threads are in the model's price: {} of {room}", model.host_bytes);
    let builtin = demand(json!({ "operation": "embed", "texts": ["the cat"], "model": "builtin" }));
    assert_eq!(builtin.threads, 2, "what has no batches computes on all threads at once");
    let facts = &executor.reports()[0].details["batches"];
    assert_eq!((&facts["tokens_max"], &facts["threads"], &facts["cache_bytes_max"]), (&json!(256), &json!(2), &json!(0)), "{facts}");
}

#[tokio::test]
async fn an_answer_says_how_much_of_it_was_kept_from_before() {
    let cached = executor(1 << 20);
    let asks = [
        (json!({ "operation": "embed", "texts": ["the cat", "x"] }), 2),
        (json!({ "operation": "rerank", "model": "bert-rerank", "query": "the cat", "documents": ["a", "b", "c"] }), 3),
        (json!({ "operation": "embed_tokens", "texts": ["the cat"] }), 0),
    ];
    for (ask, kept) in asks {
        let first = cached.execute(&task(ask.clone())).await.unwrap();
        let again = cached.execute(&task(ask.clone())).await.unwrap();
        assert_eq!((&first.metadata["cached"], &again.metadata["cached"]), (&json!(0), &json!(kept)), "{ask}");
        assert_eq!(first.output, again.output, "{ask}");
    }
    let unit = json!({ "operation": "embed", "texts": ["the cat"], "normalize": true });
    let (kept, fresh) = (cached.execute(&task(unit.clone())).await.unwrap(), executor(0).execute(&task(unit)).await.unwrap());
    assert_eq!((&kept.metadata["cached"], kept.output), (&json!(1), fresh.output), "a row is kept as the model gave it");
    assert!(!fresh.metadata.contains_key("cached"), "nothing is said where nothing is kept");
    assert_eq!(cached.batch_stats().cached, 6);
}
