//! A worker inside this process: started, asked, interrupted.

use std::future::Future;
use std::sync::Arc;

use serde_json::Value;

use super::exit::{CliError, Exit};
use super::session::Session;
use crate::config::{WorkerLayer, WorkerSettings};
use crate::manager::resolve_names;
use crate::task::{Parts, SubmissionSpec, TaskError, TaskPriority, TaskResult, TaskType};
use crate::worker::{Worker, WorkerManager, WorkerPlan};

/// A worker with the runtime it lives in.
pub(crate) struct Local {
    runtime: tokio::runtime::Runtime,
    worker: Worker,
}

/// The answer of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Output and metadata.
    pub(crate) result: TaskResult,
    /// Binary parts.
    pub(crate) parts: Parts,
}

impl Answer {
    /// A field of the output. Errors: the executor did not keep its contract.
    pub(crate) fn field(&self, name: &str) -> Result<&Value, CliError> {
        self.result
            .output
            .get(name)
            .ok_or_else(|| CliError::new(Exit::Runtime, format!("the answer has no field `{name}`: {}", self.result.output)))
    }
}

impl Local {
    /// Plans and starts a worker; nothing else may have started a thread yet.
    pub(crate) fn start(session: &Session, layer: &WorkerLayer) -> Result<Self, CliError> {
        Self::with_settings(&session.worker(layer))
    }

    /// The same for callers from outside: their tasks cannot name paths of this host.
    pub(crate) fn serve(session: &Session, layer: &WorkerLayer) -> Result<Self, CliError> {
        Self::with_settings(&WorkerSettings { model_paths: false, ..session.worker(layer) })
    }

    fn with_settings(settings: &WorkerSettings) -> Result<Self, CliError> {
        let plan = WorkerPlan::make(settings)?;
        plan.size_process_pools()?;
        let runtime = runtime(&plan)?;
        let worker = Worker::start(plan)?;
        Ok(Self { runtime, worker })
    }

    /// The worker.
    #[must_use]
    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// The manager.
    #[must_use]
    pub(crate) fn manager(&self) -> &Arc<WorkerManager> {
        self.worker.manager()
    }

    /// Runs a future to its end, or to Ctrl-C: then what runs is cancelled and the command ends with exit 130.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        self.runtime.block_on(async {
            tokio::select! {
                ended = future => ended,
                signal = tokio::signal::ctrl_c() => {
                    signal?;
                    Err(CliError::new(Exit::Interrupted, "interrupted"))
                }
            }
        })
    }

    /// Runs a future to its end, whatever it does about signals itself.
    pub(crate) fn run<T>(&self, future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        self.runtime.block_on(future)
    }

    /// Submits a graph of tasks and waits for all of them. Errors: the first task that failed.
    pub(crate) fn answers(&self, specs: Vec<SubmissionSpec>) -> Result<Vec<Answer>, CliError> {
        self.block_on(async {
            let submissions = resolve_names(specs, "").map_err(without_batch)?;
            let ids = self.manager().submit_all(submissions).await.map_err(without_batch)?;
            let mut answers = Vec::with_capacity(ids.len());
            for id in ids {
                let result = self.manager().wait(&id).await?;
                answers.push(Answer { result, parts: self.manager().parts(&id)? });
            }
            Ok(answers)
        })
    }

    /// Submits one task and waits for it. Errors: those of the task.
    pub(crate) fn answer(&self, spec: SubmissionSpec) -> Result<Answer, CliError> {
        self.answers(vec![spec])?.pop().ok_or_else(|| CliError::new(Exit::Runtime, "the task gave no answer"))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // What still runs belongs to nobody once the command ends; the process does not wait for it.
        let empty = tokio::runtime::Builder::new_current_thread().build();
        if let Ok(empty) = empty {
            std::mem::replace(&mut self.runtime, empty).shutdown_background();
        }
    }
}

/// The async runtime: as many threads as the plan says.
pub(crate) fn runtime(plan: &WorkerPlan) -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.threads().runtime)
        .thread_name("tallow-runtime")
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Runtime, format!("could not start the runtime: {error}")))
}

/// A task without conditions.
#[must_use]
pub(crate) fn spec(task_type: TaskType, data: Value) -> SubmissionSpec {
    SubmissionSpec {
        name: None,
        task_type,
        priority: TaskPriority::Normal,
        data,
        parts: Parts::default(),
        deadline_ms: None,
        depends_on: Vec::new(),
        idempotency_key: None,
        labels: std::collections::BTreeMap::new(),
        retries_max: None,
    }
}

/// The same task with a name for others of its graph.
#[must_use]
pub(crate) fn named(name: &str, spec: SubmissionSpec) -> SubmissionSpec {
    SubmissionSpec { name: Some(name.into()), ..spec }
}

/// Takes the place in its batch out of the error of a task: the reader never wrote the batch.
#[must_use]
pub(crate) fn without_batch(error: TaskError) -> TaskError {
    match error {
        TaskError::InvalidPayload { field, reason } => {
            let place = field.strip_prefix("tasks[").and_then(|rest| rest.split_once("]."));
            let bare = place.filter(|(index, _)| index.bytes().all(|b| b.is_ascii_digit())).map(|(_, bare)| bare.to_owned());
            TaskError::InvalidPayload { field: bare.unwrap_or(field), reason }
        }
        other => other,
    }
}
