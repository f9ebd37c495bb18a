//! What a running task may use of its surroundings: a way to stop, a deadline, and sinks for what it has to tell.

use std::any::Any;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Part, Parts, Task, TaskError, TaskExecutor, TaskResult};

/// Parts up to this size together are inlined as base64 by a direct `execute`; larger ones are refused.
pub const INLINE_PARTS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a running task may count of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkUnit {
    /// Texts and other documents that were worked on.
    Documents,
    /// Tokens that were read, special tokens included.
    PromptTokens,
    /// Tokens that were made.
    CompletionTokens,
}

/// Takes what a running task tells before its end. Calls never block.
pub trait TaskSink: Send + Sync + 'static {
    /// Share of the work done, 0.0 to 1.0.
    fn progress(&self, progress: f32, message: &str);
    /// A piece of the answer.
    fn chunk(&self, data: serde_json::Value);
    /// A binary part of the answer; committed together with the result.
    fn part(&self, name: &str, part: Part);
    /// Work that was done. Counts when the task completes; a sink that keeps no figures drops it.
    fn worked(&self, _unit: WorkUnit, _amount: u64) {}
}

/// Stops a run: cloned freely, cancelled once, and the first cause is kept.
///
/// The handle of a [`TaskContext`] also holds what the run claimed, so a compute closure that keeps a clone (as it must, to notice a cancel) keeps its
/// memory and threads accounted for until it really returns, even when the future that waited for it was dropped long before.
#[derive(Clone, Default)]
pub struct CancelHandle {
    token: CancellationToken,
    cause: Arc<OnceLock<TaskError>>,
    hold: Option<Arc<dyn Any + Send + Sync>>,
}

impl CancelHandle {
    /// The same handle, which also keeps `hold` alive as long as it or a clone of it lives.
    #[must_use]
    pub fn with_hold(mut self, hold: Arc<dyn Any + Send + Sync>) -> Self {
        self.hold = Some(hold);
        self
    }

    /// Cancels; only the first cause counts.
    pub fn cancel(&self, cause: TaskError) {
        let _first_cause_wins = self.cause.set(cause);
        self.token.cancel();
    }

    /// True once cancelled. One atomic load and a short lock: cheap enough for every block of a long loop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// `Ok` until cancelled, then the cause. For use with `?` inside long loops.
    pub fn check(&self) -> Result<(), TaskError> {
        if self.token.is_cancelled() { Err(self.cause()) } else { Ok(()) }
    }

    /// Waits until cancelled.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// The cause; a generic one while not cancelled.
    #[must_use]
    pub fn cause(&self) -> TaskError {
        self.cause.get().cloned().unwrap_or_else(|| TaskError::Cancelled { reason: "cancelled".into() })
    }
}

/// The surroundings of one run of one task.
#[derive(Clone)]
pub struct TaskContext {
    cancel: CancelHandle,
    deadline: Option<Instant>,
    attempt: u32,
    request: Option<Arc<dyn Any + Send + Sync>>,
    submitter: Arc<str>,
    sink: Arc<dyn TaskSink>,
}

impl TaskContext {
    /// A context for one run.
    #[must_use]
    pub fn new(cancel: CancelHandle, sink: Arc<dyn TaskSink>) -> Self {
        Self { cancel, deadline: None, attempt: 1, request: None, submitter: "".into(), sink }
    }

    /// The same context with a deadline; whoever owns the run cancels it when that passes.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same context for a later attempt.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// The same context with the request that admission parsed.
    #[must_use]
    pub fn with_request(mut self, request: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        self.request = request;
        self
    }

    /// The same context for a task of `submitter`.
    #[must_use]
    pub fn with_submitter(mut self, submitter: Arc<str>) -> Self {
        self.submitter = submitter;
        self
    }

    /// Who submitted the task, for executors that share what they have between submitters; empty outside a manager.
    #[must_use]
    pub fn submitter(&self) -> &str {
        &self.submitter
    }

    /// The way to notice that the work is no longer wanted.
    #[must_use]
    pub fn cancel(&self) -> &CancelHandle {
        &self.cancel
    }

    /// When the work stops being wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// 1 for the first run.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The request that admission parsed, if it is of type `T`.
    #[must_use]
    pub fn request<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.request.clone().and_then(|request| request.downcast::<T>().ok())
    }

    /// Where progress, chunks and binary parts go.
    #[must_use]
    pub fn sink(&self) -> &Arc<dyn TaskSink> {
        &self.sink
    }
}

/// Keeps the parts and drops progress and chunks: the sink of a direct `execute`.
#[derive(Default)]
pub struct PartSink {
    parts: Mutex<Parts>,
}

impl PartSink {
    /// Takes what was collected.
    #[must_use]
    pub fn take(&self) -> Parts {
        std::mem::take(&mut *self.parts.lock())
    }
}

impl TaskSink for PartSink {
    fn progress(&self, _progress: f32, _message: &str) {}
    fn chunk(&self, _data: serde_json::Value) {}
    fn part(&self, name: &str, part: Part) {
        self.parts.lock().insert(name.to_owned(), part);
    }
}

/// Runs a task outside a manager: the body of `execute` for executors whose work is in `execute_with`.
///
/// Binary parts of the answer are inlined under `parts` of the output (`{"dtype", "shape", "base64"}`).
/// Errors: those of the executor, and `DoesNotFit` when the parts exceed [`INLINE_PARTS_BYTES_MAX`].
pub async fn execute_inline<E: TaskExecutor + ?Sized>(executor: &E, task: &Task) -> Result<TaskResult, TaskError> {
    let prepared = executor.prepare(task)?;
    let sink = Arc::new(PartSink::default());
    let ctx = TaskContext::new(CancelHandle::default(), Arc::clone(&sink) as Arc<dyn TaskSink>).with_request(prepared.request);
    let mut result = executor.execute_with(task, &ctx).await?;
    let parts = sink.take();
    let parts_bytes: usize = parts.values().map(|part| part.bytes().len()).sum();
    if parts_bytes > INLINE_PARTS_BYTES_MAX {
        return Err(TaskError::DoesNotFit {
            resource: "inline binary parts; submit the task to a manager instead".into(),
            needed_bytes: parts_bytes as u64,
            available_bytes: INLINE_PARTS_BYTES_MAX as u64,
        });
    }
    if !parts.is_empty() {
        let inlined = serde_json::to_value(&parts).map_err(|e| TaskError::internal("could not inline binary parts", e.to_string()))?;
        match &mut result.output {
            serde_json::Value::Object(fields) => {
                fields.insert("parts".into(), inlined);
            }
            other => *other = serde_json::json!({ "value": other.take(), "parts": inlined }),
        }
    }
    Ok(result)
}
