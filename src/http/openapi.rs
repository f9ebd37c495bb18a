//! `/openapi.json`: assembled from the route table, so it cannot name a route that does not exist, nor miss one.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::gate::PUBLIC;
use super::view::ErrorBody;

/// A schema that the document collects under `components`.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`, by name.
pub(crate) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A parameter outside the body.
#[derive(Clone, Copy)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    /// `path`, `query` or `header`.
    pub(crate) place: &'static str,
    /// A JSON type.
    pub(crate) kind: &'static str,
    pub(crate) what: &'static str,
}

/// A body, in or out.
#[derive(Clone, Copy)]
pub(crate) struct Media {
    pub(crate) kind: &'static str,
    /// `None` for bytes.
    pub(crate) schema: Option<SchemaOf>,
    /// JSON text.
    pub(crate) example: Option<&'static str>,
}

/// A good answer.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) what: &'static str,
    pub(crate) media: &'static [Media],
}

/// Everything the document says about one route.
#[derive(Clone, Copy)]
pub(crate) struct RouteDoc {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) description: &'static str,
    pub(crate) params: &'static [Param],
    pub(crate) body: &'static [Media],
    pub(crate) answers: &'static [Answer],
    /// Refusals of this route beyond those that every route has.
    pub(crate) refusals: &'static [u16],
}

/// What every route behind the token may refuse with.
const COMMON: [u16; 7] = [400, 401, 403, 404, 414, 431, 500];
/// What every route with a body may refuse with, beside those.
const WITH_BODY: [u16; 4] = [408, 413, 415, 429];

/// The groups, in reading order.
const TAGS: [(&str, &str); 6] = [
    ("tasks", "Submit, watch, list and cancel tasks."),
    ("results", "Binary parts of results, without JSON numbers."),
    ("openai", "The OpenAI surface: point any OpenAI client's base URL at /v1."),
    (
        "encoders",
        "Reranking in the shape of Cohere and Jina, and the routes of text-embeddings-inference. The header x-tallow-precision of an answer names what \
         was computed in.",
    ),
    ("worker", "What this worker can do."),
    ("operations", "Health, metrics, this document."),
];

/// The whole document.
pub(crate) fn document(routes: &[RouteDoc]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorBody>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes {
        paths.entry(route.path).or_default().insert(route.method.into(), operation(route, &mut generator, &error));
    }
    let tags: Vec<Value> = TAGS.iter().map(|(name, description)| json!({ "name": name, "description": description })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tallow",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A compute worker: text, vector and model tasks. Every call but liveness and readiness needs the bearer token. \
                Errors have OpenAI's shape with a stable `code` and the request id.",
        },
        "security": [{ "token": [] }],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn operation(route: &RouteDoc, generator: &mut SchemaGenerator, error: &Schema) -> Value {
    let public = PUBLIC.contains(&route.path);
    let mut responses = Map::new();
    for answer in route.answers {
        let mut response = json!({ "description": answer.what });
        if !answer.media.is_empty() {
            response["content"] = content(answer.media, generator);
        }
        responses.insert(answer.status.to_string(), response);
    }
    let body_refusals: &[u16] = if route.body.is_empty() { &[] } else { &WITH_BODY };
    let shared: &[u16] = if public { &[400, 403, 414, 431, 500] } else { &COMMON };
    for status in shared.iter().chain(body_refusals).chain(route.refusals) {
        let entry = responses.entry(status.to_string());
        entry.or_insert_with(|| json!({ "description": refusal(*status), "content": { "application/json": { "schema": error } } }));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [route.tag],
        "summary": route.summary,
        "responses": responses,
    });
    if !route.description.is_empty() {
        operation["description"] = route.description.into();
    }
    let params: Vec<Value> = route.params.iter().map(parameter).collect();
    if !params.is_empty() {
        operation["parameters"] = params.into();
    }
    if !route.body.is_empty() {
        operation["requestBody"] = json!({ "required": true, "content": content(route.body, generator) });
    }
    if public {
        operation["security"] = json!([]);
    }
    operation
}

fn parameter(param: &Param) -> Value {
    json!({
        "name": param.name,
        "in": param.place,
        "required": param.place == "path",
        "description": param.what,
        "schema": { "type": param.kind },
    })
}

fn content(media: &[Media], generator: &mut SchemaGenerator) -> Value {
    let mut content = Map::new();
    for media in media {
        let mut entry = Map::new();
        if let Some(schema) = media.schema {
            entry.insert("schema".into(), schema(generator).to_value());
        }
        // An example that is not JSON would be a fault of the table; a test parses them all.
        if let Some(example) = media.example.and_then(|text| serde_json::from_str(text).ok()) {
            entry.insert("example".into(), example);
        }
        content.insert(media.kind.into(), entry.into());
    }
    content.into()
}

/// `get /v1/tasks/{id}` becomes `get_v1_tasks_id`.
fn operation_id(route: &RouteDoc) -> String {
    let path: String =
        route.path.chars().filter(|c| !matches!(c, '{' | '}')).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("{}{}", route.method, path)
}

fn refusal(status: u16) -> &'static str {
    match status {
        401 => "the bearer token is missing or wrong",
        403 => "the host name is not allowed",
        404 => "not found: no such route, task, part or model",
        429 => "overloaded; try again after `retry-after` seconds",
        503 => "shutting down, or a device is unavailable",
        other => StatusCode::from_u16(other).ok().and_then(|status| status.canonical_reason()).unwrap_or("refused"),
    }
}
