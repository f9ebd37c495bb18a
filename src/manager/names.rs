//! From the JSON form of a batch to submissions: batch-local names become ids. Draws ids, decides nothing else.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::references::{JSON_DEPTH_MAX, field_of};
use crate::task::{Submission, SubmissionSpec, Task, TaskError, TaskId};

/// Longest batch-local name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest deadline, in milliseconds: 366 days.
pub const DEADLINE_MS_MAX: u64 = 366 * 24 * 3600 * 1000;

/// Makes submissions of a batch: draws ids, replaces names by them in `depends_on` and in `$from`.
///
/// Errors: `InvalidPayload` with `tasks[i].` before the field, for a name that is empty, too long, used twice, unknown or the task's own, and for
/// a deadline beyond [`DEADLINE_MS_MAX`]. Whether ids that are not of this batch exist is checked when the tasks are submitted.
pub fn resolve_names(specs: Vec<SubmissionSpec>, submitter: &str) -> Result<Vec<Submission>, TaskError> {
    let tasks: Vec<_> = specs.iter().map(|_| TaskId::new()).collect();
    let mut names: HashMap<String, TaskId> = HashMap::new();
    for (at, spec) in specs.iter().enumerate() {
        let Some(name) = &spec.name else { continue };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.parse::<TaskId>().is_ok() {
            let reason = format!("a name has 1 to {NAME_BYTES_MAX} bytes and is not the text of a task id");
            return Err(TaskError::invalid(format!("tasks[{at}].name"), reason));
        }
        if names.insert(name.clone(), tasks[at]).is_some() {
            return Err(TaskError::invalid(format!("tasks[{at}].name"), format!("`{name}` is the name of two tasks of this batch")));
        }
    }
    let mut submissions = Vec::with_capacity(specs.len());
    for (at, spec) in specs.into_iter().enumerate() {
        let scope = Scope { names: &names, own: tasks[at], at };
        submissions.push(submission(spec, &scope, submitter)?);
    }
    Ok(submissions)
}

struct Scope<'a> {
    names: &'a HashMap<String, TaskId>,
    own: TaskId,
    at: usize,
}

impl Scope<'_> {
    fn id(&self, text: &str, field: &str) -> Result<TaskId, TaskError> {
        let id = self.names.get(text).copied().or_else(|| text.parse().ok());
        let shown: String = text.chars().take(NAME_BYTES_MAX).collect();
        match id {
            Some(id) if id == self.own => Err(TaskError::invalid(self.field(field), "a task cannot refer to itself")),
            Some(id) => Ok(id),
            None => {
                Err(TaskError::invalid(self.field(field), format!("`{shown}` is neither the name of a task of this batch nor a task id")))
            }
        }
    }

    fn field(&self, field: &str) -> String {
        format!("tasks[{}].{field}", self.at)
    }
}

fn submission(spec: SubmissionSpec, scope: &Scope<'_>, submitter: &str) -> Result<Submission, TaskError> {
    let mut data = spec.data;
    rename(&mut data, scope, &mut String::new(), 0)?;
    let mut task = Task::new(spec.task_type, spec.priority, data).with_parts(spec.parts);
    task.id = scope.own;
    let mut submission = Submission::new(task).submitter(submitter);
    if let Some(deadline_ms) = spec.deadline_ms {
        if deadline_ms == 0 || deadline_ms > DEADLINE_MS_MAX {
            return Err(TaskError::invalid(scope.field("deadline_ms"), format!("found {deadline_ms}, allowed are 1 to {DEADLINE_MS_MAX}")));
        }
        submission.deadline_in = Some(Duration::from_millis(deadline_ms));
    }
    for (index, name) in spec.depends_on.iter().enumerate() {
        submission.depends_on.push(scope.id(name, &format!("depends_on[{index}]"))?);
    }
    submission.idempotency_key = spec.idempotency_key;
    submission.labels = spec.labels;
    submission.retries_max = spec.retries_max;
    Ok(submission)
}

/// Replaces names in `{"$from": name}` by ids.
fn rename(value: &mut Value, scope: &Scope<'_>, at: &mut String, depth: usize) -> Result<(), TaskError> {
    if depth > JSON_DEPTH_MAX {
        return Err(TaskError::invalid(scope.field("data"), format!("nested deeper than {JSON_DEPTH_MAX} levels")));
    }
    let len = at.len();
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(from)) = fields.get_mut("$from") {
                *from = scope.id(from, &format!("{}.$from", field_of(at)))?.to_string();
                return Ok(());
            }
            for (key, field) in fields {
                at.push('/');
                at.push_str(key);
                rename(field, scope, at, depth + 1)?;
                at.truncate(len);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                at.push('/');
                at.push_str(&index.to_string());
                rename(item, scope, at, depth + 1)?;
                at.truncate(len);
            }
        }
        _ => {}
    }
    Ok(())
}
