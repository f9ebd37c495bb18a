//! Claims about the manager as a whole: simulated under a virtual clock, and run under tokio.

mod bounds;
mod durable;
mod graphs;
mod large;
mod lifecycle;
mod pure;
mod queue;
mod races;
mod repeats;
mod simulation;
mod virtual_time;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{ManagerOptions, ManualClock, TaskManager};
use crate::resource::{BudgetLimits, Ledger};
use crate::task::{
    ExecutorCapabilities, Part, Prepared, ResourceDemand, Task, TaskContext, TaskError, TaskExecutor, TaskPriority, TaskResult, TaskType,
};

/// Numbers from a seed: the same on every machine.
pub(super) struct Seeded(u64);

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub(super) fn ledger(host_bytes: u64, threads: u32) -> Ledger {
    Ledger::new(&BudgetLimits { host_bytes, threads, devices: std::collections::BTreeMap::new() })
}

/// An executor that does as the payload says: `{"do": "answer" | "wait" | "hang" | "panic" | "fail" | "hold", ...}`.
pub(super) struct Scripted {
    capabilities: ExecutorCapabilities,
    pub log: Arc<Mutex<Vec<String>>>,
    pub started: Arc<Notify>,
    pub go_on: Arc<Notify>,
    /// What `hold` leaves behind: work that goes on after its future was dropped.
    pub left_behind: Arc<Mutex<Vec<crate::task::CancelHandle>>>,
}

impl Scripted {
    pub(super) fn new() -> Self {
        Self {
            capabilities: ExecutorCapabilities::default(),
            log: Arc::default(),
            started: Arc::default(),
            go_on: Arc::default(),
            left_behind: Arc::default(),
        }
    }
}

#[async_trait]
impl TaskExecutor for Scripted {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        Ok(TaskResult::new(task.payload.data.clone()))
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        *task_type != TaskType::Storage
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.capabilities
    }

    fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        let data = &task.payload.data;
        if data["refuse"].as_bool() == Some(true) {
            return Err(TaskError::invalid("data.refuse", "as told"));
        }
        assert!(data["panic_in_prepare"].is_null(), "as told");
        let demand = ResourceDemand {
            host_bytes: data["bytes"].as_u64().unwrap_or(1),
            threads: data["threads"].as_u64().unwrap_or(1) as u32,
            ..ResourceDemand::default()
        };
        Ok(Prepared::new(demand, data.clone()).holding(data["parsed_bytes"].as_u64().unwrap_or(0)))
    }

    async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        let request = ctx.request::<Value>().ok_or_else(|| TaskError::internal("the request is missing", ""))?;
        let name = request["name"].as_str().unwrap_or("").to_owned();
        self.log.lock().push(format!("{name}#{}", ctx.attempt()));
        self.started.notify_one();
        match request["do"].as_str().unwrap_or("answer") {
            "wait" => {
                self.go_on.notified().await;
                self.execute(task).await
            }
            "obey" => {
                ctx.cancel().cancelled().await;
                Err(ctx.cancel().cause())
            }
            "hang" => std::future::pending().await,
            "hold" => {
                self.left_behind.lock().push(ctx.cancel().clone());
                std::future::pending().await
            }
            "panic" => panic!("as told"),
            "fail" if u64::from(ctx.attempt()) <= request["times"].as_u64().unwrap_or(u64::MAX) => Err(TaskError::internal("as told", "")),
            "parts" => {
                ctx.sink().part("numbers", Part::from_f32(vec![2], &[1.0, 2.0])?);
                self.execute(task).await
            }
            "chunks" => {
                for at in 0..3 {
                    ctx.sink().chunk(json!(at));
                }
                ctx.sink().progress(2.0, "beyond the end");
                self.execute(task).await
            }
            _ => self.execute(task).await,
        }
    }
}

pub(super) fn task(data: Value) -> Task {
    Task::new(TaskType::TextProcessing, TaskPriority::Normal, data)
}

/// A manager with two threads under a clock that stands still.
pub(super) fn manager(change: impl FnOnce(&mut ManagerOptions)) -> (Arc<TaskManager<Scripted>>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let mut options = ManagerOptions { clock: clock.clone(), ledger: Some(ledger(1 << 20, 2)), ..ManagerOptions::default() };
    change(&mut options);
    (Arc::new(TaskManager::with_options(Scripted::new(), options)), clock)
}

/// Lets every other task of the runtime go on until the condition holds; fails when it does not within many turns.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never happened: {what}");
}

/// Gives every task of a single-threaded runtime several turns.
pub(super) async fn turns() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

pub(super) const MS: Duration = Duration::from_millis(1);
