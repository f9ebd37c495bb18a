//! Resident sets under a manager: filled from texts without leaving the worker, within the budget, never in the way of others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tallow::manager::StatusKind;
use tallow::resource::{BudgetLimits, ComputePool, HostAccount, Ledger};
use tallow::{
    ExecutorRegistry, ManagerOptions, Submission, SubmissionSpec, TaskError, TaskManager, TaskType, VectorComputationExecutor,
    VectorOptions, resolve_names,
};

use crate::support::{Holder, MIB, alone, registry, rows, runtime, soon, task, together, until, vector_task};

const TEXT: &str = "The cat sat on the mat and looked at the birds outside. Interest rates rose again as the central bank fought inflation. \
    The rocket left the launch pad and reached orbit after nine minutes. Bread rises because yeast makes gas in the warm dough.";

fn vectors(data: Value) -> Value {
    json!({ "type": "vector_computation", "data": data })
}

fn graph() -> Vec<Submission> {
    let mut specs = vec![
        json!({ "name": "pieces", "type": "text_processing", "data": { "operation": "chunk", "by": "sentences", "size": 1, "text": TEXT } }),
        json!({ "name": "embedded", "type": "model_inference", "data": {
            "operation": "embed", "encoding": "part", "texts": { "$from": "pieces", "path": "/chunks/*/text" } } }),
        json!({ "name": "question", "type": "model_inference", "data": {
            "operation": "embed", "encoding": "part", "texts": ["a spacecraft in orbit"] } }),
    ];
    let mut create = vectors(json!({ "operation": "set.create", "set": "notes", "dim": 1024, "dtype": "f16" }));
    create["name"] = json!("made");
    let mut append = vectors(json!({
        "operation": "set.append", "set": "notes", "vectors": { "$from": "embedded", "part": "embeddings" },
        "metadata": { "text": { "$from": "pieces", "path": "/chunks/*/text" }, "from": { "$from": "pieces", "path": "/chunks/*/start_byte" } },
    }));
    (append["name"], append["depends_on"]) = (json!("filled"), json!(["made"]));
    let mut search = vectors(json!({
        "operation": "set.search", "set": "notes", "queries": { "$from": "question", "part": "embeddings" }, "k": 1, "metadata": true,
        "filter": { "range": { "field": "from", "gt": 0 } },
    }));
    (search["name"], search["depends_on"]) = (json!("found"), json!(["filled"]));
    // Told last first: the graph finds its order.
    specs.extend([create, append, search]);
    specs.reverse();
    let specs: Vec<SubmissionSpec> = specs.into_iter().map(|spec| serde_json::from_value(spec).expect("a spec")).collect();
    resolve_names(specs, "writer").expect("every name is known")
}

#[test]
fn texts_become_a_set_and_are_found_in_one_submission() {
    let _together = together();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let ids = manager.submit_all(graph()).await.expect("accepted");
        let found = soon("the search ends", manager.wait(&ids[0])).await.expect("completes").output;
        assert!(found["metadata"][0][0]["text"].as_str().is_some_and(|text| text.contains("rocket")), "{found}");
        let offset = found["metadata"][0][0]["from"].as_f64().expect("a number") as usize;
        assert!(TEXT[offset..].starts_with("The rocket"), "metadata goes with its row: {found}");
        assert_eq!(found["search"]["rows_filtered"], 1, "the first sentence begins at 0");
        let filled = soon("known", manager.wait(&ids[1])).await.expect("completes").output;
        assert_eq!((&filled["added"], &filled["first_id"]), (&json!(4), &json!(0)));
        // The same graph again: the name is taken, and what depends on it is told.
        let ids = manager.submit_all(graph()).await.expect("accepted");
        let error = soon("the search cannot run", manager.wait(&ids[0])).await.expect_err("no second set");
        assert_eq!(error.code(), "dependency_failed", "{error}");
    });
}

/// A manager, a vector executor and one that holds memory under one ledger.
struct World {
    manager: Arc<TaskManager<ExecutorRegistry>>,
    ledger: Ledger,
    account: HostAccount,
    gate: Arc<tokio::sync::Notify>,
}

fn world(limit: u64) -> World {
    let ledger = Ledger::new(&BudgetLimits { host_bytes: limit, threads: 2, devices: BTreeMap::new() });
    let pool = ComputePool::new(2).expect("two threads");
    let account = HostAccount::new(ledger.clone(), None);
    let options = VectorOptions { max_memory_mb: 0, account: account.clone(), folder: None, allow_paths: false };
    let registry = ExecutorRegistry::new();
    registry.register("vector", VectorComputationExecutor::with_options(pool, options)).expect("a free name");
    let holder = Holder::new(1, limit);
    let gate = holder.gate.clone();
    registry.register("holder", holder).expect("a free name");
    let options = ManagerOptions { ledger: Some(ledger.clone()), ..ManagerOptions::default() };
    World { manager: Arc::new(TaskManager::with_options(registry, options)), ledger, account, gate }
}

async fn done(manager: &TaskManager<ExecutorRegistry>, data: Value, part: &tallow::Part) -> Result<Value, TaskError> {
    let id = manager.submit_task(vector_task(data, part)).await?;
    soon("the task ends", manager.wait(&id)).await.map(|result| result.output)
}

#[test]
fn a_set_that_does_not_fit_is_refused_and_what_no_longer_fits_beside_one_does_not_wait_for_ever() {
    let _together = together();
    runtime().block_on(async {
        let World { manager, ledger, account, gate } = world(100 * MIB);
        let none = rows(1, 1);
        let create = json!({ "operation": "set.create", "set": "big", "dim": 1024 });
        done(&manager, create, &none).await.expect("made");
        let append = json!({ "operation": "set.append", "set": "big", "vectors": { "$part": "rows" } });
        // As bytes they would fit, as numbers on their way into the set they do not.
        let bytes = tallow::Part::new(tallow::Dtype::I8, vec![30_000, 1024], vec![1u8; 30_000 * 1024].into()).expect("as long as it says");
        let refused = done(&manager, append.clone(), &bytes).await.expect_err("too large");
        let TaskError::DoesNotFit { needed_bytes, available_bytes, .. } = refused else { panic!("{refused}") };
        assert!(needed_bytes > 100 * MIB && available_bytes == 100 * MIB, "{needed_bytes} of {available_bytes}");
        assert_eq!(ledger.snapshot().host.lasting, 0);
        done(&manager, append, &rows(2_000, 1024)).await.expect("8 MiB fit");
        let lasting = ledger.snapshot().host.lasting;
        assert!(lasting > 2_000 * 4096 && lasting < 9 * MIB, "{lasting}");
        let beside = manager.submit_task(Holder::task(95, "turns")).await.expect_err("not beside the set");
        assert!(matches!(beside, TaskError::DoesNotFit { available_bytes, .. } if available_bytes == 100 * MIB - lasting), "{beside}");
        // One that fits when it is accepted, but not once sets have grown, while another task holds what it waits for.
        let held = manager.submit_task(Holder::task(30, "gate")).await.expect("accepted");
        until("the holder runs", || manager.status(&held).is_ok_and(|status| status.status == StatusKind::Running)).await;
        let doomed = manager.submit_task(Holder::task(90, "turns")).await.expect("it fits beside the set");
        let grown = account.hold(10 * MIB).map_err(|shortage| format!("{shortage:?}")).expect("room beside the holder");
        gate.notify_one();
        soon("the holder ends", manager.wait(&held)).await.expect("completes");
        let error = soon("what cannot fit ends", manager.wait(&doomed)).await.expect_err("refused");
        assert_eq!(error.code(), "does_not_fit", "{error}");
        drop(grown);
        // Dropping gives all of it back.
        done(&manager, json!({ "operation": "set.drop", "set": "big" }), &none).await.expect("dropped");
        until("the bytes are back", || ledger.snapshot().host.used == 0).await;
        let fits = manager.submit_task(Holder::task(95, "turns")).await.expect("as before");
        soon("it runs", manager.wait(&fits)).await.expect("completes");
    });
}

#[test]
fn a_cancelled_search_ends_at_once() {
    let _alone = alone();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let rows = rows(60_000, 512);
        let create = json!({ "operation": "set.create", "set": "wide", "dim": 512, "metric": "l1" });
        let id = manager.submit_task(task(TaskType::VectorComputation, create)).await.expect("accepted");
        soon("made", manager.wait(&id)).await.expect("completes");
        done(&manager, json!({ "operation": "set.append", "set": "wide", "vectors": { "$part": "rows" } }), &rows).await.expect("filled");
        // Half a minute and more of work.
        let search = json!({ "operation": "set.search", "set": "wide", "queries": { "$part": "rows" }, "k": 1, "encoding": "part" });
        let id = manager.submit_task(vector_task(search, &rows)).await.expect("accepted");
        until("it runs", || manager.status(&id).is_ok_and(|status| status.status == StatusKind::Running)).await;
        let began = Instant::now();
        manager.cancel_task(&id).await.expect("cancelled");
        until("its threads are free", || manager.ledger().snapshot().threads.used == 0).await;
        let elapsed = began.elapsed();
        println!("a cancelled search gave its threads back after {elapsed:?}");
        assert!(elapsed < Duration::from_millis(250), "{elapsed:?}");
    });
}
