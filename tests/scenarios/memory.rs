//! Three executors, one of them foreign, under the default limit of 2 GiB: it holds at every instant, and whatever fits runs at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use tallow::manager::{HOST_BYTES_DEFAULT, StatusKind};
use tallow::{ExecutorRegistry, TaskError, TaskManager};

use crate::support::{Held, Holder, MIB, Scripted, alone, custom, registry, rows, runtime, soon, task, until, vector_task};

type Manager = Arc<TaskManager<ExecutorRegistry>>;

struct World {
    manager: Manager,
    held: Arc<Held>,
    gate: Arc<tokio::sync::Notify>,
}

/// A manager as `new` makes it, with the vector executor, one that answers at once, and one that holds memory.
fn world(meeting: usize) -> World {
    let registry = registry();
    let holder = Holder::new(meeting, HOST_BYTES_DEFAULT);
    let (held, gate) = (holder.held.clone(), holder.gate.clone());
    registry.register("holder", holder).expect("a free name");
    let echo = Scripted::new(&["echo"], |task, _| async move { Ok(tallow::TaskResult::new(task.payload.data)) });
    registry.register("echo", echo).expect("a free name");
    World { manager: Arc::new(TaskManager::new(registry)), held, gate }
}

#[test]
fn whatever_fits_runs_at_once_and_the_rest_waits() {
    let _alone = alone();
    runtime().block_on(async {
        // Four times 500 MiB fit into 2 GiB, and each of them ends only when all four run.
        let World { manager, held, .. } = world(4);
        assert_eq!(manager.ledger().snapshot().host.limit, 2048 * MIB, "the default");
        let batch = (0..12).map(|_| Holder::task(500, "meeting").into()).collect();
        let ids: Vec<_> = manager.submit_batch(batch).await.into_iter().map(|outcome| outcome.expect("accepted")).collect();
        for id in &ids {
            soon("four run at once", manager.wait(id)).await.expect("completes");
        }
        assert_eq!(held.runs_peak(), 4, "a fifth never fitted");
        assert_eq!(held.peak(), 2000 * MIB);
        let host = manager.ledger().snapshot().host;
        assert_eq!(host.peak, 2000 * MIB, "the ledger counted what was held");
        until("all is given back", || manager.ledger().snapshot().host.used == 0).await;
    });
}

#[test]
fn a_small_task_passes_a_big_one_which_still_gets_its_turn() {
    let _alone = alone();
    runtime().block_on(async {
        let World { manager, held, gate } = world(1);
        let first = manager.submit_task(Holder::task(500, "gate")).await.expect("accepted");
        until("the first holds its memory", || held.now() == 500 * MIB).await;
        let big = manager.submit_task(Holder::task(1800, "turns")).await.expect("accepted");
        let small = manager.submit_task(Holder::task(100, "turns")).await.expect("accepted");
        soon("the small one passes", manager.wait(&small)).await.expect("completes");
        assert_eq!(manager.status(&big).expect("known").status, StatusKind::Pending);
        let other = manager.submit_task(task(custom("echo"), json!({"x": 1}))).await.expect("accepted");
        soon("other executors go on", manager.wait(&other)).await.expect("completes");

        // Small ones keep coming before and after the first one ends, so that there would never be room for the big one by chance.
        let began = Instant::now();
        let (mut small, mut is_open) = (Vec::new(), false);
        while manager.status(&big).expect("known").status == StatusKind::Pending {
            let batch = (0..16).map(|_| Holder::task(120, "turns").into()).collect();
            small.extend(manager.submit_batch(batch).await.into_iter().flatten());
            // On a busy machine before the big one reserves: from then on nothing else would start until the first has ended.
            let is_time = || began.elapsed() >= Duration::from_millis(300);
            if !is_open && (small.len() >= 64 || is_time()) {
                gate.notify_one();
                is_open = true;
            }
            // Some of them are waiting always.
            let last = small[small.len() - 8];
            let ended = || manager.status(&last).is_ok_and(|view| view.status.is_terminal());
            let has_turn = || held.now() >= 1800 * MIB || manager.stats().running == 0;
            until("they go on, or the big one has its turn", || ended() || has_turn() || !is_open && is_time()).await;
            assert!(began.elapsed() < Duration::from_secs(20), "the big one starved while {} small ones were submitted", small.len());
        }
        soon("the first ends", manager.wait(&first)).await.expect("completes");
        let passed = small.iter().filter(|id| manager.status(id).is_ok_and(|view| view.status.is_terminal())).count();
        soon("the big one ends", manager.wait(&big)).await.expect("completes");
        println!("the big task waited {:?} and {passed} small ones passed it", began.elapsed());
        assert!(held.peak() <= HOST_BYTES_DEFAULT);
    });
}

#[test]
fn the_limit_holds_at_every_instant_whatever_is_mixed() {
    let _alone = alone();
    runtime().block_on(async {
        let World { manager, held, .. } = world(1);
        let numbers = rows(2_000, 64);
        let sizes = [10, 700, 40, 300, 1500, 5, 900, 120, 60, 2000];
        let mut ids = Vec::new();
        for round in 0..2 {
            for mib in sizes {
                let holder = tallow::Submission::new(Holder::task(mib, "turns")).submitter(format!("holder {}", round % 3));
                ids.push(manager.submit(holder).await.expect("accepted"));
                let compute = json!({"operation": "kmeans", "vectors": {"$part": "rows"}, "k": 8, "iterations_max": 3});
                ids.push(manager.submit_task(vector_task(compute, &numbers)).await.expect("accepted"));
                ids.push(manager.submit_task(task(custom("echo"), json!({"at": round}))).await.expect("accepted"));
                let host = manager.ledger().snapshot().host;
                assert!(host.used <= host.limit && held.now() <= host.limit);
            }
        }
        for id in &ids {
            soon("every task ends", manager.wait(id)).await.expect("no executor saw more memory than there is");
        }
        let host = manager.ledger().snapshot().host;
        println!(
            "{} tasks, peak {} MiB claimed, {} MiB held, {} holders at once",
            ids.len(),
            host.peak / MIB,
            held.peak() / MIB,
            held.runs_peak()
        );
        assert!(host.peak <= 2048 * MIB && held.peak() <= host.peak);
        assert!(held.runs_peak() > 1, "what fits runs at once");
        assert_eq!(held.started.load(Ordering::SeqCst), 20, "nothing ran twice");
        until("all is given back", || manager.ledger().snapshot().host.used == 0).await;
    });
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let _alone = alone();
    runtime().block_on(async {
        let World { manager, held, .. } = world(1);
        let refused = manager.submit_task(Holder::task(2049, "turns")).await;
        let needed = TaskError::DoesNotFit { resource: "host memory".into(), needed_bytes: 2049 * MIB, available_bytes: 2048 * MIB };
        assert_eq!(refused, Err(needed));
        assert_eq!((held.peak(), manager.stats().open_tasks.0), (0, 0), "nothing was kept");
    });
}
