//! Reading a body under bounds: its size, the size of all bodies at once, the pauses in it, its pieces and its type.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts as Head;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::json;
use super::state::{AppState, BODY_UNIT};

/// Pieces that a chunked body may come in; a sender of smaller ones only burns time.
const PIECES_MAX: usize = 65_536;
/// A sender slower than this on average, after [`SLOW_START`], is dropped.
const BYTES_PER_SEC_MIN: u64 = 16 * 1024;
const SLOW_START: Duration = Duration::from_secs(30);
/// Bodies above this are parsed on a blocking thread, so that other calls are not held up.
const PARSE_INLINE_MAX: usize = 256 * 1024;
/// What is reserved on the word of a `Content-Length` alone.
const RESERVE_MAX: usize = 1 << 20;

/// A whole body, with its share of the body budget; dropping it gives the share back.
pub(crate) struct Intake {
    /// The bytes.
    pub(crate) bytes: Bytes,
    budget: Option<OwnedSemaphorePermit>,
}

/// What a body says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    Json,
    Safetensors,
}

/// The media type of `application/vnd.safetensors` bodies.
pub(crate) const SAFETENSORS: &str = "application/vnd.safetensors";

/// Reads a JSON body and parses it on a thread that may take the time.
pub(crate) async fn json<T>(state: &AppState, call: Request) -> Result<T, ApiError>
where
    T: DeserializeOwned + Send + 'static,
{
    let (head, body) = call.into_parts();
    if media_type(&head.headers)? != MediaType::Json {
        return Err(unsupported_type("expected content-type application/json"));
    }
    let intake = read(state, &head, body).await?;
    parse(intake, |bytes| json::parse(bytes)).await
}

/// Runs a parser over a body: at once when it is small, on a blocking thread otherwise. Keeps the body's budget until it is parsed.
pub(crate) async fn parse<T, F>(intake: Intake, parser: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(&Bytes) -> Result<T, ApiError> + Send + 'static,
{
    if intake.bytes.len() <= PARSE_INLINE_MAX {
        return parser(&intake.bytes);
    }
    let parsed = tokio::task::spawn_blocking(move || {
        let parsed = parser(&intake.bytes);
        drop(intake.budget);
        parsed
    });
    parsed
        .await
        .unwrap_or_else(|_panicked| Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the body could not be parsed")))
}

/// Which of the accepted media types a body has. Errors: 415 for a missing or foreign type, another charset or any content encoding.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<MediaType, ApiError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(unsupported_type("content-encoding is not supported; send the body as it is"));
    }
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(unsupported_type("exactly one content-type header is needed: application/json or application/vnd.safetensors"));
    };
    let text = value.to_str().unwrap_or_default();
    let mut pieces = text.split(';').map(str::trim);
    let essence = pieces.next().unwrap_or_default();
    for parameter in pieces.filter(|parameter| !parameter.is_empty()) {
        let charset = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
        if charset.is_some_and(|(_, value)| !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")) {
            return Err(unsupported_type("the charset must be utf-8"));
        }
    }
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(MediaType::Json)
    } else if essence.eq_ignore_ascii_case(SAFETENSORS) {
        Ok(MediaType::Safetensors)
    } else {
        Err(unsupported_type("expected content-type application/json or application/vnd.safetensors"))
    }
}

fn unsupported_type(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}

/// Reads the whole body.
///
/// Errors: 413 beyond the body limit, 429 when all bodies together are too large now, 408 for a stalled or slow sender, 400 for broken framing.
pub(crate) async fn read(state: &AppState, head: &Head, mut body: Body) -> Result<Intake, ApiError> {
    let limits = &state.options().limits;
    let declared = head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > limits.body_bytes_max as u64) {
        return Err(too_large(limits.body_bytes_max));
    }
    let declared = declared.and_then(|bytes| usize::try_from(bytes).ok());
    let mut intake = Intake { bytes: Bytes::new(), budget: None };
    charge(state, &mut intake, declared.unwrap_or(0))?;
    let started = Instant::now();
    let mut pieces: usize = 0;
    let mut whole = BytesMut::new();
    loop {
        let Ok(next) = tokio::time::timeout(limits.stall_timeout, body.frame()).await else { return Err(too_slow()) };
        let Some(frame) = next else { break };
        let frame = frame.map_err(|_broken| ApiError::bad("invalid_body", "the body ended early or its framing is broken"))?;
        let Ok(data) = frame.into_data() else { continue };
        pieces += 1;
        let received = intake.bytes.len() + whole.len() + data.len();
        if received > limits.body_bytes_max {
            return Err(too_large(limits.body_bytes_max));
        }
        if declared.is_none() && pieces > PIECES_MAX {
            return Err(ApiError::bad("invalid_body", format!("the body comes in more than {PIECES_MAX} pieces")));
        }
        if started.elapsed() > SLOW_START + Duration::from_secs(received as u64 / BYTES_PER_SEC_MIN) {
            return Err(too_slow());
        }
        charge(state, &mut intake, received)?;
        if pieces == 1 {
            intake.bytes = data;
        } else {
            if whole.is_empty() {
                whole.reserve(declared.unwrap_or(0).clamp(received, RESERVE_MAX.max(received)));
                whole.extend_from_slice(&std::mem::take(&mut intake.bytes));
            }
            whole.extend_from_slice(&data);
        }
    }
    if pieces > 1 {
        intake.bytes = whole.freeze();
    }
    Ok(intake)
}

/// Raises the body's share of the budget to `bytes`. Never waits.
fn charge(state: &AppState, intake: &mut Intake, bytes: usize) -> Result<(), ApiError> {
    let held = intake.budget.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let missing = bytes.div_ceil(BODY_UNIT).saturating_sub(held);
    let Ok(missing) = u32::try_from(missing) else { return Err(too_large(state.options().limits.body_bytes_max)) };
    if missing == 0 {
        return Ok(());
    }
    let Ok(permit) = state.body_budget().clone().try_acquire_many_owned(missing) else {
        let busy = "too many bytes of bodies are being read at once";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", busy).retry_after(Duration::from_secs(1)));
    };
    match &mut intake.budget {
        Some(budget) => budget.merge(permit),
        none => *none = Some(permit),
    }
    Ok(())
}

fn too_large(body_bytes_max: usize) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("the body is larger than {body_bytes_max} bytes"))
        .with("body_bytes_max", body_bytes_max)
}

fn too_slow() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the body came too slowly")
}
