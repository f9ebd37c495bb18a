//! Executors of several houses under one memory limit: the limit holds at every instant, and whatever fits runs at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tallow::resource::{BudgetLimits, ComputePool, Ledger};
use tallow::{
    ExecutorCapabilities, ExecutorRegistry, ManagerOptions, ResourceDemand, Submission, Task, TaskContext, TaskError, TaskExecutor, TaskId,
    TaskManager, TaskPriority, TaskResult, TaskType, VectorComputationExecutor,
};
use tokio::sync::Barrier;

const MIB: u64 = 1 << 20;
const LIMIT_BYTES: u64 = 2048 * MIB;
const TASK_BYTES: u64 = 300 * MIB;
/// As many as fit at once: floor(2048 / 300).
const FIT_COUNT: usize = 6;
/// Only met when tasks that fit together are not run together.
const PATIENCE: Duration = Duration::from_secs(60);

/// Declares large demands, and ends a task only when as many run as fit.
struct Foreign {
    capabilities: ExecutorCapabilities,
    held: AtomicU64,
    peak: AtomicU64,
    together: Barrier,
    ledger: Ledger,
}

impl Foreign {
    fn new(ledger: Ledger, together: usize, max_memory_mb: u64) -> Arc<Self> {
        let capabilities = ExecutorCapabilities { supported_types: vec![foreign_type()], max_memory_mb, requires_gpu: false };
        Arc::new(Self { capabilities, held: AtomicU64::new(0), peak: AtomicU64::new(0), together: Barrier::new(together), ledger })
    }
}

fn foreign_type() -> TaskType {
    TaskType::Custom("foreign".into())
}

#[async_trait]
impl TaskExecutor for Foreign {
    async fn execute(&self, _task: &Task) -> Result<TaskResult, TaskError> {
        Ok(TaskResult::default())
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        *task_type == foreign_type()
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.capabilities
    }

    async fn execute_with(&self, _task: &Task, _ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        let held = self.held.fetch_add(TASK_BYTES, Ordering::SeqCst) + TASK_BYTES;
        self.peak.fetch_max(held, Ordering::SeqCst);
        let books = self.ledger.snapshot();
        assert!(held <= LIMIT_BYTES && books.host.used <= LIMIT_BYTES, "{held} bytes held, {} in the books", books.host.used);
        let met = tokio::time::timeout(PATIENCE, self.together.wait()).await;
        self.held.fetch_sub(TASK_BYTES, Ordering::SeqCst);
        met.map_err(|_late| TaskError::internal("tasks that fit together did not run together", ""))?;
        Ok(TaskResult::default())
    }

    fn demand(&self, _task: &Task) -> ResourceDemand {
        ResourceDemand { host_bytes: TASK_BYTES, ..ResourceDemand::default() }
    }
}

fn manager(foreign: Arc<Foreign>) -> TaskManager<ExecutorRegistry> {
    let registry = ExecutorRegistry::new();
    let pool = ComputePool::new(2).expect("two threads start");
    registry.register("vector", VectorComputationExecutor::new(pool)).expect("a free name");
    let ledger = foreign.ledger.clone();
    registry.register("foreign", foreign).expect("a free name");
    TaskManager::with_options(registry, ManagerOptions { ledger: Some(ledger), ..ManagerOptions::default() })
}

fn ledger() -> Ledger {
    Ledger::new(&BudgetLimits { host_bytes: LIMIT_BYTES, threads: 4, devices: BTreeMap::new() })
}

async fn submit(manager: &TaskManager<ExecutorRegistry>, task_type: TaskType, data: serde_json::Value) -> TaskId {
    let task = Task::new(task_type, TaskPriority::Normal, data);
    manager.submit(Submission::new(task).submitter("test")).await.expect("accepted")
}

async fn run_all(manager: &TaskManager<ExecutorRegistry>, foreign_count: usize) {
    let mut ids = Vec::new();
    for round in 0..foreign_count {
        ids.push(submit(manager, foreign_type(), json!({})).await);
        let vectors = json!({ "operation": "cosine_similarity", "vector_a": [1.0, round], "vector_b": [1.0, 2.0] });
        ids.push(submit(manager, TaskType::VectorComputation, vectors).await);
    }
    for id in ids {
        manager.wait(&id).await.expect("completes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_host_limit_holds_and_whatever_fits_runs_together() {
    let foreign = Foreign::new(ledger(), FIT_COUNT, 0);
    let manager = manager(Arc::clone(&foreign));
    run_all(&manager, FIT_COUNT * 4).await;
    assert_eq!(foreign.peak.load(Ordering::SeqCst), TASK_BYTES * FIT_COUNT as u64);
    let books = foreign.ledger.snapshot();
    assert!(books.host.peak <= LIMIT_BYTES && books.host.peak >= TASK_BYTES * FIT_COUNT as u64);
    assert_eq!(books.host.used, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_executors_own_bound_holds_inside_the_hosts() {
    let foreign = Foreign::new(ledger(), 2, 700);
    let manager = manager(Arc::clone(&foreign));
    run_all(&manager, 12).await;
    assert_eq!(foreign.peak.load(Ordering::SeqCst), TASK_BYTES * 2, "two tasks of 300 MiB within 700 MiB");
    assert_eq!(foreign.ledger.snapshot().shares["foreign"].peak, TASK_BYTES * 2);
}

#[tokio::test]
async fn what_can_never_fit_is_refused_at_admission() {
    let foreign = Foreign::new(ledger(), 1, 299);
    let manager = manager(foreign);
    let task = Task::new(foreign_type(), TaskPriority::Normal, json!({}));
    let refused = manager.submit_task(task).await;
    assert!(matches!(refused, Err(TaskError::DoesNotFit { ref resource, .. }) if resource == "executor foreign memory"), "{refused:?}");
}
