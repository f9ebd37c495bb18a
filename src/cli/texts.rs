//! Texts of a file or of the command line on their way through the worker: read in order, embedded in batches, named by place in errors.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::embed::EmbedFlags;
use super::exit::CliError;
use super::input::{Lines, is_jsonl, record_text};
use super::local::{Answer, Local, spec};
use crate::manager::resolve_names;
use crate::task::inference::{ANY_DIMENSIONS_REMEDY, LONG_INPUT_REMEDY};
use crate::task::{TaskError, TaskId, TaskType};

/// Texts of one task: enough to fill batches, few enough that the first vectors come soon.
const TEXTS_PER_TASK: usize = 256;
/// Bytes of text of one task; one larger text still goes alone.
const BYTES_PER_TASK: usize = 4 << 20;
/// Tasks in flight: one is computed while the next waits ready.
const TASKS_IN_FLIGHT: usize = 4;

/// Texts, one at a time.
pub(crate) struct Texts {
    source: Source,
}

enum Source {
    /// From the command line, with how many were taken.
    Given(std::vec::IntoIter<String>, u64),
    /// From a file, whose lines may be JSON.
    File { lines: Lines, jsonl: bool, path: PathBuf },
}

/// Texts of one task, with the line or the argument that each one came from.
#[derive(Debug, Default)]
struct Batch {
    texts: Vec<String>,
    numbers: Vec<u64>,
}

impl Texts {
    /// Texts of the command line.
    #[must_use]
    pub(crate) fn given(texts: Vec<String>) -> Self {
        Self { source: Source::Given(texts.into_iter(), 0) }
    }

    /// Texts of a file. Errors: absent (exit 3).
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        Ok(Self { source: Source::File { lines: Lines::open(path)?, jsonl: is_jsonl(path), path: path.to_owned() } })
    }

    /// The next text. Errors: file and line of what is none.
    pub(crate) fn next(&mut self) -> Result<Option<String>, CliError> {
        Ok(self.numbered()?.map(|(text, _)| text))
    }

    fn numbered(&mut self) -> Result<Option<(String, u64)>, CliError> {
        match &mut self.source {
            Source::Given(texts, taken) => {
                *taken += 1;
                Ok(texts.next().map(|text| (text, *taken)))
            }
            Source::File { lines, jsonl, path } => {
                let Some(line) = lines.next()? else { return Ok(None) };
                let text = line.text.and_then(|text| record_text(&text, *jsonl));
                let text = text.map_err(|reason| CliError::usage(format!("{}:{}: {reason}", path.display(), line.number)))?;
                Ok(Some((text, line.number)))
            }
        }
    }

    /// Adds the next texts of one task to `batch`; none at the end. Errors: those of [`Texts::next`]; what was read before stays in `batch`.
    fn fill(&mut self, batch: &mut Batch) -> Result<(), CliError> {
        let mut bytes = 0;
        while batch.texts.len() < TEXTS_PER_TASK && bytes < BYTES_PER_TASK {
            let Some((text, number)) = self.numbered()? else { break };
            bytes += text.len();
            batch.texts.push(text);
            batch.numbers.push(number);
        }
        Ok(())
    }

    /// The place of a line or an argument.
    fn place(&self, number: u64) -> String {
        match &self.source {
            Source::Given(..) => format!("text {number}"),
            Source::File { path, .. } => format!("{}:{number}", path.display()),
        }
    }

    /// A task's error in the words of the command line: the text that is to blame by its place, else the texts of the task.
    fn blame(&self, error: TaskError, batch: &Batch) -> CliError {
        let index = match &error {
            TaskError::InvalidPayload { field, .. } => text_index(field),
            _ => None,
        };
        let number = index.and_then(|index| batch.numbers.get(index).copied());
        let worded = worded(error, number.is_some());
        match number {
            Some(number) => worded.at(self.place(number)),
            None => worded,
        }
    }
}

/// The index in `texts[3]`, wherever it stands in a path.
fn text_index(field: &str) -> Option<usize> {
    field.rsplit_once("texts[")?.1.strip_suffix(']')?.parse().ok()
}

/// The error with flags instead of fields in its advice; without the field where the text is named otherwise.
fn worded(error: TaskError, named: bool) -> CliError {
    let TaskError::InvalidPayload { field, reason } = error else { return error.into() };
    let reason = match (reason.strip_suffix(LONG_INPUT_REMEDY), reason.strip_suffix(ANY_DIMENSIONS_REMEDY)) {
        (Some(found), _) => format!("{found}give --long-input truncate or chunk, or split the text"),
        (_, Some(found)) => format!("{found}give --any-dimensions to cut to another length all the same"),
        _ => reason,
    };
    if named { CliError::usage(reason) } else { TaskError::InvalidPayload { field, reason }.into() }
}

/// Sends texts through the worker, a few tasks ahead, and hands each batch's answer over in order.
///
/// Errors: the first text or task that fails, after everything before it was handed over.
pub(crate) fn stream(
    local: &Local,
    flags: &EmbedFlags,
    encoding: &str,
    texts: &mut Texts,
    take: &mut dyn FnMut(Vec<String>, Answer) -> Result<(), CliError>,
) -> Result<(), CliError> {
    local.block_on(async {
        let manager = local.manager();
        let mut in_flight: VecDeque<(TaskId, Batch)> = VecDeque::new();
        let mut ended: Option<Result<(), CliError>> = None;
        loop {
            while ended.is_none() && in_flight.len() < TASKS_IN_FLIGHT {
                let mut batch = Batch::default();
                ended = texts.fill(&mut batch).map_or_else(|error| Some(Err(error)), |()| batch.texts.is_empty().then_some(Ok(())));
                if batch.texts.is_empty() {
                    break;
                }
                let task = spec(TaskType::ModelInference, flags.data(json!(batch.texts), encoding));
                let submission = resolve_names(vec![task], "").map(|mut submissions| submissions.pop());
                let submitted = match submission {
                    Ok(Some(submission)) => manager.submit(submission).await,
                    Ok(None) => Err(TaskError::internal("the submission was lost", "resolve_names gave none")),
                    Err(error) => Err(error),
                };
                match submitted {
                    Ok(id) => in_flight.push_back((id, batch)),
                    Err(error) => ended = Some(Err(texts.blame(error, &batch))),
                }
            }
            let Some((id, batch)) = in_flight.pop_front() else { return ended.unwrap_or(Ok(())) };
            let result = manager.wait(&id).await.map_err(|error| texts.blame(error, &batch))?;
            let parts = manager.parts(&id)?;
            take(batch.texts, Answer { result, parts })?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Texts, text_index};
    use crate::task::TaskError;
    use crate::task::inference::LONG_INPUT_REMEDY;

    #[test]
    fn a_text_is_named_by_its_argument_and_the_advice_by_its_flag() {
        assert_eq!(
            ["texts[3]", "tasks[0].data.texts[12]", "texts", "model", "texts[x]"].map(text_index),
            [Some(3), Some(12), None, None, None]
        );
        let mut texts = Texts::given(vec!["a".into(), "b".into()]);
        let mut batch = super::Batch::default();
        texts.fill(&mut batch).expect("texts");
        let told = |field: &str, reason: String| texts.blame(TaskError::invalid(field, reason), &batch).to_string();
        assert_eq!(told("texts[1]", "the text is empty".into()), "text 2: the text is empty");
        let long = told("texts[0]", format!("the text is long; {LONG_INPUT_REMEDY}"));
        assert!(long.contains("--long-input truncate") && !long.contains("`long_input`"), "{long}");
        assert!(told("dimensions", "found 3".into()).contains("`dimensions`: found 3"));
    }
}
