//! Listeners: the feed that carries events to a handler at the handler's own pace, and the handler this crate brings along.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

use super::events::{Delivery, EventReader};
use super::histogram::Histogram;
use crate::task::{EventError, EventHandler, TaskEvent};

/// A handler with its reader, boxed.
pub(super) type Feed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What handlers lost or failed to take.
#[derive(Clone)]
pub(super) struct FeedCounts {
    pub missed: Arc<AtomicU64>,
    pub failures: Arc<AtomicU64>,
}

/// Carries events to a handler until it closes or the manager shuts down. A panic of the handler counts as a failure.
pub(super) fn feed<H: EventHandler<TaskEvent>>(handler: H, mut reader: EventReader, counts: FeedCounts) -> Feed {
    Box::pin(async move {
        while let Some(delivery) = reader.next().await {
            let record = match delivery {
                Delivery::Event(record) => record,
                Delivery::Missed(count) => {
                    counts.missed.fetch_add(count, Ordering::Relaxed);
                    continue;
                }
            };
            match AssertUnwindSafe(handler.handle(record.event())).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(EventError::Closed)) => return,
                Ok(Err(error)) => {
                    counts.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!("{error}");
                }
                Err(_panic) => {
                    counts.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("an event handler panicked");
                }
            }
        }
    })
}

/// Counts events by name and the durations of completed tasks. Cloning shares the counts.
#[derive(Clone, Default)]
pub struct MetricsCollector {
    counts: Arc<Mutex<MetricsSnapshot>>,
}

/// What a [`MetricsCollector`] has counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MetricsSnapshot {
    /// Events by name: `task_submitted`, `task_completed`, ...
    pub events: BTreeMap<&'static str, u64>,
    /// Tasks submitted by type.
    pub submitted: BTreeMap<String, u64>,
    /// Failures by error code.
    pub failures: BTreeMap<&'static str, u64>,
    /// Retries of tasks that failed in the end.
    pub retries: u64,
    /// Durations of completed tasks.
    pub durations: Histogram,
}

/// Types counted apart; further ones are counted as `other`.
const COUNTED_TYPES_MAX: usize = 256;

impl MetricsCollector {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one event.
    pub fn record(&self, event: &TaskEvent) {
        let mut counts = self.counts.lock();
        *counts.events.entry(event.name()).or_default() += 1;
        match event {
            TaskEvent::TaskSubmitted { task_type, .. } => {
                let name = if counts.submitted.len() < COUNTED_TYPES_MAX || counts.submitted.contains_key(task_type.name()) {
                    task_type.name()
                } else {
                    "other"
                };
                *counts.submitted.entry(name.to_owned()).or_default() += 1;
            }
            TaskEvent::TaskCompleted { duration, .. } => counts.durations.record(duration.as_secs_f64()),
            TaskEvent::TaskFailed { error, retry_count, .. } => {
                *counts.failures.entry(error.code()).or_default() += 1;
                counts.retries += u64::from(*retry_count);
            }
            _ => {}
        }
    }

    /// A copy of the counts.
    #[must_use]
    pub fn snapshot(&self) -> MetricsSnapshot {
        self.counts.lock().clone()
    }
}

/// Events a subscriber may lag behind before it loses the oldest.
pub const NOTIFIER_CAPACITY: usize = 1024;

/// Passes events on to any number of subscribers. Cloning shares them.
#[derive(Clone)]
pub struct EventNotifier {
    sender: broadcast::Sender<Arc<TaskEvent>>,
}

impl EventNotifier {
    /// Without subscribers; each may lag [`NOTIFIER_CAPACITY`] events behind.
    #[must_use]
    pub fn new() -> Self {
        Self { sender: broadcast::Sender::new(NOTIFIER_CAPACITY) }
    }

    /// Receives every event from now on; a slow subscriber is told how many it lost.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<TaskEvent>> {
        self.sender.subscribe()
    }

    /// Tells every subscriber; returns how many there are.
    pub fn notify(&self, event: TaskEvent) -> usize {
        self.sender.send(Arc::new(event)).unwrap_or(0)
    }
}

impl Default for EventNotifier {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts every event and passes it on.
#[derive(Clone, Default)]
pub struct TaskEventHandler {
    metrics: MetricsCollector,
    notifier: EventNotifier,
}

impl TaskEventHandler {
    /// Made of both.
    #[must_use]
    pub fn new(metrics: MetricsCollector, notifier: EventNotifier) -> Self {
        Self { metrics, notifier }
    }

    /// The counts.
    #[must_use]
    pub fn metrics(&self) -> &MetricsCollector {
        &self.metrics
    }

    /// The subscribers.
    #[must_use]
    pub fn notifier(&self) -> &EventNotifier {
        &self.notifier
    }
}

impl EventHandler<TaskEvent> for TaskEventHandler {
    async fn handle(&self, event: TaskEvent) -> Result<(), EventError> {
        self.metrics.record(&event);
        self.notifier.notify(event);
        Ok(())
    }
}
