//! What this worker can do: the capability document, and its models in OpenAI's shape.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::state::AppState;
use super::view::ModelList;
use crate::task::{Dtype, TaskError, TaskExecutor as _, TaskPriority};

/// `GET /v1/executors`: types, operations with JSON Schemas, models, devices, free memory, limits, queue, throughput by operation. Everything in it is declared and enforced,
/// or measured when it was asked for.
pub(crate) async fn document(State(state): State<AppState>) -> Result<Response, ApiError> {
    let manager = state.manager();
    let limits = &state.options().limits;
    let unwritable = |error: serde_json::Error| TaskError::internal("the document could not be written", error.to_string());
    let executors = serde_json::to_value(manager.executor().reports()).map_err(unwritable)?;
    let memory = serde_json::to_value(manager.ledger().snapshot()).map_err(unwritable)?;
    let stats = manager.stats();
    let queue = serde_json::to_value(&stats).map_err(unwritable)?;
    let throughput = serde_json::to_value(&stats.operations).map_err(unwritable)?;
    let dtypes = [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::Bf16, Dtype::I8, Dtype::U8, Dtype::I32, Dtype::U32, Dtype::I64];
    let document = json!({
        "worker": { "name": "tallow", "version": env!("CARGO_PKG_VERSION") },
        "types": manager.executor().capabilities().supported_types,
        "priorities": TaskPriority::ALL,
        "executors": executors,
        "host": (state.options().host_facts)(),
        "memory": memory,
        "queue": queue,
        "throughput": throughput,
        "draining": state.is_draining(),
        "limits": {
            "body_bytes_max": limits.body_bytes_max,
            "batch_items_max": limits.batch_items_max,
            "connections_max": limits.connections_max,
            "event_streams_max": limits.event_streams_max,
            "json_depth_max": super::json::DEPTH_MAX,
            "wait_ms_max": u64::try_from(limits.wait_max.as_millis()).unwrap_or(u64::MAX),
            "part_dtypes": dtypes,
        },
    });
    Ok(Json(document).into_response())
}

/// `GET /v1/models`.
pub(crate) async fn models(State(state): State<AppState>) -> Result<Response, ApiError> {
    Ok(Json(ModelList { object: "list", data: known_models(&state).await? }).into_response())
}

/// `GET /v1/models/{id}`; a model's name may hold a slash.
pub(crate) async fn model(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let found = known_models(&state).await?.into_iter().find(|model| model.get("id").and_then(Value::as_str) == Some(&id));
    let missing = || {
        ApiError::new(StatusCode::NOT_FOUND, "model_not_found", "no model of that name is known here; GET /v1/models lists them")
            .param("model")
    };
    Ok(Json(found.ok_or_else(missing)?).into_response())
}

/// Models that executors report as loaded under `details.models`, then those of the host that are not loaded; each name once.
async fn known_models(state: &AppState) -> Result<Vec<Value>, ApiError> {
    let unlisted = |reason: String| ApiError::from(TaskError::internal("the models of this host could not be listed", reason));
    let known = state.options().known_models.clone();
    let known = tokio::task::spawn_blocking(move || known()).await.map_err(|panicked| unlisted(panicked.to_string()))?;
    let known = known.map_err(unlisted)?;
    let reports = state.manager().executor().reports();
    let loaded = reports.iter().filter_map(|report| report.details.get("models")).filter_map(Value::as_array).flatten();
    let loaded = loaded.filter_map(|model| openai_model(model, Presence::Loaded));
    let all = loaded.chain(known.iter().filter_map(|model| openai_model(model, Presence::OnDisk)));
    let mut seen = BTreeSet::new();
    Ok(all.filter(|model| seen.insert(model["id"].as_str().unwrap_or_default().to_owned())).collect())
}

/// Whether a model is in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Loaded,
    OnDisk,
}

/// A reported model needs a name (`id`, `name` or `model`), or is itself a name.
fn openai_model(reported: &Value, presence: Presence) -> Option<Value> {
    let (name, mut fields) = match reported {
        Value::String(name) => (name.clone(), Map::new()),
        Value::Object(fields) => (["id", "name", "model"].iter().find_map(|key| fields.get(*key)?.as_str())?.to_owned(), fields.clone()),
        _ => return None,
    };
    fields.insert("id".into(), name.into());
    fields.insert("object".into(), "model".into());
    fields.insert("loaded".into(), (presence == Presence::Loaded).into());
    fields.entry("created").or_insert_with(|| 0.into());
    fields.entry("owned_by").or_insert_with(|| "tallow".into());
    Some(Value::Object(fields))
}
