//! The route table: every path with its handler and its documentation in one place.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Router, middleware};

use super::error::ApiError;
use super::gate::{self, Gate};
use super::openapi::{self, RouteDoc};
use super::route_docs::DOCS;
use super::state::AppState;
use super::{batch, docs, embeddings, events, executors, health, parts, rerank, tasks, tei};

/// Every route, in the order of the document.
fn all_docs() -> Vec<RouteDoc> {
    [DOCS, tei::docs::DOCS].concat()
}

/// The handler of one entry of [`all_docs`]; `None` would be a documented route that nothing serves, which a test excludes.
fn handler(doc: &RouteDoc) -> Option<MethodRouter<AppState>> {
    Some(match (doc.method, doc.path) {
        ("post", "/v1/tasks") => post(tasks::submit),
        ("get", "/v1/tasks") => get(tasks::list),
        ("get", "/v1/tasks/{id}") => get(tasks::get),
        ("delete", "/v1/tasks/{id}") => delete(tasks::cancel),
        ("post", "/v1/tasks/batch") => post(batch::submit),
        ("post", "/v1/tasks/status") => post(batch::status),
        ("get", "/v1/tasks/{id}/events") => get(events::of_task),
        ("get", "/v1/events") => get(events::all),
        ("get", "/v1/tasks/{id}/parts") => get(parts::all),
        ("get", "/v1/tasks/{id}/parts/{name}") => get(parts::one),
        ("get", "/v1/executors") => get(executors::document),
        ("post", "/v1/embeddings") => post(embeddings::create),
        ("post", "/v1/rerank") => post(rerank::create),
        ("post", "/rerank") => post(tei::rerank),
        ("post", "/embed") => post(tei::embed),
        ("post", "/embed_all") => post(tei::embed_all),
        ("post", "/embed_sparse") => post(tei::embed_sparse),
        ("post", "/predict") => post(tei::predict),
        ("post", "/tokenize") => post(tei::tokenize),
        ("post", "/similarity") => post(tei::similarity),
        ("get", "/info") => get(tei::info),
        ("get", "/v1/models") => get(executors::models),
        ("get", "/v1/models/{id}") => get(executors::model),
        ("get", "/livez") => get(health::live),
        ("get", "/readyz" | "/health") => get(health::ready),
        ("get", "/metrics") => get(health::metrics),
        ("get", "/openapi.json") => get(openapi_json),
        ("get", docs::PATH) => get(docs::page),
        _ => return None,
    })
}

/// The API as a service: every route behind the gate.
pub(crate) fn router(state: &AppState, loopback: bool) -> Router {
    let mut router = Router::new();
    for doc in all_docs() {
        if let Some(handler) = handler(&doc) {
            // A wildcard takes the slash of a model's name; the document shows it as a plain parameter.
            let path = if doc.path == "/v1/models/{id}" { "/v1/models/{*id}" } else { doc.path };
            router = router.route(path, handler);
        }
    }
    let gate = Gate { state: state.clone(), loopback, anonymous: Arc::from("anonymous") };
    router
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(state.clone())
        .layer(middleware::from_fn_with_state(gate, gate::pass))
}

async fn openapi_json(State(_state): State<AppState>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::document(&all_docs()).to_string()).into_response()
}

async fn no_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "route_not_found", "no such route; GET /openapi.json lists them")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route does not take this method")
}

#[cfg(test)]
mod tests {
    use super::{all_docs, handler};
    use crate::http::openapi;

    #[test]
    fn every_documented_route_has_a_handler_and_a_sound_example() {
        for doc in all_docs() {
            assert!(handler(&doc).is_some(), "{} {} is documented but nothing serves it", doc.method, doc.path);
            for example in doc.body.iter().filter_map(|media| media.example) {
                assert!(serde_json::from_str::<serde_json::Value>(example).is_ok(), "{example}");
            }
        }
    }

    #[test]
    fn every_reference_of_the_document_resolves() {
        let document = openapi::document(&all_docs());
        let text = document.to_string();
        let mut checked = 0;
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap_or_default();
            assert!(document.pointer(pointer).is_some(), "{pointer} does not resolve");
            checked += 1;
        }
        assert!(checked > 20, "only {checked} references: the schemas are missing");
    }
}
