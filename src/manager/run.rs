//! One run of one task: calls the executor, catches its panic, stops waiting for it when it was cancelled, reports the outcome.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use parking_lot::Mutex;

use super::core::{RunEnd, RunKey, Settled, Start, outcome_bytes};
use super::events::{EventHub, EventKind};
use super::options::ns;
use super::shared::Shared;
use super::throughput::Work;
use crate::resource::panic_error;
use crate::task::{
    CancelHandle, METADATA_EXECUTOR, METADATA_OPERATION, Part, Parts, TaskContext, TaskError, TaskExecutor, TaskId, TaskResult, TaskSink,
    WorkUnit, json_bytes,
};

/// Metadata key: milliseconds between acceptance and the start of the last attempt.
pub const METADATA_QUEUE_MS: &str = "queue_ms";
/// Metadata key: milliseconds between start and end of the last attempt.
pub const METADATA_COMPUTE_MS: &str = "compute_ms";
/// Metadata key: how many attempts were made.
pub const METADATA_ATTEMPTS: &str = "attempts";

/// The executor of a result that names none, as its report calls it.
const EXECUTOR_UNNAMED: &str = "executor";
/// Longest progress message that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Runs a task to its end.
pub(super) async fn run<E: TaskExecutor>(shared: Arc<Shared<E>>, start: Start) {
    let mut guard = RunGuard { shared: shared.clone(), key: start.key, settled: None };
    let sink = Arc::new(RunSink {
        hub: shared.hub.clone(),
        task_id: start.key.task_id,
        submitter: start.body.submitter.clone(),
        clock: shared.options.clock.clone(),
        cancel: start.cancel.clone(),
        parts: Mutex::default(),
        chunk_count: AtomicU64::new(0),
        documents: AtomicU64::new(0),
        prompt_tokens: AtomicU64::new(0),
        completion_tokens: AtomicU64::new(0),
    });
    let body = start.body.clone();
    let (mut result, panicked) = execute(&shared, start, &sink).await;
    let bytes = result.as_mut().map_or(0, |(result, parts)| outcome_bytes(result, parts));
    let named = |result: &TaskResult, key: &str| result.metadata.get(key).and_then(|name| name.as_str().map(str::to_owned));
    let done = result.as_ref().ok().map(|(result, _)| {
        let executor = named(result, METADATA_EXECUTOR).unwrap_or_else(|| EXECUTOR_UNNAMED.to_owned());
        let operation = named(result, METADATA_OPERATION).unwrap_or_else(|| body.task.payload.task_type.name().to_owned());
        (executor, operation)
    });
    let end = RunEnd { result, panicked, bytes, jitter: rand::random() };
    let settled = {
        let mut core = shared.core.lock();
        let settled = core.run_ended(guard.key, end);
        if let Some((executor, operation)) = done.filter(|_| settled != Settled::Stale) {
            core.worked(&executor, &operation, sink.work());
        }
        core.settle();
        settled
    };
    guard.settled = Some(settled);
    if settled == Settled::Committing {
        let committed = shared.options.journal.commit().await;
        let mut core = shared.core.lock();
        if let Err(error) = committed {
            core.journal_broke(&error);
        }
        core.run_committed(guard.key);
        core.settle();
    }
}

type Outcome = (Result<(TaskResult, Parts), TaskError>, bool);

async fn execute<E: TaskExecutor>(shared: &Shared<E>, start: Start, sink: &Arc<RunSink>) -> Outcome {
    let clock = &shared.options.clock;
    if let Some(error) = over_before(&start, clock.now_ns()) {
        return (Err(error), false);
    }
    let (cancel, queue_ns, started_ns, attempt) = (start.cancel.clone(), start.queue_ns, start.key.started_ns, start.key.attempt);
    let deadline = start.deadline_ns.map(|at_ns| Instant::now() + Duration::from_nanos(at_ns.saturating_sub(clock.now_ns())));
    let task = start.resolved.clone();
    let body = start.body.clone();
    let task = task.as_deref().unwrap_or(&body.task);
    // The claim lives as long as anyone who works on the task keeps the cancel handle, not as long as this future.
    let hold: Arc<dyn Any + Send + Sync> = Arc::new(start.claim);
    let ctx = TaskContext::new(start.cancel.with_hold(hold), Arc::clone(sink) as Arc<dyn TaskSink>)
        .with_deadline(deadline)
        .with_attempt(attempt)
        .with_submitter(Arc::clone(&body.submitter))
        .with_request(start.prepared.request);
    let work = AssertUnwindSafe(shared.executor.execute_with(task, &ctx)).catch_unwind();
    let overdue = async {
        cancel.cancelled().await;
        clock.sleep_until(clock.now_ns().saturating_add(ns(shared.options.cancel_grace))).await;
    };
    let outcome = tokio::select! {
        biased;
        outcome = work => outcome,
        () = overdue => Ok(Err(cancel.cause())),
    };
    match outcome {
        Ok(Ok(mut result)) => {
            let ms = |from_ns: u64| serde_json::Value::from(from_ns as f64 / 1e6);
            let compute_ns = clock.now_ns().saturating_sub(started_ns);
            let facts = [(METADATA_QUEUE_MS, ms(queue_ns)), (METADATA_COMPUTE_MS, ms(compute_ns)), (METADATA_ATTEMPTS, attempt.into())];
            for (key, value) in facts {
                result.metadata.entry(key.to_owned()).or_insert(value);
            }
            (Ok((result, std::mem::take(&mut *sink.parts.lock()))), false)
        }
        Ok(Err(error)) => (Err(error), false),
        Err(panic) => (Err(panic_error(panic.as_ref())), true),
    }
}

/// Why a run must not call the executor any more: between the decision to start it and its first poll it was stopped, or its deadline passed.
fn over_before(start: &Start, now_ns: u64) -> Option<TaskError> {
    if start.cancel.is_cancelled() {
        return Some(start.cancel.cause());
    }
    start.deadline_ns.filter(|at_ns| *at_ns <= now_ns)?;
    Some(TaskError::DeadlineExceeded { deadline: start.body.deadline.unwrap_or_default() })
}

/// Frees the run's place when its future is gone, and reports it as failed if it was dropped before its end (its runtime stopped).
struct RunGuard<E: TaskExecutor> {
    shared: Arc<Shared<E>>,
    key: RunKey,
    settled: Option<Settled>,
}

impl<E: TaskExecutor> Drop for RunGuard<E> {
    fn drop(&mut self) {
        {
            let mut core = self.shared.core.lock();
            let settled = self.settled.unwrap_or_else(|| {
                let error = TaskError::internal("the run was dropped before its end", "");
                core.run_ended(self.key, RunEnd { result: Err(error), panicked: false, bytes: 0, jitter: 0.5 })
            });
            core.settle();
            core.run_over(self.key, settled == Settled::Stale);
        }
        self.shared.work.notify_one();
        self.shared.ended.notify_waiters();
    }
}

/// Takes what the run tells; silent once the run was cancelled.
struct RunSink {
    hub: Arc<EventHub>,
    task_id: TaskId,
    submitter: Arc<str>,
    clock: Arc<dyn super::clock::Clock>,
    cancel: CancelHandle,
    parts: Mutex<Parts>,
    chunk_count: AtomicU64,
    documents: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

impl RunSink {
    /// What the run has counted, as one task.
    fn work(&self) -> Work {
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Work {
            tasks: 1,
            documents: counted(&self.documents),
            prompt_tokens: counted(&self.prompt_tokens),
            completion_tokens: counted(&self.completion_tokens),
        }
    }

    fn publish(&self, kind: EventKind, bytes: u64) {
        if !self.cancel.is_cancelled() {
            self.hub.publish(self.clock.now_ns(), (self.task_id, &self.submitter), kind, bytes);
        }
    }
}

impl TaskSink for RunSink {
    fn progress(&self, progress: f32, message: &str) {
        let progress = if progress.is_nan() { 0.0 } else { progress.clamp(0.0, 1.0) };
        let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
        self.publish(EventKind::Progress { progress, message: message[..end].into() }, end as u64);
    }

    fn chunk(&self, data: serde_json::Value) {
        let bytes = json_bytes(&data);
        let index = self.chunk_count.fetch_add(1, Ordering::Relaxed);
        self.publish(EventKind::Chunk { index, data: Arc::new(data) }, bytes);
    }

    fn part(&self, name: &str, part: Part) {
        self.parts.lock().insert(name.to_owned(), part);
    }

    fn worked(&self, unit: WorkUnit, amount: u64) {
        let counter = match unit {
            WorkUnit::Documents => &self.documents,
            WorkUnit::PromptTokens => &self.prompt_tokens,
            WorkUnit::CompletionTokens => &self.completion_tokens,
        };
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}
