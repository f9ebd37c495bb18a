//! What the manager's handle, its run loop and its runs share, and the checks of a submission that need no lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

use super::clock::Clock;
use super::core::{Core, Needs, Ready, Replay, Resolve, Resolved};
use super::events::EventHub;
use super::handlers::Feed;
use super::idempotency::{Fingerprint, Siblings};
use super::options::{ManagerOptions, default_ledger, ns};
use super::references::{self, Reference};
use super::retry::MAX_RETRY_COUNT;
use super::ring::RingPolicy;
use super::{dependencies, idempotency, run_loop};
use crate::resource::{Ledger, panic_error};
use crate::task::{MemoryShare, Prepared, Submission, Task, TaskError, TaskExecutor, TaskStatus, json_bytes};

/// Longest name of a submitter, in bytes.
pub const SUBMITTER_BYTES_MAX: usize = 256;
/// Labels of one task.
pub const LABEL_COUNT_MAX: usize = 32;
/// Longest name or value of a label, in bytes.
pub const LABEL_BYTES_MAX: usize = 256;

/// Large submissions that are checked and parsed at once; more wait in their order.
const LARGE_AT_ONCE: usize = 4;

/// The manager behind its handle.
pub(super) struct Shared<E> {
    pub executor: E,
    pub options: ManagerOptions,
    pub core: Mutex<Core>,
    pub hub: Arc<EventHub>,
    pub ledger: Ledger,
    /// Something changed that may let a task start.
    pub work: Notify,
    /// A task ended or a run returned.
    pub ended: Notify,
    pub is_running: AtomicBool,
    pub run_loop: Mutex<Option<JoinHandle<()>>>,
    pub handlers: Mutex<JoinSet<()>>,
    /// Feeds of handlers that were added outside a runtime.
    pub waiting_feeds: Mutex<Vec<Feed>>,
    pub handler_events_missed: Arc<AtomicU64>,
    pub handler_failures: Arc<AtomicU64>,
    /// One permit per large submission that is admitted at once: each may hold several times its payload meanwhile.
    beside: Arc<Semaphore>,
    /// The account of demands that name none, under the bound that the executor declares.
    own_account: Arc<str>,
}

impl<E: TaskExecutor> Shared<E> {
    pub(super) fn new(executor: E, options: ManagerOptions) -> Self {
        let capabilities = executor.capabilities();
        let ledger = options.ledger.clone().unwrap_or_else(|| default_ledger(capabilities));
        let policy = RingPolicy { count_max: options.events_max, bytes_max: options.event_bytes_max };
        let hub = Arc::new(EventHub::new(policy, options.clock.clone()));
        Self {
            core: Mutex::new(Core::new(&options, ledger.clone(), hub.clone())),
            executor,
            options,
            hub,
            ledger,
            work: Notify::new(),
            ended: Notify::new(),
            is_running: AtomicBool::new(false),
            run_loop: Mutex::new(None),
            handlers: Mutex::new(JoinSet::new()),
            waiting_feeds: Mutex::new(Vec::new()),
            handler_events_missed: Arc::default(),
            handler_failures: Arc::default(),
            beside: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            own_account: "executor".into(),
        }
    }

    /// Runs `work` on submissions that take long to check or to parse on a blocking thread, so that the runtime's threads go on. `bytes` of them
    /// count as open meanwhile. Errors: `DoesNotFit`, `Overloaded`; `Internal` when the runtime stops.
    pub(super) async fn beside<T, F>(self: &Arc<Self>, bytes: u64, work: F) -> Result<T, TaskError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> T + Send + 'static,
    {
        let stopped = |error: &dyn std::fmt::Display| TaskError::internal("the submission could not be checked", error.to_string());
        self.core.lock().begin_check(bytes)?;
        let checking = Checking { shared: self.clone(), bytes };
        let permit = self.beside.clone().acquire_owned().await.map_err(|closed| stopped(&closed))?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&checking.shared);
            drop((checking, permit));
            done
        });
        done.await.map_err(|lost| stopped(&lost))
    }

    /// Starts the run loop if it does not run. Errors: `Internal` outside a tokio runtime.
    pub(super) fn ensure_started(self: &Arc<Self>) -> Result<(), TaskError> {
        if self.is_running.load(Ordering::Acquire) {
            return Ok(());
        }
        let runtime = Handle::try_current()
            .map_err(|error| TaskError::internal("the manager needs a tokio runtime to run tasks", error.to_string()))?;
        let mut run_loop = self.run_loop.lock();
        if !self.is_running.swap(true, Ordering::AcqRel) {
            *run_loop = Some(runtime.spawn(run_loop::run_loop(self.clone())));
            let mut handlers = self.handlers.lock();
            for feed in self.waiting_feeds.lock().drain(..) {
                handlers.spawn_on(feed, &runtime);
            }
        }
        Ok(())
    }

    /// Takes over what the journal kept of an earlier manager. Returns whether something of it is open.
    pub(super) fn replay(&self) -> bool {
        let kept = match self.options.journal.load() {
            Ok(kept) => kept,
            Err(error) => {
                self.core.lock().journal_broke(&error);
                return false;
            }
        };
        if kept.is_empty() {
            return false;
        }
        let tasks = kept.into_iter().map(|replayed| {
            let task = &replayed.accepted.task;
            let digests = replayed.accepted.fingerprint.as_deref();
            let fingerprint = digests.and_then(|digests| Fingerprint::try_from(digests).ok());
            let needs = references::scan(task).and_then(|scan| {
                let waits = replayed.outcome.is_some() || !scan.references.is_empty();
                let prepared = if waits { Prepared::default() } else { self.prepare(task)? };
                let deadline_ns = replayed.accepted.deadline.map(|deadline| self.options.clock.moment(deadline));
                Ok(Needs { references: scan.references, prepared, bytes: scan.bytes, deadline_ns })
            });
            Replay { replayed, needs, fingerprint }
        });
        let tasks = tasks.collect();
        let mut core = self.core.lock();
        core.replay(tasks);
        core.open_tasks() > 0
    }

    /// Checks and prepares a submission on the caller's thread. `siblings` are the tasks it comes with.
    pub(super) fn ready(&self, mut submission: Submission, siblings: &Siblings) -> Result<Ready, TaskError> {
        check_conditions(&submission)?;
        let task = &submission.task;
        if !task.payload.task_type.is_valid() {
            return Err(TaskError::invalid("type", "a custom task type is 1 to 64 characters of a-z, 0-9, `_` and `-`"));
        }
        let scan = references::scan(task)?;
        let fingerprint = submission.idempotency_key.as_ref().map(|_| idempotency::fingerprint(&submission, siblings));
        let prepared = if scan.references.is_empty() {
            self.prepare(task)?
        } else {
            // The payload is not complete before its references are resolved; only the type can be checked now.
            self.check_type(task)?;
            Prepared::default()
        };
        let named = std::mem::take(&mut submission.depends_on);
        submission.depends_on = dependencies::merge(submission.task.id, named, scan.references.iter().map(|reference| reference.from))?;
        let deadline_ns = deadline(self.options.clock.as_ref(), &mut submission);
        let retries_default = self.options.retries_default.min(MAX_RETRY_COUNT);
        Ok(Ready { submission, bytes: scan.bytes, references: scan.references, prepared, fingerprint, deadline_ns, retries_default })
    }

    fn check_type(&self, task: &Task) -> Result<(), TaskError> {
        let can = catch_unwind(AssertUnwindSafe(|| self.executor.can_execute(&task.payload.task_type)));
        if can.map_err(|panic| panic_error(panic.as_ref()))? { Ok(()) } else { Err(TaskError::UnsupportedTaskType) }
    }

    /// Lets the executor check and parse the payload. A panic there is an error of this task alone.
    pub(super) fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        self.check_type(task)?;
        // The bound is asked for anew: a registry grows while it serves.
        let prepared = catch_unwind(AssertUnwindSafe(|| (self.executor.prepare(task), self.executor.capabilities().max_memory_mb)));
        let (prepared, memory_mb) = prepared.map_err(|panic| panic_error(panic.as_ref()))?;
        let mut prepared = prepared?;
        if prepared.demand.share.is_none() && memory_mb > 0 {
            let limit_bytes = memory_mb.saturating_mul(1024 * 1024);
            prepared.demand.share = Some(MemoryShare { account: self.own_account.clone(), limit_bytes });
        }
        self.ledger.check_can_ever_fit(&prepared.demand)?;
        Ok(prepared)
    }

    /// Replaces the references of a task and prepares what comes out. Runs on a blocking thread.
    pub(super) fn resolve(&self, resolve: Resolve) {
        let Resolve { slot, body, references, sources } = resolve;
        let task_id = body.id();
        let source = |id| sources.iter().find(|(held, _)| *held == id).map(|(_, source)| source.clone());
        let references: &[Reference] = &references;
        let resolved = references::resolve(&body.task, references, self.options.reference_bytes_max, &source);
        let outcome = resolved.and_then(|task| {
            let prepared = self.prepare(&task)?;
            let copied_bytes = json_bytes(&task.payload.data).saturating_add(prepared.request_bytes);
            Ok(Resolved { task, prepared, copied_bytes })
        });
        self.core.lock().resolved(slot, task_id, outcome);
        self.work.notify_one();
        self.ended.notify_waiters();
    }
}

/// Large submissions that are checked: they count as open until this is dropped, also when nobody waits for them any more.
struct Checking<E> {
    shared: Arc<Shared<E>>,
    bytes: u64,
}

impl<E> Drop for Checking<E> {
    fn drop(&mut self) {
        self.shared.core.lock().end_check(self.bytes);
    }
}

/// The moment at which a submission expires; writes the wall time of it into the submission, for those who are shown it.
fn deadline(clock: &dyn Clock, submission: &mut Submission) -> Option<u64> {
    let by_wall_ns = submission.deadline.map(|deadline| clock.moment(deadline));
    let within_ns = submission.deadline_in.take().map(|within| clock.now_ns().saturating_add(ns(within)));
    let at_ns = by_wall_ns.into_iter().chain(within_ns).min()?;
    if by_wall_ns != Some(at_ns) {
        submission.deadline = Some(clock.wall(at_ns));
    }
    Some(at_ns)
}

/// The bounds of a submission's own fields.
fn check_conditions(submission: &Submission) -> Result<(), TaskError> {
    if submission.task.status != TaskStatus::Pending {
        let found = submission.task.status.name();
        return Err(TaskError::invalid("status", format!("a task is submitted as pending, found {found}")));
    }
    if submission.task.result.is_some() || submission.task.completed_at.is_some() {
        return Err(TaskError::invalid("result", "a task is submitted without a result and a time of completion"));
    }
    if submission.submitter.len() > SUBMITTER_BYTES_MAX {
        return Err(TaskError::invalid("submitter", format!("at most {SUBMITTER_BYTES_MAX} bytes")));
    }
    if submission.labels.len() > LABEL_COUNT_MAX {
        return Err(TaskError::invalid("labels", format!("{} labels, at most {LABEL_COUNT_MAX} are allowed", submission.labels.len())));
    }
    if let Some((name, _)) =
        submission.labels.iter().find(|(name, value)| name.is_empty() || name.len() > LABEL_BYTES_MAX || value.len() > LABEL_BYTES_MAX)
    {
        let name: String = name.chars().take(32).collect();
        return Err(TaskError::invalid(format!("labels.{name}"), format!("name and value have 1 to {LABEL_BYTES_MAX} bytes")));
    }
    if let Some(retries_max) = submission.retries_max.filter(|retries_max| *retries_max > MAX_RETRY_COUNT) {
        return Err(TaskError::invalid("retries_max", format!("found {retries_max}, at most {MAX_RETRY_COUNT} are allowed")));
    }
    submission.idempotency_key.as_deref().map_or(Ok(()), idempotency::check_key)
}
