//! `/v1/tasks`: submit one, look at one, list, cancel.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::body::{self, MediaType};
use super::error::ApiError;
use super::gate::Caller;
use super::state::AppState;
use super::tensors;
use super::view::{Accepted, PartView, TaskLine, TaskPage, TaskView};
use crate::manager::{StatusKind, TaskFilter, resolve_names};
use crate::task::{self, SubmissionSpec, TaskError, TaskExecutor as _, TaskId, TaskType};

/// Largest page of a listing.
const PAGE_MAX: usize = 1000;
const PAGE_DEFAULT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    wait_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    status: Option<String>,
    r#type: Option<String>,
    label: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `POST /v1/tasks`: accepts one submission; with `wait_ms`, holds the answer until the task has ended or the time is over.
pub(crate) async fn submit(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Result<Response, ApiError> {
    let SubmitQuery { wait_ms } = query(call.uri())?;
    let wait = wait_ms.map(Duration::from_millis);
    let wait_max = state.options().limits.wait_max;
    if wait.is_some_and(|wait| wait > wait_max) {
        return Err(ApiError::bad("out_of_range", format!("wait_ms may be 0 to {}", wait_max.as_millis())).param("wait_ms"));
    }
    let key = idempotency_key(call.headers())?;
    let mut spec = read_submission(&state, call).await?;
    if let Some(key) = key {
        if spec.idempotency_key.as_ref().is_some_and(|given| *given != key) {
            return Err(ApiError::bad("invalid_header", "the idempotency-key header and the body's idempotency_key differ"));
        }
        spec.idempotency_key = Some(key);
    }
    let mut submissions = resolve_names(vec![spec], &caller.0.0).map_err(|error| at_position(error, None))?;
    let Some(submission) = submissions.pop() else { return Err(TaskError::internal("the submission was lost", "").into()) };
    let task_type = submission.task.payload.task_type.clone();
    let id = state.manager().submit(submission).await.map_err(|error| unserved(&state, error, Some(&task_type)))?;
    if let Some(wait) = wait {
        tokio::select! {
            // The outcome is read below, like any task's: an error of the task is not an error of this call.
            _ended = tokio::time::timeout(wait, state.manager().wait(&id)) => {}
            () = state.shutdown().cancelled() => {}
        }
        let view = view(&state, &id).await?;
        let done = view.line.status.is_terminal();
        return Ok(located(if done { StatusCode::OK } else { StatusCode::ACCEPTED }, &id, Json(view).into_response()));
    }
    let status = state.manager().status(&id)?.status;
    Ok(located(StatusCode::ACCEPTED, &id, Json(Accepted { id, status }).into_response()))
}

/// `GET /v1/tasks/{id}`.
pub(crate) async fn get(State(state): State<AppState>, caller: Extension<Caller>, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(view(&state, &owned(&state, &caller, &id)?).await?).into_response())
}

/// `DELETE /v1/tasks/{id}`: cancels; the task may take a moment to stop.
pub(crate) async fn cancel(State(state): State<AppState>, caller: Extension<Caller>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = owned(&state, &caller, &id)?;
    state.manager().cancel_with_reason(&id, "cancelled over HTTP".into()).await?;
    Ok(Json(view(&state, &id).await?).into_response())
}

/// `GET /v1/tasks`.
pub(crate) async fn list(State(state): State<AppState>, caller: Extension<Caller>, uri: Uri) -> Result<Response, ApiError> {
    let asked: ListQuery = query(&uri)?;
    let limit = asked.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::bad("out_of_range", format!("limit may be 1 to {PAGE_MAX}")).param("limit"));
    }
    let mut filter = TaskFilter { limit: Some(limit), submitter: Some(caller.0.0.to_string()), ..TaskFilter::default() };
    filter.status = asked.status.as_deref().map(status_named).transpose()?;
    filter.task_type = asked.r#type.as_deref().map(type_named).transpose()?;
    filter.after = asked.after.as_deref().map(task_id).transpose()?;
    filter.label = match asked.label.as_deref().map(|label| label.split_once('=')) {
        None => None,
        Some(Some((name, value))) => Some((name.to_owned(), value.to_owned())),
        Some(None) => return Err(ApiError::bad("invalid_query", "label must be `name=value`").param("label")),
    };
    let lines: Vec<TaskLine> = state.manager().list(&filter).into_iter().map(TaskLine::from).collect();
    let next = lines.last().filter(|_| lines.len() == limit).map(|line| line.id);
    Ok(Json(TaskPage { tasks: lines, next }).into_response())
}

/// One submission, from JSON or from a safetensors body.
async fn read_submission(state: &AppState, call: Request) -> Result<SubmissionSpec, ApiError> {
    if body::media_type(call.headers())? == MediaType::Json {
        return body::json(state, call).await;
    }
    let (head, stream) = call.into_parts();
    let intake = body::read(state, &head, stream).await?;
    body::parse(intake, tensors::submission).await
}

/// A task as clients see it. Errors: 404.
pub(crate) async fn view(state: &AppState, id: &TaskId) -> Result<TaskView, ApiError> {
    let manager = state.manager();
    let summary = manager.summary(id)?;
    let (mut result, mut error, mut parts) = (None, None, Vec::new());
    if summary.status.is_terminal() {
        // The outcome of an ended task is there at once.
        match manager.wait(id).await {
            Ok(outcome) => {
                parts = PartView::list(&manager.parts(id)?);
                result = Some(outcome);
            }
            Err(failure) => error = Some(error_value(&failure)),
        }
    }
    Ok(TaskView { line: summary.into(), result, parts, error })
}

/// A task's error with its message beside its data.
pub(crate) fn error_value(error: &TaskError) -> Value {
    Value::Object(ApiError::from(error.clone()).object())
}

/// Adds `Location`.
fn located(status: StatusCode, id: &TaskId, mut response: Response) -> Response {
    *response.status_mut() = status;
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/tasks/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The id in a path, if the task is the caller's own. Errors: the same 404 for a foreign task as for one that does not exist.
pub(crate) fn owned(state: &AppState, caller: &Caller, text: &str) -> Result<TaskId, ApiError> {
    let id = task_id(text)?;
    if state.manager().owner(&id)? != caller.0 {
        return Err(TaskError::NotFound { task_id: id }.into());
    }
    Ok(id)
}

/// An error of a submission; one of a type that nothing serves says which types are served.
pub(crate) fn unserved(state: &AppState, error: TaskError, task_type: Option<&TaskType>) -> ApiError {
    let (TaskError::UnsupportedTaskType, Some(found)) = (&error, task_type) else { return error.into() };
    let message = task::unserved(found, &state.manager().executor().capabilities().supported_types);
    ApiError::from(error).message(message)
}

/// A refusal of `resolve_names` for one submission, whose field begins with `tasks[0].`: with the position in the caller's batch, or none.
pub(crate) fn at_position(error: TaskError, position: Option<usize>) -> TaskError {
    let TaskError::InvalidPayload { field, reason } = error else { return error };
    let bare = field.strip_prefix("tasks[0].").map_or_else(|| field.clone(), str::to_owned);
    let field = position.map_or_else(|| bare.clone(), |position| format!("tasks[{position}].{bare}"));
    TaskError::InvalidPayload { field, reason }
}

/// The id in a path or query. Errors: 404, since no task has such an id.
pub(crate) fn task_id(text: &str) -> Result<TaskId, ApiError> {
    text.parse().map_err(|_malformed: TaskError| {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", "no task has that id; ids have the 36-character form that submit returned")
            .param("id")
    })
}

/// The query of a URI, without unknown, repeated or malformed parameters.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Query::try_from_uri(uri)
        .map(|Query(parsed)| parsed)
        .map_err(|rejection| ApiError::bad("invalid_query", rejection.body_text().to_lowercase()))
}

/// The `Idempotency-Key` header: at most one, 1 to 255 visible ASCII characters.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let plain = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    match (plain, values.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad("invalid_header", "idempotency-key must be given once, as 1 to 255 visible ASCII characters")),
    }
}

fn status_named(name: &str) -> Result<StatusKind, ApiError> {
    let known = || ApiError::bad("invalid_query", "status may be pending, running, completed, failed or cancelled").param("status");
    StatusKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(known)
}

fn type_named(name: &str) -> Result<TaskType, ApiError> {
    let known = [TaskType::TextProcessing, TaskType::VectorComputation, TaskType::ModelInference, TaskType::Storage];
    let found = known.into_iter().find(|known| known.name() == name).unwrap_or_else(|| TaskType::Custom(name.to_owned()));
    if found.is_valid() {
        return Ok(found);
    }
    Err(ApiError::bad("invalid_query", "type may be a built-in type or a custom name of [a-z0-9_-]{1,64}").param("type"))
}
