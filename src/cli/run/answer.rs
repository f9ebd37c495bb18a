//! One line of the answers file.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What became of one line of the task file. Unknown fields are refused: a file of something else is never resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerLine {
    /// The line of the task file, from 1.
    pub(crate) line: u64,
    /// The task's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// What makes two lines the same task: a digest of the line and of the lines it takes values from.
    pub(crate) key: String,
    /// `completed`, `failed` or `cancelled`.
    pub(crate) status: String,
    /// The operation's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Value>,
    /// How the answer was made.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) metadata: Map<String, Value>,
    /// Binary parts: `{"dtype", "shape", "base64"}`, or `{"dtype", "shape", "file"}` with `--parts-dir`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) parts: Map<String, Value>,
    /// Why there is no output: `code`, `message` and the error's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Value>,
}

impl AnswerLine {
    /// True when the line need not be executed again.
    #[must_use]
    pub(crate) fn is_answered(&self) -> bool {
        self.status == "completed"
    }
}
