//! Under overload a deadline is a promise: what has expired never starts, and what runs is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use serde_json::json;
use tallow::{ManagerOptions, ManualClock, Submission, TaskError, TaskManager, TaskResult};

use crate::support::{Scripted, alone, custom, registry, runtime, soon, task, until};

#[test]
fn expired_work_never_starts() {
    let _alone = alone();
    runtime().block_on(async {
        let (started, late) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counts = (started.clone(), late.clone());
        let work = Scripted::new(&["work"], move |_, ctx| {
            let began = Instant::now();
            counts.0.fetch_add(1, Ordering::SeqCst);
            counts.1.fetch_add(u64::from(ctx.deadline().is_some_and(|deadline| began > deadline)), Ordering::SeqCst);
            async move {
                // Work that keeps its runtime thread: a thousand runs are begun at once, and most come to their first poll long after that.
                while began.elapsed() < Duration::from_millis(2) {
                    std::hint::spin_loop();
                }
                Ok(TaskResult::default())
            }
        });
        let registry = registry();
        registry.register("work", work.without_threads()).expect("a free name");
        let manager = TaskManager::new(registry);
        // Two threads do at most 1,400 until the last deadline.
        let batch = (0..3_000).map(|at| {
            let within = Duration::from_millis(500 + at * 577 % 900);
            Submission::new(task(custom("work"), json!({}))).deadline_in(within)
        });
        let outcomes = manager.submit_batch(batch.collect()).await;
        let (mut completed, mut expired) = (0_u64, 0_u64);
        for outcome in outcomes {
            let ended = match outcome {
                Ok(id) => soon("each ends by its deadline", manager.wait(&id)).await.map(drop),
                Err(refused) => Err(refused),
            };
            match ended {
                Ok(()) => completed += 1,
                Err(TaskError::DeadlineExceeded { .. }) => expired += 1,
                Err(other) => panic!("{other}"),
            }
        }
        let (started, late) = (started.load(Ordering::SeqCst), late.load(Ordering::SeqCst));
        println!("{completed} completed, {expired} expired, {started} started, {late} of them late");
        assert!(completed > 0 && expired > 1_000, "the worker was overloaded");
        // Between the manager's look at the clock and the executor's, a busy machine may stop a thread for a while.
        assert!(late * 100 <= started, "{late} of {started} were begun after their deadline");
        assert!(started < completed + expired / 2, "expired work was not begun");
    });
}

#[test]
fn a_deadline_ends_waiting_and_running_tasks_at_its_moment() {
    let _alone = alone();
    runtime().block_on(async {
        let clock = Arc::new(ManualClock::new());
        let registry = registry();
        registry.register("hang", Scripted::new(&["hang"], |_, _| std::future::pending())).expect("a free name");
        let manager = TaskManager::with_options(registry, ManagerOptions { clock: clock.clone(), ..ManagerOptions::default() });
        let batch = (0..100).map(|_| Submission::new(task(custom("hang"), json!({}))).deadline_in(Duration::from_secs(60))).collect();
        let ids: Vec<_> = manager.submit_batch(batch).await.into_iter().map(|outcome| outcome.expect("accepted")).collect();
        until("some run", || manager.stats().running > 0).await;
        clock.advance(Duration::from_secs(61));
        for id in &ids {
            assert!(matches!(soon("its end", manager.wait(id)).await, Err(TaskError::DeadlineExceeded { .. })));
        }
        assert_eq!(manager.stats().open_tasks.0, 0);
        let late = Submission::new(task(custom("hang"), json!({}))).deadline(Utc::now() - TimeDelta::seconds(1));
        assert!(matches!(manager.submit(late).await, Err(TaskError::DeadlineExceeded { .. })));
    });
}
