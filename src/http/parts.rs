//! Binary parts of results: all of them as one safetensors body, or one as raw little-endian bytes or `.npy`.

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;

use super::body::SAFETENSORS;
use super::error::ApiError;
use super::gate::Caller;
use super::state::AppState;
use super::tasks::owned;
use super::tensors;
use crate::task::Part;

const NPY: &str = "application/x-npy";
const RAW: &str = "application/octet-stream";
const DTYPE_HEADER: HeaderName = HeaderName::from_static("x-tallow-dtype");
const SHAPE_HEADER: HeaderName = HeaderName::from_static("x-tallow-shape");

/// `GET /v1/tasks/{id}/parts`: a result without parts is an empty safetensors body.
pub(crate) async fn all(State(state): State<AppState>, caller: Extension<Caller>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let parts = state.manager().parts(&owned(&state, &caller, &id)?)?;
    Ok(bytes_answer(SAFETENSORS, tensors::encode(&parts)))
}

/// `GET /v1/tasks/{id}/parts/{name}`.
pub(crate) async fn one(
    State(state): State<AppState>,
    caller: Extension<Caller>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let parts = state.manager().parts(&owned(&state, &caller, &id)?)?;
    let Some(part) = parts.get(&name) else {
        let known = parts.keys().cloned().collect::<Vec<_>>().join(", ");
        let message =
            if known.is_empty() { "the task has no parts".to_owned() } else { format!("no part of that name; the task has: {known}") };
        return Err(ApiError::new(StatusCode::NOT_FOUND, "part_not_found", message).param("name"));
    };
    let accepts_npy = headers.get_all(header::ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains(NPY)));
    let mut response =
        if accepts_npy { bytes_answer(NPY, tensors::npy(part)?.to_vec()) } else { bytes_answer(RAW, vec![part.bytes().clone()]) };
    describe(&mut response, part);
    Ok(response)
}

fn describe(response: &mut Response, part: &Part) {
    let shape = part.shape().iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    response.headers_mut().insert(DTYPE_HEADER, HeaderValue::from_static(part.dtype().name()));
    if let Ok(shape) = HeaderValue::from_str(&shape) {
        response.headers_mut().insert(SHAPE_HEADER, shape);
    }
}

/// An answer of shared pieces, with its length.
fn bytes_answer(kind: &'static str, pieces: Vec<Bytes>) -> Response {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::convert::Infallible>)));
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CONTENT_LENGTH, HeaderValue::from(length))], body).into_response()
}
