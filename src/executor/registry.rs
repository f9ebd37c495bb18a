//! Many executors behind one: tasks go by type to the executor that was registered first for it, and a panic stays inside its task.
//!
//! Who wins: the executor registered first among those whose `can_execute` says yes. A later one never takes a type away; it serves what
//! nobody before it serves. The executor that admitted a task in `prepare` is the one that runs it, whatever is registered in between.
//!
//! The list only grows, so `capabilities` can hand out a reference: each entry carries the merged capabilities of everything up to itself,
//! and the newest entry's are those of the registry. Must not know which executors exist.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use parking_lot::Mutex;

use crate::resource::panic_error;
use crate::task::{
    ExecutorCapabilities, ExecutorReport, METADATA_EXECUTOR, MemoryShare, Prepared, ResourceDemand, Task, TaskContext, TaskError,
    TaskExecutor, TaskResult, TaskType,
};

/// The most executors one registry takes.
pub const REGISTERED_EXECUTORS_MAX: usize = 256;

const EXECUTOR_NAME_LEN_MAX: usize = 64;
const MIB: u64 = 1024 * 1024;

/// An executor made of executors; more can be registered while it runs.
///
/// Adds to each child's demand the child's own memory bound (`max_memory_mb`) as a [`MemoryShare`] on the account of its name, and turns a
/// panic inside a child into `Internal` for that one task. With no executor registered every task is `UnsupportedTaskType`.
#[derive(Default)]
pub struct ExecutorRegistry {
    /// What an empty registry answers.
    nothing: ExecutorCapabilities,
    first: OnceLock<Box<Node>>,
    /// Held while an executor is added, so that each entry merges with the one before it.
    adding: Mutex<()>,
}

struct Node {
    entry: Arc<Entry>,
    merged: ExecutorCapabilities,
    next: OnceLock<Box<Node>>,
}

struct Entry {
    name: Arc<str>,
    executor: Box<dyn TaskExecutor>,
}

/// What `prepare` leaves for `execute_with`: the executor that admitted the task, and what that one parsed.
struct Routed {
    entry: Arc<Entry>,
    request: Option<Arc<dyn Any + Send + Sync>>,
}

impl ExecutorRegistry {
    /// A registry without executors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an executor behind those already there; usable at once, also while tasks run.
    ///
    /// `name` names its memory account and its report: `[a-z0-9_-]{1,64}`, once per registry. What it declares in `capabilities` about types
    /// and GPU is taken down now; its memory bound is read anew for each task.
    /// Errors: `InvalidPayload` for a bad or taken name or a full registry; `Internal` when the executor panics.
    pub fn register<E: TaskExecutor>(&self, name: &str, executor: E) -> Result<(), TaskError> {
        check_name(name)?;
        let declared = guarded(|| executor.capabilities().clone())?;
        let _adding = self.adding.lock();
        let (mut end, mut merged, mut count) = (&self.first, None, 0);
        while let Some(node) = end.get() {
            if *node.entry.name == *name {
                return Err(TaskError::invalid("name", format!("an executor named `{name}` is already registered")));
            }
            (end, merged, count) = (&node.next, Some(&node.merged), count + 1);
        }
        if count >= REGISTERED_EXECUTORS_MAX {
            return Err(TaskError::invalid("name", format!("a registry takes at most {REGISTERED_EXECUTORS_MAX} executors")));
        }
        let merged = merged.map_or_else(|| declared.clone(), |before| merge(before, &declared));
        let entry = Arc::new(Entry { name: name.into(), executor: Box::new(executor) });
        end.get_or_init(|| Box::new(Node { entry, merged, next: OnceLock::new() }));
        Ok(())
    }

    /// The names of the executors, in the order in which they are asked.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        self.entries().map(|entry| Arc::clone(&entry.name)).collect()
    }

    /// How many executors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes().count()
    }

    /// True while nothing is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.first.get(), |node| node.next.get()).map(Box::as_ref)
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.nodes().map(|node| &node.entry)
    }

    fn route(&self, task_type: &TaskType) -> Result<&Arc<Entry>, TaskError> {
        self.entries().find(|entry| entry.serves(task_type)).ok_or(TaskError::UnsupportedTaskType)
    }
}

#[async_trait]
impl TaskExecutor for ExecutorRegistry {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        self.route(&task.payload.task_type)?.execute(task).await
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        self.route(task_type).is_ok()
    }

    /// All types served, once each, in routing order; the sum of the memory bounds, or 0 when one executor declares none; `requires_gpu` when
    /// every executor does.
    fn capabilities(&self) -> &ExecutorCapabilities {
        self.nodes().last().map_or(&self.nothing, |node| &node.merged)
    }

    async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        match ctx.request::<Routed>() {
            Some(routed) => routed.entry.execute_with(task, &ctx.clone().with_request(routed.request.clone())).await,
            None => self.route(&task.payload.task_type)?.execute_with(task, ctx).await,
        }
    }

    fn demand(&self, task: &Task) -> ResourceDemand {
        self.route(&task.payload.task_type).map_or_else(|_unsupported| ResourceDemand::of_payload(task), |entry| entry.demand(task))
    }

    fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        let entry = self.route(&task.payload.task_type)?;
        let prepared = entry.prepare(task)?;
        let routed = Routed { entry: Arc::clone(entry), request: prepared.request };
        Ok(Prepared::new(prepared.demand, routed).holding(prepared.request_bytes))
    }

    fn reports(&self) -> Vec<ExecutorReport> {
        self.entries().flat_map(|entry| entry.reports()).collect()
    }
}

/// Every call into a child, with its panics caught.
impl Entry {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        let run = AssertUnwindSafe(async { self.executor.execute(task).await });
        run.catch_unwind().await.unwrap_or_else(|panic| Err(self.panicked("execute", panic.as_ref())))
    }

    async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        let run = AssertUnwindSafe(async { self.executor.execute_with(task, ctx).await });
        let mut result = run.catch_unwind().await.unwrap_or_else(|panic| Err(self.panicked("execute_with", panic.as_ref())))?;
        result.metadata.entry(METADATA_EXECUTOR.into()).or_insert_with(|| (*self.name).into());
        Ok(result)
    }

    /// A child that panics over a type does not serve it.
    fn serves(&self, task_type: &TaskType) -> bool {
        self.caught("can_execute", || self.executor.can_execute(task_type)).unwrap_or(false)
    }

    fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        let mut prepared = self.caught("prepare", || self.executor.prepare(task))??;
        prepared.demand = self.shared(prepared.demand)?;
        Ok(prepared)
    }

    /// `demand` cannot refuse a task; where the child panics the default estimate stands, and `prepare` is the one to refuse.
    fn demand(&self, task: &Task) -> ResourceDemand {
        let own = self.caught("demand", || self.executor.demand(task)).unwrap_or_else(|_logged| ResourceDemand::of_payload(task));
        self.shared(own.clone()).unwrap_or(own)
    }

    /// The demand with the executor's memory bound. An account that the child chose itself stays, under the smaller of both limits.
    fn shared(&self, mut demand: ResourceDemand) -> Result<ResourceDemand, TaskError> {
        let limit_mb = self.caught("capabilities", || self.executor.capabilities().max_memory_mb)?;
        if limit_mb > 0 {
            let limit_bytes = limit_mb.saturating_mul(MIB);
            let share = demand.share.get_or_insert_with(|| MemoryShare { account: Arc::clone(&self.name), limit_bytes });
            share.limit_bytes = share.limit_bytes.min(limit_bytes);
        }
        Ok(demand)
    }

    /// The child's reports under its registered name; those of a child with several are `name/theirs`.
    fn reports(&self) -> Vec<ExecutorReport> {
        let mut reports = match self.caught("reports", || self.executor.reports()) {
            Ok(reports) => reports,
            Err(error) => vec![ExecutorReport {
                name: self.name.to_string(),
                capabilities: ExecutorCapabilities::default(),
                operations: Vec::new(),
                details: serde_json::json!({ "error": error }),
            }],
        };
        let single = reports.len() == 1;
        for report in &mut reports {
            report.name = if single { self.name.to_string() } else { format!("{}/{}", self.name, report.name) };
        }
        reports
    }

    fn caught<T>(&self, method: &str, call: impl FnOnce() -> T) -> Result<T, TaskError> {
        catch_unwind(AssertUnwindSafe(call)).map_err(|panic| self.panicked(method, panic.as_ref()))
    }

    fn panicked(&self, method: &str, panic: &(dyn Any + Send)) -> TaskError {
        let error = panic_error(panic);
        tracing::error!(executor = %self.name, method, detail = error.detail(), "an executor panicked");
        error
    }
}

fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, TaskError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| panic_error(panic.as_ref()))
}

fn check_name(name: &str) -> Result<(), TaskError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if (1..=EXECUTOR_NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    let found: String = name.chars().take(EXECUTOR_NAME_LEN_MAX).collect();
    Err(TaskError::invalid("name", format!("found `{found}`; an executor's name is 1 to {EXECUTOR_NAME_LEN_MAX} of a-z, 0-9, _ and -")))
}

fn merge(before: &ExecutorCapabilities, added: &ExecutorCapabilities) -> ExecutorCapabilities {
    let mut supported_types = before.supported_types.clone();
    for task_type in &added.supported_types {
        if !supported_types.contains(task_type) {
            supported_types.push(task_type.clone());
        }
    }
    let undeclared = before.max_memory_mb == 0 || added.max_memory_mb == 0;
    ExecutorCapabilities {
        supported_types,
        max_memory_mb: if undeclared { 0 } else { before.max_memory_mb.saturating_add(added.max_memory_mb) },
        requires_gpu: before.requires_gpu && added.requires_gpu,
    }
}

#[cfg(test)]
mod tests;
