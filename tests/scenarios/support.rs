//! What the scenarios share: a foreign executor that holds real memory, real vector tasks of known size, and time limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde_json::{Value, json};
use tallow::resource::ComputePool;
use tallow::{
    ExecutorCapabilities, ExecutorRegistry, ModelInferenceExecutor, Part, Prepared, ResourceDemand, Task, TaskContext, TaskError,
    TaskExecutor, TaskManager, TaskPriority, TaskResult, TaskType, TextProcessingExecutor, VectorComputationExecutor,
};
use tokio::sync::{Barrier, Notify};

pub(crate) const MIB: u64 = 1024 * 1024;

/// Who measures shares the machine with nobody; everything else may run side by side. The tests of one binary share its processors, so they share this.
static MACHINE: RwLock<()> = RwLock::new(());

/// For scenarios that measure time or memory.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write()
}

/// For all other scenarios.
pub(crate) fn together() -> RwLockReadGuard<'static, ()> {
    MACHINE.read()
}

/// A runtime as the worker has it: several threads.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("the system gives a few threads")
}

/// Waits for something that must happen; fails when it takes longer than any scenario may.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_elapsed| panic!("never happened: {what}"))
}

/// Lets the runtime go on until the condition holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(crate) fn custom(name: &str) -> TaskType {
    TaskType::Custom(name.into())
}

pub(crate) fn task(task_type: TaskType, data: Value) -> Task {
    Task::new(task_type, TaskPriority::Normal, data)
}

/// Bytes that every clone of a [`Holder`] holds now, and the most they ever held.
#[derive(Default)]
pub(crate) struct Held {
    now: AtomicU64,
    peak: AtomicU64,
    runs: AtomicU64,
    runs_peak: AtomicU64,
    pub(crate) started: AtomicU64,
}

impl Held {
    fn enter(&self, bytes: u64) {
        let now = self.now.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.peak.fetch_max(now, Ordering::SeqCst);
        let runs = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        self.runs_peak.fetch_max(runs, Ordering::SeqCst);
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    fn leave(&self, bytes: u64) {
        self.now.fetch_sub(bytes, Ordering::SeqCst);
        self.runs.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::SeqCst)
    }

    pub(crate) fn runs_peak(&self) -> u64 {
        self.runs_peak.load(Ordering::SeqCst)
    }
}

/// Memory that is counted as long as it is there.
struct Block {
    held: Arc<Held>,
    bytes: Vec<u8>,
}

impl Block {
    fn new(held: &Arc<Held>, len: u64) -> Self {
        held.enter(len);
        let len = usize::try_from(len).expect("a block fits into the address space");
        Self { held: held.clone(), bytes: vec![1; len] }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.held.leave(self.bytes.len() as u64);
    }
}

/// A foreign executor that holds memory: `{"mib": n, "until": "meeting" | "gate" | "turns"}` allocates `n` MiB and keeps them until enough of its kind
/// run, until the gate opens, or for some turns of the runtime. It claims what it holds and no thread.
pub(crate) struct Holder {
    capabilities: ExecutorCapabilities,
    pub(crate) held: Arc<Held>,
    pub(crate) meeting: Arc<Barrier>,
    pub(crate) gate: Arc<Notify>,
    limit: u64,
}

impl Holder {
    pub(crate) fn new(meeting: usize, limit: u64) -> Self {
        Self {
            capabilities: ExecutorCapabilities { supported_types: vec![custom("hold")], max_memory_mb: 0, requires_gpu: false },
            held: Arc::default(),
            meeting: Arc::new(Barrier::new(meeting)),
            gate: Arc::default(),
            limit,
        }
    }

    pub(crate) fn task(mib: u64, until: &str) -> Task {
        task(custom("hold"), json!({"mib": mib, "until": until}))
    }
}

#[async_trait]
impl TaskExecutor for Holder {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        let mib = task.payload.data["mib"].as_u64().unwrap_or(1);
        let block = Block::new(&self.held, mib * MIB);
        if self.held.now() > self.limit {
            return Err(TaskError::internal("more memory is held than there is", self.held.now().to_string()));
        }
        match task.payload.data["until"].as_str() {
            Some("meeting") => {
                self.meeting.wait().await;
            }
            Some("gate") => self.gate.notified().await,
            _ => {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            }
        }
        drop(block);
        Ok(TaskResult::new(json!({"mib": mib})))
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        *task_type == custom("hold")
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.capabilities
    }

    fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        let mib = task.payload.data["mib"].as_u64().ok_or_else(|| TaskError::invalid("mib", "expected a number"))?;
        let demand = ResourceDemand { host_bytes: mib * MIB, threads: 0, ..ResourceDemand::default() };
        Ok(Prepared { demand, ..Prepared::default() })
    }
}

/// An executor made of a function: `work` runs as the task on the runtime's threads, and claims one compute thread.
pub(crate) struct Scripted<F> {
    capabilities: ExecutorCapabilities,
    threads: u32,
    work: F,
}

impl<F, R> Scripted<F>
where
    F: Fn(Task, TaskContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<TaskResult, TaskError>> + Send,
{
    pub(crate) fn new(types: &[&str], work: F) -> Self {
        let supported_types = types.iter().map(|name| custom(name)).collect();
        Self { capabilities: ExecutorCapabilities { supported_types, max_memory_mb: 0, requires_gpu: false }, threads: 1, work }
    }

    /// The same without a claim on compute threads: as many tasks start as the manager lets run at once.
    pub(crate) fn without_threads(mut self) -> Self {
        self.threads = 0;
        self
    }
}

#[async_trait]
impl<F, R> TaskExecutor for Scripted<F>
where
    F: Fn(Task, TaskContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<TaskResult, TaskError>> + Send,
{
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        Err(TaskError::internal("only runs under a manager", task.id.to_string()))
    }

    async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        (self.work)(task.clone(), ctx.clone()).await
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        self.capabilities.supported_types.contains(task_type)
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.capabilities
    }

    fn demand(&self, task: &Task) -> ResourceDemand {
        ResourceDemand { threads: self.threads, ..ResourceDemand::of_payload(task) }
    }
}

/// A registry with the worker's own executors.
pub(crate) fn registry() -> ExecutorRegistry {
    let pool = ComputePool::new(2).expect("the system gives a few threads");
    let registry = ExecutorRegistry::new();
    registry.register("text", TextProcessingExecutor::new(pool.clone())).expect("a free name");
    registry.register("vector", VectorComputationExecutor::new(pool.clone())).expect("a free name");
    registry.register("inference", ModelInferenceExecutor::new(pool)).expect("a free name");
    registry
}

/// Rows of well mixed numbers in -1.0..1.0, always the same.
pub(crate) fn rows(count: usize, dim: usize) -> Part {
    let values: Vec<f32> = (0..count * dim).map(|at| ((at as u64 * 2_654_435_761 % 20_011) as f32) / 10_005.5 - 1.0).collect();
    Part::from_f32(vec![count, dim], &values).expect("as many values as the shape says")
}

/// A vector task over `rows`, named `rows` in `data`.
pub(crate) fn vector_task(data: Value, rows: &Part) -> Task {
    let parts = [("rows".to_owned(), rows.clone())].into();
    task(TaskType::VectorComputation, data).with_parts(parts)
}

/// Some work for one compute thread: the statistics of every column.
pub(crate) fn small_task(rows: &Part) -> Task {
    vector_task(json!({"operation": "statistics", "vectors": {"$part": "rows"}}), rows)
}

/// How long one task takes from submission to its answer.
pub(crate) async fn latency<E: TaskExecutor>(manager: &TaskManager<E>, submission: impl Into<tallow::Submission>) -> Duration {
    let began = Instant::now();
    let id = manager.submit(submission.into()).await.expect("accepted");
    soon("the task completes", manager.wait(&id)).await.expect("completes");
    began.elapsed()
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How many of them took longer: a 99th percentile holds when it is at most one in a hundred.
pub(crate) fn longer_than(times: &[Duration], bound: Duration) -> usize {
    times.iter().filter(|time| **time > bound).count()
}
