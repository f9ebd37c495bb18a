//! The run loop: takes turns with the core, spawns runs and owns them. No decision is made here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use super::core::{RunEnd, Start};
use super::run;
use super::shared::Shared;
use crate::task::{TaskError, TaskExecutor};

/// Clears the flag when the loop's future is dropped, be it with its runtime: the next submission starts another loop.
struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Runs until it is aborted. Dropping it drops every run.
pub(super) async fn run_loop<E: TaskExecutor>(shared: Arc<Shared<E>>) {
    let _running = Running(&shared.is_running);
    let mut runs = JoinSet::new();
    shared.core.lock().resume();
    loop {
        // Made before the turn, so that a release during the turn is not missed.
        let released = shared.ledger.released();
        let turn = shared.core.lock().turn();
        drop(turn.forgotten);
        if let (Some(demand), Some(on_shortage)) = (&turn.stuck, &shared.options.on_shortage) {
            on_shortage(demand);
        }
        begin(&shared, &mut runs, turn.starts).await;
        for resolve in turn.resolves {
            let shared = shared.clone();
            runs.spawn_blocking(move || shared.resolve(resolve));
        }
        while runs.try_join_next().is_some() {}
        // Deadlines and failed dependencies end tasks without a run.
        shared.ended.notify_waiters();
        if turn.more {
            tokio::task::yield_now().await;
            continue;
        }
        let due = async {
            match turn.wake_ns {
                Some(at_ns) => shared.options.clock.sleep_until(at_ns).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.work.notified() => {}
            () = released => {}
            () = due => {}
            Some(_) = runs.join_next() => {}
        }
    }
}

/// Spawns runs once their starts are durable; without that none of them may begin.
async fn begin<E: TaskExecutor>(shared: &Arc<Shared<E>>, runs: &mut JoinSet<()>, starts: Vec<Start>) {
    if starts.is_empty() {
        return;
    }
    let committed = if shared.options.journal.is_immediate() { Ok(()) } else { shared.options.journal.commit().await };
    if let Err(error) = committed {
        let mut core = shared.core.lock();
        core.journal_broke(&error);
        for start in starts {
            let failed = TaskError::internal("the journal failed before the task could start", error.to_string());
            let settled = core.run_ended(start.key, RunEnd { result: Err(failed), panicked: false, bytes: 0, jitter: 0.0 });
            core.run_committed(start.key);
            core.run_over(start.key, settled == super::core::Settled::Stale);
        }
        core.settle();
        return;
    }
    for start in starts {
        runs.spawn(run::run(shared.clone(), start));
    }
}
