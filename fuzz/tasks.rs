//! Submissions: whatever JSON arrives, every executor prepares it or refuses it by name, and what it prepared ends in a result or a typed error.

use std::sync::Arc;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use tallow::resource::ComputePool;
use tallow::{
    CancelHandle, ExecutorRegistry, ModelInferenceExecutor, OperationInfo, Part, PartSink, Parts, SubmissionSpec, Task, TaskContext,
    TaskError, TaskExecutor as _, TaskPriority, TaskSink, TaskType, TextProcessingExecutor, VectorComputationExecutor, resolve_names,
};

use crate::harness::fuzz;
use crate::json::{mutate, sample};

/// What a task may ask for to be run here; larger ones are prepared only.
const RUN_BYTES_MAX: u64 = 16 << 20;

/// Every executor of this crate behind one door.
fn registry() -> ExecutorRegistry {
    let pool = ComputePool::new(2).expect("two threads start");
    let registry = ExecutorRegistry::new();
    registry.register("vector", VectorComputationExecutor::new(pool.clone())).expect("the name is free");
    registry.register("text", TextProcessingExecutor::new(pool.clone())).expect("the name is free");
    // Without a cache, folders or the hub: the built-in model, and paths that lead nowhere.
    registry.register("inference", ModelInferenceExecutor::new(pool)).expect("the name is free");
    registry
}

fn operations(registry: &ExecutorRegistry) -> Vec<OperationInfo> {
    let operations: Vec<OperationInfo> = registry.reports().into_iter().flat_map(|report| report.operations).collect();
    assert!(!operations.is_empty(), "the executors tell their operations");
    operations
}

fn parts() -> Parts {
    let matrix = Part::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, f32::NAN, -0.0]).expect("six values for two rows of three");
    let bytes = Part::new(tallow::Dtype::U8, vec![4], vec![1, 2, 3, 255].into()).expect("four bytes");
    Parts::from([("matrix".into(), matrix), ("bytes".into(), bytes)])
}

/// A request of one operation, by its schema, then mutated.
fn request(operations: &[OperationInfo], mutations: usize, random: &mut StdRng) -> (TaskType, Value) {
    let operation = operations.choose(random).expect("there are operations");
    let mut data = sample(&operation.request_schema, random);
    if let Some(fields) = data.as_object_mut() {
        fields.insert("operation".into(), json!(operation.name));
    }
    for _ in 0..mutations {
        mutate(&mut data, random);
    }
    (operation.task_type.clone(), data)
}

/// Errors that a payload may get. `Internal` is none of them: nothing in a payload is this worker's fault.
fn is_an_answer(error: &TaskError) -> bool {
    !matches!(error, TaskError::Internal { .. }) && !error.to_string().is_empty() && error.to_string().len() < 10_000
}

#[test]
fn every_payload_is_prepared_or_refused_by_name() {
    let registry = registry();
    let operations = operations(&registry);
    let make = |random: &mut StdRng, mutations| request(&operations, mutations, random);
    fuzz("prepare", make, |(task_type, data)| {
        let task = Task::new(task_type.clone(), TaskPriority::Normal, data.clone()).with_parts(parts());
        match registry.prepare(&task) {
            Ok(prepared) if prepared.demand.host_bytes == 0 => Err("a prepared task costs nothing".into()),
            Err(error) if !is_an_answer(&error) => Err(format!("not an answer: {error:?}")),
            _ => Ok(()),
        }
    });
}

#[test]
fn what_was_prepared_ends_in_a_result_or_a_typed_error() {
    let registry = registry();
    let operations = operations(&registry);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    // Mostly right requests: the deeper code is behind the checks.
    let make = |random: &mut StdRng, mutations| request(&operations, if random.random_ratio(3, 4) { 0 } else { mutations }, random);
    fuzz("execute", make, |(task_type, data)| {
        let task = Task::new(task_type.clone(), TaskPriority::Normal, data.clone()).with_parts(parts());
        let Ok(prepared) = registry.prepare(&task) else { return Ok(()) };
        if prepared.demand.host_bytes > RUN_BYTES_MAX {
            return Ok(());
        }
        let sink = Arc::new(PartSink::default()) as Arc<dyn TaskSink>;
        let ctx = TaskContext::new(CancelHandle::default(), sink).with_request(prepared.request);
        match runtime.block_on(registry.execute_with(&task, &ctx)) {
            Err(error) if !is_an_answer(&error) => Err(format!("not an answer: {error:?}, detail {}", error.detail())),
            _ => Ok(()),
        }
    });
}

/// A batch of submissions, as HTTP bodies and task files hold it.
fn batch(operations: &[OperationInfo], mutations: usize, random: &mut StdRng) -> Value {
    let names = ["a", "b", "c", "", "a", "\u{0}"];
    let count = random.random_range(1..4);
    let mut specs: Vec<Value> = Vec::new();
    for _ in 0..count {
        let (task_type, mut data) = request(operations, 0, random);
        if random.random_ratio(1, 3) {
            data = json!({ "operation": "x", "texts": { "$from": names.choose(random), "path": "/chunks/*/text" } });
        }
        specs.push(json!({
            "name": names.choose(random), "type": task_type, "data": data, "priority": "high", "deadline_ms": random.random_range(0..10_000),
            "depends_on": [names.choose(random)], "labels": { "k": "v" }, "retries_max": 1,
            "parts": { "p": { "dtype": "f32", "shape": [1], "base64": "AACAPw==" } },
        }));
    }
    let mut batch = Value::Array(specs);
    for _ in 0..mutations {
        mutate(&mut batch, random);
    }
    batch
}

#[test]
fn every_submission_document_is_read_or_refused() {
    let registry = registry();
    let operations = operations(&registry);
    let make = |random: &mut StdRng, mutations| batch(&operations, mutations, random);
    fuzz("submission", make, |batch| {
        let text = batch.to_string();
        let Ok(specs) = serde_json::from_str::<Vec<SubmissionSpec>>(&text) else { return Ok(()) };
        let count = specs.len();
        match resolve_names(specs, "fuzz") {
            Ok(submissions) if submissions.len() == count => Ok(()),
            Ok(submissions) => Err(format!("{count} submissions became {}", submissions.len())),
            Err(error) if is_an_answer(&error) => Ok(()),
            Err(error) => Err(format!("not an answer: {error:?}")),
        }
    });
}
