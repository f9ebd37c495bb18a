//! Tasks that share batches: hundreds run inside the batcher while the ledger stays true, and what one of them is told does not depend on the others.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tallow::resource::{BudgetLimits, ComputePool, Ledger};
use tallow::{InferenceOptions, ManagerOptions, ModelInferenceExecutor, Submission, TaskError, TaskManager, TaskType};
use tallow_models::source::SourceOptions;

use crate::support::{runtime, soon, task, together, until};

const TASKS: usize = 300;
const TEXTS: usize = 100;
const PROBE: &str = "the cat sits outside";

fn executor(ledger: &Ledger) -> ModelInferenceExecutor {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures");
    let source = SourceOptions { model_dirs: vec![fixtures], ..SourceOptions::default() };
    let options = InferenceOptions { source, default_model: "tiny-bert".into(), ..InferenceOptions::default() };
    ModelInferenceExecutor::with_options(ComputePool::new(2).expect("two threads"), ledger.clone(), options)
}

/// Lists of different lengths, each of which begins with the same text.
fn texts(at: usize) -> Vec<String> {
    let other = |n: usize| "why is the sky blue ".repeat(1 + (n * 7 + at) % 7).trim().to_owned();
    std::iter::once(PROBE.to_owned()).chain((1..TEXTS).map(other)).collect()
}

fn far(a: &Value, b: &Value) -> f64 {
    let numbers = |value: &Value| value.as_array().expect("a vector").iter().filter_map(Value::as_f64).collect::<Vec<_>>();
    numbers(a).into_iter().zip(numbers(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn hundreds_of_tasks_share_batches_and_claim_no_threads() {
    let _machine = together();
    let ledger = Ledger::new(&BudgetLimits { host_bytes: 2 << 30, threads: 2, devices: BTreeMap::new() });
    let executor = executor(&ledger);
    runtime().block_on(async {
        let manager =
            TaskManager::with_options(executor.clone(), ManagerOptions { ledger: Some(ledger.clone()), ..ManagerOptions::default() });
        let embed = |texts: Vec<String>| task(TaskType::ModelInference, json!({ "operation": "embed", "texts": texts }));
        let alone = manager.submit_task(embed(vec![PROBE.into()])).await.expect("accepted");
        let alone = soon("one text alone", manager.wait(&alone)).await.expect("completes").output["embeddings"][0].clone();
        let mut ids = Vec::new();
        for at in 0..TASKS {
            let submission = Submission::new(embed(texts(at))).submitter(format!("s{}", at % 3));
            ids.push(manager.submit(submission).await.expect("accepted"));
        }
        until("most of them run at once", || manager.stats().running > (TASKS / 3) as u64).await;
        let books = ledger.snapshot();
        assert_eq!(books.threads.used, 0, "what joins a batch claims no thread");
        assert!(books.host.used <= 2 << 30 && books.host.used > 0);
        let query = manager.submit(Submission::new(embed(vec![PROBE.into()])).submitter("s0")).await.expect("accepted");
        let query = soon("a query beside them", manager.wait(&query)).await.expect("completes");
        assert!(manager.stats().running > 0, "it did not wait for the lists");
        assert!(far(&query.output["embeddings"][0], &alone) <= 1e-6);
        for id in ids.iter().step_by(2) {
            // Whether it waits, runs or has ended.
            let _ended_before = manager.cancel_task(id).await;
        }
        for (at, id) in ids.iter().enumerate() {
            match soon("a task of many", manager.wait(id)).await {
                Ok(result) => {
                    assert_eq!(result.output["count"], TEXTS);
                    let vector = &result.output["embeddings"][0];
                    assert!(far(vector, &alone) <= 1e-6, "task {at}: {vector} and {alone}");
                }
                Err(error) => assert!(at % 2 == 0 && matches!(error, TaskError::Cancelled { .. }), "task {at}: {error}"),
            }
        }
        until("nothing but the model is held", || {
            let loaded: u64 = executor.loaded_models().iter().map(|model| model.bytes).sum();
            ledger.snapshot().host.used == loaded && executor.batch_stats().waiting == 0
        })
        .await;
        let stats = executor.batch_stats();
        assert!(stats.texts > (TASKS * TEXTS / 2) as u64 && stats.batch_tokens.count() < stats.texts / 2, "{stats:?}");
        until("no batch holds the model", || executor.loaded_models().iter().all(|model| model.in_use == 0)).await;
        assert!(matches!(executor.unload("tiny-bert"), tallow::shelf::Unload::Unloaded(_)));
        assert_eq!(ledger.snapshot().host.used, 0, "unloading leaves nothing in the batcher");
    });
}
