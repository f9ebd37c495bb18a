//! Models that share too little memory: every accepted task completes, and the limit holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tallow::resource::{BudgetLimits, ComputePool, Ledger};
use tallow::{
    InferenceOptions, ManagerOptions, ModelInferenceExecutor, ResourceDemand, Submission, Task, TaskError, TaskExecutor as _, TaskManager,
    TaskType,
};
use tallow_models::source::SourceOptions;

use crate::support::{runtime, soon, task, together, until};

const MODELS: [&str; 3] = ["tiny-bert", "tiny-distilbert", "tiny-mpnet"];
const THREADS: u32 = 8;

fn executor(ledger: Ledger) -> ModelInferenceExecutor {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures");
    let source = SourceOptions { model_dirs: vec![fixtures], ..SourceOptions::default() };
    let options = InferenceOptions { source, ..InferenceOptions::default() };
    // One thread per task, so that many run side by side and each could hold what another waits for.
    ModelInferenceExecutor::with_options(ComputePool::new(1).expect("a thread"), ledger, options)
}

fn ledger(host_bytes: u64) -> Ledger {
    Ledger::new(&BudgetLimits { host_bytes, threads: THREADS, devices: BTreeMap::new() })
}

fn manager(executor: &ModelInferenceExecutor, ledger: &Ledger) -> TaskManager<ModelInferenceExecutor> {
    let owner = executor.clone();
    let options = ManagerOptions {
        ledger: Some(ledger.clone()),
        on_shortage: Some(Arc::new(move |demand| owner.make_room(demand))),
        reserve_after: Duration::from_millis(20),
        ..ManagerOptions::default()
    };
    TaskManager::with_options(executor.clone(), options)
}

fn embed(model: &str, texts: usize) -> Task {
    let texts: Vec<String> = (0..texts).map(|at| format!("the cat sits outside {at}")).collect();
    task(TaskType::ModelInference, json!({ "operation": "embed", "model": model, "texts": texts }))
}

fn count_tokens(model: &str) -> Task {
    task(TaskType::ModelInference, json!({ "operation": "count_tokens", "model": model, "text": "the cat" }))
}

fn demand_of(executor: &ModelInferenceExecutor, task: &Task) -> ResourceDemand {
    executor.prepare(task).expect("a good payload").demand
}

fn model_bytes(demand: &ResourceDemand) -> u64 {
    demand.model.as_ref().map_or(0, |model| model.host_bytes)
}

/// The least memory in which each of the tasks can run; no two of the models fit into it beside each other and a task.
fn tight_limit() -> u64 {
    let unbounded = executor(ledger(u64::MAX));
    let demands: Vec<_> = MODELS.map(|model| demand_of(&unbounded, &embed(model, 8))).into();
    let limit = demands.iter().map(|demand| demand.host_bytes + model_bytes(demand)).max().expect("three");
    let mut models: Vec<u64> = demands.iter().map(model_bytes).collect();
    models.sort_unstable();
    let smallest = MODELS.map(|model| demand_of(&unbounded, &count_tokens(model)).host_bytes).into_iter().min().expect("three");
    assert!(models[0] + models[1] + smallest > limit, "{models:?} and {smallest} into {limit}");
    limit
}

#[test]
fn many_tasks_over_models_of_which_one_fits_all_complete() {
    let _machine = together();
    let limit = tight_limit();
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let ledger = ledger(limit);
        let executor = executor(ledger.clone());
        runtime().block_on(async {
            let manager = manager(&executor, &ledger);
            let (mut ids, mut cancelled) = (Vec::new(), Vec::new());
            for at in 0..80 {
                let model = MODELS[random.random_range(0..MODELS.len())];
                let task = if random.random_bool(0.5) { embed(model, random.random_range(1..8)) } else { count_tokens(model) };
                let submitter = format!("s{}", random.random_range(0..3));
                let id = manager.submit(Submission::new(task).submitter(submitter)).await.expect("accepted");
                if at % 10 == 9 {
                    // Whether it waits, loads, runs or has ended.
                    let _ended_before = manager.cancel_task(&id).await;
                    cancelled.push(id);
                } else {
                    ids.push(id);
                }
                if random.random_bool(0.2) {
                    let _not_loaded_or_in_use = executor.unload(model);
                }
                assert!(ledger.snapshot().host.used <= limit, "seed {seed}");
            }
            for id in ids {
                let outcome = soon("a task over too little memory", manager.wait(&id)).await;
                assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
            }
            for id in cancelled {
                let outcome = soon("a cancelled task ends", manager.wait(&id)).await;
                assert!(matches!(outcome, Ok(_) | Err(TaskError::Cancelled { .. })), "seed {seed}: {outcome:?}");
            }
            assert_eq!(manager.stats().totals.retried, 0, "seed {seed}: nothing was sent round again");
            assert!(ledger.snapshot().host.peak <= limit, "seed {seed}: {} of {limit} bytes", ledger.snapshot().host.peak);
            until("what is left is one idle model", || {
                let loaded: u64 = executor.loaded_models().iter().map(|model| model.bytes).sum();
                ledger.snapshot().host.used == loaded && loaded <= limit
            })
            .await;
        });
    }
}

#[test]
fn a_task_waits_for_the_memory_of_its_model_as_long_as_it_takes() {
    let _machine = together();
    let limit = tight_limit();
    let ledger = ledger(limit);
    let executor = executor(ledger.clone());
    runtime().block_on(async {
        let manager = manager(&executor, &ledger);
        // Memory that something else holds for longer than any retry would take.
        let other = ledger.try_claim(&ResourceDemand { host_bytes: limit / 2, ..ResourceDemand::default() }).expect("free");
        let waiting = manager.submit_task(embed(MODELS[0], 8)).await.expect("accepted");
        let given_up = manager.submit_task(embed(MODELS[1], 8)).await.expect("accepted");
        let late = Submission::new(embed(MODELS[2], 8)).deadline(chrono::Utc::now() + chrono::TimeDelta::milliseconds(300));
        let late = manager.submit(late).await.expect("accepted");
        assert_eq!(soon("the deadline", manager.wait(&late)).await.map_err(|error| error.code()), Err("deadline_exceeded"));
        manager.cancel_task(&given_up).await.expect("it waits");
        assert_eq!(manager.stats().queued["normal"], 1, "the third one waits");
        drop(other);
        soon("it runs", manager.wait(&waiting)).await.expect("completes");
    });
}

#[test]
fn a_task_that_cannot_fit_beside_its_model_is_refused_when_it_is_submitted() {
    let _machine = together();
    let ledger = ledger(tight_limit() - 1);
    let executor = executor(ledger.clone());
    runtime().block_on(async {
        let manager = manager(&executor, &ledger);
        let refused = MODELS.map(|model| manager.submit_task(embed(model, 8)));
        let refused = futures_util::future::join_all(refused).await;
        let error = refused.into_iter().find_map(Result::err).expect("the largest one does not fit");
        assert_eq!(error.code(), "does_not_fit");
        assert!(error.to_string().contains(" for the task and ") && error.to_string().contains(" for model `tiny-"), "{error}");
    });
}
