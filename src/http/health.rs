//! Liveness, readiness and metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::error::BodyIsFinal;
use super::state::AppState;

/// The event loop answers: that is all liveness says.
pub(crate) async fn live() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// 200 when tasks are taken, else 503 with the reasons. `/health` is the same answer under its older name.
pub(crate) async fn ready(State(state): State<AppState>) -> Response {
    let mut reasons = (state.options().unready_reasons)();
    if state.is_draining() {
        reasons.push("draining".into());
    }
    if reasons.is_empty() {
        return Json(json!({ "status": "ok" })).into_response();
    }
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "reasons": reasons }))).into_response();
    response.extensions_mut().insert(BodyIsFinal);
    response
}

/// The Prometheus text.
pub(crate) async fn metrics(State(state): State<AppState>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.options().metrics)()).into_response()
}
