//! `{"$from": ...}` in a payload: found at admission, replaced by values when the tasks they name have completed. Pure.
//!
//! What comes out of another task is data: a `$from` inside it is not looked at again.

use std::sync::Arc;

use serde_json::Value;

use crate::task::{Part, Parts, Task, TaskError, TaskId, TaskResult, json_bytes};

/// References of one payload.
pub const REFERENCE_COUNT_MAX: usize = 256;
/// Levels of a payload's JSON.
pub const JSON_DEPTH_MAX: usize = 64;
/// Steps of a reference's path.
pub const PATH_STEPS_MAX: usize = 32;
/// Stars in a reference's path.
pub const PATH_STARS_MAX: usize = 4;

/// The key that marks a reference.
pub(super) const FROM: &str = "$from";

/// One reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where it stands in the payload's data, as a JSON pointer.
    pub at: String,
    /// The task it takes from.
    pub from: TaskId,
    /// What it takes.
    pub take: Take,
}

/// What a reference takes from a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// A value of the output: a JSON pointer in which `*` maps over an array; empty for the whole output.
    Path(String),
    /// A binary part.
    Part(String),
}

/// What one walk over a payload tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Approximate bytes, parts included.
    pub bytes: u64,
    /// The references, in order of their place.
    pub references: Vec<Reference>,
}

/// Measures a payload and finds its references.
///
/// Errors: `InvalidPayload` when the JSON is deeper than [`JSON_DEPTH_MAX`], or a reference is malformed or one too many.
pub fn scan(task: &Task) -> Result<Scan, TaskError> {
    let data = &task.payload.data;
    let mut walk = Walk::default();
    walk.value(data, 0)?;
    let mut references = Vec::new();
    if walk.has_from {
        find(data, &mut String::new(), &mut |at, object| {
            if references.len() == REFERENCE_COUNT_MAX {
                return Err(TaskError::invalid(field_of(at), format!("more than {REFERENCE_COUNT_MAX} references in one payload")));
            }
            references.push(parse(at, object)?);
            Ok(())
        })?;
    }
    let parts_bytes: u64 = task.payload.parts.values().map(|part| part.bytes().len() as u64).sum();
    Ok(Scan { bytes: walk.bytes.saturating_add(parts_bytes), references })
}

#[derive(Default)]
struct Walk {
    bytes: u64,
    has_from: bool,
}

impl Walk {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), TaskError> {
        if depth > JSON_DEPTH_MAX {
            return Err(TaskError::invalid("data", format!("nested deeper than {JSON_DEPTH_MAX} levels")));
        }
        self.bytes += 24;
        match value {
            Value::String(text) => self.bytes += text.len() as u64,
            Value::Array(items) => {
                for item in items {
                    self.value(item, depth + 1)?;
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    self.bytes += 24 + key.len() as u64;
                    self.has_from |= key == FROM;
                    self.value(field, depth + 1)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(())
    }
}

/// Gets the place and the object of a reference.
type Found<'a> = dyn FnMut(&str, &serde_json::Map<String, Value>) -> Result<(), TaskError> + 'a;

/// Calls `found` with the pointer and the object of every reference.
fn find(value: &Value, at: &mut String, found: &mut Found<'_>) -> Result<(), TaskError> {
    match value {
        Value::Object(fields) if fields.contains_key(FROM) => found(at, fields),
        Value::Object(fields) => fields.iter().try_for_each(|(key, field)| {
            let len = at.len();
            at.push('/');
            at.push_str(&key.replace('~', "~0").replace('/', "~1"));
            find(field, at, found)?;
            at.truncate(len);
            Ok(())
        }),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            let len = at.len();
            at.push('/');
            at.push_str(&index.to_string());
            find(item, at, found)?;
            at.truncate(len);
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// A pointer as the field of an error: `/texts/0` becomes `data.texts.0`.
pub(super) fn field_of(at: &str) -> String {
    format!("data{}", at.replace('/', "."))
}

fn parse(at: &str, object: &serde_json::Map<String, Value>) -> Result<Reference, TaskError> {
    let field = |key: &str| format!("{}.{key}", field_of(at));
    let text = |key: &str| match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(TaskError::invalid(field(key), format!("expected a string, found {}", kind_of(other)))),
    };
    if let Some(key) = object.keys().find(|key| !matches!(key.as_str(), FROM | "path" | "part")) {
        return Err(TaskError::invalid(field(key), "a reference has only the fields `$from`, `path` and `part`"));
    }
    let from = text(FROM)?.unwrap_or_default().parse().map_err(|_| TaskError::invalid(field(FROM), "expected the id of a task"))?;
    let take = match (text("path")?, text("part")?) {
        (Some(_), Some(_)) => return Err(TaskError::invalid(field("part"), "a reference takes a `path` or a `part`, not both")),
        (None, Some(part)) => Take::Part(part),
        (path, None) => {
            let path = path.unwrap_or_default();
            let steps = path.matches('/').count();
            let stars = path.split('/').filter(|step| *step == "*").count();
            if !path.is_empty() && !path.starts_with('/') || steps > PATH_STEPS_MAX || stars > PATH_STARS_MAX {
                let reason = format!(
                    "expected a JSON pointer such as `/chunks/*/text` with at most {PATH_STEPS_MAX} steps and {PATH_STARS_MAX} stars"
                );
                return Err(TaskError::invalid(field("path"), reason));
            }
            Take::Path(path)
        }
    };
    Ok(Reference { at: at.to_owned(), from, take })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// What a completed task offers to those that refer to it.
pub type Source = (Arc<TaskResult>, Arc<Parts>);

/// The task with every reference replaced. Parts are shared, values are copied.
///
/// Errors: `InvalidPayload` at the reference when the other task's result has no such value or part, or when the copies exceed `bytes_max`.
pub fn resolve(
    task: &Task,
    references: &[Reference],
    bytes_max: u64,
    source: &dyn Fn(TaskId) -> Option<Source>,
) -> Result<Task, TaskError> {
    let mut resolved = task.clone();
    let mut bytes = 0u64;
    for (index, reference) in references.iter().enumerate() {
        let field = || field_of(&reference.at);
        let Some((result, parts)) = source(reference.from) else {
            return Err(TaskError::NotFound { task_id: reference.from });
        };
        let value = match &reference.take {
            Take::Path(path) => {
                let value = select(&result.output, path)
                    .map_err(|missing| TaskError::invalid(field(), format!("the output of task {} has no {missing}", reference.from)))?;
                bytes = bytes.saturating_add(json_bytes(value.as_ref()));
                if bytes > bytes_max {
                    return Err(TaskError::invalid(
                        field(),
                        format!("the values taken exceed {bytes_max} bytes; take a binary part instead"),
                    ));
                }
                value.into_owned()
            }
            Take::Part(name) => {
                let part = take_part(&parts, name).map_err(|names| {
                    TaskError::invalid(field(), format!("task {} has no part `{name}`; it has {names}", reference.from))
                })?;
                let own = fresh_name(&resolved.payload.parts, index);
                resolved.payload.parts.insert(own.clone(), part);
                serde_json::json!({ "$part": own })
            }
        };
        let Some(place) = resolved.payload.data.pointer_mut(&reference.at) else {
            return Err(TaskError::internal("a reference lost its place", reference.at.clone()));
        };
        *place = value;
    }
    Ok(resolved)
}

/// Writes the task that a reference takes from into the payload it stands in.
pub(super) fn point_at(data: &mut Value, reference: &Reference) {
    if let Some(from) = data.pointer_mut(&reference.at).and_then(|object| object.get_mut(FROM)) {
        *from = reference.from.to_string().into();
    }
}

fn take_part(parts: &Parts, name: &str) -> Result<Part, String> {
    parts.get(name).cloned().ok_or_else(|| {
        let names: Vec<_> = parts.keys().map(String::as_str).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    })
}

fn fresh_name(parts: &Parts, index: usize) -> String {
    let mut name = format!("from_{index}");
    while parts.contains_key(&name) {
        name.push('_');
    }
    name
}

/// The value at a pointer in which `*` maps over an array. Errors: the first step that does not exist.
fn select<'a>(value: &'a Value, path: &str) -> Result<std::borrow::Cow<'a, Value>, String> {
    use std::borrow::Cow;
    let Some(rest) = path.strip_prefix('/') else { return Ok(Cow::Borrowed(value)) };
    let (step, rest) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    match value {
        Value::Array(items) if step == "*" => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| select(item, rest).map(Cow::into_owned)).collect();
            Ok(Cow::Owned(Value::Array(items?)))
        }
        Value::Array(items) => {
            let item = step.parse::<usize>().ok().and_then(|index| items.get(index));
            select(item.ok_or_else(|| format!("element `{step}` (an array of {})", items.len()))?, rest)
        }
        Value::Object(fields) => {
            let key = step.replace("~1", "/").replace("~0", "~");
            select(fields.get(&key).ok_or_else(|| format!("field `{key}`"))?, rest)
        }
        other => Err(format!("`{step}` in {}", kind_of(other))),
    }
}
