//! The port between the manager and whatever executes: neither side knows the other.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{ResourceDemand, Task, TaskContext, TaskError, TaskResult, TaskType};

/// Something that executes tasks: a local engine, a registry of them, or a remote worker.
///
/// `execute` and `execute_with` run on the threads of the async runtime, which serve every other task and call: they must not block one, be it by
/// computing for longer than about a millisecond, by reading files or by waiting on a lock. Work that does is sent elsewhere and awaited:
/// `resource::ComputePool::run` or `run_single` for what computes, `tokio::task::spawn_blocking` for what waits. Work sent away keeps a clone of
/// [`TaskContext::cancel`], so that it notices a cancel and what it claimed stays accounted for until it returns.
#[async_trait]
pub trait TaskExecutor: Send + Sync + 'static {
    /// Runs the task to its end. Binary parts of the answer are inlined as base64 when small and refused when large.
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError>;

    /// True when tasks of this type can be executed here.
    fn can_execute(&self, task_type: &TaskType) -> bool;

    /// What this executor can do and how much memory it may hold.
    fn capabilities(&self) -> &ExecutorCapabilities;

    /// Runs the task with a cancellation token, a deadline and sinks for progress, chunks and binary parts.
    async fn execute_with(&self, task: &Task, _ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        self.execute(task).await
    }

    /// What the task needs, from the shape of its payload. Pure and cheap; allocates nothing of the payload's size.
    fn demand(&self, task: &Task) -> ResourceDemand {
        ResourceDemand::of_payload(task)
    }

    /// Checks the payload and parses it once, at admission. The parsed request reaches `execute_with` through [`TaskContext::request`].
    ///
    /// Errors: `InvalidPayload` with the path of the field, `UnsupportedTaskType`, or a model error. Runs on the submitter's thread, and for a payload above 256 KiB
    /// on a blocking one: it may take the time that parsing takes, and no more.
    fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        Ok(Prepared { demand: self.demand(task), ..Prepared::default() })
    }

    /// What this executor and those behind it tell the world: one entry per executor.
    fn reports(&self) -> Vec<ExecutorReport> {
        vec![ExecutorReport {
            name: "executor".into(),
            capabilities: self.capabilities().clone(),
            operations: Vec::new(),
            details: serde_json::Value::Null,
        }]
    }
}

/// A task that passed admission: what it needs, and its request in parsed form.
#[derive(Clone, Default)]
pub struct Prepared {
    /// What to claim before it starts.
    pub demand: ResourceDemand,
    /// The typed request, if the executor parses at admission.
    pub request: Option<Arc<dyn Any + Send + Sync>>,
    /// Bytes that the typed request holds beside the payload, at most; counted with the payload as long as the task is open.
    pub request_bytes: u64,
}

impl Prepared {
    /// A demand with its typed request.
    pub fn new<T: Send + Sync + 'static>(demand: ResourceDemand, request: T) -> Self {
        Self { demand, request: Some(Arc::new(request)), request_bytes: 0 }
    }

    /// The same with what the typed request holds beside the payload.
    #[must_use]
    pub fn holding(mut self, request_bytes: u64) -> Self {
        self.request_bytes = request_bytes;
        self
    }
}

/// What an executor can do; declared, and enforced by admission.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorCapabilities {
    /// Task types it serves.
    pub supported_types: Vec<TaskType>,
    /// Bound on what all of its running tasks and loaded models hold together, in MiB; 0 = undeclared, the host's budget alone.
    pub max_memory_mb: u64,
    /// True when it cannot run without a GPU.
    pub requires_gpu: bool,
}

/// One operation of an executor with the shape of its request and answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationInfo {
    /// The task type it belongs to.
    pub task_type: TaskType,
    /// The value of the payload's `operation` field.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of the payload's data.
    pub request_schema: serde_json::Value,
    /// JSON Schema of the result's output.
    pub result_schema: serde_json::Value,
}

/// What one executor tells the world about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorReport {
    /// Its name, such as `text`.
    pub name: String,
    /// What it declared.
    pub capabilities: ExecutorCapabilities,
    /// What it can be asked for.
    pub operations: Vec<OperationInfo>,
    /// Measured facts: models with digests, throughput, devices.
    pub details: serde_json::Value,
}

/// Makes a pointer to an executor an executor that passes every method on.
macro_rules! forward_executor {
    ($pointer:ident) => {
        #[async_trait]
        impl<E: TaskExecutor + ?Sized> TaskExecutor for $pointer<E> {
            async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
                (**self).execute(task).await
            }
            fn can_execute(&self, task_type: &TaskType) -> bool {
                (**self).can_execute(task_type)
            }
            fn capabilities(&self) -> &ExecutorCapabilities {
                (**self).capabilities()
            }
            async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
                (**self).execute_with(task, ctx).await
            }
            fn demand(&self, task: &Task) -> ResourceDemand {
                (**self).demand(task)
            }
            fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
                (**self).prepare(task)
            }
            fn reports(&self) -> Vec<ExecutorReport> {
                (**self).reports()
            }
        }
    };
}

forward_executor!(Arc);
forward_executor!(Box);
