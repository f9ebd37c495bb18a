//! A task with everything the manager needs to know beside it, and the JSON form in which outsiders send one.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Parts, Task, TaskId, TaskPriority, TaskType};

/// A task to submit, with who submits it and under which conditions it runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Submission {
    /// The task; its status must be pending.
    pub task: Task,
    /// Whose share of the worker it uses; empty for the in-process default submitter.
    pub submitter: String,
    /// Expired work never starts; running work is cancelled when this passes. Counted from the wall clock at admission; later steps of that
    /// clock move nothing.
    pub deadline: Option<DateTime<Utc>>,
    /// The same as a time from acceptance on, whatever the wall clock shows; with both, the earlier one holds.
    pub deadline_in: Option<Duration>,
    /// Tasks that must complete first. References in the data (`{"$from": id, ...}`) add to this list.
    pub depends_on: Vec<TaskId>,
    /// Submitting the same again under the same key returns the first task's id and creates nothing; scoped by submitter.
    ///
    /// What has to be the same is what decides what the task does: type, data, parts, `depends_on` (as a set), priority and `retries_max`, as they
    /// were sent. Where one of them differs, the submission is refused and the error names it. Deadlines, labels and the task's own id may differ;
    /// the first submission's stay. Among tasks that are submitted together, a dependency counts by the other task's key, so a graph whose tasks all
    /// have keys can be repeated under fresh ids, whole or in part; a task without a key is created anew with each repeat.
    pub idempotency_key: Option<String>,
    /// Free labels for listing.
    pub labels: BTreeMap<String, String>,
    /// Retries for retryable errors; `None` means `MAX_RETRY_COUNT`, and more than that is refused.
    pub retries_max: Option<u32>,
}

impl Submission {
    /// A submission without conditions.
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self {
            task,
            submitter: String::new(),
            deadline: None,
            deadline_in: None,
            depends_on: Vec::new(),
            idempotency_key: None,
            labels: BTreeMap::new(),
            retries_max: None,
        }
    }

    /// Sets whose share of the worker it uses.
    #[must_use]
    pub fn submitter(mut self, submitter: impl Into<String>) -> Self {
        self.submitter = submitter.into();
        self
    }

    /// Sets the deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: DateTime<Utc>) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the deadline as a time from acceptance on.
    #[must_use]
    pub fn deadline_in(mut self, within: Duration) -> Self {
        self.deadline_in = Some(within);
        self
    }

    /// Adds a task that must complete first.
    #[must_use]
    pub fn depends_on(mut self, task_id: TaskId) -> Self {
        self.depends_on.push(task_id);
        self
    }

    /// Sets the idempotency key: 1 to 255 visible ASCII characters.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Sets how often a retryable error is tried again.
    #[must_use]
    pub fn retries_max(mut self, retries_max: u32) -> Self {
        self.retries_max = Some(retries_max);
        self
    }
}

impl From<Task> for Submission {
    fn from(task: Task) -> Self {
        Self::new(task)
    }
}

/// The JSON form of a submission: what HTTP bodies and task files hold. Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmissionSpec {
    /// A name by which other tasks of the same batch refer to this one; not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `text_processing`, `vector_computation`, `model_inference` or `{"custom": "name"}`.
    #[serde(rename = "type")]
    #[schemars(with = "serde_json::Value")]
    pub task_type: TaskType,
    /// `low`, `normal`, `high` or `critical`.
    #[serde(default)]
    #[schemars(with = "String")]
    pub priority: TaskPriority,
    /// The request: `operation` and its fields. `{"$from": "name or id", "path": "/chunks/*/text"}` takes a value from the output of
    /// another task, `{"$from": "name or id", "part": "embeddings"}` a binary part, `{"$part": "name"}` a part of this payload.
    pub data: serde_json::Value,
    /// Binary parts as `{"name": {"dtype": "f32", "shape": [2, 3], "base64": "..."}}`.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    #[schemars(with = "serde_json::Value")]
    pub parts: Parts,
    /// Deadline in milliseconds from acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Names (of this batch) or ids of tasks that must complete first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Submitting the same again under the same key returns the first task's id. Type, data, parts, depends_on, priority and retries_max have to be
    /// as they were, else the submission is refused and the error's `differs` names the field; name, labels and deadline may differ. In a batch that
    /// is repeated, tasks refer to each other by name as before; a task without a key is created anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Free labels for listing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Retries for retryable errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries_max: Option<u32>,
}
