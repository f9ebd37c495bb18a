//! Ten times more than the worker can take: refusals that say when to come back, nothing accepted is lost, memory stays bounded, and then all is well.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tallow::{ManagerOptions, Submission, TaskError, TaskId, TaskManager, TaskResult};

use crate::support::{MIB, Scripted, alone, custom, latency, median, registry, rows, runtime, small_task, soon, task, until};

const CAPACITY: usize = 500;
const CLIENTS: usize = 10;
const TASKS: usize = 10 * CAPACITY;

/// Resident bytes of this process; `None` where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn check_refusal(error: &TaskError) {
    let TaskError::Overloaded { retry_after, reason } = error else { panic!("an overloaded worker says so, found {error}") };
    assert!((Duration::from_millis(100)..=Duration::from_secs(60)).contains(retry_after), "{retry_after:?}");
    assert!(!reason.is_empty());
}

#[test]
fn a_flood_is_refused_with_advice_and_loses_nothing_that_was_accepted() {
    let _alone = alone();
    runtime().block_on(async {
        let options = ManagerOptions { open_tasks_max: CAPACITY, ..ManagerOptions::default() };
        let manager = Arc::new(TaskManager::with_options(registry(), options));
        let numbers = rows(1_000, 64);
        latency(&*manager, small_task(&numbers)).await;
        let before = resident_bytes();
        let clients = (0..CLIENTS).map(|client| {
            let (manager, numbers) = (manager.clone(), numbers.clone());
            tokio::spawn(async move {
                let (mut accepted, mut refused) = (Vec::new(), 0_u64);
                for _ in 0..TASKS / CLIENTS {
                    let mut one = small_task(&numbers);
                    one.payload.data["ddof"] = json!(1);
                    match manager.submit(Submission::new(one).submitter(format!("client {client}"))).await {
                        Ok(id) => accepted.push(id),
                        Err(error) => {
                            check_refusal(&error);
                            refused += 1;
                        }
                    }
                    let open = manager.stats().open_tasks.0;
                    assert!(open <= CAPACITY as u64, "{open} open");
                }
                (accepted, refused)
            })
        });
        let clients: Vec<_> = clients.collect();
        let (mut accepted, mut refused) = (HashSet::new(), 0);
        for client in clients {
            let (ids, count) = soon("a client ends", client).await.expect("no panic");
            accepted.extend(ids);
            refused += count;
        }
        let at_peak = resident_bytes();
        assert_eq!(accepted.len() as u64 + refused, TASKS as u64);
        assert!(refused > 0, "the flood was one");
        for id in &accepted {
            soon("an accepted task ends", manager.wait(id)).await.expect("no accepted task is lost");
        }
        let stats = manager.stats();
        assert_eq!((stats.totals.completed, stats.refused["overloaded"]), (accepted.len() as u64 + 1, refused));
        assert_eq!((stats.totals.failed, stats.totals.cancelled, stats.totals.panicked), (0, 0, 0));
        if let (Some(before), Some(at_peak)) = (before, at_peak) {
            let growth = at_peak.saturating_sub(before);
            println!("{} accepted, {refused} refused, {} MiB more memory at the peak", accepted.len(), growth / MIB);
            assert!(growth < 256 * MIB, "{} MiB", growth / MIB);
        }
        let again = latency(&*manager, small_task(&numbers)).await;
        assert!(again < Duration::from_secs(1), "the worker has recovered: {again:?}");
        assert_eq!(manager.ledger().snapshot().host.used, 0);
    });
}

#[test]
fn batches_are_refused_task_by_task_and_graphs_as_a_whole() {
    let _alone = alone();
    runtime().block_on(async {
        let registry = registry();
        registry.register("hang", Scripted::new(&["hang"], |_, _| std::future::pending())).expect("a free name");
        let manager = TaskManager::with_options(registry, ManagerOptions { open_tasks_max: CAPACITY, ..ManagerOptions::default() });
        let hang = || Submission::new(task(custom("hang"), json!({})));
        let outcomes = manager.submit_batch((0..TASKS).map(|_| hang()).collect()).await;
        let accepted: Vec<TaskId> = outcomes.iter().filter_map(|outcome| outcome.clone().ok()).collect();
        assert_eq!(accepted.len(), CAPACITY * 8 / 9, "one submitter never takes everything");
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(check_refusal);
        let graph = manager.submit_all((0..CAPACITY).map(|_| hang()).collect()).await;
        check_refusal(&graph.expect_err("there is no room for all"));
        assert_eq!(manager.stats().open_tasks.0, accepted.len() as u64, "nothing was kept of the refused ones");
        for id in accepted {
            manager.cancel_task(&id).await.expect("open");
        }
        until("cancelled runs are gone", || manager.stats().ending == 0).await;
        assert_eq!(manager.ledger().snapshot().threads.used, 0);
    });
}

#[test]
fn advice_after_an_idle_time_comes_from_working_hours() {
    let _alone = alone();
    runtime().block_on(async {
        let clock = Arc::new(tallow::ManualClock::new());
        let runs = Arc::new(AtomicU64::new(0));
        let count = runs.clone();
        let registry = registry();
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let open = gate.clone();
        let work = Scripted::new(&["work"], move |_, _| {
            let (count, open) = (count.clone(), open.clone());
            async move {
                let permit = open.acquire().await;
                permit.map_err(|_closed| TaskError::internal("closed", ""))?.forget();
                count.fetch_add(1, Ordering::SeqCst);
                Ok(TaskResult::default())
            }
        });
        registry.register("work", work).expect("a free name");
        let options = ManagerOptions { open_tasks_max: 90, clock: clock.clone(), ..ManagerOptions::default() };
        let manager = TaskManager::with_options(registry, options);
        let batch = |count: usize| (0..count).map(|_| Submission::new(task(custom("work"), json!({})))).collect::<Vec<_>>();
        // Eighty tasks in eight seconds: ten each second.
        let began = manager.submit_batch(batch(80)).await;
        for (at, id) in began.into_iter().enumerate() {
            clock.advance(Duration::from_millis(100));
            gate.add_permits(1);
            until("one more is done", || runs.load(Ordering::SeqCst) == at as u64 + 1).await;
            id.expect("accepted");
        }
        until("all are done", || manager.stats().open_tasks.0 == 0).await;
        for _ in 0..3600 {
            clock.advance(Duration::from_secs(1));
            assert_eq!(manager.stats().running, 0);
        }
        let refused = manager.submit_batch(batch(200)).await.into_iter().find_map(Result::err);
        let Some(TaskError::Overloaded { retry_after, .. }) = refused else { panic!("a full queue refuses, found {refused:?}") };
        assert!(retry_after <= Duration::from_secs(1), "an hour without tasks is not an hour of slow work: {retry_after:?}");
    });
}

#[test]
fn whoever_comes_back_when_told_gets_in() {
    let _alone = alone();
    runtime().block_on(async {
        let options = ManagerOptions { open_tasks_max: 40, ..ManagerOptions::default() };
        let manager = TaskManager::with_options(registry(), options);
        let numbers = rows(500, 64);
        let began = Instant::now();
        let mut done = Vec::new();
        while done.len() < 200 {
            match manager.submit_task(small_task(&numbers)).await {
                Ok(id) => done.push(id),
                Err(error) => {
                    check_refusal(&error);
                    // Waiting for the last accepted one is what a polite client does at most.
                    let last = *done.last().expect("the first ones were accepted");
                    soon("the queue drains", manager.wait(&last)).await.expect("completes");
                }
            }
        }
        for id in &done {
            soon("it ends", manager.wait(id)).await.expect("completes");
        }
        println!("200 tasks through a queue of 40 in {:?}", began.elapsed());
    });
}

/// Numbers as JSON of about 30 MB.
fn large_task() -> tallow::Task {
    let rows: Vec<Vec<f64>> = (0..3_000).map(|row| (0..1_000).map(|at| f64::from(row * 1_000 + at) + 0.5).collect()).collect();
    task(tallow::TaskType::VectorComputation, json!({ "operation": "statistics", "vectors": rows }))
}

#[test]
fn a_submission_of_30_mb_holds_up_no_small_one() {
    let _alone = alone();
    // One thread, so that whatever is done on it is seen by everybody.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let manager = Arc::new(TaskManager::new(registry()));
        let numbers = rows(10, 4);
        latency(&*manager, small_task(&numbers)).await;
        let large = large_task();
        let submitted = tokio::spawn({
            let manager = manager.clone();
            async move { manager.submit_task(large).await }
        });
        let mut waits = Vec::new();
        while !submitted.is_finished() {
            let began = Instant::now();
            manager.submit_task(small_task(&numbers)).await.expect("room");
            tokio::task::yield_now().await;
            if !submitted.is_finished() {
                waits.push(began.elapsed());
            }
        }
        submitted.await.expect("it ends").expect("accepted");
        println!("{} small ones were accepted while the large one was admitted", waits.len());
        assert!(waits.len() > 10, "only {} were", waits.len());
        let middle = median(waits);
        assert!(middle < Duration::from_millis(20), "half of them waited {middle:?} or longer");
    });
}
