//! What every journal keeps to, as tests that any implementation runs: `check_contract(|| a fresh journal)`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Accepted, ENDED_KEPT_MAX, Journal, MemoryJournal, Outcome, OutcomeKind, Record};
use crate::task::{Submission, Task, TaskError, TaskId, TaskPriority, TaskResult, TaskType};

fn accepted(submitter: &str) -> Arc<Accepted> {
    let task = Task::new(TaskType::TextProcessing, TaskPriority::High, serde_json::json!({"operation": "reverse", "text": "abc"}));
    let submission = Submission::new(task).submitter(submitter).label("a", "b").idempotency_key("k");
    Arc::new(Accepted::new(submission, submitter.into(), 2))
}

fn ended(task_id: TaskId, kind: OutcomeKind) -> Record {
    Record::Ended { task_id, outcome: Arc::new(Outcome { kind, at: chrono::Utc::now() }) }
}

fn completed(text: &str) -> OutcomeKind {
    OutcomeKind::Completed { result: Arc::new(TaskResult::new(text.into())), parts: Arc::new(BTreeMap::new()) }
}

/// Runs every claim against fresh journals.
pub(crate) async fn check_contract(fresh: impl Fn() -> Arc<dyn Journal>) {
    what_was_appended_is_loaded_in_order(fresh()).await;
    the_first_end_counts(fresh()).await;
    attempts_only_rise(fresh()).await;
    records_of_unknown_tasks_are_ignored(fresh()).await;
    open_tasks_outlive_any_number_of_ended_ones(fresh()).await;
    concurrent_appends_lose_nothing(fresh()).await;
}

async fn what_was_appended_is_loaded_in_order(journal: Arc<dyn Journal>) {
    assert!(journal.load().expect("readable").is_empty());
    let bodies: Vec<_> = ["a", "b", "c"].map(accepted).into();
    let records: Vec<_> = bodies.iter().cloned().map(Record::Accepted).collect();
    journal.append(&records).expect("taken");
    journal.append(&[Record::Started { task_id: bodies[1].id(), attempt: 1 }]).expect("taken");
    journal.append(&[ended(bodies[1].id(), completed("done"))]).expect("taken");
    journal.commit().await.expect("durable");
    let kept = journal.load().expect("readable");
    assert_eq!(kept.iter().map(|task| task.accepted.clone()).collect::<Vec<_>>(), bodies);
    assert_eq!(kept.iter().map(|task| task.attempt).collect::<Vec<_>>(), [0, 1, 0]);
    let outcomes: Vec<_> = kept.iter().map(|task| task.outcome.as_ref().map(|outcome| outcome.kind.clone())).collect();
    assert_eq!(outcomes, [None, Some(completed("done")), None]);
}

async fn the_first_end_counts(journal: Arc<dyn Journal>) {
    let body = accepted("a");
    let failed = OutcomeKind::Failed(Arc::new(TaskError::invalid("x", "y")));
    journal
        .append(&[Record::Accepted(body.clone()), ended(body.id(), failed.clone()), ended(body.id(), completed("late"))])
        .expect("taken");
    journal.commit().await.expect("durable");
    assert_eq!(journal.load().expect("readable")[0].outcome.as_ref().map(|outcome| outcome.kind.clone()), Some(failed));
}

async fn attempts_only_rise(journal: Arc<dyn Journal>) {
    let body = accepted("a");
    let started = |attempt| Record::Started { task_id: body.id(), attempt };
    journal.append(&[Record::Accepted(body.clone()), started(1), started(2), started(1)]).expect("taken");
    journal.commit().await.expect("durable");
    assert_eq!(journal.load().expect("readable")[0].attempt, 2);
}

async fn records_of_unknown_tasks_are_ignored(journal: Arc<dyn Journal>) {
    let unknown = TaskId::new();
    journal.append(&[Record::Started { task_id: unknown, attempt: 1 }, ended(unknown, completed("x"))]).expect("taken");
    journal.commit().await.expect("durable");
    assert!(journal.load().expect("readable").is_empty());
}

async fn open_tasks_outlive_any_number_of_ended_ones(journal: Arc<dyn Journal>) {
    let open = accepted("open");
    journal.append(&[Record::Accepted(open.clone())]).expect("taken");
    for _ in 0..ENDED_KEPT_MAX + 10 {
        let body = accepted("a");
        journal.append(&[Record::Accepted(body.clone()), ended(body.id(), completed("x"))]).expect("taken");
    }
    journal.commit().await.expect("durable");
    let kept = journal.load().expect("readable");
    assert_eq!(kept[0].accepted, open);
    assert_eq!(kept.iter().filter(|task| task.outcome.is_none()).count(), 1);
}

async fn concurrent_appends_lose_nothing(journal: Arc<dyn Journal>) {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let journal = journal.clone();
            std::thread::spawn(move || {
                for _ in 0..100 {
                    journal.append(&[Record::Accepted(accepted("a"))]).expect("taken");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    journal.commit().await.expect("durable");
    assert_eq!(journal.load().expect("readable").len(), 400);
}

#[tokio::test]
async fn the_journal_in_memory_keeps_the_contract() {
    check_contract(|| Arc::new(MemoryJournal::new())).await;
}

#[test]
fn the_journal_in_memory_forgets_old_ended_tasks() {
    let journal = MemoryJournal::new();
    for _ in 0..3 * ENDED_KEPT_MAX {
        let body = accepted("a");
        journal.append(&[Record::Accepted(body.clone()), ended(body.id(), completed("x"))]).expect("taken");
    }
    assert_eq!(journal.load().expect("readable").len(), ENDED_KEPT_MAX);
}
