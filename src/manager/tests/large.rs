//! A submission that takes long to admit holds up nobody, and orders and refusals stay as they are.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;

use super::{Scripted, task, turns};
use crate::manager::{ManagerOptions, TaskManager};
use crate::task::{ExecutorCapabilities, Prepared, Submission, Task, TaskError, TaskExecutor, TaskResult};

/// Its `prepare` takes, for a payload with `large`, until the gate opens.
struct Gated {
    inner: Scripted,
    gate: Mutex<Receiver<()>>,
}

#[async_trait]
impl TaskExecutor for Gated {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        self.inner.execute(task).await
    }

    fn can_execute(&self, task_type: &crate::task::TaskType) -> bool {
        self.inner.can_execute(task_type)
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        self.inner.capabilities()
    }

    fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        if !task.payload.data["large"].is_null() {
            let opened = self.gate.lock().recv_timeout(Duration::from_secs(20));
            opened.map_err(|_late| TaskError::internal("the others were held up", ""))?;
        }
        self.inner.prepare(task)
    }
}

fn manager() -> (Arc<TaskManager<Gated>>, Sender<()>) {
    let (sender, receiver) = channel();
    let gated = Gated { inner: Scripted::new(), gate: Mutex::new(receiver) };
    let options = ManagerOptions { open_bytes_max: 1_000_000, ..ManagerOptions::default() };
    (Arc::new(TaskManager::with_options(gated, options)), sender)
}

fn large() -> Task {
    task(json!({ "large": "x".repeat(300_000) }))
}

/// On the one thread of this runtime, nothing would go on beside a `prepare` that ran there.
#[tokio::test]
async fn small_tasks_are_accepted_and_run_while_a_large_one_is_admitted() {
    let (manager, gate) = manager();
    let one = tokio::spawn({
        let manager = manager.clone();
        async move { manager.submit_task(large()).await }
    });
    let batch = tokio::spawn({
        let manager = manager.clone();
        let batch =
            vec![task(json!({"at": 0})).into(), large().into(), task(json!({"refuse": true})).into(), task(json!({"at": 3})).into()];
        async move { manager.submit_batch(batch).await }
    });
    turns().await;
    for at in 0..10 {
        let id = manager.submit_task(task(json!({ "at": at }))).await.expect("room");
        assert_eq!(manager.wait(&id).await.expect("completes").output["at"], at);
    }
    assert!(!one.is_finished() && !batch.is_finished());
    for _ in 0..2 {
        gate.send(()).expect("somebody waits");
    }
    let id = one.await.expect("it ends").expect("accepted");
    assert!(manager.wait(&id).await.is_ok());
    let outcomes = batch.await.expect("it ends");
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(TaskError::code)).collect();
    assert_eq!(codes, [None, None, Some("invalid_payload"), None], "each for itself, in order");
    let ids: Vec<_> = outcomes.into_iter().flatten().collect();
    assert_eq!(manager.wait(&ids[2]).await.expect("completes").output["at"], 3);
    assert_eq!(manager.stats().refused["invalid_payload"], 1);
}

#[tokio::test]
async fn a_large_submission_that_is_given_up_or_refused_leaves_nothing() {
    let (manager, gate) = manager();
    let mut given_up = Box::pin(manager.submit_task(large()));
    assert!(futures_util::poll!(&mut given_up).is_pending());
    drop(given_up);
    gate.send(()).expect("somebody waits");
    let bad = Submission::new(task(json!({ "refuse": true, "x": "x".repeat(300_000) })));
    let refused = manager.submit_all(vec![task(json!({})).into(), bad]).await;
    assert!(matches!(&refused, Err(TaskError::InvalidPayload { field, .. }) if field.starts_with("tasks[1].")), "{refused:?}");
    let panics = manager.submit_task(task(json!({ "panic_in_prepare": true, "x": "x".repeat(300_000) }))).await;
    assert_eq!(panics.map_err(|error| error.code()), Err("internal"));
    assert_eq!(manager.stats().totals.submitted, 0);
}

#[tokio::test]
async fn a_large_submission_counts_as_open_while_it_is_checked() {
    let (manager, gate) = manager();
    let big = || task(json!({ "large": "x".repeat(600_000) }));
    let mut first = Box::pin(manager.submit_task(big()));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert_eq!(manager.submit_task(big()).await.map_err(|error| error.code()), Err("overloaded"), "both are not held at once");
    let outcomes = manager.submit_batch(vec![task(json!({})).into(), task(json!({ "x": "x".repeat(450_000) })).into()]).await;
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(TaskError::code)).collect();
    assert_eq!(codes, [None, Some("overloaded")], "each for itself");
    // Given up, it counts until it has really been checked.
    drop(first);
    assert_eq!(manager.submit_task(big()).await.map_err(|error| error.code()), Err("overloaded"));
    gate.send(()).expect("somebody waits");
    gate.send(()).expect("somebody will");
    loop {
        match manager.submit_task(big()).await {
            Ok(id) => break assert!(manager.wait(&id).await.is_ok()),
            Err(error) => assert_eq!(error.code(), "overloaded"),
        }
        tokio::task::yield_now().await;
    }
    let never = manager.submit_task(task(json!({ "x": "x".repeat(2_000_000) }))).await;
    assert_eq!(never.map_err(|error| error.code()), Err("does_not_fit"));
}
