//! Everything at once on two threads: each task ends exactly once.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;

use super::{Scripted, ledger, task};
use crate::manager::{Delivery, EventCursor, ManagerOptions, TaskManager};
use crate::task::{Submission, TaskStatus};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_races_with_the_end_leaves_exactly_one_end() {
    const COUNT: usize = 2_000;
    let options = ManagerOptions { ledger: Some(ledger(1 << 20, 2)), ..ManagerOptions::default() };
    let manager = Arc::new(TaskManager::with_options(Scripted::new(), options));
    let mut reader = manager.events(EventCursor::Now);
    let mut cancels = tokio::task::JoinSet::new();
    let mut ids = Vec::new();
    for at in 0..COUNT {
        let submission = Submission::new(task(json!({"threads": at % 2}))).submitter(format!("s{}", at % 7));
        let id = manager.submit(submission).await.expect("room");
        ids.push(id);
        if at % 2 == 0 {
            let manager = manager.clone();
            cancels.spawn(async move { (id, manager.cancel_task(&id).await.is_ok()) });
        }
    }
    let mut cancelled = HashMap::new();
    while let Some(done) = cancels.join_next().await {
        cancelled.extend(done);
    }
    for id in &ids {
        let was_cancelled = cancelled.get(id) == Some(&true);
        assert_eq!(manager.wait(id).await.is_err(), was_cancelled, "a cancel that was acknowledged holds");
        let status = manager.get_task(id).expect("known").status;
        assert_eq!(status == TaskStatus::Cancelled, was_cancelled);
    }
    let mut ends: HashMap<_, u32> = HashMap::new();
    while ends.len() < COUNT {
        match reader.next().await.expect("open") {
            Delivery::Event(record) => {
                assert!(!ends.contains_key(&record.task_id), "nothing follows the end of a task: {}", record.name());
                if record.is_last() {
                    ends.insert(record.task_id, 1);
                }
            }
            Delivery::Missed(count) => panic!("missed {count}"),
        }
    }
    let report = manager.drain(std::time::Duration::from_secs(30)).await;
    assert_eq!(report.abandoned, 0);
    assert!(reader.next().await.is_none(), "no event after the last end");
    let budget = manager.ledger().snapshot();
    assert_eq!((budget.host.used, budget.threads.used), (0, 0));
    assert_eq!(manager.stats().totals.completed + manager.stats().totals.cancelled, COUNT as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_identical_submissions_make_one_task() {
    let manager = Arc::new(TaskManager::new(Scripted::new()));
    for round in 0..20 {
        let mut submitting = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let manager = manager.clone();
            let submission = Submission::new(task(json!({"round": round}))).idempotency_key(format!("k{round}")).submitter("me");
            submitting.spawn(async move { manager.submit(submission).await.expect("accepted") });
        }
        let ids: std::collections::HashSet<_> = submitting.join_all().await.into_iter().collect();
        assert_eq!(ids.len(), 1);
    }
    assert_eq!(manager.stats().totals.submitted, 20);
}
