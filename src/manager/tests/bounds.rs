//! Everything is bounded, and whoever meets a bound is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{manager, task, until};
use crate::journal::{Journal as _, MemoryJournal};
use crate::manager::{Delivery, EventCursor, StatusKind, TaskFilter};
use crate::task::{EventError, EventHandler, Submission, TaskError, TaskEvent, TaskPriority};

#[tokio::test]
async fn a_full_queue_answers_overloaded_and_has_room_for_a_late_submitter() {
    let (manager, _) = manager(|options| options.open_tasks_max = 90);
    let outcomes = manager.submit_batch((0..1000).map(|_| task(json!({"do": "hang"})).into()).collect()).await;
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(accepted, 80, "eight ninths");
    assert!(outcomes[80..].iter().all(|outcome| matches!(outcome, Err(TaskError::Overloaded { .. }))));
    let late = Submission::new(task(json!({}))).submitter("late");
    manager.submit(late).await.expect("there is room for others");
    let whole: Vec<_> = (0..20).map(|_| Submission::new(task(json!({}))).submitter("third")).collect();
    assert_eq!(manager.submit_all(whole).await.map_err(|error| error.code()), Err("overloaded"), "a batch of 20 counts as 20");
    assert_eq!(manager.stats().refused["overloaded"], 921);
    let beyond: Vec<_> = (0..91).map(|_| task(json!({})).into()).collect();
    assert_eq!(manager.submit_all(beyond).await.map_err(|error| error.code()), Err("invalid_payload"));
}

#[tokio::test]
async fn payload_bytes_are_bounded_and_a_demand_that_never_fits_is_refused_at_once() {
    let (manager, _) = manager(|options| options.open_bytes_max = 1000);
    let large = manager.submit_task(task(json!({"x": "y".repeat(2000)}))).await;
    assert!(matches!(large, Err(TaskError::DoesNotFit { available_bytes: 1000, .. })));
    let never = manager.submit_task(task(json!({"bytes": 1_u64 << 40}))).await;
    assert!(matches!(never, Err(TaskError::DoesNotFit { needed_bytes, .. }) if needed_bytes == 1 << 40));
    manager.submit_task(task(json!({"do": "hang", "x": "y".repeat(500)}))).await.expect("room");
    let second = manager.submit_task(task(json!({"x": "y".repeat(500)}))).await;
    assert_eq!(second.map_err(|error| error.code()), Err("overloaded"));
}

#[tokio::test]
async fn what_is_parsed_of_a_payload_counts_with_it_until_the_task_ends() {
    let (manager, _) = manager(|options| options.open_bytes_max = 1000);
    let parsed = |bytes: u64| task(json!({"do": "hang", "parsed_bytes": bytes}));
    assert_eq!(manager.submit_task(parsed(1000)).await.map_err(|error| error.code()), Err("does_not_fit"));
    let first = manager.submit_task(parsed(500)).await.expect("room");
    let held = manager.stats().open_bytes.0;
    assert!(held > 500 && manager.submit_task(parsed(500)).await.is_err());
    manager.cancel_task(&first).await.expect("it is open");
    let stats = manager.stats();
    assert_eq!((stats.open_bytes.0, stats.retained_bytes), (0, held - 500), "only the payload is kept");
    manager.submit_task(parsed(500)).await.expect("room again");
}

#[tokio::test]
async fn whatever_fits_runs_at_once_and_nothing_else() {
    let (manager, _) = manager(|_| {});
    for _ in 0..3 {
        manager.submit_task(task(json!({"do": "hang"}))).await.expect("room");
    }
    for _ in 0..500 {
        manager.submit_task(task(json!({"do": "hang", "threads": 0}))).await.expect("room");
    }
    until("all of the engine's tasks run", || manager.stats().running == 502).await;
    assert_eq!(manager.stats().queued["normal"], 1, "the third compute task waits for a thread");
    assert_eq!(manager.ledger().snapshot().threads.used, 2);
}

#[tokio::test]
async fn a_key_names_one_task_until_that_is_forgotten() {
    let (manager, clock) = manager(|options| options.retained_for = Duration::from_secs(60));
    let keyed = |data, submitter: &str| Submission::new(task(data)).idempotency_key("k").submitter(submitter);
    let first = manager.submit(keyed(json!({"a": 1, "b": 2}), "x")).await.expect("accepted");
    assert_eq!(manager.submit(keyed(json!({"b": 2, "a": 1}), "x")).await, Ok(first), "same payload, same task");
    let other = manager.submit(keyed(json!({"a": 1, "b": 3}), "x")).await;
    assert_eq!(other, Err(TaskError::IdempotencyConflict { key: "k".into(), existing: first, differs: "data".into() }));
    assert_ne!(manager.submit(keyed(json!({"a": 1, "b": 3}), "y")).await.expect("another scope"), first);
    assert_eq!(manager.wait(&first).await.expect("completes").output["a"], 1);
    assert_eq!(manager.submit(keyed(json!({"a": 1, "b": 2}), "x")).await, Ok(first), "also after its end");
    clock.advance(Duration::from_secs(61));
    until("it is forgotten", || manager.status(&first).is_err()).await;
    assert_ne!(manager.submit(keyed(json!({"a": 9}), "x")).await.expect("the key is free"), first);
    for key in ["", "with space", "ü", &"x".repeat(256)] {
        let refused = manager.submit(Submission::new(task(json!({}))).idempotency_key(key)).await;
        assert_eq!(refused.map_err(|error| error.code()), Err("invalid_payload"), "{key:?}");
    }
}

#[tokio::test]
async fn ended_tasks_are_kept_by_count_bytes_and_age() {
    let journal = Arc::new(MemoryJournal::new());
    let kept = journal.clone();
    let (by_count, _) = manager(move |options| {
        options.retained_tasks_max = 3;
        options.journal = kept;
    });
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(by_count.submit_task(task(json!({}))).await.expect("accepted"));
        by_count.wait(ids.last().expect("some")).await.expect("completes");
    }
    until("two are forgotten", || by_count.stats().retained_tasks == 3).await;
    assert!(by_count.get_task(&ids[1]).is_err() && by_count.get_task(&ids[2]).is_ok());
    assert_eq!(journal.load().expect("readable").len(), 3, "the journal lets go of what is forgotten");

    let (by_bytes, _) = manager(|options| options.retained_bytes_max = 1_500);
    let large = by_bytes.submit_task(task(json!({"x": "y".repeat(400)}))).await.expect("accepted");
    by_bytes.wait(&large).await.expect("completes");
    until("it was kept", || by_bytes.stats().retained_tasks == 1).await;
    let second = by_bytes.submit_task(task(json!({"x": "y".repeat(300)}))).await.expect("accepted");
    by_bytes.wait(&second).await.expect("completes");
    until("the older is forgotten", || by_bytes.get_task(&large).is_err()).await;
    assert!(by_bytes.get_task(&second).is_ok());
}

#[tokio::test]
async fn a_result_that_others_still_need_is_not_forgotten() {
    let (manager, _) = manager(|options| options.retained_tasks_max = 0);
    let source = manager.submit_task(task(json!({"do": "wait", "v": 7}))).await.expect("accepted");
    let blocker = manager.submit_task(task(json!({"do": "obey"}))).await.expect("accepted");
    let reads = task(json!({"x": {"$from": source.to_string(), "path": "/v"}}));
    let reads = Submission::new(reads).depends_on(blocker);
    let other = task(json!({"x": {"$from": source.to_string(), "path": "/v"}}));
    let other = manager.submit_task(other).await.expect("accepted");
    let reads = manager.submit(reads).await.expect("accepted");
    let answer = tokio::spawn({
        let manager = manager.clone();
        async move { manager.wait(&other).await }
    });
    until("both run", || manager.stats().running == 2).await;
    manager.executor().go_on.notify_one();
    assert_eq!(answer.await.expect("no panic").expect("completes").output["x"], 7);
    assert_eq!(manager.status(&source).expect("held").status, StatusKind::Completed);
    manager.cancel_task(&blocker).await.expect("cancelled");
    until("nobody needs it any more", || manager.status(&source).is_err()).await;
    assert!(manager.status(&reads).is_err());
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed_and_a_reader_resumes_by_number() {
    let (manager, _) = manager(|options| options.events_max = 8);
    let mut slow = manager.events(EventCursor::Now);
    for _ in 0..5 {
        let id = manager.submit_task(task(json!({"do": "chunks"}))).await.expect("accepted");
        manager.wait(&id).await.expect("completes");
    }
    // 5 tasks of 7 events: submitted, started, three chunks, progress, completed.
    assert_eq!(manager.stats().events_published, 35);
    assert!(matches!(slow.try_next(), Some(Delivery::Missed(27))));
    let mut names = Vec::new();
    while let Some(Delivery::Event(record)) = slow.try_next() {
        names.push((record.seq, record.event().name()));
        if let TaskEvent::TaskProgress { progress, .. } = record.event() {
            assert!((progress - 1.0).abs() < f32::EPSILON, "progress is at most 1");
        }
    }
    assert_eq!(names.first(), Some(&(28, "task_completed")));
    assert_eq!(names.last(), Some(&(35, "task_completed")));
    let mut resumed = manager.events(EventCursor::After(33));
    assert!(matches!(resumed.try_next(), Some(Delivery::Event(record)) if record.seq == 34));
    assert_eq!(resumed.position(), 35);
    let mut oldest = manager.events(EventCursor::Oldest);
    assert!(matches!(oldest.try_next(), Some(Delivery::Event(record)) if record.seq == 28));
    assert!(manager.events(EventCursor::After(1000)).try_next().is_none());
}

struct Stuck;

impl EventHandler<TaskEvent> for Stuck {
    async fn handle(&self, _event: TaskEvent) -> Result<(), EventError> {
        std::future::pending().await
    }
}

struct Unsteady(Arc<AtomicUsize>);

impl EventHandler<TaskEvent> for Unsteady {
    async fn handle(&self, _event: TaskEvent) -> Result<(), EventError> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("as told"),
            1 => Err(EventError::Failed("as told".into())),
            _ => Err(EventError::Closed),
        }
    }
}

#[tokio::test]
async fn handlers_that_hang_panic_fail_or_close_hold_up_nothing() {
    let (manager, _) = manager(|_| {});
    let calls = Arc::new(AtomicUsize::new(0));
    manager.add_handler(Stuck);
    manager.add_handler(Unsteady(calls.clone()));
    for _ in 0..100 {
        let id = manager.submit_task(task(json!({}))).await.expect("accepted");
        manager.wait(&id).await.expect("completes");
    }
    until("it has closed", || calls.load(Ordering::SeqCst) == 3).await;
    assert_eq!(manager.stats().handler_failures, 2);
}

#[tokio::test]
async fn listings_are_filtered_and_paged_in_the_order_of_ids() {
    let (manager, _) = manager(|_| {});
    let mut ids = Vec::new();
    for at in 0..25 {
        let mut one = task(json!({}));
        one.priority = if at % 2 == 0 { TaskPriority::Low } else { TaskPriority::High };
        let submission = Submission::new(one).submitter(if at % 5 == 0 { "a" } else { "b" }).label("at", at.to_string());
        ids.push(manager.submit(submission).await.expect("accepted"));
    }
    ids.sort_unstable();
    let page = |filter: &TaskFilter| manager.list(filter).into_iter().map(|summary| summary.id).collect::<Vec<_>>();
    let first = page(&TaskFilter { limit: Some(10), ..TaskFilter::default() });
    assert_eq!(first, ids[..10]);
    let second = page(&TaskFilter { limit: Some(100), after: first.last().copied(), ..TaskFilter::default() });
    assert_eq!(second, ids[10..]);
    assert_eq!(page(&TaskFilter { submitter: Some("a".into()), ..TaskFilter::default() }).len(), 5);
    assert_eq!(page(&TaskFilter { label: Some(("at".into(), "7".into())), ..TaskFilter::default() }).len(), 1);
    assert_eq!(page(&TaskFilter { status: Some(StatusKind::Failed), ..TaskFilter::default() }).len(), 0);
    assert!(page(&TaskFilter { limit: Some(0), ..TaskFilter::default() }).is_empty());
}
