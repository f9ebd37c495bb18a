//! The composition root: probe, thread plan, ledger, compute pool, executors, manager, and the API in front of it. The one place that knows
//! every part, and does nothing but join them.
//!
//! ```no_run
//! use tallow::worker::Worker;
//! use tallow::{Task, TaskPriority, TaskType};
//!
//! # async fn example() -> Result<(), tallow::TaskError> {
//! let worker = Worker::builder().memory_limit("2GiB")?.threads(2).start()?;
//! let task = Task::new(TaskType::TextProcessing, TaskPriority::Normal, serde_json::json!({ "operation": "word_count", "text": "to be" }));
//! let id = worker.manager().submit_task(task).await?;
//! let result = worker.manager().wait(&id).await?;
//! # Ok(())
//! # }
//! ```

mod executors;
mod memory;
mod models;
mod plan;
mod serve;
mod tokenizers;

use std::collections::BTreeMap;
use std::sync::Arc;

use tallow_kernels::device::DeviceSurvey;

use crate::config::WorkerSettings;
use crate::embed::BatchStats;
use crate::executor::inference::ModelInferenceExecutor;
use crate::executor::{ExecutorRegistry, VectorComputationExecutor};
use crate::manager::{ManagerOptions, TaskManager};
use crate::resource::{BudgetLimits, ChosenDevice, ComputePool, DeviceChoice, Ledger, MemoryLimit, device_key};
use crate::shelf::Unload;
use crate::task::{TaskError, TaskExecutor};

use executors::Executors;
pub use executors::{model_source, precision_policy, processor_features};
pub use memory::MemorySplit;
pub use models::{HostModel, ModelPlace, host_models};
pub use plan::{WorkerPlan, use_instructions};
pub use serve::{Serving, ServingError};

/// The manager of a worker: over the registry of its executors.
pub type WorkerManager = TaskManager<Arc<dyn TaskExecutor>>;

/// A worker: everything between a task and its result. Dropping it cancels what runs.
pub struct Worker {
    plan: WorkerPlan,
    device: ChosenDevice,
    pool: ComputePool,
    registry: Arc<ExecutorRegistry>,
    vectors: VectorComputationExecutor,
    inference: ModelInferenceExecutor,
    manager: Arc<WorkerManager>,
}

/// Settings for a worker inside another program.
#[derive(Clone, Debug, Default)]
pub struct WorkerBuilder {
    settings: WorkerSettings,
}

impl WorkerBuilder {
    /// All settings at once, as the configuration gives them.
    #[must_use]
    pub fn settings(mut self, settings: WorkerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// What the worker may hold, divided as [`MemorySplit`] says: `auto`, `75%`, `2GiB`. Errors: `InvalidPayload` at `memory_limit`.
    pub fn memory_limit(mut self, limit: &str) -> Result<Self, TaskError> {
        self.settings.memory_limit = limit.parse::<MemoryLimit>().map_err(|error| TaskError::invalid("memory_limit", error.to_string()))?;
        Ok(self)
    }

    /// Compute threads.
    #[must_use]
    pub fn threads(mut self, count: usize) -> Self {
        self.settings.threads = Some(count);
        self
    }

    /// Where models run: `auto`, `cpu`, `cuda`, `cuda:N`, `metal`.
    #[must_use]
    pub fn device(mut self, device: &str) -> Self {
        device.clone_into(&mut self.settings.device);
        self
    }

    /// Arithmetic of encoders on the host: `auto`, `exact`, `bf16`, `int8`. Errors: `InvalidPayload` at `precision`.
    pub fn precision(mut self, precision: &str) -> Result<Self, TaskError> {
        self.settings.precision = precision.parse().map_err(|allowed| {
            let found: String = precision.chars().take(40).collect();
            TaskError::invalid("precision", format!("found `{found}`; {allowed}"))
        })?;
        Ok(self)
    }

    /// The model for tasks that name none.
    #[must_use]
    pub fn model(mut self, model: &str) -> Self {
        self.settings.model = Some(model.to_owned());
        self
    }

    /// Starts the worker. Errors: as [`Worker::start`] and [`WorkerPlan::make`].
    pub fn start(self) -> Result<Worker, TaskError> {
        Worker::start(WorkerPlan::make(&self.settings)?)
    }
}

impl Worker {
    /// Settings to start from: all defaults.
    #[must_use]
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }

    /// Starts what the plan says; works outside a runtime, the manager's run loop starts with the first submission. Blocks while devices are
    /// looked for (a driver may take seconds) and a default model that was named is looked up.
    ///
    /// Errors: `DeviceUnavailable` for a device that was asked for and is not there; `InvalidPayload` for a precision that it has not; `Internal` when the system gives no threads; model errors.
    pub fn start(plan: WorkerPlan) -> Result<Self, TaskError> {
        let device = plan.settings().device.parse::<DeviceChoice>()?.choose(&DeviceSurvey::take())?;
        check_precision(&plan, &device)?;
        let devices = device_key(device.device).into_iter().map(|key| (key, device.free_bytes.unwrap_or(0))).collect::<BTreeMap<_, _>>();
        let threads = u32::try_from(plan.threads().compute).unwrap_or(u32::MAX);
        let ledger = Ledger::new(&BudgetLimits { host_bytes: plan.memory_split().tasks_bytes, threads, devices });
        let pool = ComputePool::new(plan.threads().compute)?;
        let Executors { registry, vectors, inference } = executors::executors(&plan, &device, &pool, &ledger)?;
        let executor: Arc<dyn TaskExecutor> = registry.clone();
        let manager = Arc::new(TaskManager::with_options(executor, manager_options(&plan, ledger, inference.clone())));
        Ok(Self { plan, device, pool, registry, vectors, inference, manager })
    }

    /// The manager: submit, watch, cancel.
    #[must_use]
    pub fn manager(&self) -> &Arc<WorkerManager> {
        &self.manager
    }

    /// Adds an executor beside the worker's own, also while tasks run. Errors: as [`ExecutorRegistry::register`].
    pub fn register<E: TaskExecutor>(&self, name: &str, executor: E) -> Result<(), TaskError> {
        self.registry.register(name, executor)
    }

    /// Loads the default model, so that the first task need not wait; says its name. Errors: as a task that names it would get.
    pub async fn preload(&self) -> Result<&str, TaskError> {
        let model = self.inference.default_model();
        self.inference.preload(model).await?;
        Ok(model)
    }

    /// What the batcher of encoders has done and what it holds.
    #[must_use]
    pub fn batch_stats(&self) -> BatchStats {
        self.inference.batch_stats()
    }

    /// Unloads a model that no task uses.
    #[must_use]
    pub fn unload(&self, model: &str) -> Unload {
        self.inference.unload(model)
    }

    /// What the worker was started with, and why.
    #[must_use]
    pub fn plan(&self) -> &WorkerPlan {
        &self.plan
    }

    /// Where models run, and why.
    #[must_use]
    pub fn device(&self) -> &ChosenDevice {
        &self.device
    }

    /// The compute threads.
    #[must_use]
    pub fn pool(&self) -> &ComputePool {
        &self.pool
    }
}

/// Errors: `InvalidPayload` at `precision` for one that the chosen device does not compute with.
fn check_precision(plan: &WorkerPlan, device: &ChosenDevice) -> Result<(), TaskError> {
    let fault = device_key(device.device).and_then(|key| plan.settings().precision.fault_on_device(&key));
    fault.map_or(Ok(()), |fault| Err(TaskError::invalid("precision", fault)))
}

fn manager_options(plan: &WorkerPlan, ledger: Ledger, inference: ModelInferenceExecutor) -> ManagerOptions {
    let defaults = ManagerOptions::default();
    let split = plan.memory_split();
    ManagerOptions {
        open_tasks_max: plan.settings().queue_max.unwrap_or(defaults.open_tasks_max),
        open_bytes_max: split.payload_bytes,
        graph_bytes_max: split.copied_bytes,
        reference_bytes_max: split.reference_bytes_max(),
        retained_bytes_max: split.retained_bytes,
        event_bytes_max: split.event_bytes,
        ledger: Some(ledger),
        on_shortage: Some(Arc::new(move |demand| inference.make_room(demand))),
        ..defaults
    }
}

#[cfg(test)]
mod tests;
