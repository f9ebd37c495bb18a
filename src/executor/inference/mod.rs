//! The model inference executor: vectors, scores, labels and words by models of the shelf.
//!
//! An operation is a type implementing `InferenceOperation` in a file of its own and one line in `Entry::all`. Unlike other executors' operations it
//! meets its model between parsing and running, and may wait for it.

mod classify;
mod embed;
mod embed_sparse;
mod embed_tokens;
mod encode;
mod fill_mask;
mod rerank;
mod similarity;
mod tag;
#[cfg(test)]
mod tests;
mod texts;
mod tokens;
mod zero_shot;

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tallow_models::source::SourceOptions;
use tallow_models::{Ability, Embedder, Encoder, Model, ModelError, Precision, PrecisionPolicy, builtin, precision};

use super::operation::{operation_info, operation_name, parse_request, unknown_operation};
use crate::resource::{BudgetLimits, ComputePool, Ledger};
use crate::shelf::{LoadedModel, ModelSketch, Shelf, ShelfOptions, Unload, task_error};
use crate::task::inference::MODEL_NAME_BYTES_MAX;
use crate::task::{
    BASE_TASK_BYTES, CancelHandle, DeviceClass, ExecutorCapabilities, ExecutorReport, METADATA_OPERATION, MemoryShare, ModelDemand,
    OperationInfo, Prepared, ResourceDemand, Task, TaskContext, TaskError, TaskExecutor, TaskResult, TaskSink, TaskType, WorkUnit,
    execute_inline, json_bytes,
};

/// The account of this executor's own memory bound, and its name in reports.
pub const ACCOUNT: &str = "inference";
/// Tokens that are in work on one compute thread at once.
const WORKING_TOKENS: u64 = 1024;

/// How the executor finds models and what it may hold.
#[derive(Clone, Debug)]
pub struct InferenceOptions {
    /// Where models lie.
    pub source: SourceOptions,
    /// The model of tasks that name none.
    pub default_model: String,
    /// Where models run.
    pub device: DeviceClass,
    /// What encoders compute with on the host.
    pub precision: PrecisionPolicy,
    /// Bound on models and running tasks together, in MiB; 0 = the ledger's budget alone.
    pub max_memory_mb: u64,
}

impl Default for InferenceOptions {
    /// The built-in model by default, folders only, on the host, at `exact`, undeclared memory.
    fn default() -> Self {
        Self {
            source: SourceOptions::default(),
            default_model: builtin::NAME.into(),
            device: DeviceClass::Host,
            precision: PrecisionPolicy::fixed(Precision::Exact),
            max_memory_mb: 0,
        }
    }
}

/// Runs every operation of encoder models, from `embed` to `zero_shot`. Cloning shares the loaded models.
#[derive(Clone)]
pub struct ModelInferenceExecutor {
    inner: Arc<Inner>,
}

struct Inner {
    pool: ComputePool,
    shelf: Shelf,
    options: InferenceOptions,
    capabilities: ExecutorCapabilities,
    entries: Vec<Entry>,
}

/// What a running operation may use.
pub(crate) struct InferenceScope<'a> {
    pub(crate) model: &'a Model,
    pub(crate) embedder: &'a dyn Embedder,
    pub(crate) cancel: &'a CancelHandle,
    pub(crate) sink: &'a Arc<dyn TaskSink>,
    /// How the answer was made; goes into the result.
    pub(crate) metadata: HashMap<String, Value>,
}

impl<'a> InferenceScope<'a> {
    /// The encoder behind `ability`. Errors: `ModelUnsupported` listing what the model offers, `ModelCorrupt` where its weights lack the head.
    pub(crate) fn encoder(&self, ability: Ability) -> Result<&'a Encoder, TaskError> {
        self.model.encoder(ability).map_err(|error| self.error(error))
    }

    /// A model's error as the task's; a stop carries the cause of the cancel.
    pub(crate) fn error(&self, error: ModelError) -> TaskError {
        match error {
            ModelError::Stopped => self.cancel.cause(),
            other => task_error(&self.embedder.info().name, other),
        }
    }
}

/// One operation. `run` is called on a compute thread and may block it; it never panics on input.
pub(crate) trait InferenceOperation: 'static {
    type Request: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    type Output: Serialize + JsonSchema;
    const NAME: &'static str;
    const SUMMARY: &'static str;

    /// The model that is named, if one is.
    fn model(request: &Self::Request) -> Option<&str>;
    /// What the model must be able to do; nothing beyond its tokens by default.
    fn needs(_request: &Self::Request, _model: &ModelSketch) -> Option<Ability> {
        None
    }
    /// Bytes of each compute thread beside those of the forward pass: at least what tokenising the longest text holds.
    fn thread_bytes(request: &Self::Request, model: &ModelSketch) -> u64;
    /// Checks what types cannot say; gives the bytes held beside payload and model.
    fn check(request: &Self::Request, model: &ModelSketch) -> Result<u64, TaskError>;
    fn run(request: &Self::Request, scope: &mut InferenceScope<'_>) -> Result<Self::Output, TaskError>;
}

type ErasedRequest = Arc<dyn Any + Send + Sync>;
type Checked = (ErasedRequest, Option<String>);
type CheckFn = fn(&ErasedRequest, &ModelSketch) -> Result<u64, TaskError>;
type NeedsFn = fn(&ErasedRequest, &ModelSketch) -> Result<Option<Ability>, TaskError>;
type RunFn = fn(&ErasedRequest, &mut InferenceScope<'_>) -> Result<Value, TaskError>;

/// An operation without its types.
#[derive(Clone, Copy)]
struct Entry {
    name: &'static str,
    parse: fn(&Value) -> Result<Checked, TaskError>,
    needs: NeedsFn,
    thread_bytes: CheckFn,
    check: CheckFn,
    run: RunFn,
    info: fn(&TaskType) -> OperationInfo,
}

impl Entry {
    fn all() -> Vec<Self> {
        vec![
            Self::of::<embed::Embed>(),
            Self::of::<similarity::Similarity>(),
            Self::of::<tokens::Tokenize>(),
            Self::of::<tokens::CountTokens>(),
            Self::of::<embed_tokens::EmbedTokens>(),
            Self::of::<embed_sparse::EmbedSparse>(),
            Self::of::<rerank::Rerank>(),
            Self::of::<classify::Classify>(),
            Self::of::<tag::Tag>(),
            Self::of::<fill_mask::FillMask>(),
            Self::of::<zero_shot::ZeroShot>(),
        ]
    }

    fn of<O: InferenceOperation>() -> Self {
        fn request<O: InferenceOperation>(erased: &ErasedRequest) -> Result<&O::Request, TaskError> {
            erased.downcast_ref().ok_or_else(|| TaskError::internal("the request belongs to another operation", O::NAME))
        }
        Self {
            name: O::NAME,
            parse: |data| {
                let request: O::Request = parse_request(data)?;
                let model = O::model(&request).map(str::to_owned);
                Ok((Arc::new(request), model))
            },
            needs: |erased, sketch| Ok(O::needs(request::<O>(erased)?, sketch)),
            thread_bytes: |erased, sketch| Ok(O::thread_bytes(request::<O>(erased)?, sketch)),
            check: |erased, sketch| O::check(request::<O>(erased)?, sketch),
            run: |erased, scope| {
                let output = O::run(request::<O>(erased)?, scope)?;
                serde_json::to_value(output).map_err(|error| TaskError::internal("the answer cannot be written as JSON", error.to_string()))
            },
            info: |task_type| operation_info::<O::Request, O::Output>(task_type, O::NAME, O::SUMMARY),
        }
    }
}

/// A payload that passed admission.
struct Parsed {
    entry: Entry,
    model: ModelDemand,
    request: ErasedRequest,
}

impl ModelInferenceExecutor {
    /// An executor with default options that computes on `pool` and keeps accounts of its own without a bound.
    #[must_use]
    pub fn new(pool: ComputePool) -> Self {
        let limits = BudgetLimits { host_bytes: u64::MAX, threads: u32::MAX, devices: std::collections::BTreeMap::default() };
        Self::with_options(pool, Ledger::new(&limits), InferenceOptions::default())
    }

    /// An executor whose models are booked in `ledger`: the manager's, so that tasks and models share one budget.
    #[must_use]
    pub fn with_options(pool: ComputePool, ledger: Ledger, options: InferenceOptions) -> Self {
        let share = (options.max_memory_mb > 0)
            .then(|| MemoryShare { account: ACCOUNT.into(), limit_bytes: options.max_memory_mb.saturating_mul(1 << 20) });
        let shelf_options =
            ShelfOptions { source: options.source.clone(), device: options.device, precision: options.precision.clone(), share };
        let capabilities = ExecutorCapabilities {
            supported_types: vec![TaskType::ModelInference],
            max_memory_mb: options.max_memory_mb,
            requires_gpu: options.device != DeviceClass::Host,
        };
        let shelf = Shelf::new(pool.clone(), ledger, shelf_options);
        Self { inner: Arc::new(Inner { pool, shelf, options, capabilities, entries: Entry::all() }) }
    }

    /// The loaded models.
    #[must_use]
    pub fn loaded_models(&self) -> Vec<LoadedModel> {
        self.inner.shelf.loaded()
    }

    /// Loads a model so that the first task need not wait. Errors: as a task that names it would get.
    pub async fn preload(&self, name: &str) -> Result<(), TaskError> {
        self.inner.shelf.get(&canonical_name(name), None).await.map(drop)
    }

    /// Unloads a model that no task uses.
    #[must_use]
    pub fn unload(&self, name: &str) -> Unload {
        self.inner.shelf.unload(&canonical_name(name))
    }

    /// Evicts idle models for a task that waits for `demand`; see [`Shelf::make_room`].
    pub fn make_room(&self, demand: &ResourceDemand) {
        self.inner.shelf.make_room(demand);
    }

    /// The model of tasks that name none.
    #[must_use]
    pub fn default_model(&self) -> &str {
        &self.inner.options.default_model
    }

    fn parse(&self, task: &Task) -> Result<(Parsed, ResourceDemand), TaskError> {
        if task.payload.task_type != TaskType::ModelInference {
            return Err(TaskError::UnsupportedTaskType);
        }
        let name = operation_name(&task.payload.data)?;
        let names = self.inner.entries.iter().map(|entry| entry.name);
        let entry = *self.inner.entries.iter().find(|entry| entry.name == name).ok_or_else(|| unknown_operation(name, names))?;
        let (request, model) = (entry.parse)(&task.payload.data)?;
        let model = canonical_name(model.as_deref().unwrap_or(&self.inner.options.default_model));
        if model.is_empty() || model.len() > MODEL_NAME_BYTES_MAX {
            return Err(TaskError::invalid("model", format!("found {} bytes, 1 to {MODEL_NAME_BYTES_MAX} are allowed", model.len())));
        }
        let sketch = self.inner.shelf.sketch(&model)?;
        if let Some(ability) = (entry.needs)(&request, &sketch)? {
            sketch.abilities.require(ability).map_err(|error| task_error(&model, error))?;
        }
        let own_bytes = (entry.check)(&request, &sketch)?;
        let model = self.inner.shelf.model_demand(&model, &sketch);
        let threads = self.inner.pool.thread_count();
        let working = sketch
            .working_bytes_per_token
            .saturating_mul(WORKING_TOKENS.max(sketch.max_tokens.unwrap_or(0) as u64))
            .saturating_add((entry.thread_bytes)(&request, &sketch)?);
        let on_host = self.inner.options.device == DeviceClass::Host;
        let demand = ResourceDemand {
            host_bytes: BASE_TASK_BYTES
                .saturating_add(json_bytes(&task.payload.data))
                .saturating_add(own_bytes)
                .saturating_add(if on_host { working.saturating_mul(threads as u64) } else { 0 }),
            device_bytes: if on_host { 0 } else { working },
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            device: self.inner.options.device,
            model: Some(model.clone()),
            share: (self.inner.options.max_memory_mb > 0)
                .then(|| MemoryShare { account: ACCOUNT.into(), limit_bytes: self.inner.options.max_memory_mb.saturating_mul(1 << 20) }),
        };
        Ok((Parsed { entry, model, request }, demand))
    }
}

impl Default for ModelInferenceExecutor {
    /// An executor with a pool of its own, one thread per processor that may be used.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::new(ComputePool::new(threads).expect("a process that runs can start its compute threads"))
    }
}

/// `builtin` and `tallow-builtin` are other names of the built-in model.
fn canonical_name(name: &str) -> String {
    if matches!(name, "builtin" | "tallow-builtin") { builtin::NAME.into() } else { name.to_owned() }
}

#[async_trait]
impl TaskExecutor for ModelInferenceExecutor {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        execute_inline(self, task).await
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        *task_type == TaskType::ModelInference
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.inner.capabilities
    }

    fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        let (parsed, demand) = self.parse(task)?;
        // What is parsed is no larger than what it is parsed from.
        Ok(Prepared::new(demand, parsed).holding(json_bytes(&task.payload.data)))
    }

    fn demand(&self, task: &Task) -> ResourceDemand {
        self.parse(task).map_or_else(|_refused_by_prepare| ResourceDemand::of_payload(task), |(_, demand)| demand)
    }

    async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        let parsed = match ctx.request::<Parsed>() {
            Some(parsed) => parsed,
            None => Arc::new(self.parse(task)?.0),
        };
        let waited = Instant::now();
        let pinned = tokio::select! {
            biased;
            () = ctx.cancel().cancelled() => return Err(ctx.cancel().cause()),
            pinned = self.inner.shelf.get(&parsed.model.name, Some(&parsed.model)) => pinned?,
        };
        let model_wait_ms = waited.elapsed().as_secs_f64() * 1000.0;
        let ctx = ctx.clone();
        self.inner
            .pool
            .run(move || {
                ctx.cancel().check()?;
                let started = Instant::now();
                let metadata = HashMap::new();
                let (model, embedder) = (pinned.model(), pinned.embedder());
                let mut scope = InferenceScope { model, embedder, cancel: ctx.cancel(), sink: ctx.sink(), metadata };
                let mut result = TaskResult::new((parsed.entry.run)(&parsed.request, &mut scope)?);
                result.metadata = scope.metadata;
                result.metadata.insert(METADATA_OPERATION.into(), json!(parsed.entry.name));
                let tokens = |name: &str| result.output.pointer(name).and_then(Value::as_u64).unwrap_or(0);
                ctx.sink().worked(WorkUnit::PromptTokens, tokens("/usage/prompt_tokens"));
                ctx.sink().worked(WorkUnit::CompletionTokens, tokens("/usage/completion_tokens"));
                result.metadata.insert("model_digest".into(), json!(pinned.embedder().info().digest));
                result.metadata.insert("precision".into(), json!(pinned.embedder().info().precision));
                result.metadata.insert("model_wait_ms".into(), json!(model_wait_ms));
                result.metadata.insert("compute_ms".into(), json!(started.elapsed().as_secs_f64() * 1000.0));
                Ok(result)
            })
            .await
    }

    fn reports(&self) -> Vec<ExecutorReport> {
        vec![ExecutorReport {
            name: ACCOUNT.into(),
            capabilities: self.inner.capabilities.clone(),
            operations: self.inner.entries.iter().map(|entry| (entry.info)(&TaskType::ModelInference)).collect(),
            details: json!({
                "default_model": self.inner.options.default_model,
                "device": self.inner.options.device,
                "isa": tallow_kernels::Isa::active().name(),
                "precision": self.inner.options.precision.choice.to_string(),
                "auto_precision": precision::auto_rule(tallow_kernels::Isa::active()),
                "models": self.loaded_models(),
            }),
        }]
    }
}
