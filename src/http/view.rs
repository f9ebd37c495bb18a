//! The JSON of the API: what bodies look like, in and out, beside the task floor's own words.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::manager::{StatusKind, TaskSummary};
use crate::task::{Part, Parts, SubmissionSpec, TaskId};

/// A field that may be left out, where an explicit null says the same: clients of the routes that others defined send it.
pub(crate) fn absent<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The shape of every error.
#[derive(Serialize, JsonSchema)]
#[allow(dead_code, reason = "only its schema is used: errors are rendered from their own data")]
pub(crate) struct ErrorBody {
    /// What went wrong; further fields carry its data, such as `retry_after_ms` or `needed_bytes`.
    error: ErrorObject,
}

/// What went wrong.
#[derive(Serialize, JsonSchema)]
#[allow(dead_code, reason = "only its schema is used: errors are rendered from their own data")]
pub(crate) struct ErrorObject {
    /// For people: what was wrong, where, what is allowed.
    message: String,
    /// `invalid_request_error`, `authentication_error`, `not_found_error`, `rate_limit_error` or `server_error`.
    r#type: String,
    /// The field or parameter it is about.
    param: Option<String>,
    /// Stable and machine-readable, such as `invalid_payload`, `overloaded`, `not_found`.
    code: String,
    /// The id under which the worker's log knows this call.
    request_id: String,
}

/// An accepted task.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Accepted {
    /// Its id.
    #[schemars(with = "String")]
    pub(crate) id: TaskId,
    /// Where it stands: `pending`, or further if it was quick or its idempotency key was known.
    #[schemars(with = "String")]
    pub(crate) status: StatusKind,
}

/// One task as clients see it; its payload stays with the worker.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TaskView {
    /// What a listing says of it.
    #[serde(flatten)]
    pub(crate) line: TaskLine,
    /// The result's output and metadata, once completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub(crate) result: Option<crate::task::TaskResult>,
    /// Binary parts of the result; fetch them under `/v1/tasks/{id}/parts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<PartView>,
    /// Why it ended without a result: `code`, `message` and the error's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Value>,
}

/// A binary part without its bytes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PartView {
    /// Its name.
    pub(crate) name: String,
    /// Element type, such as `f32`.
    pub(crate) dtype: &'static str,
    /// Dimensions, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Size in bytes.
    pub(crate) bytes: usize,
}

impl PartView {
    /// The parts of a task, by name.
    pub(crate) fn list(parts: &Parts) -> Vec<Self> {
        let view = |(name, part): (&String, &Part)| Self {
            name: name.clone(),
            dtype: part.dtype().name(),
            shape: part.shape().to_vec(),
            bytes: part.bytes().len(),
        };
        parts.iter().map(view).collect()
    }
}

/// One line of a listing.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TaskLine {
    /// Its id.
    #[schemars(with = "String")]
    pub(crate) id: TaskId,
    /// Its type.
    pub(crate) r#type: String,
    /// Its priority.
    pub(crate) priority: &'static str,
    /// Where it stands.
    #[schemars(with = "String")]
    pub(crate) status: StatusKind,
    /// Runs begun so far.
    pub(crate) attempt: u32,
    /// Who submitted it.
    pub(crate) submitter: String,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// When it was made.
    #[schemars(with = "String")]
    pub(crate) created_at: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) completed_at: Option<DateTime<Utc>>,
    /// Why it failed or was cancelled, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl From<TaskSummary> for TaskLine {
    fn from(summary: TaskSummary) -> Self {
        Self {
            id: summary.id,
            r#type: summary.task_type.name().to_owned(),
            priority: summary.priority.name(),
            status: summary.status,
            attempt: summary.attempt,
            submitter: summary.submitter.to_string(),
            labels: summary.labels,
            created_at: summary.created_at,
            completed_at: summary.completed_at,
            reason: summary.error,
        }
    }
}

/// A page of tasks, oldest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TaskPage {
    /// The tasks.
    pub(crate) tasks: Vec<TaskLine>,
    /// The `after` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) next: Option<TaskId>,
}

/// Many submissions in one call; a bare array of submissions is the same with `atomic: false`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchBody {
    /// The submissions; each is parsed on its own.
    #[schemars(with = "Vec<SubmissionSpec>")]
    pub(crate) tasks: Vec<Value>,
    /// True: all or nothing, and tasks may refer to each other by name. False: each has its own outcome, also one that is malformed.
    #[serde(default)]
    pub(crate) atomic: bool,
}

/// The outcome of a batch, in the order of its submissions.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BatchAnswer {
    /// How many were accepted.
    pub(crate) accepted: usize,
    /// How many were refused.
    pub(crate) refused: usize,
    /// One entry per submission.
    pub(crate) tasks: Vec<BatchItem>,
}

/// The outcome of one submission: an id or an error.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum BatchItem {
    /// Accepted.
    Accepted {
        /// Its id.
        #[schemars(with = "String")]
        id: TaskId,
    },
    /// Refused.
    Refused {
        /// The error, in the shape of every error.
        error: Value,
    },
}

/// Which tasks a status query is about.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusBody {
    /// Ids of tasks.
    pub(crate) ids: Vec<String>,
}

/// Statuses in the order of the ids.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StatusAnswer<'a> {
    /// One entry per id.
    pub(crate) tasks: Vec<StatusItem<'a>>,
}

/// Where one task stands.
#[derive(Serialize, JsonSchema)]
pub(crate) struct StatusItem<'a> {
    /// The id as it was asked for.
    pub(crate) id: &'a str,
    /// `pending`, `running`, `completed`, `failed`, `cancelled`, or `unknown` when no such task is known.
    pub(crate) status: &'static str,
    /// Runs begun so far.
    pub(crate) attempt: u32,
}

/// An OpenAI embeddings call.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingsBody {
    /// A text or an array of 1 to 2048 texts; arrays of token ids are refused.
    pub(crate) input: Value,
    /// A model's name; the worker's default when absent.
    pub(crate) model: Option<String>,
    /// `float` (default) or `base64` (little-endian f32).
    pub(crate) encoding_format: Option<EncodingFormat>,
    /// Keeps the first so many numbers: a length that the model was trained for (Matryoshka), or its full one.
    pub(crate) dimensions: Option<u32>,
    /// Accepted for compatibility and not used.
    #[allow(dead_code, reason = "OpenAI clients may send it")]
    pub(crate) user: Option<String>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EncodingFormat {
    /// Arrays of numbers.
    #[default]
    Float,
    /// Base64 of little-endian f32.
    Base64,
}

/// The models of this worker.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ModelList {
    /// `list`.
    pub(crate) object: &'static str,
    /// One entry per model: OpenAI's `id`, `object`, `created`, `owned_by`, `loaded` (whether it is in memory; the others are loaded by
    /// the first task that names them), and what this worker knows beside (digest, dimensions, ...).
    pub(crate) data: Vec<Value>,
}
