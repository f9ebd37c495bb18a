//! OpenAI `POST /v1/embeddings`: an ordinary submitted task, cancelled when its caller goes away.

use std::io::Write as _;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::body;
use super::call::{Answered, Words, checked_model, infer, json_response, with_precision};
use super::error::ApiError;
use super::gate::Caller;
use super::state::AppState;
use super::view::{EmbeddingsBody, EncodingFormat};
use crate::task::{Dtype, Part, TaskError, TaskResult};

/// Most texts of one call, as OpenAI has it.
const TEXTS_MAX: usize = 2048;
/// The part in which the embed operation answers when it is asked for one.
const PART: &str = "embeddings";
/// Answers with more numbers than this are written on a blocking thread.
const WRITE_INLINE_MAX: usize = 64 * 1024;

/// The handler.
pub(crate) async fn create(State(state): State<AppState>, caller: Extension<Caller>, call: Request) -> Result<Response, ApiError> {
    let asked: EmbeddingsBody = body::json(&state, call).await?;
    let format = asked.encoding_format.unwrap_or_default();
    let words = Words { texts: "input", single: asked.input.is_string(), long_text: "shorten or split it" };
    let data = task_data(asked)?;
    let answered = infer(&state, &caller, data, Some(words)).await?;
    let precision = answered.precision();
    let Answered { result, mut parts, .. } = answered;
    let Some(part) = parts.remove(PART) else {
        return Err(TaskError::internal("the model answered without vectors", "the embed operation left no part `embeddings`").into());
    };
    let text = if part.bytes().len() / 4 > WRITE_INLINE_MAX {
        let written = tokio::task::spawn_blocking(move || write_answer(&result, &part, format)).await;
        written.map_err(|panicked| TaskError::internal("the answer could not be written", panicked.to_string()))??
    } else {
        write_answer(&result, &part, format)?
    };
    Ok(with_precision(json_response(text), precision))
}

/// The task's data. Errors: 400 for what OpenAI refuses too, and for token ids.
fn task_data(asked: EmbeddingsBody) -> Result<Value, ApiError> {
    let texts = texts(asked.input)?;
    let mut data = Map::new();
    data.insert("operation".into(), "embed".into());
    data.insert("texts".into(), texts.into());
    data.insert("encoding".into(), "part".into());
    if let Some(model) = asked.model {
        data.insert("model".into(), checked_model(model)?.into());
    }
    if let Some(dimensions) = asked.dimensions {
        if dimensions == 0 {
            return Err(ApiError::bad("out_of_range", "dimensions must be at least 1").param("dimensions"));
        }
        data.insert("dimensions".into(), dimensions.into());
    }
    Ok(data.into())
}

fn texts(input: Value) -> Result<Vec<String>, ApiError> {
    let single = input.is_string();
    let items = match input {
        Value::String(text) => vec![Value::String(text)],
        Value::Array(items) => items,
        other => return Err(ApiError::field("input", format!("found {}; expected a text or an array of texts", kind(&other)))),
    };
    if !(1..=TEXTS_MAX).contains(&items.len()) {
        return Err(ApiError::bad("out_of_range", format!("input has {} texts; 1 to {TEXTS_MAX} are allowed", items.len())).param("input"));
    }
    let mut texts = Vec::with_capacity(items.len());
    for (idx, item) in items.into_iter().enumerate() {
        match item {
            Value::String(text) if text.trim().is_empty() => {
                let place = if single { "input".to_owned() } else { format!("input[{idx}]") };
                let found = if text.is_empty() { "empty" } else { "blank" };
                return Err(ApiError::field(&place, format!("{place} is {found}; a text that says nothing has no vector")));
            }
            Value::String(text) => texts.push(text),
            Value::Number(_) | Value::Array(_) => {
                let message = "token ids are refused: they belong to another model's tokenizer and their vectors would be silently wrong; send \
                    texts (LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)";
                return Err(ApiError::bad("token_ids_unsupported", message).param("input"));
            }
            other => return Err(ApiError::field(format!("input[{idx}]"), format!("found {}; expected a text", kind(&other)))),
        }
    }
    Ok(texts)
}

/// Writes the answer straight from the part's bytes. Errors: `Internal` when the part is not `[n, d]` f32.
fn write_answer(result: &TaskResult, part: &Part, format: EncodingFormat) -> Result<Vec<u8>, ApiError> {
    let &[count, dim] = part.shape() else { return Err(misshapen(part)) };
    if part.dtype() != Dtype::F32 || dim == 0 {
        return Err(misshapen(part));
    }
    let per_number = if format == EncodingFormat::Float { 13 } else { 6 };
    let mut text = Vec::with_capacity(256 + count * (64 + dim * per_number));
    text.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (idx, row) in part.bytes().chunks_exact(dim * 4).enumerate() {
        let comma = if idx > 0 { "," } else { "" };
        write!(text, "{comma}{{\"object\":\"embedding\",\"index\":{idx},\"embedding\":").map_err(unwritable)?;
        match format {
            EncodingFormat::Base64 => {
                write!(text, "\"{}\"", STANDARD.encode(row)).map_err(unwritable)?;
            }
            EncodingFormat::Float => write_floats(&mut text, row)?,
        }
        text.push(b'}');
    }
    let tokens = result.output.pointer("/usage/prompt_tokens").and_then(Value::as_u64).unwrap_or(0);
    let model = result.output.get("model").cloned().unwrap_or(Value::Null);
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    write!(text, "],\"model\":{model},\"usage\":{usage}}}").map_err(unwritable)?;
    Ok(text)
}

/// Shortest text of each f32 that reads back as the same number.
fn write_floats(text: &mut Vec<u8>, row: &[u8]) -> Result<(), ApiError> {
    text.push(b'[');
    for (idx, bytes) in row.chunks_exact(4).enumerate() {
        let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if !value.is_finite() {
            return Err(
                TaskError::internal("the model answered with a vector that is not finite", format!("dimension {idx} is {value}")).into()
            );
        }
        if idx > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut *text, &value).map_err(unwritable)?;
    }
    text.push(b']');
    Ok(())
}

fn misshapen(part: &Part) -> ApiError {
    TaskError::internal("the model answered with misshapen vectors", format!("{part:?}")).into()
}

fn unwritable(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("the answer could not be written: {error}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
