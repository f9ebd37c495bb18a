//! The lines of a task file, parsed one at a time.

use std::path::Path;

use super::super::exit::CliError;
use super::super::input::Lines;
use crate::task::{SubmissionSpec, plainly};

/// Where tasks come from.
pub(crate) struct Feed {
    lines: Lines,
    total_bytes: Option<u64>,
}

/// One line of the file.
pub(crate) struct TaskLine {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Its bytes, without the line break.
    pub(crate) text: String,
    /// The task, or why it is none.
    pub(crate) spec: Result<SubmissionSpec, String>,
}

impl Feed {
    /// Opens the file, or standard input for `-`. Errors: absent (exit 3).
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let total_bytes = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        Ok(Self { lines: Lines::open(path)?, total_bytes })
    }

    /// Bytes of the whole file, if it is one.
    #[must_use]
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// The next line. Errors: the file cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<TaskLine>, CliError> {
        let Some(line) = self.lines.next()? else { return Ok(None) };
        Ok(Some(match line.text {
            Ok(text) => TaskLine { number: line.number, spec: parse(&text), text },
            Err(reason) => TaskLine { number: line.number, text: String::new(), spec: Err(reason) },
        }))
    }
}

/// Parses one line. Errors: what was found, where, and what is allowed.
pub(crate) fn parse(text: &str) -> Result<SubmissionSpec, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let spec = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = plainly(&error.into_inner().to_string());
        if !text.trim_start().starts_with('{') {
            return format!("not a task: expected a JSON object, {{\"type\": ..., \"data\": {{...}}}} ({inner})");
        }
        if path == "." { format!("not a task: {inner}") } else { format!("not a task: `{path}`: {inner}") }
    })?;
    deserializer.end().map_err(|error| format!("not a task: {error}; each line holds one JSON object"))?;
    Ok(spec)
}
