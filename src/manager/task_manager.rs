//! The handle: what outsiders call.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::core::{Core, Mode, Ready, Wait, at_position};
use super::events::{EventCursor, EventReader};
use super::handlers::{self, FeedCounts};
use super::idempotency::Siblings;
use super::large::{is_large, payload_bytes};
use super::options::ManagerOptions;
use super::shared::Shared;
use super::views::{DrainReport, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, ManagerStats, StatusKind, StatusView, TaskFilter, TaskSummary};
use crate::journal::{Outcome, OutcomeKind};
use crate::resource::Ledger;
use crate::task::{EventHandler, Parts, Submission, Task, TaskError, TaskEvent, TaskExecutor, TaskId, TaskResult, TaskStatus};

/// Accepts tasks, runs them by priority and resources on its executor, and keeps their results for a while.
///
/// Shared as `Arc<TaskManager<E>>`. Made anywhere; its run loop starts with the first submission inside a tokio runtime. Dropping it cancels what runs;
/// its journal does not hear of that, so the next manager on the same journal takes the open tasks over.
pub struct TaskManager<E: TaskExecutor> {
    shared: Arc<Shared<E>>,
}

impl<E: TaskExecutor> TaskManager<E> {
    /// A manager with default bounds.
    #[must_use]
    pub fn new(executor: E) -> Self {
        Self::with_options(executor, ManagerOptions::default())
    }

    /// A manager with these bounds. Takes over the open tasks of its journal; inside a runtime they begin to run at once, elsewhere with the first call
    /// from inside one. A journal that cannot be read makes every submission fail with `Internal`.
    #[must_use]
    pub fn with_options(executor: E, options: ManagerOptions) -> Self {
        let shared = Arc::new(Shared::new(executor, options));
        if shared.replay() && Handle::try_current().is_ok() {
            // Cannot fail inside a runtime.
            let _started = shared.ensure_started();
        }
        Self { shared }
    }

    /// Accepts a task. Returns once it is in the journal; it runs by itself.
    ///
    /// Errors: `InvalidPayload` (also for a known id, and a task that is not pending), `UnsupportedTaskType`, `DoesNotFit`, `Overloaded`, `ShuttingDown`,
    /// and what the executor's `prepare` refuses. Nothing is kept of a refused task.
    pub async fn submit_task(&self, task: Task) -> Result<TaskId, TaskError> {
        self.submit(Submission::new(task)).await
    }

    /// Accepts a task with its conditions. A repeated idempotency key returns the first task's id.
    ///
    /// Errors: those of [`TaskManager::submit_task`], `IdempotencyConflict`, `DeadlineExceeded` for a deadline in the past, and `NotFound` for a
    /// dependency that this submitter has not submitted.
    pub async fn submit(&self, submission: Submission) -> Result<TaskId, TaskError> {
        self.shared.ensure_started()?;
        let alone = Siblings::default();
        let ready = match is_large(std::slice::from_ref(&submission)).then(|| payload_bytes(std::slice::from_ref(&submission))) {
            None => self.shared.ready(submission, &alone),
            Some(bytes) => self.shared.beside(bytes, move |shared| shared.ready(submission, &alone)).await.flatten(),
        };
        let accepted = ready.and_then(|ready| {
            let mut core = self.shared.core.lock();
            let (task_id, slot) = core.accept(ready)?;
            Ok((task_id, slot.is_some_and(|slot| core.concerns_loop(slot))))
        });
        let (task_id, wakes) = self.counted(accepted)?;
        if wakes {
            self.shared.work.notify_one();
        }
        self.acknowledge(&[task_id]).await?;
        Ok(task_id)
    }

    /// Accepts or refuses each task by itself, in order, under one hold of the lock. A batch of 1,000 counts as 1,000 tasks.
    pub async fn submit_batch(&self, submissions: Vec<Submission>) -> Vec<Result<TaskId, TaskError>> {
        let count = submissions.len();
        let ready = match self.shared.ensure_started() {
            // What has no room any more is refused task by task below.
            Ok(()) => self.all_ready(submissions, Siblings::default(), |core, bytes| core.room_of(bytes)).await,
            Err(error) => Err(error),
        };
        let ready = ready.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect());
        let mut outcomes = Vec::with_capacity(ready.len());
        {
            let mut core = self.shared.core.lock();
            for ready in ready {
                let outcome = ready.and_then(|ready| core.accept(ready)).map(|(task_id, _)| task_id);
                if let Err(error) = &outcome {
                    core.count_refusal(error);
                }
                outcomes.push(outcome);
            }
        }
        self.shared.work.notify_one();
        let accepted: Vec<TaskId> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
        match self.acknowledge(&accepted).await {
            Ok(()) => outcomes,
            Err(error) => outcomes.into_iter().map(|outcome| outcome.and(Err(error.clone()))).collect(),
        }
    }

    /// Accepts all tasks or none: a graph, in which tasks may depend on each other in any order. A graph whose tasks have idempotency keys can be
    /// repeated under fresh ids: what is known already is answered with its id, and what is new may depend on it.
    ///
    /// Errors: the first task's error, with `tasks[i].` before its field; `InvalidPayload` for a circle. Then nothing is kept.
    pub async fn submit_all(&self, submissions: Vec<Submission>) -> Result<Vec<TaskId>, TaskError> {
        self.shared.ensure_started()?;
        let siblings = Siblings::of(&submissions);
        let ready = self.all_ready(submissions, siblings, |_core, bytes| bytes).await.and_then(|ready| {
            let placed = ready.into_iter().enumerate().map(|(at, ready)| ready.map_err(|error| at_position(error, at)));
            placed.collect::<Result<Vec<_>, _>>()
        });
        let accepted = ready.and_then(|ready| self.shared.core.lock().accept_all(ready));
        let (ids, _) = self.counted(accepted)?;
        self.shared.work.notify_one();
        self.acknowledge(&ids).await?;
        Ok(ids)
    }

    /// Each submission checked and prepared, in order; many bytes of them beside the runtime's threads, where `counted` of them count as open.
    async fn all_ready(
        &self,
        submissions: Vec<Submission>,
        siblings: Siblings,
        counted: impl FnOnce(&Core, u64) -> u64,
    ) -> Result<Vec<Result<Ready, TaskError>>, TaskError> {
        let ready = move |shared: &Shared<E>, submissions: Vec<Submission>| {
            submissions.into_iter().map(|submission| shared.ready(submission, &siblings)).collect::<Vec<_>>()
        };
        if !is_large(&submissions) {
            return Ok(ready(&self.shared, submissions));
        }
        let bytes = counted(&self.shared.core.lock(), payload_bytes(&submissions));
        self.shared.beside(bytes, move |shared| ready(shared, submissions)).await
    }

    fn counted<T>(&self, accepted: Result<T, TaskError>) -> Result<T, TaskError> {
        accepted.inspect_err(|error| self.shared.core.lock().count_refusal(error))
    }

    /// Waits until accepted tasks are durable; if they never will be, they end and the caller is told.
    async fn acknowledge(&self, ids: &[TaskId]) -> Result<(), TaskError> {
        self.commit().await.inspect_err(|error| {
            let mut core = self.shared.core.lock();
            for task_id in ids {
                if let Ok(slot) = core.table.find(task_id) {
                    // One that has ended meanwhile stays as it is.
                    let _ended_before = core.stop(slot, OutcomeKind::Failed(Arc::new(error.clone())));
                }
            }
            core.settle();
            drop(core);
            self.shared.work.notify_one();
            self.shared.ended.notify_waiters();
        })
    }

    async fn commit(&self) -> Result<(), TaskError> {
        if self.shared.options.journal.is_immediate() {
            return Ok(());
        }
        self.shared.options.journal.commit().await.inspect_err(|error| self.shared.core.lock().journal_broke(error))
    }

    /// Where a task stands; copies nothing else. Errors: `NotFound`.
    pub fn status(&self, task_id: &TaskId) -> Result<StatusView, TaskError> {
        self.shared.core.lock().status(task_id)
    }

    /// A copy of the task with payload, status and result. Errors: `NotFound`.
    pub fn get_task(&self, task_id: &TaskId) -> Result<Task, TaskError> {
        let pieces = self.shared.core.lock().pieces(task_id)?;
        Ok(pieces.into_task())
    }

    /// Copies of every task with that status, in the order of their ids. The text of `Failed` does not matter: every failure matches.
    #[must_use]
    pub fn get_tasks_by_status(&self, status: TaskStatus) -> Vec<Task> {
        let kind = StatusKind::from(&status);
        let (mut tasks, mut from) = (Vec::new(), Some(0));
        while let Some(slot) = from {
            let (pieces, next) = self.shared.core.lock().by_status(kind, slot);
            tasks.extend(pieces.into_iter().map(super::core::Pieces::into_task));
            from = next;
        }
        tasks.sort_unstable_by_key(|task| task.id);
        tasks
    }

    /// One page of tasks in the order of their ids. The table is read in stretches, so tasks that change meanwhile may be shown as before or after.
    #[must_use]
    pub fn list(&self, filter: &TaskFilter) -> Vec<TaskSummary> {
        let limit = filter.limit.unwrap_or(LIST_LIMIT_DEFAULT).min(LIST_LIMIT_MAX);
        let filter = TaskFilter { limit: Some(limit), ..filter.clone() };
        let (mut found, mut from) = (BinaryHeap::new(), Some(0));
        while let Some(slot) = from {
            from = self.shared.core.lock().matching(&filter, &mut found, slot);
        }
        let ids = found.into_sorted_vec();
        ids.chunks(256)
            .flat_map(|ids| {
                let core = self.shared.core.lock();
                ids.iter().filter_map(|id| core.summary(id)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// One line of a listing about one task; copies neither payload nor result. Errors: `NotFound`.
    pub fn summary(&self, task_id: &TaskId) -> Result<TaskSummary, TaskError> {
        self.shared.core.lock().summary(task_id).ok_or(TaskError::NotFound { task_id: *task_id })
    }

    /// Who submitted the task. Errors: `NotFound`.
    pub fn owner(&self, task_id: &TaskId) -> Result<Arc<str>, TaskError> {
        self.shared.core.lock().owner(task_id)
    }

    /// The binary parts of a completed task's answer, shared; none while it is open or when it did not complete. Errors: `NotFound`.
    pub fn parts(&self, task_id: &TaskId) -> Result<Parts, TaskError> {
        let parts = self.shared.core.lock().parts(task_id)?;
        Ok((*parts).clone())
    }

    /// Sees a task through: starts it ahead of its turn if it waits and fits, and waits for its end. Never runs a task twice.
    ///
    /// Errors: its own error when it failed or was cancelled, `NotFound`. Dropping the future does not stop the task.
    pub async fn execute_task(&self, task_id: &TaskId) -> Result<TaskResult, TaskError> {
        self.shared.ensure_started()?;
        let is_waiting = {
            let mut core = self.shared.core.lock();
            let slot = core.table.find(task_id)?;
            core.expedite(slot)
        };
        if is_waiting {
            self.shared.work.notify_one();
        }
        self.wait(task_id).await
    }

    /// Waits for the end of a task. Errors: its own error when it failed or was cancelled, `NotFound`.
    pub async fn wait(&self, task_id: &TaskId) -> Result<TaskResult, TaskError> {
        self.shared.ensure_started()?;
        let outcome = self.outcome(task_id).await?;
        match &outcome.kind {
            OutcomeKind::Completed { result, .. } => Ok((**result).clone()),
            _ => Err(outcome.error().unwrap_or(TaskError::ShuttingDown)),
        }
    }

    async fn outcome(&self, task_id: &TaskId) -> Result<Arc<Outcome>, TaskError> {
        let waiting = self.shared.core.lock().wait(task_id)?;
        match waiting {
            Wait::Ended(outcome) => Ok(outcome),
            Wait::Open(receiver) => receiver.await.map_err(|_closed| TaskError::ShuttingDown),
        }
    }

    /// Cancels a task: at once when it waits; a running one is told, counts as cancelled from now on, and is dropped after `cancel_grace`.
    ///
    /// Errors: `NotFound`, `AlreadyTerminal`. After `Ok` no result of the task is ever published.
    pub async fn cancel_task(&self, task_id: &TaskId) -> Result<(), TaskError> {
        self.cancel_with_reason(task_id, "cancelled by request".into()).await
    }

    /// As [`TaskManager::cancel_task`], with a reason for waiters and readers of events.
    pub async fn cancel_with_reason(&self, task_id: &TaskId, reason: String) -> Result<(), TaskError> {
        let stopped = {
            let mut core = self.shared.core.lock();
            let slot = core.table.find(task_id)?;
            let stopped = core.stop(slot, OutcomeKind::Cancelled(reason.into()));
            core.settle();
            stopped
        };
        if stopped.is_err() {
            // Its end may still be on its way to the journal; the answer waits for it.
            let outcome = self.outcome(task_id).await?;
            return Err(TaskError::AlreadyTerminal { task_id: *task_id, status: outcome.status() });
        }
        self.shared.work.notify_one();
        self.shared.ended.notify_waiters();
        self.commit().await
    }

    /// Reads events from there on. Any number of readers; each goes at its own pace.
    #[must_use]
    pub fn events(&self, from: EventCursor) -> EventReader {
        self.shared.hub.reader(from)
    }

    /// What tells this manager's event numbers from those of another one, such as the one before a restart: a number drawn when it was made.
    #[must_use]
    pub fn event_epoch(&self) -> u64 {
        self.shared.hub.epoch()
    }

    /// Adds a listener, which gets events from now on through a feed of its own: a slow one loses events and holds up nothing.
    pub fn add_handler<H: EventHandler<TaskEvent>>(&self, handler: H) {
        let counts = FeedCounts { missed: self.shared.handler_events_missed.clone(), failures: self.shared.handler_failures.clone() };
        let feed = handlers::feed(handler, self.shared.hub.reader(EventCursor::Now), counts);
        match Handle::try_current() {
            Ok(runtime) => {
                self.shared.handlers.lock().spawn_on(feed, &runtime);
            }
            Err(_outside_a_runtime) => self.shared.waiting_feeds.lock().push(feed),
        }
    }

    /// The manager at this moment.
    #[must_use]
    pub fn stats(&self) -> ManagerStats {
        let mut stats = self.shared.core.lock().stats();
        stats.handler_events_missed = self.shared.handler_events_missed.load(Ordering::Relaxed);
        stats.handler_failures = self.shared.handler_failures.load(Ordering::Relaxed);
        stats
    }

    /// What tasks claim from.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// The executor.
    #[must_use]
    pub fn executor(&self) -> &E {
        &self.shared.executor
    }

    /// Refuses new tasks, waits for the open ones, cancels what is left after `timeout`, ends the events' readers and says what happened.
    ///
    /// Cancelled runs get `cancel_grace` and one second to return; what has not returned then is counted as abandoned.
    pub async fn drain(&self, timeout: Duration) -> DrainReport {
        let began = Instant::now();
        let before = {
            let mut core = self.shared.core.lock();
            core.mode = Mode::Draining;
            core.totals()
        };
        // Outside a runtime nothing can run, so there is nothing to wait for.
        let can_wait = self.shared.ensure_started().is_ok();
        if !can_wait || tokio::time::timeout(timeout, self.until(|open, _| open == 0)).await.is_err() {
            self.shared.core.lock().cancel_all("the worker is shutting down");
            self.shared.work.notify_one();
        }
        let grace = self.shared.options.cancel_grace + Duration::from_secs(1);
        let returned = can_wait && tokio::time::timeout(grace, self.until(|open, runs| open == 0 && runs == 0)).await.is_ok();
        if let Err(error) = self.commit().await {
            tracing::error!("the last state changes may not be durable: {error}");
        }
        let (after, runs) = {
            let mut core = self.shared.core.lock();
            core.mode = Mode::Closed;
            (core.totals(), core.runs())
        };
        self.shared.hub.close();
        DrainReport {
            completed: after.completed - before.completed,
            failed: after.failed - before.failed,
            cancelled: after.cancelled - before.cancelled,
            abandoned: if returned { 0 } else { runs as u64 },
            elapsed: began.elapsed(),
        }
    }

    async fn until(&self, holds: impl Fn(u64, usize) -> bool) {
        loop {
            let ended = self.shared.ended.notified();
            let (open, runs) = {
                let core = self.shared.core.lock();
                (core.open_tasks(), core.runs())
            };
            if holds(open, runs) {
                return;
            }
            ended.await;
        }
    }
}

impl<E: TaskExecutor> Drop for TaskManager<E> {
    fn drop(&mut self) {
        {
            let mut core = self.shared.core.lock();
            core.mode = Mode::Closed;
            core.cancel_all("the manager was dropped");
        }
        self.shared.hub.close();
        self.shared.handlers.lock().abort_all();
        if let Some(run_loop) = self.shared.run_loop.lock().take() {
            run_loop.abort();
        }
    }
}
