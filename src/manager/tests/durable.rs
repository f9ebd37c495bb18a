//! With a journal that takes its time: nothing is acknowledged, begun or shown before it is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{Scripted, ledger, task, turns, until};
use crate::journal::{Journal, MemoryJournal, Record, Replayed};
use crate::manager::{Clock, ManagerOptions, ManualClock, StatusKind, SystemClock, TaskManager};
use crate::task::{Submission, TaskError};

/// Durable when the test says so.
struct Gated {
    records: MemoryJournal,
    names: Mutex<Vec<&'static str>>,
    commits: Semaphore,
    is_broken: AtomicBool,
}

impl Gated {
    fn new() -> Self {
        Self { records: MemoryJournal::new(), names: Mutex::default(), commits: Semaphore::new(0), is_broken: AtomicBool::new(false) }
    }

    fn broken(&self) -> Result<(), TaskError> {
        if self.is_broken.load(Ordering::SeqCst) { Err(TaskError::internal("the disk is full", "")) } else { Ok(()) }
    }
}

#[async_trait]
impl Journal for Gated {
    fn append(&self, records: &[Record]) -> Result<(), TaskError> {
        self.broken()?;
        self.names.lock().extend(records.iter().map(|record| match record {
            Record::Accepted(_) => "accepted",
            Record::Started { .. } => "started",
            Record::Ended { .. } => "ended",
            Record::Forgotten { .. } => "forgotten",
        }));
        self.records.append(records)
    }

    async fn commit(&self) -> Result<(), TaskError> {
        self.commits.acquire().await.expect("never closed").forget();
        self.broken()
    }

    fn is_immediate(&self) -> bool {
        false
    }

    fn load(&self) -> Result<Vec<Replayed>, TaskError> {
        self.records.load()
    }
}

fn gated(clock: Arc<dyn Clock>) -> (Arc<TaskManager<Scripted>>, Arc<Gated>) {
    let journal = Arc::new(Gated::new());
    let options = ManagerOptions { journal: journal.clone(), ledger: Some(ledger(1 << 20, 2)), clock, ..ManagerOptions::default() };
    (Arc::new(TaskManager::with_options(Scripted::new(), options)), journal)
}

#[tokio::test]
async fn every_state_change_is_durable_before_anyone_can_act_on_it() {
    let (manager, journal) = gated(Arc::new(SystemClock::new()));
    let submitted = tokio::spawn({
        let manager = manager.clone();
        async move { manager.submit_task(task(json!({"name": "t"}))).await }
    });
    turns().await;
    assert!(!submitted.is_finished(), "not acknowledged yet");
    assert!(manager.executor().log.lock().is_empty(), "not begun yet");
    assert_eq!(*journal.names.lock(), ["accepted", "started"]);
    journal.commits.add_permits(2);
    let id = submitted.await.expect("no panic").expect("accepted");
    until("it runs", || manager.executor().log.lock().len() == 1).await;
    turns().await;
    assert_eq!(*journal.names.lock(), ["accepted", "started", "ended"]);
    assert_eq!(manager.status(&id).expect("known").status, StatusKind::Running, "its result is not shown yet");
    assert!(manager.get_task(&id).expect("known").result.is_none());
    let too_late = tokio::spawn({
        let manager = manager.clone();
        async move { manager.cancel_task(&id).await }
    });
    turns().await;
    assert!(!too_late.is_finished(), "the end is on its way to the journal");
    journal.commits.add_permits(1);
    manager.wait(&id).await.expect("completes");
    assert_eq!(too_late.await.expect("no panic").map_err(|error| error.code()), Err("already_terminal"));
    assert_eq!(manager.ledger().snapshot().threads.used, 0);
}

#[tokio::test]
async fn a_journal_that_breaks_closes_the_manager_to_new_tasks_and_fails_what_could_not_start() {
    let (manager, journal) = gated(Arc::new(SystemClock::new()));
    journal.commits.add_permits(1);
    let held = tokio::spawn({
        let manager = manager.clone();
        async move { manager.submit_task(task(json!({"name": "never"}))).await }
    });
    turns().await;
    journal.is_broken.store(true, Ordering::SeqCst);
    journal.commits.add_permits(100);
    turns().await;
    let _acknowledged_or_not = held.await.expect("no panic");
    let refused = manager.submit_task(task(json!({}))).await;
    assert_eq!(refused.map_err(|error| error.code()), Err("internal"));
    assert!(manager.stats().journal_failed);
    assert!(manager.executor().log.lock().is_empty(), "nothing begins that the journal does not know");
    assert_eq!(manager.ledger().snapshot().threads.used, 0);
    assert_eq!(manager.stats().running, 0);
}

#[tokio::test]
async fn the_executor_is_not_called_once_the_deadline_has_passed_or_the_task_was_cancelled() {
    let clock = Arc::new(ManualClock::new());
    let (manager, journal) = gated(clock.clone());
    let mut ids = Vec::new();
    for (name, within_s) in [("late", 5), ("cancelled", 60)] {
        let submission = Submission::new(task(json!({"name": name}))).deadline_in(Duration::from_secs(within_s));
        ids.push(submission.task.id);
        let manager = manager.clone();
        tokio::spawn(async move { manager.submit(submission).await });
    }
    turns().await;
    assert_eq!(*journal.names.lock(), ["accepted", "accepted", "started", "started"], "both are decided upon, neither has begun");
    clock.advance(Duration::from_secs(6));
    let cancelled = tokio::spawn({
        let (manager, id) = (manager.clone(), ids[1]);
        async move { manager.cancel_task(&id).await }
    });
    turns().await;
    journal.commits.add_permits(100);
    assert!(matches!(manager.wait(&ids[0]).await, Err(TaskError::DeadlineExceeded { .. })));
    assert!(matches!(manager.wait(&ids[1]).await, Err(TaskError::Cancelled { .. })));
    assert_eq!(cancelled.await.expect("no panic"), Ok(()));
    until("both runs are over", || manager.ledger().snapshot().threads.used == 0).await;
    assert!(manager.executor().log.lock().is_empty(), "{:?}", manager.executor().log.lock());
}

#[tokio::test]
async fn an_unreadable_journal_is_said_so_at_the_first_submission() {
    struct Unreadable;
    #[async_trait]
    impl Journal for Unreadable {
        fn append(&self, _records: &[Record]) -> Result<(), TaskError> {
            Ok(())
        }
        fn load(&self) -> Result<Vec<Replayed>, TaskError> {
            Err(TaskError::internal("unreadable", ""))
        }
    }
    let options = ManagerOptions { journal: Arc::new(Unreadable), ..ManagerOptions::default() };
    let manager = TaskManager::with_options(Scripted::new(), options);
    assert_eq!(manager.submit_task(task(json!({}))).await.map_err(|error| error.code()), Err("internal"));
}
