//! The one table from task errors to HTTP: status and OpenAI error type. No other file of the worker maps a code to a status.

use axum::http::StatusCode;

use crate::task::TaskError;

/// The status and the OpenAI `type` of a task error.
///
/// `DoesNotFit` is 422, not 503: the task can never fit this worker, and a client must not try again.
pub(crate) fn of(error: &TaskError) -> (StatusCode, &'static str) {
    match error {
        TaskError::UnsupportedTaskType | TaskError::InvalidPayload { .. } => (StatusCode::BAD_REQUEST, INVALID),
        TaskError::Unauthorized { .. } => (StatusCode::UNAUTHORIZED, AUTHENTICATION),
        TaskError::NotFound { .. } | TaskError::ModelMissing { .. } => (StatusCode::NOT_FOUND, NOT_FOUND),
        TaskError::AlreadyTerminal { .. } | TaskError::Cancelled { .. } => (StatusCode::CONFLICT, INVALID),
        TaskError::DoesNotFit { .. } | TaskError::IdempotencyConflict { .. } | TaskError::ModelUnsupported { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, INVALID)
        }
        TaskError::DependencyFailed { .. } => (StatusCode::FAILED_DEPENDENCY, INVALID),
        TaskError::Overloaded { .. } => (StatusCode::TOO_MANY_REQUESTS, RATE_LIMIT),
        TaskError::ModelCorrupt { .. } | TaskError::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, SERVER),
        TaskError::DeviceUnavailable { .. } | TaskError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, SERVER),
        TaskError::DeadlineExceeded { .. } => (StatusCode::GATEWAY_TIMEOUT, SERVER),
    }
}

/// The OpenAI `type` of an error that HTTP itself found.
pub(crate) fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AUTHENTICATION,
        StatusCode::NOT_FOUND => NOT_FOUND,
        StatusCode::TOO_MANY_REQUESTS => RATE_LIMIT,
        status if status.is_server_error() => SERVER,
        _ => INVALID,
    }
}

const INVALID: &str = "invalid_request_error";
const AUTHENTICATION: &str = "authentication_error";
const NOT_FOUND: &str = "not_found_error";
const RATE_LIMIT: &str = "rate_limit_error";
const SERVER: &str = "server_error";
