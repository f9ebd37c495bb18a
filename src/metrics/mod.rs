//! Floor 8, figures for operators: reads the manager's stats, the ledger and the calls of the API, and writes Prometheus text.
//!
//! Imports nothing of the API and is imported by nobody but the composition root, which hands its text to `/metrics` as a closure. Every label has a
//! bounded set of values: task types that executors registered, route patterns, error codes, device names; never an id, a submitter or a path. Names of sets are bounded by their number.

mod exposition;

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::embed::{BatchStats, TOKEN_BOUNDS, WAIT_BOUNDS_US};
use crate::manager::{Histogram, ManagerStats};
use crate::resource::{Account, Budget};
use exposition::Exposition;

/// Distinct combinations of method, route and status that are counted apart; further ones count as `other`.
pub const CALL_SERIES_MAX: usize = 1024;

type CallKey = (&'static str, String, u16);

/// Counters of API calls, and the writer of `/metrics`. Shared as `Arc<Metrics>`.
#[derive(Default)]
pub struct Metrics {
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    counts: BTreeMap<CallKey, u64>,
    durations: BTreeMap<String, Histogram>,
}

/// One answered call of the API.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The method.
    pub method: &'static str,
    /// The route's pattern.
    pub path: &'a str,
    /// The status.
    pub status: u16,
    /// From the end of the headers to the first byte of the answer.
    pub elapsed: Duration,
}

/// A resident or saved set of vectors. There are at most 1,024 names.
#[derive(Clone, Debug)]
pub struct SetFigures {
    /// Its name.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes that are booked for it; 0 while it is not in memory.
    pub bytes: u64,
}

/// What the text of `/metrics` is written from, beside what was counted here.
#[derive(Clone, Copy)]
pub struct Readings<'a> {
    /// The manager's.
    pub stats: &'a ManagerStats,
    /// Who holds which memory.
    pub budget: &'a Budget,
    /// Batches of encoders.
    pub batches: &'a BatchStats,
    /// Sets of vectors.
    pub sets: &'a [SetFigures],
}

impl Metrics {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a call. A short lock; allocates only for a combination that is new.
    pub fn observe(&self, call: Call<'_>) {
        let mut calls = self.calls.lock();
        let key = (call.method, call.path.to_owned(), call.status);
        let room = calls.counts.len() < CALL_SERIES_MAX;
        let (key, path) = if room || calls.counts.contains_key(&key) {
            (key, call.path)
        } else {
            ((call.method, "other".to_owned(), call.status), "other")
        };
        *calls.counts.entry(key).or_insert(0) += 1;
        if let Some(histogram) = calls.durations.get_mut(path) {
            histogram.record(call.elapsed.as_secs_f64());
        } else {
            calls.durations.entry(path.to_owned()).or_default().record(call.elapsed.as_secs_f64());
        }
    }

    /// The text of `/metrics` (format 0.0.4).
    #[must_use]
    pub fn render(&self, now: &Readings<'_>) -> String {
        let Readings { stats, budget, batches, sets } = *now;
        let mut text = Exposition::default();
        text.gauge("tallow_build_info", "the running version", &[(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)]);
        tasks(&mut text, stats);
        queue(&mut text, stats);
        memory(&mut text, budget);
        batching(&mut text, batches);
        vector_sets(&mut text, sets);
        let calls = self.calls.lock();
        text.head("tallow_http_requests_total", "counter", "answered calls of the API");
        for ((method, path, status), count) in &calls.counts {
            text.sample(
                "tallow_http_requests_total",
                &[("method", method), ("path", path), ("status", &status.to_string())],
                *count as f64,
            );
        }
        text.head("tallow_http_request_duration_seconds", "histogram", "time to the first byte of the answer");
        for (path, histogram) in &calls.durations {
            text.histogram("tallow_http_request_duration_seconds", ("path", path), histogram);
        }
        text.into_text()
    }
}

fn tasks(text: &mut Exposition, stats: &ManagerStats) {
    text.head("tallow_tasks_total", "counter", "ended tasks by type and outcome");
    for kind in &stats.types {
        for (outcome, count) in [("completed", kind.completed), ("failed", kind.failed), ("cancelled", kind.cancelled)] {
            text.sample("tallow_tasks_total", &[("type", &kind.task_type), ("outcome", outcome)], count as f64);
        }
    }
    text.head(
        "tallow_tokens_total",
        "counter",
        "tokens of completed tasks, as far as executors count them, by executor, operation and kind",
    );
    for done in &stats.operations {
        for (kind, count) in [("prompt", done.prompt_tokens), ("completion", done.completion_tokens)] {
            let labels = [("executor", &*done.executor), ("operation", &done.operation), ("kind", kind)];
            text.sample("tallow_tokens_total", &labels, count as f64);
        }
    }
    text.head(
        "tallow_documents_total",
        "counter",
        "documents of completed tasks, as far as executors count them, by executor and operation",
    );
    for done in &stats.operations {
        let labels = [("executor", &*done.executor), ("operation", &*done.operation)];
        text.sample("tallow_documents_total", &labels, done.documents as f64);
    }
    text.head("tallow_task_queue_seconds", "histogram", "time between acceptance and the start of the last attempt");
    for kind in &stats.types {
        text.histogram("tallow_task_queue_seconds", ("type", &kind.task_type), &kind.queue_seconds);
    }
    text.head("tallow_task_compute_seconds", "histogram", "time between start and end of the last attempt");
    for kind in &stats.types {
        text.histogram("tallow_task_compute_seconds", ("type", &kind.task_type), &kind.compute_seconds);
    }
    text.counter("tallow_tasks_submitted_total", "accepted tasks", stats.totals.submitted);
    text.counter("tallow_tasks_retried_total", "attempts made again", stats.totals.retried);
    text.counter("tallow_tasks_panicked_total", "attempts in which an executor panicked", stats.totals.panicked);
    text.head("tallow_admission_refused_total", "counter", "refused submissions by error code");
    for (reason, count) in &stats.refused {
        text.sample("tallow_admission_refused_total", &[("reason", reason)], *count as f64);
    }
    text.counter("tallow_events_total", "published events", stats.events_published);
    text.counter("tallow_handler_events_missed_total", "events that slow handlers lost", stats.handler_events_missed);
    text.counter("tallow_handler_failures_total", "events that handlers failed to take", stats.handler_failures);
}

fn queue(text: &mut Exposition, stats: &ManagerStats) {
    text.head("tallow_queue_depth", "gauge", "waiting tasks by priority");
    for (priority, count) in &stats.queued {
        text.sample("tallow_queue_depth", &[("priority", priority)], *count as f64);
    }
    text.gauge("tallow_queue_oldest_age_seconds", "age of the oldest waiting task", &[(&[], stats.oldest_queued_ms as f64 / 1000.0)]);
    text.gauge("tallow_tasks_running", "tasks that run", &[(&[], stats.running as f64)]);
    text.gauge("tallow_tasks_blocked", "tasks that wait for others", &[(&[], stats.blocked as f64)]);
    text.gauge("tallow_tasks_backing_off", "tasks that wait for their next attempt", &[(&[], stats.backing_off as f64)]);
    text.gauge("tallow_tasks_ending", "cancelled runs that have not returned", &[(&[], stats.ending as f64)]);
    text.gauge("tallow_tasks_open", "tasks that have not ended", &[(&[], stats.open_tasks.0 as f64)]);
    text.gauge("tallow_tasks_open_limit", "the bound on them", &[(&[], stats.open_tasks.1 as f64)]);
    text.gauge("tallow_payload_bytes", "bytes of their payloads", &[(&[], stats.open_bytes.0 as f64)]);
    text.gauge("tallow_payload_limit_bytes", "the bound on them", &[(&[], stats.open_bytes.1 as f64)]);
    text.gauge("tallow_retained_tasks", "ended tasks still known", &[(&[], stats.retained_tasks as f64)]);
    text.gauge("tallow_retained_bytes", "bytes they hold", &[(&[], stats.retained_bytes as f64)]);
    text.gauge("tallow_drain_rate", "tasks ended per second, recently", &[(&[], stats.drain_per_s)]);
    text.gauge("tallow_draining", "1 while new tasks are refused", &[(&[], f64::from(u8::from(stats.draining)))]);
    text.gauge("tallow_journal_failed", "1 when the journal has failed", &[(&[], f64::from(u8::from(stats.journal_failed)))]);
}

fn batching(text: &mut Exposition, stats: &BatchStats) {
    text.counter("tallow_batch_texts_total", "texts that encoders computed", stats.texts);
    text.counter("tallow_batch_tokens_computed_total", "tokens of these texts, special ones included", stats.tokens);
    text.counter("tallow_batch_texts_cached_total", "texts whose result was kept from before", stats.cached);
    text.counter(
        "tallow_batch_texts_left_total",
        "texts that left before they were computed: cancelled, or past their deadline",
        stats.left,
    );
    text.head("tallow_batch_tokens", "histogram", "tokens of each batch");
    let tokens = stats.batch_tokens.cumulative(&TOKEN_BOUNDS).into_iter().map(|(bound, count)| (bound.map(|bound| bound as f64), count));
    text.buckets("tallow_batch_tokens", tokens, stats.batch_tokens.sum() as f64);
    text.head("tallow_batch_wait_seconds", "histogram", "time that a text waited for its batch");
    let waits = stats.wait_us.cumulative(&WAIT_BOUNDS_US).into_iter().map(|(bound, count)| (bound.map(|bound| bound as f64 / 1e6), count));
    text.buckets("tallow_batch_wait_seconds", waits, stats.wait_us.sum() as f64 / 1e6);
    text.gauge("tallow_batch_waiting_texts", "texts that wait for their batch", &[(&[], stats.waiting as f64)]);
    text.gauge("tallow_batch_waiting_tokens", "tokens of these texts", &[(&[], stats.waiting_tokens as f64)]);
    text.gauge("tallow_batch_cache_bytes", "bytes of kept results", &[(&[], stats.cache_bytes as f64)]);
}

fn vector_sets(text: &mut Exposition, sets: &[SetFigures]) {
    text.gauge("tallow_vector_sets", "sets of vectors, in memory or saved", &[(&[], sets.len() as f64)]);
    text.head("tallow_vector_set_rows", "gauge", "rows of a set of vectors");
    for set in sets {
        text.sample("tallow_vector_set_rows", &[("set", &set.name)], set.rows as f64);
    }
    text.head("tallow_vector_set_bytes", "gauge", "bytes that are booked for a set of vectors; 0 while it is not in memory");
    for set in sets {
        text.sample("tallow_vector_set_bytes", &[("set", &set.name)], set.bytes as f64);
    }
}

/// A metric's name, its help and where it is read.
type AccountFact = (&'static str, &'static str, fn(&Account) -> u64);

fn memory(text: &mut Exposition, budget: &Budget) {
    let mut accounts: Vec<(&str, String, &Account)> = vec![("device", "host".into(), &budget.host)];
    accounts.extend(budget.devices.iter().map(|(device, account)| ("device", device.clone(), account)));
    let facts: [AccountFact; 4] = [
        ("tallow_memory_reserved_bytes", "bytes that tasks and models hold", |account| account.used),
        ("tallow_memory_limit_bytes", "bytes that they may hold", |account| account.limit),
        ("tallow_memory_peak_bytes", "the most they ever held", |account| account.peak),
        ("tallow_memory_lasting_bytes", "bytes that outlast tasks: rows of resident sets", |account| account.lasting),
    ];
    for (name, help, fact) in facts {
        text.head(name, "gauge", help);
        for (label, value, account) in &accounts {
            text.sample(name, &[(label, value)], fact(account) as f64);
        }
    }
    text.head("tallow_executor_memory_reserved_bytes", "gauge", "bytes that one executor's tasks and models hold");
    for (executor, account) in &budget.shares {
        text.sample("tallow_executor_memory_reserved_bytes", &[("executor", executor)], account.used as f64);
    }
    text.gauge("tallow_compute_threads_reserved", "compute threads in use", &[(&[], budget.threads.used as f64)]);
    text.gauge("tallow_compute_threads_limit", "compute threads there are", &[(&[], budget.threads.limit as f64)]);
}

#[cfg(test)]
mod tests;
