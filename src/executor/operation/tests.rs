//! The table refuses what it does not know, names the field, and runs what it parsed.

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::task::{PartSink, TaskPriority};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddRequest {
    numbers: Vec<f64>,
}

#[derive(Serialize, JsonSchema)]
struct AddOutput {
    sum: f64,
}

struct Add;

impl Operation<u64> for Add {
    type Request = AddRequest;
    type Output = AddOutput;
    const NAME: &'static str = "add";
    const SUMMARY: &'static str = "Adds numbers.";

    fn check(request: &AddRequest, _state: &u64, _parts: &Parts) -> Result<Cost, TaskError> {
        Ok(Cost { host_bytes: request.numbers.len() as u64 * 8, parallel: true })
    }

    fn run(request: &AddRequest, scope: &Scope<'_, u64>) -> Result<AddOutput, TaskError> {
        scope.cancel.check()?;
        assert!(request.numbers.len() < 4, "a panic for the test");
        Ok(AddOutput { sum: request.numbers.iter().sum::<f64>() + *scope.state as f64 })
    }
}

fn table() -> Arc<OperationTable<u64>> {
    Arc::new(OperationTable::new(TaskType::TextProcessing, vec![Entry::of::<Add>()]))
}

fn task(data: Value) -> Task {
    Task::new(TaskType::TextProcessing, TaskPriority::Normal, data)
}

#[test]
fn bad_payloads_name_the_field_and_what_is_allowed() {
    let cases = [
        (json!(null), "data", "expected an object, found null"),
        (json!([]), "data", "expected an object, found an array"),
        (json!({}), "operation", "missing"),
        (json!({ "operation": 3 }), "operation", "expected a string, found a number"),
        (json!({ "operation": "subtract" }), "operation", "known: add"),
        (json!({ "operation": "add" }), "data", "missing field `numbers`"),
        (json!({ "operation": "add", "numbers": [1, "x"] }), "numbers[1]", "expected a number"),
        (json!({ "operation": "add", "numbers": [], "extra": 1 }), "extra", "unknown field `extra`"),
    ];
    let mut failures = Vec::new();
    for (data, field, reason) in cases {
        match table().prepare(&task(data.clone()), &0, 2).map(|_| ()) {
            Err(TaskError::InvalidPayload { field: f, reason: r }) if f == field && r.contains(reason) => {}
            other => failures.push(format!("{data}: {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn demand_covers_payload_cost_and_threads() {
    let task = task(json!({ "operation": "add", "numbers": [1, 2] }));
    let demand = table().prepare(&task, &0, 6).unwrap().demand;
    assert_eq!(demand.host_bytes, BASE_TASK_BYTES + json_bytes(&task.payload.data) + 16);
    assert_eq!(demand.threads, 6);
}

async fn execute(data: Value, cancel: CancelHandle) -> Result<TaskResult, TaskError> {
    let (task, pool) = (task(data), ComputePool::new(1).unwrap());
    let ctx = TaskContext::new(cancel, Arc::new(PartSink::default()));
    table().execute(Work { task: &task, ctx: &ctx, state: Arc::new(10), pool: &pool }).await
}

#[tokio::test]
async fn a_task_runs_panics_and_stops_alone() {
    let result = execute(json!({ "operation": "add", "numbers": [1, 2] }), CancelHandle::default()).await.unwrap();
    assert_eq!(result.output, json!({ "sum": 13.0 }));
    assert_eq!(result.metadata["operation"], "add");
    let panicked = execute(json!({ "operation": "add", "numbers": [1, 2, 3, 4] }), CancelHandle::default()).await;
    assert_eq!(panicked.unwrap_err().code(), "internal");
    let cancel = CancelHandle::default();
    cancel.cancel(TaskError::Cancelled { reason: "test".into() });
    assert_eq!(execute(json!({ "operation": "add", "numbers": [] }), cancel).await.unwrap_err().code(), "cancelled");
}

#[test]
fn schemas_name_the_operation() {
    let info = &table().infos()[0];
    assert_eq!(info.request_schema["properties"]["operation"], json!({ "const": "add" }));
    assert_eq!(info.request_schema["required"], json!(["operation", "numbers"]));
    assert_eq!(info.result_schema["properties"]["sum"]["type"], "number");
}
