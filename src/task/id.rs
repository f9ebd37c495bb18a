//! Task identity: 128 bits, time-ordered, opaque to everyone but the clock that made it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::TaskError;

/// Identity of one task: a UUID version 7, so ids sort by creation time. A string in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Uuid);

impl TaskId {
    /// Draws a new id: 48 bits of milliseconds, then a counter and random bits, unique across workers.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id as a number, most significant bits first; keeps the order of creation.
    #[must_use]
    pub fn as_u128(&self) -> u128 {
        self.0.as_u128()
    }
}

impl Default for TaskId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

impl FromStr for TaskId {
    type Err = TaskError;

    /// Parses the hyphenated form. Errors: `InvalidPayload` at `task_id`.
    fn from_str(text: &str) -> Result<Self, TaskError> {
        Uuid::parse_str(text).map(Self).map_err(|error| {
            TaskError::invalid("task_id", format!("not a task id ({error}); expected the 36-character form that submit returned"))
        })
    }
}
