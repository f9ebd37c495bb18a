//! The one error of the API: rendered once, at the outermost layer, in OpenAI's shape.
//!
//! Handlers return an [`ApiError`]; it travels in the response's extensions, and the gate writes the body, since only the gate knows the
//! request id. So no error leaves without one, and a rejection of the framework's own never reaches a client as plain text.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::status;
use crate::task::TaskError;

/// What went wrong, as the client is told.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    code: &'static str,
    said: Box<Said>,
}

/// What the error says beside its code; boxed, so that results stay small.
#[derive(Clone, Debug)]
struct Said {
    kind: &'static str,
    message: String,
    param: Option<String>,
    data: Map<String, Value>,
    retry_after: Option<Duration>,
    /// For the log only.
    detail: String,
}

/// Marks a response of status 400 or above whose body is already final.
#[derive(Clone, Copy)]
pub(crate) struct BodyIsFinal;

impl ApiError {
    /// An error that HTTP itself found.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            said: Box::new(Said {
                kind: status::kind(status),
                message: message.into(),
                param: None,
                data: Map::new(),
                retry_after: None,
                detail: String::new(),
            }),
        }
    }

    /// A 400.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// A 400 about one field or query parameter.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad("invalid_payload", message).param(param)
    }

    /// Names the field or parameter.
    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.said.param = Some(param.into());
        self
    }

    /// The same error about a field inside `place`.
    pub(crate) fn below(mut self, place: &str) -> Self {
        self.said.param = Some(match self.said.param.take() {
            Some(param) => format!("{place}.{param}"),
            None => place.to_owned(),
        });
        self
    }

    /// The same error in other words.
    pub(crate) fn message(mut self, message: impl Into<String>) -> Self {
        self.said.message = message.into();
        self
    }

    /// The same error under another code, where a foreign convention has its own.
    pub(crate) fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// Adds a field of its own to the error object.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.said.data.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to try again.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.said.retry_after = Some(after);
        self
    }

    /// What only the log may say.
    pub(crate) fn detail(&self) -> &str {
        &self.said.detail
    }

    /// When to try again, if the error says so.
    pub(crate) fn retry_hint(&self) -> Option<Duration> {
        self.said.retry_after
    }

    /// The error object: data first, so that it can never replace a standard key.
    pub(crate) fn object(&self) -> Map<String, Value> {
        let mut object = self.said.data.clone();
        object.insert("message".into(), self.said.message.clone().into());
        object.insert("type".into(), self.said.kind.into());
        object.insert("param".into(), self.said.param.clone().map_or(Value::Null, Value::String));
        object.insert("code".into(), self.code.into());
        object
    }

    /// The final response, body and headers.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let mut object = self.object();
        object.insert("request_id".into(), request_id.into());
        let body = serde_json::json!({ "error": object }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.said.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_secs(after)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tallow\""));
        }
        response
    }
}

/// `Retry-After` knows whole seconds only; never 0, which clients read as "at once".
pub(crate) fn retry_after_secs(after: Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

impl From<TaskError> for ApiError {
    fn from(error: TaskError) -> Self {
        let (status, kind) = status::of(&error);
        let retry_after = match &error {
            TaskError::Overloaded { retry_after, .. } => Some(*retry_after),
            TaskError::ShuttingDown => Some(SHUTDOWN_RETRY),
            _ => None,
        };
        let param = match &error {
            TaskError::InvalidPayload { field, .. } => Some(field.clone()),
            TaskError::UnsupportedTaskType => Some("type".into()),
            TaskError::ModelMissing { .. } | TaskError::ModelUnsupported { .. } => Some("model".into()),
            TaskError::IdempotencyConflict { .. } => Some("idempotency_key".into()),
            _ => None,
        };
        let mut data = match serde_json::to_value(&error) {
            Ok(Value::Object(data)) => data,
            // A unit variant, or a value that JSON cannot hold: the message says it all.
            Ok(_) | Err(_) => Map::new(),
        };
        data.remove("field");
        Self {
            status,
            code: error.code(),
            said: Box::new(Said { kind, message: error.to_string(), param, data, retry_after, detail: error.detail().to_owned() }),
        }
    }
}

/// A worker that shuts down is usually replaced within seconds.
const SHUTDOWN_RETRY: Duration = Duration::from_secs(5);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}
