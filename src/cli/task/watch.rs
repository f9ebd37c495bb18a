//! `tallow task watch`: events as they happen. A broken connection is taken up again after the last event that was seen.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::exit::{CliError, Exit};
use super::super::output::{Out, clip};
use super::super::session::Session;
use super::super::show;
use super::client::{Client, Send};
use super::{WatchArgs, checked_id};

/// Pause before a broken connection is taken up again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// Longest line of an event stream; a larger one ends the stream.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerEvent {
    /// Its epoch and number, to resume after.
    pub(crate) id: Option<String>,
    /// Its name.
    pub(crate) event: String,
    /// Its data.
    pub(crate) data: String,
}

/// Puts server-sent events together from lines.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    open: ServerEvent,
}

impl Assembler {
    /// Takes one line without its break; gives an event when the line ends one.
    pub(crate) fn line(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let done = std::mem::take(&mut self.open);
            return (!done.data.is_empty() || !done.event.is_empty()).then_some(done);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.open.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.open.event),
            "data" => {
                if !self.open.data.is_empty() {
                    self.open.data.push('\n');
                }
                self.open.data.push_str(value);
            }
            // Comments keep the connection alive; other fields mean nothing here.
            _ => {}
        }
        None
    }
}

/// Prints events until the task ends; of all tasks until interrupted.
pub(crate) fn run(args: &WatchArgs, client: &Client, session: &mut Session) -> Result<Exit, CliError> {
    let path = match &args.id {
        Some(id) => format!("/v1/tasks/{}/events", checked_id(id)?),
        None => "/v1/events".into(),
    };
    let mut ended = None;
    let out = &mut session.out;
    follow(client, &path, args.retry.0, &mut |event| {
        print(out, event)?;
        if args.id.is_some() {
            ended = ending(event);
        }
        Ok(ended.is_some())
    })?;
    Ok(ended.unwrap_or(Exit::Ok))
}

/// Waits for the end of a task.
pub(crate) fn until_end(client: &Client, id: &str, retry: Duration) -> Result<(), CliError> {
    follow(client, &format!("/v1/tasks/{id}/events"), retry, &mut |event| Ok(ending(event).is_some()))
}

/// The exit code of an event that is a task's last.
fn ending(event: &ServerEvent) -> Option<Exit> {
    match event.event.as_str() {
        "task_completed" => Some(Exit::Ok),
        "task_failed" | "task_cancelled" => Some(Exit::Runtime),
        // What a worker says of a task whose last event it no longer holds.
        _ => match serde_json::from_str::<Value>(&event.data).ok()?.get("status")?.as_str()? {
            "completed" => Some(Exit::Ok),
            "failed" | "cancelled" => Some(Exit::Runtime),
            _ => None,
        },
    }
}

/// Reads events until `take` says that it has seen enough. A stream that ends or breaks is opened again after the last event seen, for as long
/// as `retry` without any answer.
fn follow(
    client: &Client,
    path: &str,
    retry: Duration,
    take: &mut dyn FnMut(&ServerEvent) -> Result<bool, CliError>,
) -> Result<(), CliError> {
    let mut last_id: Option<String> = None;
    let mut away_since: Option<Instant> = None;
    loop {
        let resume: Vec<(&str, &str)> = last_id.as_deref().map(|id| ("last-event-id", id)).into_iter().collect();
        match client.call("GET", path, Send::Nothing, &resume) {
            Ok(answer) => {
                away_since = None;
                let mut reader = BufReader::new(answer.into_body().into_with_config().limit(u64::MAX).reader());
                let mut events = Assembler::default();
                while let Some(line) = next_line(&mut reader) {
                    let Some(event) = events.line(&line) else { continue };
                    if event.id.is_some() {
                        last_id.clone_from(&event.id);
                    }
                    if take(&event)? {
                        return Ok(());
                    }
                }
            }
            // A refusal is final; a worker that cannot be reached may come back.
            Err(error) if error.exit() != Exit::Runtime || last_id.is_none() => return Err(error),
            Err(error) => {
                let since = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= retry {
                    return Err(error);
                }
            }
        }
        std::thread::park_timeout(RECONNECT_PAUSE);
    }
}

/// The next line, or `None` when the stream has ended or broken: both are answered by opening it again.
fn next_line(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    let mut limited = std::io::Read::take(reader, LINE_BYTES_MAX);
    match limited.read_until(b'\n', &mut bytes) {
        Ok(count) if count > 0 && bytes.ends_with(b"\n") => {
            let text = String::from_utf8_lossy(&bytes);
            Some(text.trim_end_matches(['\n', '\r']).to_owned())
        }
        _ => None,
    }
}

/// What a gap in the stream means: how many events are gone, or why nobody knows.
pub(crate) fn missed(data: &Value) -> String {
    match (data.get("count").and_then(Value::as_u64), data.get("reason").and_then(Value::as_str)) {
        (Some(1), _) => "1 event is no longer held by the worker".into(),
        (Some(count), _) => format!("{count} events are no longer held by the worker"),
        (None, reason) => format!("events are missing here, nobody knows how many: {}", reason.unwrap_or("the worker does not say why")),
    }
}

fn print(out: &mut Out, event: &ServerEvent) -> Result<(), CliError> {
    if out.json() {
        out.line(&event.data)?;
        return out.flush();
    }
    let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_not_json| Value::String(event.data.clone()));
    let text = |name: &str| data.get(name).map(|value| show::inline(value, 60)).unwrap_or_default();
    let what = match event.event.as_str() {
        "task_submitted" => format!("{} {}", text("task_type"), text("priority")),
        "task_started" => format!("attempt {}", text("attempt")),
        "task_progress" => format!("{:.0} %  {}", data.get("progress").and_then(Value::as_f64).unwrap_or(0.0) * 100.0, text("message")),
        "task_completed" => data.pointer("/result/output").map(|output| show::inline(output, 100)).unwrap_or_default(),
        "task_failed" => data.get("error").map(|error| show::inline(error, 100)).unwrap_or_default(),
        "task_cancelled" => text("reason"),
        "missed" => missed(&data),
        _ => clip(&event.data, 100),
    };
    let number = data.get("seq").map_or_else(|| "-".to_owned(), Value::to_string);
    out.line(&format!("{number:>6}  {}  {:<14}  {what}", text("task_id"), event.event))?;
    out.flush()
}
