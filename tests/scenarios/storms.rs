//! What a hostile or careless client does to the books: huge graphs, endless names, cancels in storms. Time and memory stay bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tallow::{ExecutorRegistry, ManagerOptions, Submission, TaskError, TaskId, TaskManager, TaskResult};

use crate::support::{MIB, Scripted, alone, custom, runtime, soon, task, until};

type Manager = TaskManager<ExecutorRegistry>;

fn manager(change: impl FnOnce(&mut ManagerOptions)) -> Manager {
    let registry = ExecutorRegistry::new();
    registry
        .register("echo", Scripted::new(&["echo"], |task, _| async move { Ok(TaskResult::new(task.payload.data)) }))
        .expect("a free name");
    registry.register("hang", Scripted::new(&["hang"], |_, _| std::future::pending())).expect("a free name");
    let fail = Scripted::new(&["fail"], |_, _| async { Err(TaskError::invalid("data", "as told ".repeat(1_000))) });
    registry.register("fail", fail).expect("a free name");
    let large = Scripted::new(&["large"], |_, _| async { Ok(TaskResult::new(json!({"text": "x".repeat(2 << 20)}))) });
    registry.register("large", large).expect("a free name");
    let mut options = ManagerOptions::default();
    change(&mut options);
    TaskManager::with_options(registry, options)
}

fn submission(kind: &str) -> Submission {
    Submission::new(task(custom(kind), json!({})))
}

/// Each depends on the one before; the first is of kind `first`.
fn chain(first: &str, len: usize) -> Vec<Submission> {
    let mut chain: Vec<Submission> = vec![submission(first)];
    while chain.len() < len {
        let before = chain[chain.len() - 1].task.id;
        chain.push(submission("echo").depends_on(before));
    }
    chain
}

#[test]
fn a_chain_of_ten_thousand_runs_and_a_broken_one_ends_at_once() {
    let _alone = alone();
    runtime().block_on(async {
        let manager = manager(|_| {});
        let began = Instant::now();
        let ids = manager.submit_all(chain("echo", 10_000)).await.expect("accepted");
        soon("the last of the chain", manager.wait(&ids[9_999])).await.expect("completes");
        println!("a chain of 10,000 took {:?}", began.elapsed());
        let began = Instant::now();
        let ids = manager.submit_all(chain("fail", 10_000)).await.expect("accepted");
        let error = soon("its last fails", manager.wait(&ids[9_999])).await.expect_err("the first failed");
        println!("a broken chain of 10,000 took {:?}", began.elapsed());
        let TaskError::DependencyFailed { dependency, reason } = error else { panic!("found {error}") };
        assert_eq!(dependency, ids[0], "it names where the failure began");
        assert!(reason.contains("as told") && reason.len() < 2_000, "an error does not grow along the chain: {} bytes", reason.len());
        assert!(began.elapsed() < Duration::from_secs(10));
    });
}

#[test]
fn many_dependents_of_one_task_end_with_it() {
    let _alone = alone();
    runtime().block_on(async {
        let manager = Arc::new(manager(|options| options.open_tasks_max = 200_000));
        for (first, code) in [("hang", "dependency_failed"), ("echo", "")] {
            let head = submission(first);
            let id = head.task.id;
            let mut batch: Vec<_> = vec![head];
            batch.extend((0..50_000).map(|_| submission("echo").depends_on(id)));
            let began = Instant::now();
            let ids = manager.submit_all(batch).await.expect("accepted");
            let accepted = began.elapsed();
            if first == "hang" {
                until("it runs", || manager.stats().running == 1).await;
                let began = Instant::now();
                manager.cancel_task(&id).await.expect("open");
                let held_up = began.elapsed();
                println!("50,000 dependents: accepted in {accepted:?}, told of the cancel in {held_up:?}");
                assert!(held_up < Duration::from_secs(5), "{held_up:?}");
            }
            for id in &ids[1..] {
                let ended = soon("each ends", manager.wait(id)).await;
                assert_eq!(ended.map_or_else(|error| error.code(), |_| ""), code);
            }
            println!("50,000 dependents of {first}: {:?}", began.elapsed());
        }
        assert_eq!(manager.stats().blocked, 0);
    });
}

#[test]
fn a_task_that_outlives_its_dependents_does_not_remember_them() {
    let _alone = alone();
    runtime().block_on(async {
        let manager = manager(|options| options.retained_tasks_max = 100);
        let head = manager.submit(submission("hang")).await.expect("accepted");
        let began = Instant::now();
        for _ in 0..20_000 {
            let dependent = manager.submit(submission("echo").depends_on(head)).await.expect("accepted");
            manager.cancel_task(&dependent).await.expect("open");
        }
        println!("20,000 dependents came and went in {:?}", began.elapsed());
        until("they are forgotten", || manager.stats().retained_tasks <= 100).await;
        assert_eq!((manager.stats().open_tasks.0, manager.stats().blocked), (1, 0));
        manager.cancel_task(&head).await.expect("open");
    });
}

#[test]
fn copies_of_a_large_result_are_bounded() {
    let _alone = alone();
    runtime().block_on(async {
        // Two hundred copies of 2 MiB would be 400 MiB; graphs may hold 16.
        let manager = manager(|options| options.graph_bytes_max = 16 * MIB);
        let source = manager.submit(submission("large")).await.expect("accepted");
        soon("the large result", manager.wait(&source)).await.expect("completes");
        let blockers: Vec<TaskId> =
            manager.submit_batch((0..2).map(|_| submission("hang")).collect()).await.into_iter().flatten().collect();
        until("no thread is free", || manager.stats().running == 2).await;
        let reader = || Submission::new(task(custom("echo"), json!({"x": {"$from": source.to_string(), "path": "/text"}})));
        let ids: Vec<TaskId> = manager.submit_batch((0..200).map(|_| reader()).collect()).await.into_iter().flatten().collect();
        assert_eq!(ids.len(), 200);
        until("some have their copies", || manager.stats().queued["normal"] >= 6).await;
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        let queued = manager.stats().queued["normal"];
        assert!((6..=9).contains(&queued), "{queued} copies of 2 MiB are held, 16 MiB may be");
        for blocker in blockers {
            manager.cancel_task(&blocker).await.expect("open");
        }
        for id in &ids {
            let result = soon("all get theirs in the end", manager.wait(id)).await.expect("completes");
            assert_eq!(result.output["x"].as_str().map(str::len), Some(2 << 20));
        }
    });
}

#[test]
fn names_of_submitters_are_forgotten_with_their_tasks() {
    let _alone = alone();
    runtime().block_on(async {
        let manager = manager(|options| options.retained_tasks_max = 50);
        let began = Instant::now();
        let mut last = None;
        for round in 0..20_000 {
            let name = format!("{round:0>200}");
            last = Some(manager.submit(submission("echo").submitter(name)).await);
            if round % 64 == 0
                && let Some(Ok(id)) = &last
            {
                // Ended, and forgotten perhaps.
                until("it ends", || manager.status(id).map_or(true, |view| view.status.is_terminal())).await;
            }
        }
        assert!(last.is_some_and(|last| last.is_ok()));
        until("only the last are known", || manager.stats().retained_tasks <= 50 && manager.stats().open_tasks.0 == 0).await;
        println!("20,000 submitters in {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(20));
    });
}

#[test]
fn a_storm_of_cancels_and_waits_settles() {
    let _alone = alone();
    runtime().block_on(async {
        let manager = Arc::new(manager(|options| options.running_max = 100_000));
        let kinds = ["echo", "hang", "fail", "echo"];
        let batch = (0..8_000).map(|at| submission(kinds[at % 4]).submitter(format!("s{}", at % 7)).retries_max(0)).collect();
        let ids: Arc<Vec<TaskId>> =
            Arc::new(manager.submit_batch(batch).await.into_iter().map(|outcome| outcome.expect("accepted")).collect());
        let storms: Vec<_> = (0..4)
            .map(|storm| {
                let (manager, ids) = (manager.clone(), ids.clone());
                tokio::spawn(async move {
                    let mut won = 0_u64;
                    for at in 0..ids.len() {
                        let id = &ids[(at * 37 + storm * 1_999) % ids.len()];
                        match manager.cancel_task(id).await {
                            Ok(()) => won += 1,
                            Err(TaskError::AlreadyTerminal { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    won
                })
            })
            .collect();
        let mut cancelled = 0;
        for storm in storms {
            cancelled += soon("each storm passes", storm).await.expect("no panic");
        }
        until("every run is gone", || manager.stats().running == 0 && manager.stats().ending == 0).await;
        let stats = manager.stats();
        assert_eq!(stats.totals.cancelled, cancelled, "each task is cancelled once");
        assert_eq!(stats.totals.cancelled + stats.totals.completed + stats.totals.failed, 8_000);
        assert_eq!((stats.open_tasks, stats.queued.values().sum::<u64>()), ((0, 100_000), 0));
        assert_eq!((manager.ledger().snapshot().threads.used, manager.ledger().snapshot().host.used), (0, 0));
    });
}
