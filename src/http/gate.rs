//! The one layer around every route: request id, bounds on the head, host and token checks, panics, the shape of errors, the access log.
//!
//! Deny by default: a route is public only if it is in [`PUBLIC`]. What no route serves is refused the same way, so paths cannot be probed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::error::{ApiError, BodyIsFinal};
use super::state::AppState;
use super::{CallFacts, docs, host};
use crate::resource::panic_error;

/// Routes that need no token: liveness and readiness, which say nothing but their own answer.
pub(crate) const PUBLIC: [&str; 3] = ["/livez", "/readyz", "/health"];

/// Longest request id that is taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;
const REQUEST_ID: &str = "x-request-id";

/// Who calls. In the extensions of every call that passed the gate.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Arc<str>);

/// State of the gate.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) state: AppState,
    /// The listener is on a loopback address, so that browsers of this machine can reach it.
    pub(crate) loopback: bool,
    pub(crate) anonymous: Arc<str>,
}

/// The layer itself.
pub(crate) async fn pass(State(gate): State<Gate>, mut call: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id(call.headers());
    let route = call.extensions().get::<MatchedPath>().cloned();
    let method = call.method().clone();
    let wants_page = docs::is_wanted(route.as_ref().map(MatchedPath::as_str), call.headers());
    let response = match gate.check(route.as_ref(), &call) {
        Ok(caller) => {
            call.extensions_mut().insert(caller);
            AssertUnwindSafe(next.run(call))
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| ApiError::from(panic_error(panic.as_ref())).into_response())
        }
        Err(error) if error.status == StatusCode::UNAUTHORIZED && wants_page => docs::locked_page(),
        Err(error) => error.into_response(),
    };
    let mut response = finish(response, &request_id);
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let path = route.as_ref().map_or("other", MatchedPath::as_str);
    let facts = CallFacts { method: method_name(&method), path, status: response.status().as_u16(), elapsed: started.elapsed() };
    (gate.state.options().observe)(&facts);
    if !PUBLIC.contains(&path) && path != "/metrics" {
        tracing::info!(method = facts.method, path, status = facts.status, elapsed_us = micros(facts.elapsed), request_id, "call");
    }
    response
}

impl Gate {
    /// Everything that is known before the body: bounds, host, token.
    fn check(&self, route: Option<&MatchedPath>, call: &Request) -> Result<Caller, ApiError> {
        self.check_bounds(call)?;
        self.check_host(call)?;
        if route.is_some_and(|route| PUBLIC.contains(&route.as_str())) {
            return Ok(Caller(Arc::clone(&self.anonymous)));
        }
        let mut values = call.headers().get_all(header::AUTHORIZATION).iter();
        let (value, second) = (values.next(), values.next());
        // A second header, or one that is not ASCII, is no credential at all.
        let value = value.filter(|_| second.is_none()).and_then(|value| value.to_str().ok());
        Ok(Caller(self.state.options().access.submitter(value)?))
    }

    fn check_bounds(&self, call: &Request) -> Result<(), ApiError> {
        let limits = &self.state.options().limits;
        let uri_bytes = call.uri().path_and_query().map_or(0, |path| path.as_str().len());
        if uri_bytes > limits.uri_bytes_max {
            let message = format!("the URI has {uri_bytes} bytes; at most {} are allowed", limits.uri_bytes_max);
            return Err(ApiError::new(StatusCode::URI_TOO_LONG, "uri_too_long", message));
        }
        let headers = call.headers();
        let header_bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if headers.len() > limits.header_count_max || header_bytes > limits.header_bytes_max {
            let message = format!(
                "{} headers with {header_bytes} bytes; at most {} with {} are allowed",
                headers.len(),
                limits.header_count_max,
                limits.header_bytes_max
            );
            return Err(ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message));
        }
        Ok(())
    }

    /// On loopback the name in `Host` must be local, or a page of another name could reach the worker through DNS (rebinding).
    fn check_host(&self, call: &Request) -> Result<(), ApiError> {
        let configured = &self.state.options().allowed_hosts;
        if !self.loopback && configured.is_empty() {
            return Ok(());
        }
        let mut hosts = call.headers().get_all(header::HOST).iter();
        let (first, second) = (hosts.next(), hosts.next());
        if second.is_some() {
            return Err(ApiError::bad("invalid_host", "more than one host header"));
        }
        // An absolute target replaces the header (RFC 9112, section 3.2.2).
        let host = match (call.uri().authority(), first) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host.to_str().unwrap_or_default(),
            // No browser speaks HTTP/1.0.
            (None, None) if call.version() == Version::HTTP_10 => return Ok(()),
            (None, None) => return Err(ApiError::bad("invalid_host", "a host header is needed")),
        };
        if host::is_allowed(host, configured) {
            return Ok(());
        }
        let advice = "this worker does not answer to that host name; `tallow serve --allowed-host NAME` (or TALLOW_ALLOWED_HOST) adds one";
        Err(ApiError::new(StatusCode::FORBIDDEN, "host_not_allowed", advice))
    }
}

/// The client's request id if it is short and plain, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    given.map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// Gives every error its body, whoever made it.
fn finish(mut response: Response, request_id: &str) -> Response {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        if error.status.is_server_error() {
            tracing::error!(request_id, status = error.status.as_u16(), detail = error.detail(), "a call failed");
        }
        let mut rendered = error.render(request_id);
        if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
            rendered.headers_mut().insert(header::ALLOW, allow);
        }
        return rendered;
    }
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || response.extensions_mut().remove::<BodyIsFinal>().is_some() {
        return response;
    }
    // A rejection of the framework's own: its status is kept, its text is not.
    let message = status.canonical_reason().unwrap_or("the call was refused").to_lowercase();
    let mut rendered = ApiError::new(status, "refused", message).render(request_id);
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        rendered.headers_mut().insert(header::ALLOW, allow);
    }
    rendered
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
