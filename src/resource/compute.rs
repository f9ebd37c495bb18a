//! The one place where work computes. Async code hands work over and waits; it never computes.
//!
//! Work that claimed all threads runs on the wide pool, where rayon splits it; work that claimed one thread runs on a lane of its own. On one shared
//! pool a thread that waits for a piece of its own task may begin another task and finish that first: latencies would depend on strangers.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::task::TaskError;

/// The worker's compute threads: a rayon pool for split work and as many single lanes. Cloning shares it.
///
/// How many of them are busy at once is the ledger's decision, by what tasks claim; idle threads sleep.
#[derive(Clone)]
pub struct ComputePool {
    wide: Arc<rayon::ThreadPool>,
    lanes: Arc<Lanes>,
}

/// Pools of one thread each, and which of them nobody uses.
struct Lanes {
    pools: Vec<rayon::ThreadPool>,
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    free: Vec<usize>,
    next: usize,
}

impl Lanes {
    /// A lane nobody uses, or else the next in turn, where the work waits behind what runs there.
    fn take(&self) -> (usize, bool) {
        let mut turn = self.turn.lock();
        if let Some(lane) = turn.free.pop() {
            return (lane, true);
        }
        turn.next = (turn.next + 1) % self.pools.len();
        (turn.next, false)
    }
}

impl ComputePool {
    /// Starts `thread_count` threads (at least one) for split work and as many lanes. Errors: `Internal` when the system gives no threads.
    pub fn new(thread_count: usize) -> Result<Self, TaskError> {
        let thread_count = thread_count.max(1);
        let wide = start(thread_count, "tallow-compute")?;
        let pools = (0..thread_count).map(|_| start(1, "tallow-lane")).collect::<Result<Vec<_>, _>>()?;
        let turn = Mutex::new(Turn { free: (0..thread_count).rev().collect(), next: 0 });
        Ok(Self { wide: Arc::new(wide), lanes: Arc::new(Lanes { pools, turn }) })
    }

    /// How many threads compute at most.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.wide.current_num_threads()
    }

    /// Runs `work` on all threads (rayon calls inside are split over them) and waits without blocking the runtime.
    ///
    /// Errors: those of `work`; a panic becomes `Internal` and harms nothing else. Dropping the future does not stop work that has begun:
    /// long work checks its cancellation token.
    pub async fn run<T, F>(&self, work: F) -> Result<T, TaskError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.wide.spawn(move || send(sender, caught(work)));
        received(receiver).await
    }

    /// Runs `work` on one thread (rayon calls inside stay on it) and waits without blocking the runtime. Otherwise as [`ComputePool::run`].
    pub async fn run_single<T, F>(&self, work: F) -> Result<T, TaskError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, TaskError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let (lane, owned) = self.lanes.take();
        let lanes = Arc::clone(&self.lanes);
        self.lanes.pools[lane].spawn(move || {
            // Given back before the answer: whoever waits for it may send the next work at once.
            let outcome = caught(work);
            if owned {
                lanes.turn.lock().free.push(lane);
            }
            send(sender, outcome);
        });
        received(receiver).await
    }
}

pub(super) fn start(thread_count: usize, name: &'static str) -> Result<rayon::ThreadPool, TaskError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(thread_count)
        .thread_name(move |index| format!("{name}-{index}"))
        .build()
        .map_err(|error| TaskError::internal("could not start the compute threads", error.to_string()))
}

fn caught<T>(work: impl FnOnce() -> Result<T, TaskError>) -> Result<T, TaskError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panic_error(panic.as_ref())))
}

fn send<T>(sender: oneshot::Sender<Result<T, TaskError>>, outcome: Result<T, TaskError>) {
    // The receiver is gone when the caller was cancelled; the outcome is then unwanted.
    let _unwanted = sender.send(outcome);
}

async fn received<T>(receiver: oneshot::Receiver<Result<T, TaskError>>) -> Result<T, TaskError> {
    receiver.await.unwrap_or_else(|_closed| Err(TaskError::internal("the compute threads have stopped", "")))
}

/// A caught panic as an error: the outside message says only that it happened.
#[must_use]
pub fn panic_error(panic: &(dyn Any + Send)) -> TaskError {
    let detail = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".into());
    TaskError::internal("the executor panicked; only this task is affected", detail)
}
