//! Starting, ending, cancelling, retrying, draining: under tokio with a clock that stands still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{MS, Scripted, ledger, manager, task, turns, until};
use crate::journal::MemoryJournal;
use crate::manager::{Clock as _, EventCursor, ManagerOptions, StatusKind, TaskManager, resolve_names};
use crate::task::{Submission, TaskError, TaskStatus};

#[tokio::test]
async fn a_result_says_how_long_it_waited_and_how_often_it_was_tried() {
    let (manager, clock) = manager(|_| {});
    let id = manager.submit_task(task(json!({"do": "fail", "times": 2, "name": "t"}))).await.expect("accepted");
    for retry in 1..=2 {
        until("it backs off", || manager.stats().totals.retried == retry).await;
        clock.advance(Duration::from_secs(1));
    }
    let result = manager.wait(&id).await.expect("the third attempt succeeds");
    assert_eq!(result.metadata["attempts"], 3);
    assert!(result.metadata["queue_ms"].as_f64().expect("a number") >= 2000.0);
    assert_eq!(result.metadata["compute_ms"], 0.0);
    assert_eq!(*manager.executor().log.lock(), ["t#1", "t#2", "t#3"]);
}

#[tokio::test]
async fn retries_end_with_the_error_of_the_last_attempt_and_a_panic_is_retried_once() {
    let (manager, clock) = manager(|_| {});
    let fails = manager.submit_task(task(json!({"do": "fail", "name": "f"}))).await.expect("accepted");
    let panics = manager.submit_task(task(json!({"do": "panic", "name": "p"}))).await.expect("accepted");
    let once = Submission::new(task(json!({"do": "fail", "name": "o"}))).retries_max(0);
    let once = manager.submit(once).await.expect("accepted");
    for _ in 0..20 {
        turns().await;
        clock.advance(Duration::from_secs(20));
    }
    for id in [fails, panics, once] {
        assert_eq!(manager.wait(&id).await.expect_err("it failed").code(), "internal");
    }
    let count = |name: &str| manager.executor().log.lock().iter().filter(|line| line.starts_with(name)).count();
    assert_eq!((count("f"), count("p"), count("o")), (4, 2, 1));
    assert_eq!(manager.stats().totals.panicked, 2);
    assert_eq!(manager.ledger().snapshot().threads.used, 0);
}

#[tokio::test]
async fn a_panic_in_prepare_refuses_that_task_alone() {
    let (manager, _) = manager(|_| {});
    let refused = manager.submit_task(task(json!({"panic_in_prepare": true}))).await;
    assert_eq!(refused.map_err(|error| error.code()), Err("internal"));
    let id = manager.submit_task(task(json!({}))).await.expect("accepted");
    manager.wait(&id).await.expect("completes");
}

#[tokio::test]
async fn cancelling_a_queued_task_frees_its_place_and_it_never_runs() {
    let (manager, _) = manager(|_| {});
    for _ in 0..2 {
        manager.submit_task(task(json!({"do": "hang"}))).await.expect("accepted");
    }
    let queued = manager.submit_task(task(json!({"name": "queued"}))).await.expect("accepted");
    until("two run", || manager.stats().running == 2).await;
    manager.cancel_with_reason(&queued, "not wanted".into()).await.expect("cancelled");
    assert_eq!(manager.wait(&queued).await, Err(TaskError::Cancelled { reason: "not wanted".into() }));
    assert!(manager.get_task(&queued).expect("known").result.is_none());
    assert_eq!(manager.stats().queued["normal"], 0);
    assert!(!manager.executor().log.lock().contains(&"queued#1".into()));
    let again = manager.cancel_task(&queued).await;
    assert_eq!(again, Err(TaskError::AlreadyTerminal { task_id: queued, status: TaskStatus::Cancelled }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_running_tasks_takes_less_than_250_ms_in_99_of_100_cases() {
    let options = ManagerOptions { ledger: Some(ledger(1 << 20, 2)), ..ManagerOptions::default() };
    let manager = TaskManager::with_options(Scripted::new(), options);
    let mut latencies = Vec::new();
    for _ in 0..200 {
        let id = manager.submit_task(task(json!({"do": "obey"}))).await.expect("accepted");
        manager.executor().started.notified().await;
        let began = Instant::now();
        manager.cancel_task(&id).await.expect("cancelled");
        assert_eq!(manager.status(&id).expect("known").status, StatusKind::Cancelled);
        while manager.ledger().snapshot().threads.used > 0 {
            assert!(began.elapsed() < Duration::from_secs(30), "the run never returned");
            tokio::task::yield_now().await;
        }
        latencies.push(began.elapsed());
    }
    latencies.sort_unstable();
    println!("median {:?}, 99th percentile {:?}", latencies[100], latencies[198]);
    assert!(latencies[198] < Duration::from_millis(250));
}

#[tokio::test]
async fn a_run_that_ignores_its_cancel_is_dropped_after_the_grace() {
    let (manager, clock) = manager(|_| {});
    let id = manager.submit_task(task(json!({"do": "hang"}))).await.expect("accepted");
    manager.executor().started.notified().await;
    manager.cancel_task(&id).await.expect("cancelled");
    turns().await;
    clock.advance(199 * MS);
    turns().await;
    assert_eq!((manager.stats().ending, manager.ledger().snapshot().threads.used), (1, 1));
    clock.advance(MS);
    until("it was dropped", || manager.stats().ending == 0).await;
    assert_eq!(manager.ledger().snapshot().threads.used, 0);
}

#[tokio::test]
async fn work_that_outlives_its_run_keeps_its_claim_until_it_returns() {
    let (manager, clock) = manager(|_| {});
    let id = manager.submit_task(task(json!({"do": "hold", "bytes": 1000}))).await.expect("accepted");
    manager.executor().started.notified().await;
    manager.cancel_task(&id).await.expect("cancelled");
    turns().await;
    clock.advance(200 * MS);
    until("the future was dropped", || manager.stats().ending == 0).await;
    assert_eq!(manager.ledger().snapshot().host.used, 1000, "a compute closure still works");
    manager.executor().left_behind.lock().clear();
    assert_eq!(manager.ledger().snapshot().host.used, 0);
}

#[tokio::test]
async fn work_past_its_deadline_never_starts_and_running_work_is_stopped() {
    let (manager, clock) = manager(|_| {});
    let soon = chrono::Utc::now() + Duration::from_secs(5);
    let mut ids = Vec::new();
    for name in ["a", "b", "late"] {
        let submission = Submission::new(task(json!({"do": "obey", "name": name}))).deadline(soon);
        ids.push(manager.submit(submission).await.expect("accepted"));
    }
    until("two run", || manager.stats().running == 2).await;
    clock.advance(Duration::from_secs(6));
    for id in &ids {
        assert_eq!(manager.wait(id).await, Err(TaskError::DeadlineExceeded { deadline: soon }));
        assert!(matches!(manager.get_task(id).expect("known").status, TaskStatus::Failed(_)));
    }
    until("both have returned", || manager.ledger().snapshot().threads.used == 0).await;
    assert!(!manager.executor().log.lock().contains(&"late#1".into()));
    let (busy, clock) = self::manager(|options| options.ledger = Some(ledger(1 << 20, 1)));
    busy.submit_task(task(json!({"do": "hang"}))).await.expect("accepted");
    busy.executor().started.notified().await;
    turns().await;
    let soon = chrono::Utc::now() + Duration::from_secs(5);
    let waits = busy.submit(Submission::new(task(json!({}))).deadline(soon)).await.expect("accepted");
    turns().await;
    clock.advance(Duration::from_secs(6));
    assert_eq!(busy.wait(&waits).await, Err(TaskError::DeadlineExceeded { deadline: soon }), "the loop wakes for a deadline alone");
    let past = Submission::new(task(json!({}))).deadline(soon - Duration::from_secs(3600));
    assert_eq!(manager.submit(past).await.map_err(|error| error.code()), Err("deadline_exceeded"));
}

#[tokio::test]
async fn a_step_of_the_wall_clock_moves_no_deadline() {
    for step in [chrono::TimeDelta::hours(1), chrono::TimeDelta::hours(-1)] {
        let (manager, clock) = manager(|_| {});
        let hang = || Submission::new(task(json!({"do": "obey"})));
        let by_wall = manager.submit(hang().deadline(clock.wall_now() + Duration::from_secs(60))).await.expect("accepted");
        let within = manager.submit(hang().deadline_in(Duration::from_secs(60))).await.expect("accepted");
        clock.step_wall(step);
        // What comes in after the step counts from the clock as it stands then.
        let later = manager.submit(hang().deadline(clock.wall_now() + Duration::from_secs(60))).await.expect("accepted");
        let spec = json!([{"type": "text_processing", "data": {}, "deadline_ms": 60_000}]);
        let spec = resolve_names(serde_json::from_value(spec).expect("specs"), "").expect("resolves").remove(0);
        let named = manager.submit(spec).await.expect("accepted");
        let ids = [by_wall, within, later, named];
        clock.advance(Duration::from_secs(59));
        turns().await;
        for id in &ids {
            assert!(!manager.status(id).expect("known").status.is_terminal(), "{step}: too early");
        }
        clock.advance(Duration::from_secs(2));
        for id in &ids {
            let ended = manager.wait(id).await;
            assert!(matches!(ended, Err(TaskError::DeadlineExceeded { .. })), "{step}: {ended:?}");
            let shown = manager.get_task(id).expect("known").completed_at.expect("it has ended");
            assert!(
                step < chrono::TimeDelta::zero() || shown >= clock.wall_now() - Duration::from_secs(1),
                "shown as the wall clock stands"
            );
        }
    }
}

#[tokio::test]
async fn execute_task_starts_ahead_of_the_queue_and_joins_a_run_that_is_under_way() {
    let (manager, _) = manager(|options| options.ledger = Some(ledger(1 << 20, 1)));
    let first = manager.submit_task(task(json!({"do": "wait", "name": "first"}))).await.expect("accepted");
    manager.executor().started.notified().await;
    let second = manager.submit_task(task(json!({"name": "second"}))).await.expect("accepted");
    let third = manager.submit_task(task(json!({"name": "third", "threads": 0}))).await.expect("accepted");
    manager.execute_task(&third).await.expect("it fits, so it does not wait for its turn");
    let joined = tokio::spawn({
        let manager = manager.clone();
        async move { manager.execute_task(&first).await }
    });
    manager.executor().go_on.notify_one();
    joined.await.expect("no panic").expect("completes");
    manager.execute_task(&second).await.expect("completes");
    assert_eq!(*manager.executor().log.lock(), ["first#1", "third#1", "second#1"], "each runs once");
}

#[tokio::test]
async fn dropping_the_manager_cancels_what_runs_and_ends_the_readers() {
    let (manager, _) = manager(|_| {});
    let mut reader = manager.events(EventCursor::Oldest);
    manager.submit_task(task(json!({"do": "hold"}))).await.expect("accepted");
    manager.executor().started.notified().await;
    let handle = manager.executor().left_behind.lock()[0].clone();
    drop(manager);
    assert!(handle.is_cancelled());
    let mut names = Vec::new();
    while let Some(crate::manager::Delivery::Event(record)) = reader.next().await {
        names.push(record.name());
    }
    assert_eq!(names, ["task_submitted", "task_started", "task_cancelled"]);
}

#[tokio::test]
async fn a_drain_lets_work_finish_refuses_new_work_and_cancels_the_rest() {
    let (manager, clock) = manager(|_| {});
    let obeys = manager.submit_task(task(json!({"do": "obey"}))).await.expect("accepted");
    let fine = manager.submit_task(task(json!({}))).await.expect("accepted");
    manager.wait(&fine).await.expect("completes");
    let drained = tokio::spawn({
        let manager = manager.clone();
        async move { manager.drain(Duration::ZERO).await }
    });
    let report = drained.await.expect("no panic");
    assert_eq!((report.completed, report.cancelled, report.abandoned), (0, 1, 0));
    assert_eq!(manager.wait(&obeys).await.expect_err("cancelled").code(), "cancelled");
    assert_eq!(manager.submit_task(task(json!({}))).await, Err(TaskError::ShuttingDown));
    clock.advance(MS);
    assert_eq!(manager.get_task(&fine).expect("still known").status, TaskStatus::Completed);
}

#[tokio::test]
async fn a_manager_takes_over_the_open_tasks_of_its_journal() {
    let journal = Arc::new(MemoryJournal::new());
    let options = || ManagerOptions { journal: journal.clone(), ledger: Some(ledger(1 << 20, 2)), ..ManagerOptions::default() };
    let crashed = TaskManager::with_options(Scripted::new(), options());
    let done = crashed.submit_task(task(json!({"answer": 42}))).await.expect("accepted");
    crashed.wait(&done).await.expect("completes");
    let running = Submission::new(task(json!({"name": "running", "do": "wait"}))).idempotency_key("once");
    let running = crashed.submit(running).await.expect("accepted");
    crashed.executor().started.notified().await;
    crashed.executor().started.notified().await;
    let last_try = crashed.submit(Submission::new(task(json!({"do": "hang"}))).retries_max(0)).await.expect("accepted");
    crashed.executor().started.notified().await;
    let refers = task(
        json!({"name": "waits", "x": {"$from": running.to_string(), "path": "/name"}, "y": {"$from": done.to_string(), "path": "/answer"}}),
    );
    let refers = crashed.submit_task(refers).await.expect("accepted");
    drop(crashed);

    let manager = TaskManager::with_options(Scripted::new(), options());
    assert_eq!(manager.get_task(&done).expect("kept").status, TaskStatus::Completed);
    manager.executor().started.notified().await;
    assert_eq!(*manager.executor().log.lock(), ["running#2"], "the attempt before the crash counts");
    assert_eq!(manager.wait(&last_try).await.expect_err("no attempt is left").code(), "internal");
    manager.executor().go_on.notify_one();
    let result = manager.wait(&refers).await.expect("its dependency is run again");
    assert_eq!((&result.output["x"], &result.output["y"]), (&json!("running"), &json!(42)));
}
