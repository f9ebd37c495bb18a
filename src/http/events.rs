//! Events as server-sent events: `id:` is the event's number, so a client that comes back resumes where it was; whoever is too slow is told how
//! many it missed. A stream holds one reader and no queue: the manager's ring is the only buffer.

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

/// `GET /v1/events`: from now on, or from `?from=`, or after `Last-Event-ID`.
pub(crate) async fn all(
    State(state): State<AppState>,
    caller: Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cursor = cursor(&uri, &headers)?.unwrap_or(EventCursor::Now);
    open(&state, Watch { submitter: caller.0.0, only: None, last: None }, cursor)
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
    let cursor = cursor(&uri, &headers)?.unwrap_or(EventCursor::Oldest);
    let last = last_word(&state, &id).await?;
    open(&state, Watch { submitter: caller.0.0, only: Some(id), last }, cursor)
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
}

fn open(state: &AppState, watch: Watch, cursor: EventCursor) -> Result<Response, ApiError> {
    let Ok(slot) = Arc::clone(state.stream_slots()).try_acquire_owned() else {
        let busy = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", "every event stream of this worker is taken");
        return Err(busy.retry_after(BUSY_RETRY));
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
        while !self.ended {
            let Some(delivery) = self.next_delivery().await else {
                self.ended = true;
                // The state at the end, for a task whose last event is no longer in the ring.
                return self.watch.last.take().map(|view| Event::default().event("task").data(view));
            };
            match delivery {
                Delivery::Missed(count) => {
                    self.check_end().await;
                    return Some(Event::default().event("missed").data(format!("{{\"count\":{count}}}")));
                }
                Delivery::Event(record) => {
                    if record.submitter != self.watch.submitter || self.watch.only.is_some_and(|only| only != record.task_id) {
                        continue;
                    }
                    self.ended = self.watch.only.is_some() && record.is_last();
                    return Some(render(&record));
                }
            }
        }
        None
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

fn render(record: &EventRecord) -> Event {
    let data = EventData { seq: record.seq, at: record.at, event: record.event() };
    let event = Event::default().id(record.seq.to_string()).event(record.name());
    // Events are made of strings, numbers and JSON values: they can always be written.
    match serde_json::to_string(&data) {
        Ok(text) => event.data(text),
        Err(error) => event.data(format!("{{\"seq\":{},\"unwritable\":{}}}", record.seq, serde_json::Value::from(error.to_string()))),
    }
}

/// Where to begin: after `Last-Event-ID`, else with the event that `?from=` names.
fn cursor(uri: &Uri, headers: &HeaderMap) -> Result<Option<EventCursor>, ApiError> {
    let FromQuery { from } = query(uri)?;
    if let Some(value) = headers.get("last-event-id") {
        let number = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
        let wrong = || ApiError::bad("invalid_header", "last-event-id must be the number of an event");
        return Ok(Some(EventCursor::After(number.ok_or_else(wrong)?)));
    }
    Ok(from.map(|from| EventCursor::After(from.saturating_sub(1))))
}
