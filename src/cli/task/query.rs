//! `tallow task status|result|list|cancel`.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::exit::{CliError, Exit, exit_of_code};
use super::super::npy::RowWriter;
use super::super::session::Session;
use super::super::show::{self, ShowLimits};
use super::client::{Client, Send};
use super::{ListArgs, ResultArgs, checked_id, watch};

/// Largest page of the API.
const PAGE_MAX: u32 = 1000;

/// Where tasks stand, a line each. Exit 3 when the worker knows one of them not.
pub(crate) fn status(ids: &[String], client: &Client, session: &mut Session) -> Result<Exit, CliError> {
    let body = json!({ "ids": ids }).to_string();
    let answer = client.json("POST", "/v1/tasks/status", Send::Json(body.as_bytes()))?;
    let tasks = answer.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default();
    if session.out.json() {
        for task in &tasks {
            session.out.json_line(task)?;
        }
    } else {
        let rows: Vec<Vec<String>> = tasks.iter().map(|task| columns(task, &["id", "status", "attempt"])).collect();
        session.out.table(&["id", "status", "attempt"], &rows)?;
    }
    let unknown = tasks.iter().any(|task| task.get("status").and_then(Value::as_str) == Some("unknown"));
    Ok(if unknown { Exit::Missing } else { Exit::Ok })
}

/// The result of one task, or one of its binary parts.
pub(crate) fn result(args: &ResultArgs, client: &Client, session: &mut Session) -> Result<Exit, CliError> {
    let id = checked_id(&args.id)?;
    let view = if args.no_wait { view(client, id)? } else { await_end(client, id)? };
    let Some(path) = &args.output else { return show(&view, session) };
    if view.get("status").and_then(Value::as_str) != Some("completed") {
        return show(&view, session);
    }
    let parts = view.get("parts").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<&str> = parts.iter().filter_map(|part| part.get("name").and_then(Value::as_str)).collect();
    let name = match (&args.part, names.as_slice()) {
        (Some(name), names) if names.contains(&name.as_str()) => name.as_str(),
        (None, [only]) => only,
        (_, []) => return Err(CliError::usage("the result has no binary part; leave -o away to print it")),
        (_, names) => return Err(CliError::usage(format!("name one of the result's parts with --part: {}", names.join(", ")))),
    };
    let bytes =
        client.bytes("GET", &format!("/v1/tasks/{id}/parts/{}", encode(name)), Send::Nothing, &[("accept", "application/x-npy")])?;
    let mut writer = RowWriter::create(path)?;
    writer.append(&bytes)?;
    writer.finish()?;
    session.note(&format!("wrote part {name} to {}", path.display()));
    Ok(Exit::Ok)
}

/// Tasks the worker knows, as a table or a line of JSON each.
pub(crate) fn list(args: &ListArgs, client: &Client, session: &mut Session) -> Result<Exit, CliError> {
    let names = ["id", "type", "priority", "status", "submitter", "created_at", "completed_at"];
    let mut rows = Vec::new();
    let mut left = args.limit;
    let mut after: Option<String> = None;
    while left > 0 {
        let page = client.json("GET", &page_path(args, left.min(PAGE_MAX), after.as_deref()), Send::Nothing)?;
        let tasks = page.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default();
        for task in &tasks {
            if session.out.json() { session.out.json_line(task)? } else { rows.push(columns(task, &names)) }
        }
        left = left.saturating_sub(u32::try_from(tasks.len()).unwrap_or(u32::MAX));
        after = page.get("next").and_then(Value::as_str).map(ToOwned::to_owned);
        if after.is_none() || tasks.is_empty() {
            break;
        }
    }
    if !session.out.json() {
        session.out.table(&names, &rows)?;
    }
    Ok(Exit::Ok)
}

/// Cancels tasks. Exit 1 when one of them could not be cancelled.
pub(crate) fn cancel(ids: &[String], client: &Client, session: &mut Session) -> Result<Exit, CliError> {
    let mut failed: Option<CliError> = None;
    for id in ids {
        match client.json("DELETE", &format!("/v1/tasks/{}", checked_id(id)?), Send::Nothing) {
            Ok(view) if session.out.json() => session.out.json_line(&view)?,
            Ok(view) => session.out.line(&columns(&view, &["id", "status"]).join("  "))?,
            Err(error) => {
                super::super::output::note(&format!("{id}: {error}"));
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(Exit::Ok), |error| Ok(error.exit()))
}

/// A task once it has ended: follows its events, then asks.
pub(crate) fn await_end(client: &Client, id: &str) -> Result<Value, CliError> {
    let mut seen = view(client, id)?;
    if !has_ended(&seen) {
        watch::until_end(client, id, Duration::from_secs(30))?;
        seen = view(client, id)?;
    }
    Ok(seen)
}

fn view(client: &Client, id: &str) -> Result<Value, CliError> {
    client.json("GET", &format!("/v1/tasks/{id}"), Send::Nothing)
}

fn has_ended(view: &Value) -> bool {
    matches!(view.get("status").and_then(Value::as_str), Some("completed" | "failed" | "cancelled"))
}

/// Prints the output of a task's view; a task that failed is an error with its own exit code, one that has not ended exit 1.
pub(crate) fn show(view: &Value, session: &mut Session) -> Result<Exit, CliError> {
    if session.out.json() {
        session.out.json_line(view)?;
    }
    let status = view.get("status").and_then(Value::as_str).unwrap_or("unknown");
    if status == "completed" {
        if !session.out.json() {
            let output = view.pointer("/result/output").unwrap_or(&Value::Null);
            let limits = ShowLimits { width: session.out.width(), rows: 50 };
            for line in show::lines(output, limits) {
                session.out.line(&line)?;
            }
            for part in view.get("parts").and_then(Value::as_array).into_iter().flatten() {
                session.out.line(&format!("part {}", columns(part, &["name", "dtype", "shape"]).join(" ")))?;
            }
        }
        return Ok(Exit::Ok);
    }
    let error = view.get("error").cloned().unwrap_or_default();
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    session.out.flush()?;
    super::super::output::note(&match text("message") {
        message if message.is_empty() => format!("task {}: {status}", columns(view, &["id"]).join("")),
        message => format!("task {}: {message}", columns(view, &["id"]).join("")),
    });
    Ok(exit_of_code(&text("code")))
}

fn columns(value: &Value, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| value.get(*name).map_or_else(String::new, |field| show::inline(field, 60))).collect()
}

fn page_path(args: &ListArgs, limit: u32, after: Option<&str>) -> String {
    let pairs =
        [("status", args.status.as_deref()), ("type", args.task_type.as_deref()), ("label", args.label.as_deref()), ("after", after)];
    let mut path = format!("/v1/tasks?limit={limit}");
    for (name, value) in pairs.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        path.push_str(&format!("&{name}={}", encode(value)));
    }
    path
}

/// Percent-encodes what is not a letter, digit or `-._~`.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
