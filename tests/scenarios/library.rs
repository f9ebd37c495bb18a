//! The worker inside another program: executors registered while it runs, listeners, two managers on one budget, and how it goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tallow::manager::{Delivery, EventCursor};
use tallow::resource::{BudgetLimits, ComputePool, Ledger};
use tallow::{
    EventError, EventHandler, ExecutorRegistry, ManagerOptions, Task, TaskError, TaskEvent, TaskManager, TaskResult, TaskType,
    VectorComputationExecutor,
};

use crate::support::{Holder, MIB, Scripted, custom, registry, rows, runtime, small_task, soon, task, together, until};

fn double() -> Task {
    task(custom("double"), json!({"value": 21}))
}

#[test]
fn a_foreign_executor_joins_while_the_worker_runs() {
    let _together = together();
    runtime().block_on(async {
        let registry = Arc::new(registry());
        let manager = TaskManager::new(registry.clone());
        let numbers = rows(500, 16);
        let before = manager.submit_task(small_task(&numbers)).await.expect("accepted");
        assert_eq!(manager.submit_task(double()).await, Err(TaskError::UnsupportedTaskType));
        let doubler = Scripted::new(&["double"], |task, ctx| async move {
            ctx.sink().progress(0.5, "half of it");
            let value = task.payload.data["value"].as_i64().ok_or_else(|| TaskError::invalid("value", "expected a number"))?;
            Ok(TaskResult::new(json!({"value": value * 2})))
        });
        registry.register("doubler", doubler).expect("a free name");
        let after = manager.submit_task(double()).await.expect("served from now on");
        assert_eq!(soon("it runs", manager.wait(&after)).await.expect("completes").output, json!({"value": 42}));
        soon("the other one runs too", manager.wait(&before)).await.expect("completes");
        assert!(registry.register("doubler", Scripted::new(&[], |_, _| std::future::pending())).is_err(), "a name is taken once");
    });
}

struct Listener {
    seen: Arc<AtomicU64>,
    ended: Arc<AtomicU64>,
}

impl EventHandler<TaskEvent> for Listener {
    async fn handle(&self, event: TaskEvent) -> Result<(), EventError> {
        self.seen.fetch_add(1, Ordering::SeqCst);
        if matches!(event, TaskEvent::TaskCompleted { .. }) {
            self.ended.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[test]
fn listeners_hear_every_task_and_readers_may_come_late() {
    let _together = together();
    // Made outside a runtime, as a program does that builds its parts first.
    let manager = TaskManager::new(registry());
    let (seen, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    manager.add_handler(Listener { seen: seen.clone(), ended: ended.clone() });
    runtime().block_on(async {
        let numbers = rows(100, 16);
        for _ in 0..20 {
            manager.submit_task(small_task(&numbers)).await.expect("accepted");
        }
        until("the listener heard every end", || ended.load(Ordering::SeqCst) == 20).await;
        assert_eq!(seen.load(Ordering::SeqCst), 60, "submitted, started, completed");
        let mut reader = manager.events(EventCursor::Oldest);
        let mut count = 0;
        while let Some(Delivery::Event(_)) = reader.try_next() {
            count += 1;
        }
        assert_eq!(count, 60);
        soon("a drain", manager.drain(Duration::from_secs(5))).await;
        assert!(soon("the end of the events", reader.next()).await.is_none());
        assert_eq!(manager.submit_task(small_task(&numbers)).await, Err(TaskError::ShuttingDown));
    });
}

#[test]
fn a_dropped_manager_stops_what_runs_and_gives_everything_back() {
    let _together = together();
    let limits = BudgetLimits { host_bytes: 64 * MIB, threads: 2, devices: Default::default() };
    for inside in [true, false] {
        let ledger = Ledger::new(&limits);
        let dropped = Arc::new(AtomicU64::new(0));
        struct Token(Arc<AtomicU64>);
        impl Drop for Token {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let begun = Arc::new(AtomicU64::new(0));
        let counts = (begun.clone(), dropped.clone());
        let hang = Scripted::new(&["hang"], move |_, _| {
            counts.0.fetch_add(1, Ordering::SeqCst);
            let token = Token(counts.1.clone());
            async move {
                let _token = token;
                std::future::pending().await
            }
        });
        let registry = registry();
        registry.register("hang", hang).expect("a free name");
        let options = ManagerOptions { ledger: Some(ledger.clone()), ..ManagerOptions::default() };
        let manager = TaskManager::with_options(registry, options);
        let runtime = runtime();
        let mut left = Some(manager);
        runtime.block_on(async {
            let manager = left.as_ref().expect("not dropped yet");
            for _ in 0..5 {
                manager.submit_task(task(custom("hang"), json!({}))).await.expect("accepted");
            }
            // A run counts as running before its executor is called; only one that was called has something to drop.
            until("two run", || manager.stats().running == 2 && begun.load(Ordering::SeqCst) == 2).await;
            if inside {
                left = None;
            }
        });
        drop(left);
        runtime.block_on(async {
            until("both runs are dropped", || dropped.load(Ordering::SeqCst) == 2).await;
            until("the claims are back", || ledger.snapshot().threads.used == 0 && ledger.snapshot().host.used == 0).await;
        });
    }
}

#[test]
fn a_manager_outlives_its_runtime_and_goes_on_in_the_next() {
    let _together = together();
    let registry = registry();
    registry.register("hang", Scripted::new(&["hang"], |_, _| std::future::pending())).expect("a free name");
    let manager = TaskManager::new(registry);
    let numbers = rows(100, 16);
    let first = runtime();
    let hanging = first.block_on(async {
        let id = manager.submit_task(task(custom("hang"), json!({}))).await.expect("accepted");
        until("it runs", || manager.stats().running == 1).await;
        id
    });
    drop(first);
    assert!(manager.status(&hanging).is_ok());
    runtime().block_on(async {
        let id = manager.submit_task(small_task(&numbers)).await.expect("accepted");
        soon("it runs in the second runtime", manager.wait(&id)).await.expect("completes");
        manager.cancel_task(&hanging).await.expect("its run was lost, it is open");
        until("nothing is held", || manager.ledger().snapshot().threads.used == 0).await;
    });
}

#[test]
fn two_managers_share_one_budget_and_one_pool() {
    let _together = together();
    runtime().block_on(async {
        let limits = BudgetLimits { host_bytes: 100 * MIB, threads: 2, devices: Default::default() };
        let (ledger, pool) = (Ledger::new(&limits), ComputePool::new(2).expect("threads"));
        let holder = Arc::new(Holder::new(1, 100 * MIB));
        let manager = || {
            let registry = ExecutorRegistry::new();
            registry.register("vector", VectorComputationExecutor::new(pool.clone())).expect("a free name");
            registry.register("holder", holder.clone()).expect("a free name");
            TaskManager::with_options(registry, ManagerOptions { ledger: Some(ledger.clone()), ..ManagerOptions::default() })
        };
        let (one, other) = (manager(), manager());
        let big = one.submit_task(Holder::task(80, "gate")).await.expect("accepted");
        until("it holds its memory", || holder.held.now() == 80 * MIB).await;
        let waits = other.submit_task(Holder::task(50, "turns")).await.expect("accepted");
        let fits = other.submit_task(Holder::task(20, "turns")).await.expect("accepted");
        soon("what fits runs", other.wait(&fits)).await.expect("completes");
        assert!(!other.status(&waits).expect("known").status.is_terminal());
        holder.gate.notify_one();
        soon("a release in one wakes the other", other.wait(&waits)).await.expect("completes");
        soon("and the first ends", one.wait(&big)).await.expect("completes");
        let numbers = rows(200, 16);
        let mut ids = Vec::new();
        for _ in 0..50 {
            ids.push((
                one.submit_task(small_task(&numbers)).await.expect("accepted"),
                other.submit_task(small_task(&numbers)).await.expect("accepted"),
            ));
        }
        for (left, right) in ids {
            soon("both go on", one.wait(&left)).await.expect("completes");
            soon("both go on", other.wait(&right)).await.expect("completes");
        }
        assert!(ledger.snapshot().threads.peak <= 2 && holder.held.peak() <= 100 * MIB);
        drop(one);
        let id = other.submit_task(small_task(&numbers)).await.expect("accepted");
        soon("the other does not notice", other.wait(&id)).await.expect("completes");
    });
}

#[test]
fn a_type_that_nobody_serves_is_refused() {
    let _together = together();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        for task_type in [TaskType::Storage, custom("unknown")] {
            assert_eq!(manager.submit_task(task(task_type, json!({}))).await, Err(TaskError::UnsupportedTaskType));
        }
    });
}
