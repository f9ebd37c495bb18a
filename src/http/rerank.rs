//! `POST /v1/rerank` in the shape of Cohere and Jina: an ordinary submitted task.

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::body;
use super::call::{checked_model, infer};
use super::error::ApiError;
use super::gate::Caller;
use super::state::AppState;
use super::view::absent;
use crate::task::TaskError;
use crate::task::inference::RerankResult;

/// A rerank call.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RerankBody {
    /// The query.
    pub(crate) query: String,
    /// The documents: texts, or objects with a `text`.
    pub(crate) documents: Vec<Document>,
    /// A cross-encoder's name; the worker's default when absent.
    pub(crate) model: Option<String>,
    /// Keeps the best so many.
    pub(crate) top_n: Option<usize>,
    /// True repeats each document beside its score.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) return_documents: bool,
    /// True gives logits instead of scores from 0 to 1.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) raw_scores: bool,
    /// True cuts pairs that are too long, the longer text first; else they are an error.
    #[serde(default, deserialize_with = "absent")]
    pub(crate) truncate: bool,
}

/// A document as clients send it.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Document {
    /// The text alone.
    Text(String),
    /// An object.
    Object {
        /// The text.
        text: String,
    },
}

/// Documents, best first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RerankAnswer {
    /// The task behind it.
    pub(crate) id: String,
    /// `list`.
    pub(crate) object: &'static str,
    /// The model that scored them.
    pub(crate) model: String,
    /// One entry per document, or the `top_n` best.
    pub(crate) results: Vec<RerankItem>,
    /// What it took.
    pub(crate) usage: RerankUsage,
}

/// A document's place.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RerankItem {
    /// Its index in the call.
    pub(crate) index: usize,
    /// Larger is better.
    pub(crate) relevance_score: f32,
    /// Its text, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) document: Option<RerankText>,
}

/// A document in an answer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RerankText {
    /// The text.
    pub(crate) text: String,
}

/// Tokens of a call.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RerankUsage {
    /// Tokens that were computed, the query's with each document.
    pub(crate) prompt_tokens: usize,
    /// The same.
    pub(crate) total_tokens: usize,
}

/// The handler.
pub(crate) async fn create(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Result<Response, ApiError> {
    let asked: RerankBody = body::json(&state, call).await?;
    let documents: Vec<String> = asked.documents.into_iter().map(Document::into_text).collect();
    let mut data = Map::new();
    data.insert("operation".into(), "rerank".into());
    data.insert("query".into(), asked.query.into());
    data.insert("documents".into(), documents.into());
    data.insert("return_documents".into(), asked.return_documents.into());
    data.insert("raw_scores".into(), asked.raw_scores.into());
    data.insert("long_input".into(), json!(if asked.truncate { "truncate" } else { "error" }));
    if let Some(top_n) = asked.top_n {
        data.insert("top_n".into(), top_n.into());
    }
    if let Some(model) = asked.model {
        data.insert("model".into(), checked_model(model)?.into());
    }
    let answered = infer(&state, &caller, data.into(), None).await?;
    answered
        .written(|answered| {
            let RerankResult { model, results, usage } = output(answered.result.output)?;
            let item = |ranked: crate::task::inference::Ranked| RerankItem {
                index: ranked.index,
                relevance_score: ranked.relevance_score,
                document: ranked.document.map(|text| RerankText { text }),
            };
            let usage = RerankUsage { prompt_tokens: usage.prompt_tokens, total_tokens: usage.total_tokens };
            let results = results.into_iter().map(item).collect();
            Ok(RerankAnswer { id: answered.id.to_string(), object: "list", model, results, usage })
        })
        .await
}

impl Document {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { text } => text,
        }
    }
}

/// An operation's answer by its type. Errors: 500 when an executor answers in another shape.
pub(crate) fn output<T: serde::de::DeserializeOwned>(output: Value) -> Result<T, ApiError> {
    serde_json::from_value(output).map_err(|error| TaskError::internal("the model answered in another shape", error.to_string()).into())
}
