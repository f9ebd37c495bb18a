//! What `text` and `vector` share: operations by name, fields by `--set`, answers shown.

use serde_json::{Map, Value, json};

use super::exit::{CliError, Exit};
use super::local::Answer;
use super::npy;
use super::session::Session;
use super::show::{self, ShowLimits};
use crate::manager::METADATA_COMPUTE_MS;
use crate::task::{OperationInfo, TaskExecutor, TaskType};
use crate::worker::Worker;

/// Entries of a list that are shown.
const ROWS_SHOWN: usize = 40;

/// The operations of a type, as the worker's executors report them.
#[must_use]
pub(crate) fn operations(worker: &Worker, task_type: &TaskType) -> Vec<OperationInfo> {
    let reports = worker.manager().executor().reports();
    reports.into_iter().flat_map(|report| report.operations).filter(|operation| operation.task_type == *task_type).collect()
}

/// Lists operations: name, short name on this command line, what it does.
pub(crate) fn list(infos: &[OperationInfo], aliases: &[(&str, &str)], session: &mut Session) -> Result<Exit, CliError> {
    if session.out.json() {
        for info in infos {
            session.out.json_line(info)?;
        }
        return Ok(Exit::Ok);
    }
    let alias = |name: &str| aliases.iter().find(|(_, operation)| *operation == name).map_or("", |(alias, _)| *alias).to_owned();
    let rows: Vec<Vec<String>> = infos.iter().map(|info| vec![info.name.clone(), alias(&info.name), info.summary.clone()]).collect();
    session.out.table(&["operation", "short", "what it does"], &rows)?;
    session.note("fields of an operation: --list --json shows their schemas; give them with --set name=value");
    Ok(Exit::Ok)
}

/// The operation of that name or short name. Errors: usage, with the names that there are.
pub(crate) fn find<'a>(infos: &'a [OperationInfo], aliases: &[(&str, &str)], asked: &str) -> Result<&'a OperationInfo, CliError> {
    let name = aliases.iter().find(|(alias, _)| *alias == asked).map_or(asked, |(_, operation)| *operation);
    let name = name.replace('-', "_");
    infos.iter().find(|info| info.name == name).ok_or_else(|| {
        let known: Vec<&str> = infos.iter().map(|info| info.name.as_str()).chain(aliases.iter().map(|(alias, _)| *alias)).collect();
        CliError::usage(format!("no operation `{asked}`; there are: {}", known.join(", ")))
    })
}

/// The payload: the operation and what `--set name=value` says; a value that is JSON counts as JSON, any other as text.
///
/// Fields that a variable gave and the operation has not are left out.
pub(crate) fn data(info: &OperationInfo, sets: &[String], session: &Session) -> Result<Map<String, Value>, CliError> {
    let mut data = Map::new();
    data.insert("operation".into(), info.name.as_str().into());
    let of_variable = session.is_of_variable("set");
    for set in sets {
        let Some((name, value)) = set.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(CliError::usage(format!("--set {set}: expected name=value")));
        };
        if of_variable && !has_field(info, name) {
            continue;
        }
        let parsed = serde_json::from_str(value).unwrap_or_else(|_plain_text| Value::String(value.to_owned()));
        if data.insert(name.to_owned(), parsed).is_some() {
            return Err(CliError::usage(format!("--set {name}: the field is given twice")));
        }
    }
    Ok(data)
}

/// Fields that a request must have, in the order of its schema.
#[must_use]
pub(crate) fn required_fields(info: &OperationInfo) -> Vec<String> {
    let required = info.request_schema.get("required").and_then(Value::as_array);
    required.into_iter().flatten().filter_map(Value::as_str).filter(|name| *name != "operation").map(ToOwned::to_owned).collect()
}

/// True when a request may have this field.
#[must_use]
pub(crate) fn has_field(info: &OperationInfo, name: &str) -> bool {
    info.request_schema.get("properties").is_some_and(|properties| properties.get(name).is_some())
}

/// Shows an answer: the text alone where the answer is one, else its fields. Binary parts are written by [`write_part`] or told by shape.
pub(crate) fn show(answer: &Answer, session: &mut Session) -> Result<Exit, CliError> {
    let output = &answer.result.output;
    if session.out.json() {
        let mut line = json!({ "output": output, "metadata": answer.result.metadata });
        if !answer.parts.is_empty() {
            line["parts"] = serde_json::to_value(&answer.parts).map_err(std::io::Error::from)?;
        }
        session.out.json_line(&line)?;
        return Ok(Exit::Ok);
    }
    match output.get("text").or_else(|| output.get("diff")).and_then(Value::as_str) {
        Some(text) => session.out.line(text.trim_end_matches('\n'))?,
        None => {
            let limits = ShowLimits { width: session.out.width(), rows: ROWS_SHOWN };
            for line in show::lines(output, limits) {
                session.out.line(&line)?;
            }
        }
    }
    for (name, part) in &answer.parts {
        session.out.line(&format!("part {name}: {} {:?}; -o OUT.npy writes it", part.dtype().name(), part.shape()))?;
    }
    session.out.flush()?;
    if let Some(ms) = answer.result.metadata.get(METADATA_COMPUTE_MS).and_then(Value::as_f64) {
        session.note(&format!("{ms:.1} ms"));
    }
    Ok(Exit::Ok)
}

/// Writes a binary part of the answer to a file: the one that is named, or the only one.
pub(crate) fn write_part(answer: &Answer, path: &std::path::Path, name: Option<&str>, session: &Session) -> Result<(), CliError> {
    let names: Vec<&str> = answer.parts.keys().map(String::as_str).collect();
    let name = match (name, names.as_slice()) {
        (Some(name), names) if names.contains(&name) => name,
        (None, [only]) => only,
        (_, []) => return Err(CliError::usage("the answer has no array to write; leave -o away to print it")),
        (_, names) => return Err(CliError::usage(format!("name one of the answer's arrays with --part: {}", names.join(", ")))),
    };
    let part = &answer.parts[name];
    npy::write(path, part)?;
    session.note(&format!("wrote {name}, {} {:?}, to {}", part.dtype().name(), part.shape(), path.display()));
    Ok(())
}
