//! A call that is one model task: submitted, awaited, cancelled when its caller goes away, and answered off the asynchronous threads.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::Value;

use super::error::ApiError;
use super::gate::Caller;
use super::state::AppState;
use crate::task::inference::{ANY_DIMENSIONS_REMEDY, LONG_INPUT_REMEDY};
use crate::task::{Parts, Submission, Task, TaskError, TaskId, TaskPriority, TaskResult, TaskType};

/// The header of an answer whose shape has no field for it: what the model's products were computed in.
pub(crate) const PRECISION_HEADER: &str = "x-tallow-precision";
/// Longest name of a model.
const MODEL_BYTES_MAX: usize = 256;

/// What a model task answered.
pub(crate) struct Answered {
    pub(crate) id: TaskId,
    pub(crate) result: TaskResult,
    pub(crate) parts: Parts,
}

impl Answered {
    /// A JSON answer, made and written on a thread that may take the time, with what it was computed in as a header. Errors: as [`written`].
    pub(crate) async fn written<T: serde::Serialize>(
        self,
        make: impl FnOnce(Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let precision = self.precision();
        Ok(with_precision(written(move || make(self)).await?, precision))
    }

    /// What the model's products were computed in; none for operations that compute nothing.
    pub(crate) fn precision(&self) -> Option<HeaderValue> {
        let name = self.result.metadata.get("precision").and_then(Value::as_str)?;
        HeaderValue::from_str(name).ok()
    }
}

/// The answer with [`PRECISION_HEADER`].
pub(crate) fn with_precision(mut response: Response, precision: Option<HeaderValue>) -> Response {
    if let Some(precision) = precision {
        response.headers_mut().insert(PRECISION_HEADER, precision);
    }
    response
}

/// How a door names what the task calls `texts`, and what it advises.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// The door's field of texts.
    pub(crate) texts: &'static str,
    /// The door was given one text, not an array of them.
    pub(crate) single: bool,
    /// What to do about a text that is too long.
    pub(crate) long_text: &'static str,
}

impl Words {
    /// The task's error in the door's words. The remedies of the task are about fields that the door has not.
    fn of(self, error: TaskError) -> TaskError {
        let TaskError::InvalidPayload { field, reason } = error else { return error };
        let place = field.strip_prefix("texts").filter(|place| place.is_empty() || place.starts_with('['));
        let field = match place {
            Some(_) if self.single => self.texts.to_owned(),
            Some(place) => format!("{}{place}", self.texts),
            None => field,
        };
        let reason = match (reason.strip_suffix(LONG_INPUT_REMEDY), reason.strip_suffix(ANY_DIMENSIONS_REMEDY)) {
            (Some(found), _) => format!("{found}{}", self.long_text),
            (_, Some(found)) => found.trim_end_matches([';', ' ']).to_owned(),
            _ => reason,
        };
        TaskError::InvalidPayload { field, reason }
    }
}

/// Submits a model task and waits for it. Errors: the task's, in the door's words; 503 when the worker stops first.
pub(crate) async fn infer(state: &AppState, caller: &Caller, data: Value, words: Option<Words>) -> Result<Answered, ApiError> {
    let openai = |error: TaskError| openai(words.map_or_else(|| error.clone(), |words| words.of(error.clone())));
    let task = Task::new(TaskType::ModelInference, TaskPriority::Normal, data);
    let submission = Submission::new(task).submitter(&*caller.0).deadline_in(state.options().limits.wait_max);
    let id = state.manager().submit(submission).await.map_err(openai)?;
    let mut abandoned = CancelOnDrop { state, id: Some(id) };
    let result = tokio::select! {
        result = state.manager().wait(&id) => result.map_err(openai)?,
        () = state.shutdown().cancelled() => return Err(TaskError::ShuttingDown.into()),
    };
    abandoned.id = None;
    Ok(Answered { id, result, parts: state.manager().parts(&id)? })
}

/// Cancels the task of a caller who goes away before the answer: dropping the handler's future drops this.
struct CancelOnDrop<'s> {
    state: &'s AppState,
    id: Option<TaskId>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let manager = self.state.manager().clone();
        self.state.after_work().spawn(async move {
            match manager.cancel_with_reason(&id, "the caller disconnected".into()).await {
                Ok(()) | Err(TaskError::AlreadyTerminal { .. } | TaskError::NotFound { .. }) => {}
                Err(error) => tracing::warn!(%id, %error, "could not cancel the task of a disconnected caller"),
            }
        });
    }
}

/// OpenAI clients know `model_not_found`.
fn openai(error: TaskError) -> ApiError {
    let missing = matches!(error, TaskError::ModelMissing { .. });
    let error = ApiError::from(error);
    if missing { error.code("model_not_found") } else { error }
}

/// A JSON answer, made and written on a thread that may take the time. Errors: those of `make`; 500 for a value that cannot be written.
pub(crate) async fn written<T: serde::Serialize>(
    make: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let text = tokio::task::spawn_blocking(move || {
        serde_json::to_vec(&make()?)
            .map_err(|error| ApiError::from(TaskError::internal("the answer could not be written", error.to_string())))
    });
    let text = text.await.map_err(|panicked| TaskError::internal("the answer could not be written", panicked.to_string()))??;
    Ok(json_response(text))
}

/// Bytes of JSON as an answer.
pub(crate) fn json_response(text: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A model's name as clients may send it: no path of this host. Errors: 400 `invalid_model_name`.
pub(crate) fn checked_model(model: String) -> Result<String, ApiError> {
    let plain = model.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b'@' | b':' | b'+'));
    let segments = || model.split('/').all(|segment| !segment.is_empty() && !segment.starts_with('.'));
    if (1..=MODEL_BYTES_MAX).contains(&model.len()) && plain && segments() {
        return Ok(model);
    }
    Err(ApiError::bad(
        "invalid_model_name",
        format!("a model's name has 1 to {MODEL_BYTES_MAX} letters, digits and -_.@:+ between slashes"),
    )
    .param("model"))
}
