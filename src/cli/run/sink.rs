//! Where answers go: full lines of JSON to a file or to standard output, or something a person likes to read.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::super::exit::CliError;
use super::super::npy;
use super::super::output::{Out, Style};
use super::super::show::{self, ShowLimits};
use super::answer::AnswerLine;
use super::journal::{AnswersFile, Key};
use crate::manager::METADATA_COMPUTE_MS;
use crate::task::{Parts, TaskError, TaskResult};

/// Entries of a list that a person is shown.
const ROWS_SHOWN: usize = 6;

/// What became of one line.
pub(crate) struct Ended {
    /// The line, from 1.
    pub(crate) number: u64,
    /// The task's name.
    pub(crate) name: Option<String>,
    /// What makes the line the same task in another run.
    pub(crate) key: Key,
    /// The row of the summary.
    pub(crate) label: String,
    /// Bytes of the line.
    pub(crate) bytes: usize,
    /// The answer, or why there is none.
    pub(crate) outcome: Result<(TaskResult, Parts), TaskError>,
    /// What to tell in place of the error's own words, which know neither the line nor the worker.
    pub(crate) message: Option<String>,
}

impl Ended {
    /// A line whose outcome is not known yet.
    pub(crate) fn open(number: u64, name: Option<String>, key: Key, label: String, bytes: usize) -> Self {
        let outcome = Err(TaskError::internal("the task has not ended", ""));
        Self { number, name, key, label, bytes, outcome, message: None }
    }

    /// Milliseconds that the executor worked on it; `None` where it never ran to its end.
    #[must_use]
    pub(crate) fn compute_ms(&self) -> Option<f64> {
        self.outcome.as_ref().ok().and_then(|(result, _)| result.metadata.get(METADATA_COMPUTE_MS)).and_then(Value::as_f64)
    }
}

enum Target {
    File(AnswersFile),
    Json,
    Person,
}

/// Takes answers.
pub(crate) struct Sink<'a> {
    out: &'a mut Out,
    target: Target,
    parts_dir: Option<PathBuf>,
}

impl<'a> Sink<'a> {
    /// Answers go to the file if there is one, else as JSON to standard output if that is asked for, else there for a person to read.
    pub(crate) fn new(out: &'a mut Out, file: Option<AnswersFile>, json_to_stdout: bool, parts_dir: Option<PathBuf>) -> Self {
        let target = match file {
            Some(file) => Target::File(file),
            None if json_to_stdout => Target::Json,
            None => Target::Person,
        };
        Self { out, target, parts_dir }
    }

    /// True when answers are written for a person.
    #[must_use]
    pub(crate) fn to_terminal(&self) -> bool {
        matches!(self.target, Target::Person)
    }

    /// True when an earlier run left the answer of this line.
    pub(crate) fn take_answered(&mut self, key: Key) -> bool {
        match &mut self.target {
            Target::File(file) => file.take_answered(key),
            Target::Json | Target::Person => false,
        }
    }

    /// Writes one answer.
    pub(crate) fn write(&mut self, ended: Ended) -> Result<(), CliError> {
        if matches!(self.target, Target::Person) {
            return self.show(&ended);
        }
        let line = self.line(ended)?;
        match &mut self.target {
            Target::File(file) => file.append(&line),
            Target::Json | Target::Person => self.out.json_line(&line).and_then(|()| self.out.flush()),
        }
    }

    /// Hands what is buffered over.
    pub(crate) fn finish(&mut self) -> Result<(), CliError> {
        if let Target::File(file) = &mut self.target {
            file.flush()?;
        }
        self.out.flush()
    }

    fn line(&self, ended: Ended) -> Result<AnswerLine, CliError> {
        let mut line = AnswerLine {
            line: ended.number,
            name: ended.name,
            key: ended.key.text(),
            status: "completed".into(),
            output: None,
            metadata: Map::new(),
            parts: Map::new(),
            error: None,
        };
        match ended.outcome {
            Ok((result, parts)) => {
                line.output = Some(result.output);
                line.metadata = result.metadata.into_iter().collect();
                let stem =
                    format!("{:06}{}", ended.number, line.name.as_deref().map_or_else(String::new, |name| format!("-{}", file_name(name))));
                for (name, part) in &parts {
                    line.parts.insert(name.clone(), self.part(&stem, name, part)?);
                }
            }
            Err(error) => {
                line.status = if matches!(error, TaskError::Cancelled { .. }) { "cancelled".into() } else { "failed".into() };
                line.error = Some(error_value(&error, ended.message));
            }
        }
        Ok(line)
    }

    /// A part inline, or as a file with its place.
    fn part(&self, stem: &str, name: &str, part: &crate::task::Part) -> Result<Value, CliError> {
        let Some(directory) = &self.parts_dir else {
            return serde_json::to_value(part).map_err(|error| std::io::Error::from(error).into());
        };
        let path = directory.join(format!("{stem}.{}.npy", file_name(name)));
        npy::write(&path, part)?;
        Ok(json!({ "dtype": part.dtype(), "shape": part.shape(), "file": path.display().to_string() }))
    }

    fn show(&mut self, ended: &Ended) -> Result<(), CliError> {
        let title = ended.name.clone().unwrap_or_else(|| format!("line {}", ended.number));
        let time = ended.compute_ms().map_or_else(String::new, |ms| format!("  {ms:.1} ms"));
        let (mark, style) = if ended.outcome.is_ok() { ("ok", Style::Good) } else { ("FAILED", Style::Bad) };
        let head = format!(
            "{}  {}  {}{}",
            self.out.style(style, mark),
            self.out.style(Style::Strong, &title),
            self.out.style(Style::Name, &ended.label),
            self.out.style(Style::Faint, &time)
        );
        self.out.line(&head)?;
        match &ended.outcome {
            Ok((result, parts)) => {
                let limits = ShowLimits { width: self.out.width().saturating_sub(4), rows: ROWS_SHOWN };
                for line in show::lines(&result.output, limits) {
                    self.out.line(&format!("    {line}"))?;
                }
                for (name, part) in parts {
                    self.out.line(&format!("    part {name}: {} {:?}", part.dtype().name(), part.shape()))?;
                }
            }
            Err(error) => self.out.line(&format!("    {}", ended.message.clone().unwrap_or_else(|| error.to_string())))?,
        }
        self.out.line("")?;
        self.out.flush()
    }
}

/// A task's error with its message beside its data: the one given, or its own.
fn error_value(error: &TaskError, message: Option<String>) -> Value {
    let mut value = serde_json::to_value(error).unwrap_or_else(|_unlikely| json!({ "code": error.code() }));
    if let Value::Object(fields) = &mut value {
        fields.insert("message".into(), message.unwrap_or_else(|| error.to_string()).into());
    }
    value
}

/// A name as part of a file name: what is not a letter, digit, `-`, `_` or `.` becomes `_`, at most 80 characters.
fn file_name(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).collect()
}
