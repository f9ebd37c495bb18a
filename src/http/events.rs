//! Events as server-sent events: `id:` is the worker's epoch and the event's number, so a client that comes back resumes where it was; whoever is too
//! slow is told how many it missed, and whoever comes back to a restarted worker that nobody knows. A stream holds one reader and no queue: the
//! manager's ring is the only buffer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::gate::Caller;
use super::state::AppState;
use super::tasks::{owned, query, view};
use crate::manager::{Delivery, EventCursor, EventReader, EventRecord};
use crate::task::{TaskEvent, TaskId};

/// A comment this often keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Advised when every stream is taken.
const BUSY_RETRY: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromQuery {
    from: Option<u64>,
}

/// The data of one event: its number, its time, and the event's own fields.
#[derive(Serialize)]
struct EventData {
    seq: u64,
    at: chrono::DateTime<chrono::Utc>,
    #[serde(flatten)]
    event: TaskEvent,
}

/// The data of `missed`: how many events a reader did not get, or why nobody knows.
#[derive(Serialize)]
struct Missed {
    event: &'static str,
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// `GET /v1/events`: from now on, or from `?from=`, or after `Last-Event-ID`.
pub(crate) async fn all(
    State(state): State<AppState>,
    caller: Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let from = from(&state, &uri, &headers)?.unwrap_or(From::Cursor(EventCursor::Now));
    open(&state, Watch { submitter: caller.0.0, only: None, last: None, lost: None }, from)
}

/// `GET /v1/tasks/{id}/events`: everything that is still known of one task, and then what happens until it ends.
pub(crate) async fn of_task(
    State(state): State<AppState>,
    caller: Extension<Caller>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = owned(&state, &caller, &id)?;
    let from = from(&state, &uri, &headers)?.unwrap_or(From::Cursor(EventCursor::Oldest));
    let last = last_word(&state, &id).await?;
    open(&state, Watch { submitter: caller.0.0, only: Some(id), last, lost: None }, from)
}

/// The view of a task that has ended, as JSON. Its last event may have left the ring, and a stream that waits for it would wait for ever.
async fn last_word(state: &AppState, id: &TaskId) -> Result<Option<String>, ApiError> {
    if !state.manager().status(id)?.status.is_terminal() {
        return Ok(None);
    }
    let text = serde_json::to_string(&view(state, id).await?);
    text.map(Some).map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))
}

/// Which events a stream shows and how it ends.
struct Watch {
    /// Only this caller's tasks.
    submitter: Arc<str>,
    only: Option<TaskId>,
    /// The view of a task that has already ended: sent when the ring holds nothing more.
    last: Option<String>,
    /// Why nobody knows how many events were missed: said before anything else.
    lost: Option<&'static str>,
}

/// Where a stream begins.
enum From {
    Cursor(EventCursor),
    /// Nobody knows how far that is from where the client was, and this is why; the stream begins with the oldest event.
    Lost(&'static str),
}

fn open(state: &AppState, mut watch: Watch, from: From) -> Result<Response, ApiError> {
    let Ok(slot) = Arc::clone(state.stream_slots()).try_acquire_owned() else {
        let busy = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", "every event stream of this worker is taken");
        return Err(busy.retry_after(BUSY_RETRY));
    };
    let cursor = match from {
        From::Cursor(cursor) => cursor,
        From::Lost(reason) => {
            watch.lost = Some(reason);
            EventCursor::Oldest
        }
    };
    let reader = state.manager().events(cursor);
    let follow = Follow { reader, watch, state: state.clone(), ended: false, _slot: slot };
    Ok(Sse::new(follow.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// One open stream.
struct Follow {
    reader: EventReader,
    watch: Watch,
    state: AppState,
    ended: bool,
    _slot: OwnedSemaphorePermit,
}

impl Follow {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut follow| async move { follow.next().await.map(|event| (Ok(event), follow)) })
    }

    async fn next(&mut self) -> Option<Event> {
        if let Some(reason) = self.watch.lost.take() {
            return Some(self.missed(&Missed { event: "missed", count: None, reason: Some(reason) }));
        }
        while !self.ended {
            let Some(delivery) = self.next_delivery().await else {
                self.ended = true;
                // The state at the end, for a task whose last event is no longer in the ring.
                return self.watch.last.take().map(|view| Event::default().event("task").data(view));
            };
            match delivery {
                Delivery::Missed(count) => {
                    self.check_end().await;
                    return Some(self.missed(&Missed { event: "missed", count: Some(count), reason: None }));
                }
                Delivery::Event(record) => {
                    if record.submitter != self.watch.submitter || self.watch.only.is_some_and(|only| only != record.task_id) {
                        continue;
                    }
                    self.ended = self.watch.only.is_some() && record.is_last();
                    return Some(render(&record, self.epoch()));
                }
            }
        }
        None
    }

    fn epoch(&self) -> u64 {
        self.state.manager().event_epoch()
    }

    /// Its id stands before the oldest event that is there, so that whoever comes back after it misses nothing twice.
    fn missed(&self, missed: &Missed) -> Event {
        let id = event_id(self.epoch(), self.reader.position().saturating_sub(1));
        written(Event::default().id(id).event("missed"), missed)
    }

    /// The task's end may have been among the events that were missed.
    async fn check_end(&mut self) {
        let Some(id) = self.watch.only else { return };
        match last_word(&self.state, &id).await {
            Ok(last) => self.watch.last = last,
            // Forgotten meanwhile: there is nothing left to say.
            Err(_gone) => self.ended = true,
        }
    }

    /// The next delivery; `None` at shutdown, or when a task that has ended has nothing more in the ring.
    async fn next_delivery(&mut self) -> Option<Delivery> {
        if self.watch.last.is_some() {
            return self.reader.try_next();
        }
        tokio::select! {
            // What has happened is told before the stream ends: a task that ended in the drain has ended for its watcher, too.
            () = self.state.shutdown().cancelled() => self.reader.try_next(),
            delivery = self.reader.next() => delivery,
        }
    }
}

fn render(record: &EventRecord, epoch: u64) -> Event {
    let data = EventData { seq: record.seq, at: record.at, event: record.event() };
    written(Event::default().id(event_id(epoch, record.seq)).event(record.name()), &data)
}

fn written(event: Event, data: &impl Serialize) -> Event {
    // Events are made of strings, numbers and JSON values: they can always be written.
    match serde_json::to_string(data) {
        Ok(text) => event.data(text),
        Err(error) => event.data(format!("{{\"unwritable\":{}}}", serde_json::Value::from(error.to_string()))),
    }
}

fn event_id(epoch: u64, seq: u64) -> String {
    format!("{epoch:016x}-{seq}")
}

/// The epoch, if there is one, and the number of an id.
fn parse_id(text: &str) -> Option<(Option<u64>, u64)> {
    match text.split_once('-') {
        None => Some((None, text.parse().ok()?)),
        Some((epoch, seq)) if epoch.len() == 16 => Some((Some(u64::from_str_radix(epoch, 16).ok()?), seq.parse().ok()?)),
        Some(_) => None,
    }
}

/// Where to begin: after `Last-Event-ID`, else with the event that `?from=` names; nowhere known after an event that this run of the worker never had.
fn from(state: &AppState, uri: &Uri, headers: &HeaderMap) -> Result<Option<From>, ApiError> {
    let FromQuery { from } = query(uri)?;
    let (epoch, seq) = match headers.get("last-event-id") {
        Some(value) => {
            let id = value.to_str().ok().and_then(|text| parse_id(text.trim()));
            let wrong =
                "last-event-id must be the `id` of an event as the stream gave it, or the number of an event since the worker's start";
            id.ok_or_else(|| ApiError::bad("invalid_header", wrong))?
        }
        None => match from {
            None => return Ok(None),
            Some(from) => (None, from.saturating_sub(1)),
        },
    };
    if epoch.is_some_and(|epoch| epoch != state.manager().event_epoch()) {
        return Ok(Some(From::Lost("the worker restarted and numbers its events anew")));
    }
    if seq >= state.manager().events(EventCursor::Now).position() {
        return Ok(Some(From::Lost("no event of that number has happened since the worker started")));
    }
    Ok(Some(From::Cursor(EventCursor::After(seq))))
}
