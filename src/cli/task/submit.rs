//! `tallow task submit`.

use std::path::Path;

use serde_json::{Value, json};

use super::super::exit::{CliError, Exit, exit_of_code};
use super::super::input::{kind, read_text};
use super::super::session::Session;
use super::client::{Client, Send};
use super::{SubmitArgs, query};

/// Submits one task or a graph of tasks; with `--wait` prints their results in order.
pub(crate) fn run(args: &SubmitArgs, client: &Client, session: &mut Session) -> Result<Exit, CliError> {
    let text = match (&args.task, &args.file) {
        (Some(task), _) if task != "-" => task.clone(),
        (_, Some(file)) => read_text(file)?,
        _ => read_text(Path::new("-"))?,
    };
    let body: Value = serde_json::from_str(&text).map_err(|error| CliError::usage(format!("the task is not JSON: {error}")))?;
    let ids = match &body {
        Value::Object(_) => {
            let accepted = client.json("POST", "/v1/tasks", Send::Json(text.as_bytes()))?;
            vec![id_of(&accepted)?]
        }
        Value::Array(tasks) => {
            let batch = json!({ "tasks": tasks, "atomic": true }).to_string();
            let accepted = client.json("POST", "/v1/tasks/batch", Send::Json(batch.as_bytes()))?;
            let items = accepted.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default();
            items
                .iter()
                .map(|item| item.get("error").map_or_else(|| id_of(item), |error| Err(item_error(error))))
                .collect::<Result<_, _>>()?
        }
        other => return Err(CliError::usage(format!("the task is {}, expected an object or an array of objects", kind(other)))),
    };
    if !args.wait {
        for id in &ids {
            if session.out.json() { session.out.json_line(&json!({ "id": id }))? } else { session.out.line(id)? }
        }
        return Ok(Exit::Ok);
    }
    let mut exit = Exit::Ok;
    for id in &ids {
        let ended = query::show(&query::await_end(client, id)?, session)?;
        exit = if ended == Exit::Ok { exit } else { ended };
    }
    Ok(exit)
}

fn id_of(value: &Value) -> Result<String, CliError> {
    let id = value.get("id").and_then(Value::as_str);
    id.map(ToOwned::to_owned).ok_or_else(|| CliError::new(Exit::Runtime, format!("the worker's answer has no id: {value}")))
}

fn item_error(error: &Value) -> CliError {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    CliError::new(exit_of_code(text("code")), text("message"))
}
