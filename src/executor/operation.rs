//! Operations as a table: one typed request, one typed result, one entry. Knows no family of operations.
//!
//! An operation is a type that implements [`Operation`] in a file of its own, plus one line in its executor's table. The table parses the payload once
//! (at admission), prices it, runs it on the compute pool and describes it with JSON Schemas; an executor is a thin shell around one.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::{Value, json};

use crate::resource::ComputePool;
use crate::task::{
    BASE_TASK_BYTES, CancelHandle, METADATA_OPERATION, OperationInfo, Parts, Prepared, ResourceDemand, Task, TaskContext, TaskError,
    TaskPayload, TaskResult, TaskSink, TaskType, json_bytes, plainly,
};

/// What an operation holds beside its payload, computed from the request's shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Host bytes at the peak: parsed request, work space and answer. The payload itself is added by the table.
    pub host_bytes: u64,
    /// True when the work is split over all compute threads; else it claims one thread and rayon calls inside stay on it.
    pub parallel: bool,
}

/// What a running operation may use: its executor's state, its payload's parts, and ways to stop and to tell.
pub struct Scope<'a, S> {
    /// What the executor shares between its operations.
    pub state: &'a S,
    /// The binary parts of the payload.
    pub parts: &'a Parts,
    /// Checked inside every long loop.
    pub cancel: &'a CancelHandle,
    /// Where progress and binary parts of the answer go.
    pub sink: &'a Arc<dyn TaskSink>,
}

/// One operation. `S` is what its executor shares between operations.
///
/// `run` is called on a compute thread (rayon calls inside use what the task claimed: one thread or all) and may block it; it checks `scope.cancel` at least every few
/// milliseconds and never panics on input.
pub trait Operation<S>: 'static {
    /// The parsed payload without its `operation` field; refuses unknown fields.
    type Request: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// The answer.
    type Output: Serialize + JsonSchema;
    /// The value of the payload's `operation` field.
    const NAME: &'static str;
    /// One sentence for listings.
    const SUMMARY: &'static str;

    /// Checks what types cannot say and prices the request. Cheap: looks at sizes only. Errors: `InvalidPayload` with the field's path, model errors.
    fn check(request: &Self::Request, state: &S, parts: &Parts) -> Result<Cost, TaskError>;

    /// Computes the answer. Errors: `Cancelled`, `DeadlineExceeded` through `scope.cancel`; what only the data can tell.
    fn run(request: &Self::Request, scope: &Scope<'_, S>) -> Result<Self::Output, TaskError>;
}

type ErasedRequest = Arc<dyn Any + Send + Sync>;
type PrepareFn<S> = fn(&TaskPayload, &S) -> Result<(ErasedRequest, Cost), TaskError>;
type RunFn<S> = fn(&(dyn Any + Send + Sync), &Scope<'_, S>) -> Result<Value, TaskError>;

/// An operation without its types: a row of the table.
pub struct Entry<S> {
    name: &'static str,
    prepare: PrepareFn<S>,
    run: RunFn<S>,
    info: fn(&TaskType) -> OperationInfo,
}

impl<S> Entry<S> {
    /// The row of operation `O`.
    #[must_use]
    pub fn of<O: Operation<S>>() -> Self {
        Self { name: O::NAME, prepare: prepare::<O, S>, run: run::<O, S>, info: info_of::<O, S> }
    }
}

/// The operations of one executor, by name.
pub struct OperationTable<S> {
    task_type: TaskType,
    entries: Vec<Entry<S>>,
}

/// A payload that passed admission, as [`Prepared::request`] carries it: which operation, and its parsed request.
pub struct ParsedOperation {
    name: &'static str,
    request: ErasedRequest,
    parallel: bool,
}

impl<S: Send + Sync + 'static> OperationTable<S> {
    /// A table for tasks of `task_type`. Names must be unique; the first of two equal names wins.
    #[must_use]
    pub fn new(task_type: TaskType, entries: Vec<Entry<S>>) -> Self {
        Self { task_type, entries }
    }

    /// The names, in the table's order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.name)
    }

    /// What the table can be asked for, with JSON Schemas of requests and answers.
    #[must_use]
    pub fn infos(&self) -> Vec<OperationInfo> {
        self.entries.iter().map(|entry| (entry.info)(&self.task_type)).collect()
    }

    /// Parses and prices a payload. `thread_count` is what a parallel operation is charged.
    ///
    /// Errors: `UnsupportedTaskType`; `InvalidPayload` naming the path of the field, what was found and what is allowed.
    pub fn prepare(&self, task: &Task, state: &S, thread_count: usize) -> Result<Prepared, TaskError> {
        if task.payload.task_type != self.task_type {
            return Err(TaskError::UnsupportedTaskType);
        }
        let entry = self.find(operation_name(&task.payload.data)?)?;
        let (request, cost) = (entry.prepare)(&task.payload, state)?;
        let parts_bytes: u64 = task.payload.parts.values().map(|part| part.bytes().len() as u64).sum();
        let data_bytes = json_bytes(&task.payload.data);
        let payload_bytes = data_bytes.saturating_add(parts_bytes);
        let demand = ResourceDemand {
            host_bytes: BASE_TASK_BYTES.saturating_add(payload_bytes).saturating_add(cost.host_bytes),
            threads: if cost.parallel { u32::try_from(thread_count).unwrap_or(u32::MAX) } else { 1 },
            ..ResourceDemand::default()
        };
        // What is parsed is no larger than the JSON it is parsed from; parts are shared.
        Ok(Prepared::new(demand, ParsedOperation { name: entry.name, request, parallel: cost.parallel }).holding(data_bytes))
    }

    /// Runs a task on the pool; uses the request that admission parsed, or parses it when there is none.
    ///
    /// The result's metadata holds `operation` and `compute_ms`. Errors: those of the operation; a panic becomes `Internal`.
    pub async fn execute(self: &Arc<Self>, work: Work<'_, S>) -> Result<TaskResult, TaskError> {
        let Work { task, ctx, state, pool } = work;
        let parsed = match ctx.request::<ParsedOperation>() {
            Some(parsed) => parsed,
            None => {
                let prepared = self.prepare(task, &state, pool.thread_count())?;
                let request = prepared.request.and_then(|request| request.downcast::<ParsedOperation>().ok());
                request.ok_or_else(|| TaskError::internal("the task was prepared by another executor", task.id.to_string()))?
            }
        };
        let (table, ctx, parts) = (Arc::clone(self), ctx.clone(), task.payload.parts.clone());
        let parallel = parsed.parallel;
        let work = move || {
            ctx.cancel().check()?;
            let started = Instant::now();
            let scope = Scope { state: state.as_ref(), parts: &parts, cancel: ctx.cancel(), sink: ctx.sink() };
            let entry = table.find(parsed.name)?;
            let mut result = TaskResult::new((entry.run)(parsed.request.as_ref(), &scope)?);
            result.metadata.insert(METADATA_OPERATION.into(), json!(entry.name));
            result.metadata.insert("compute_ms".into(), json!(started.elapsed().as_secs_f64() * 1000.0));
            Ok(result)
        };
        // A task that claimed one thread computes on one: two of them side by side then never wait for each other's pieces.
        if parallel { pool.run(work).await } else { pool.run_single(work).await }
    }

    fn find(&self, name: &str) -> Result<&Entry<S>, TaskError> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| unknown_operation(name, self.names()))
    }
}

/// One run of one task: what [`OperationTable::execute`] needs.
pub struct Work<'a, S> {
    /// The task.
    pub task: &'a Task,
    /// Its surroundings.
    pub ctx: &'a TaskContext,
    /// What the executor shares between its operations.
    pub state: Arc<S>,
    /// Where it computes.
    pub pool: &'a ComputePool,
}

/// The payload's `operation`. Errors: `InvalidPayload` when the data is no object or the field is missing or no string.
pub fn operation_name(data: &Value) -> Result<&str, TaskError> {
    let fields = data.as_object().ok_or_else(|| TaskError::invalid("data", format!("expected an object, found {}", json_kind(data))))?;
    match fields.get("operation") {
        Some(Value::String(name)) => Ok(name),
        Some(other) => Err(TaskError::invalid("operation", format!("expected a string, found {}", json_kind(other)))),
        None => Err(TaskError::invalid("operation", "missing; it names what is to be done")),
    }
}

/// Parses a payload's data into a typed request; the `operation` field is left out.
///
/// Errors: `InvalidPayload` with the JSON path of the field, what was found and what is allowed.
pub fn parse_request<R: DeserializeOwned>(data: &Value) -> Result<R, TaskError> {
    let fields = data.as_object().ok_or_else(|| TaskError::invalid("data", format!("expected an object, found {}", json_kind(data))))?;
    let pairs = fields.iter().filter(|(key, _)| *key != "operation").map(|(key, value)| (key.as_str(), value));
    let deserializer = MapDeserializer::<_, serde_json::Error>::new(pairs);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "data".to_owned() } else { path };
        TaskError::invalid(field, plainly(&error.inner().to_string()))
    })
}

/// Describes an operation with the JSON Schemas of its request (with its `operation` field) and its answer.
#[must_use]
pub fn operation_info<R: JsonSchema, O: JsonSchema>(task_type: &TaskType, name: &str, summary: &str) -> OperationInfo {
    let mut request_schema = schemars::schema_for!(R).to_value();
    if let Some(schema) = request_schema.as_object_mut() {
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("operation".into(), json!({ "const": name }));
        }
        let required = schema.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            required.insert(0, json!("operation"));
        }
    }
    OperationInfo {
        task_type: task_type.clone(),
        name: name.to_owned(),
        summary: summary.to_owned(),
        request_schema,
        result_schema: schemars::schema_for!(O).to_value(),
    }
}

/// The error for an `operation` that an executor does not know; lists those it knows.
pub fn unknown_operation(found: &str, known: impl Iterator<Item = &'static str>) -> TaskError {
    let known: Vec<_> = known.collect();
    let shown: String = found.chars().take(64).collect();
    TaskError::invalid("operation", format!("unknown operation `{shown}`; known: {}", known.join(", ")))
}

/// What a JSON value is, in words for messages.
#[must_use]
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn prepare<O: Operation<S>, S>(payload: &TaskPayload, state: &S) -> Result<(ErasedRequest, Cost), TaskError> {
    let request = parse_request::<O::Request>(&payload.data)?;
    let cost = O::check(&request, state, &payload.parts)?;
    Ok((Arc::new(request), cost))
}

fn run<O: Operation<S>, S>(request: &(dyn Any + Send + Sync), scope: &Scope<'_, S>) -> Result<Value, TaskError> {
    let request =
        request.downcast_ref::<O::Request>().ok_or_else(|| TaskError::internal("the request belongs to another operation", O::NAME))?;
    let output = O::run(request, scope)?;
    serde_json::to_value(output).map_err(|error| TaskError::internal("the answer cannot be written as JSON", error.to_string()))
}

fn info_of<O: Operation<S>, S>(task_type: &TaskType) -> OperationInfo {
    operation_info::<O::Request, O::Output>(task_type, O::NAME, O::SUMMARY)
}

#[cfg(test)]
mod tests;
