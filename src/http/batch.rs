//! Many tasks in one call: batch submit and batch status. Each task counts: a batch of 1,000 is charged as 1,000.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::body;
use super::error::{ApiError, BodyIsFinal, retry_after_secs};
use super::gate::Caller;
use super::json;
use super::state::AppState;
use super::tasks::{at_position, unserved};
use super::view::{BatchAnswer, BatchBody, BatchItem, StatusAnswer, StatusBody, StatusItem};
use crate::manager::{StatusView, resolve_names};
use crate::task::{Submission, SubmissionSpec, TaskError, TaskExecutor as _, TaskId, TaskType};

/// A batch as it was asked for.
enum Batch {
    /// All or nothing.
    Atomic(Vec<SubmissionSpec>),
    /// Each with an outcome of its own; what is malformed has it already.
    Each(Vec<Result<SubmissionSpec, ApiError>>),
}

/// `POST /v1/tasks/batch`.
pub(crate) async fn submit(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Result<Response, ApiError> {
    let submitter = &caller.0.0;
    match read_batch(&state, call).await? {
        Batch::Atomic(specs) => {
            let types = specs.iter().map(|spec| spec.task_type.clone()).collect::<Vec<_>>();
            let submitted = state.manager().submit_all(resolve_names(specs, submitter)?).await;
            let ids = submitted
                .map_err(|error| unserved(&state, error, types.iter().find(|kind| !state.manager().executor().can_execute(kind))))?;
            let answer =
                BatchAnswer { accepted: ids.len(), refused: 0, tasks: ids.into_iter().map(|id| BatchItem::Accepted { id }).collect() };
            Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
        }
        Batch::Each(items) => Ok(answer(submit_each(&state, items, submitter).await)),
    }
}

/// The body: an object, or an array that stands for independent tasks.
async fn read_batch(state: &AppState, call: Request) -> Result<Batch, ApiError> {
    let (head, stream) = call.into_parts();
    if body::media_type(&head.headers)? != body::MediaType::Json {
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "expected content-type application/json"));
    }
    let intake = body::read(state, &head, stream).await?;
    let count_max = state.options().limits.batch_items_max;
    body::parse(intake, move |bytes| {
        let BatchBody { tasks, atomic } = match json::value(bytes)? {
            Value::Array(tasks) => BatchBody { tasks, atomic: false },
            object @ Value::Object(_) => json::typed(object)?,
            _ => return Err(ApiError::bad("expected_object", "expected a JSON object with `tasks`, or an array of tasks")),
        };
        check_count("tasks", tasks.len(), count_max)?;
        let items = tasks.into_iter().enumerate().map(|(position, item)| item_spec(position, item));
        Ok(if atomic { Batch::Atomic(items.collect::<Result<_, _>>()?) } else { Batch::Each(items.collect()) })
    })
    .await
}

/// One submission of a batch. Errors: as a body of its own would get, at its place in the batch.
fn item_spec(position: usize, item: Value) -> Result<SubmissionSpec, ApiError> {
    if !item.is_object() {
        return Err(ApiError::field(format!("tasks[{position}]"), "expected an object: a task with `type` and `data`"));
    }
    json::typed(item).map_err(|error: ApiError| error.below(&format!("tasks[{position}]")))
}

/// Submits what is well-formed and keeps the order of the outcomes.
async fn submit_each(state: &AppState, items: Vec<Result<SubmissionSpec, ApiError>>, submitter: &str) -> Vec<Result<TaskId, ApiError>> {
    let mut outcomes: Vec<Result<TaskType, ApiError>> = Vec::with_capacity(items.len());
    let mut ready: Vec<Submission> = Vec::with_capacity(items.len());
    for (position, item) in items.into_iter().enumerate() {
        outcomes.push(item.and_then(|spec| {
            let task_type = spec.task_type.clone();
            ready.extend(resolve_names(vec![spec], submitter).map_err(|error| at_position(error, Some(position)))?);
            Ok(task_type)
        }));
    }
    let mut submitted = state.manager().submit_batch(ready).await.into_iter();
    let lost = || Err(TaskError::internal("the submission was lost", "submit_batch answered fewer outcomes than submissions"));
    let mut settle = |task_type: TaskType| submitted.next().unwrap_or_else(lost).map_err(|error| unserved(state, error, Some(&task_type)));
    outcomes.into_iter().map(|outcome| outcome.and_then(&mut settle)).collect()
}

/// 202 as soon as one task is accepted; when none is, the status of the first refusal. `Retry-After` whenever a refusal asks for it.
fn answer(outcomes: Vec<Result<TaskId, ApiError>>) -> Response {
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refused = outcomes.len() - accepted;
    let mut retry: Option<Duration> = None;
    let mut first: Option<ApiError> = None;
    let mut tasks = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        tasks.push(match outcome {
            Ok(id) => BatchItem::Accepted { id },
            Err(error) => {
                retry = retry.max(error.retry_hint());
                let item = BatchItem::Refused { error: Value::Object(error.object()) };
                first.get_or_insert(error);
                item
            }
        });
    }
    let answer = BatchAnswer { accepted, refused, tasks };
    let mut response = match first.filter(|_| accepted == 0) {
        None => (StatusCode::ACCEPTED, Json(answer)).into_response(),
        Some(error) => {
            // The first refusal doubles as the call's own error, for clients that look no further.
            let body = json!({ "error": error.object(), "accepted": 0, "refused": answer.refused, "tasks": answer.tasks });
            let mut response = (error.status, Json(body)).into_response();
            response.extensions_mut().insert(BodyIsFinal);
            response
        }
    };
    if let Some(after) = retry {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_secs(after)));
    }
    response
}

/// `POST /v1/tasks/status`.
pub(crate) async fn status(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Result<Response, ApiError> {
    let StatusBody { ids } = body::json(&state, call).await?;
    check_count("ids", ids.len(), state.options().limits.batch_items_max)?;
    let manager = state.manager();
    let item = |id: &'_ str| {
        let found = id.parse::<TaskId>().and_then(|id| if manager.owner(&id)? == caller.0.0 { manager.status(&id) } else { unknown(id) });
        found.map_or(("unknown", 0), |view| (view.status.name(), view.attempt))
    };
    let tasks = ids.iter().map(|id| {
        let (status, attempt) = item(id);
        StatusItem { id, status, attempt }
    });
    Ok(Json(StatusAnswer { tasks: tasks.collect() }).into_response())
}

/// A foreign task is not told from one that does not exist.
fn unknown(task_id: TaskId) -> Result<StatusView, TaskError> {
    Err(TaskError::NotFound { task_id })
}

fn check_count(param: &str, count: usize, count_max: usize) -> Result<(), ApiError> {
    if (1..=count_max).contains(&count) {
        return Ok(());
    }
    Err(ApiError::bad("out_of_range", format!("`{param}` has {count} entries; 1 to {count_max} are allowed")).param(param))
}
