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
use super::tasks::at_position;
use super::view::{BatchAnswer, BatchBody, BatchItem, StatusAnswer, StatusBody, StatusItem};
use crate::manager::{StatusView, resolve_names};
use crate::task::{Submission, SubmissionSpec, TaskError, TaskId};

/// `POST /v1/tasks/batch`.
pub(crate) async fn submit(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Result<Response, ApiError> {
    let submitter = &caller.0.0;
    let BatchBody { tasks, atomic } = read_batch(&state, call).await?;
    check_count("tasks", tasks.len(), state.options().limits.batch_items_max)?;
    if atomic {
        let ids = state.manager().submit_all(resolve_names(tasks, submitter)?).await?;
        let answer = BatchAnswer { accepted: ids.len(), refused: 0, tasks: ids.into_iter().map(|id| BatchItem::Accepted { id }).collect() };
        return Ok((StatusCode::ACCEPTED, Json(answer)).into_response());
    }
    let outcomes = submit_each(&state, tasks, submitter).await;
    Ok(answer(outcomes))
}

/// The body: an object, or an array that stands for independent tasks.
async fn read_batch(state: &AppState, call: Request) -> Result<BatchBody, ApiError> {
    let (head, stream) = call.into_parts();
    if body::media_type(&head.headers)? != body::MediaType::Json {
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "expected content-type application/json"));
    }
    let intake = body::read(state, &head, stream).await?;
    let count_max = state.options().limits.batch_items_max;
    body::parse(intake, move |bytes| match json::value(bytes)? {
        Value::Array(items) => {
            check_count("tasks", items.len(), count_max)?;
            Ok(BatchBody { tasks: json::typed(Value::Array(items))?, atomic: false })
        }
        other => json::typed(other),
    })
    .await
}

/// Submits what is well-formed and keeps the order of the outcomes.
async fn submit_each(state: &AppState, specs: Vec<SubmissionSpec>, submitter: &str) -> Vec<Result<TaskId, TaskError>> {
    let mut outcomes: Vec<Option<Result<TaskId, TaskError>>> = Vec::with_capacity(specs.len());
    let mut ready: Vec<Submission> = Vec::with_capacity(specs.len());
    for (position, spec) in specs.into_iter().enumerate() {
        match resolve_names(vec![spec], submitter) {
            Ok(submissions) => {
                ready.extend(submissions);
                outcomes.push(None);
            }
            Err(error) => outcomes.push(Some(Err(at_position(error, Some(position))))),
        }
    }
    let mut submitted = state.manager().submit_batch(ready).await.into_iter();
    let lost = || Err(TaskError::internal("the submission was lost", "submit_batch answered fewer outcomes than submissions"));
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| submitted.next().unwrap_or_else(lost))).collect()
}

/// 202 as soon as one task is accepted; when none is, the status of the first refusal. `Retry-After` whenever a refusal asks for it.
fn answer(outcomes: Vec<Result<TaskId, TaskError>>) -> Response {
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refused = outcomes.len() - accepted;
    let mut retry: Option<Duration> = None;
    let mut first: Option<ApiError> = None;
    let mut tasks = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        tasks.push(match outcome {
            Ok(id) => BatchItem::Accepted { id },
            Err(error) => {
                let error = ApiError::from(error);
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
