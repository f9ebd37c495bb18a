//! The model inference executor: vectors, scores, labels and words by models of the shelf.
//!
//! An operation is a type implementing `InferenceOperation` in a file of its own and one line in `Entry::all`. Unlike other executors' operations it
//! meets its model between parsing and running, and may wait for it; then it is a future that prepares texts, hands them to the batcher and waits. A model
//! that computes in microseconds, as the built-in one does, is computed at once on the compute pool.

mod classify;
mod embed;
mod embed_sparse;
mod embed_tokens;
mod encode;
mod fill_mask;
mod rerank;
mod similarity;
mod table;
mod tag;
#[cfg(test)]
mod tests;
mod texts;
mod tokens;
mod zero_shot;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tallow_models::source::SourceOptions;
use tallow_models::{Model, Precision, PrecisionPolicy, builtin, precision};

use super::operation::{operation_name, unknown_operation};
use crate::embed::{BatchLimits, BatchStats, Batcher, BatcherOptions, Caller, Computes, Seat};
use crate::resource::{BudgetLimits, ComputePool, Ledger, StepPool};
use crate::shelf::{BatchRoom, LoadedModel, Shelf, ShelfOptions, Unload, task_error};
use crate::task::inference::MODEL_NAME_BYTES_MAX;
use crate::task::{
    BASE_TASK_BYTES, DeviceClass, ExecutorCapabilities, ExecutorReport, METADATA_OPERATION, MemoryShare, ModelDemand, Prepared,
    ResourceDemand, Task, TaskContext, TaskError, TaskExecutor, TaskResult, TaskType, WorkUnit, execute_inline, json_bytes,
};
use table::{Entry, ErasedRequest, InferenceOperation, InferenceScope, Setting};

/// The account of this executor's own memory bound, and its name in reports.
pub const ACCOUNT: &str = "inference";
/// Bytes of a payload up to which its texts are tokenised in a fraction of a millisecond.
const BRIEF_BYTES: u64 = 512;
/// Tokens of a batch on the host unless told otherwise: what they become stays near the processor, and more gain nothing.
const HOST_BATCH_TOKENS: usize = 256;
/// The same on a device, which wants many at once.
const DEVICE_BATCH_TOKENS: usize = 8192;
/// A text of more than so many batches is computed by all threads together.
const LONG_BATCHES: u32 = 4;
/// Tokens that are not divided further for the sake of another thread.
const DIVIDED_TOKENS_MIN: usize = 64;

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
    /// Most tokens of a batch, which one thread computes at once; `None` = as many as suit the device.
    pub batch_tokens: Option<usize>,
    /// Bytes of vectors and logits that are kept for texts that come again; 0 keeps none.
    pub cache_bytes: u64,
}

impl InferenceOptions {
    /// How batches are formed and computed, where `threads` compute on the host.
    fn batcher(&self, threads: usize) -> BatcherOptions {
        let on_host = self.device == DeviceClass::Host;
        let tokens = self.batch_tokens.unwrap_or(if on_host { HOST_BATCH_TOKENS } else { DEVICE_BATCH_TOKENS }).max(1);
        let limits = BatchLimits {
            tokens_max: u32::try_from(tokens).unwrap_or(u32::MAX),
            tokens_min: u32::try_from(tokens.min(DIVIDED_TOKENS_MIN)).unwrap_or(u32::MAX),
            rows_max: (tokens / 4).clamp(1, 1024),
            age_step_ns: 1_000_000_000,
            urgent_ns: 50_000_000,
        };
        let long_tokens = limits.tokens_max.saturating_mul(LONG_BATCHES);
        BatcherOptions { threads: if on_host { threads } else { 1 }, limits, long_tokens, cache_bytes: self.cache_bytes }
    }
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
            batch_tokens: None,
            cache_bytes: 0,
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
    /// Started when the first encoder is asked.
    engine: OnceLock<Result<Engine, TaskError>>,
}

/// The threads behind encoders: those that prepare texts and write answers, and those that compute.
struct Engine {
    steps: StepPool,
    batcher: Arc<Batcher>,
}

impl Inner {
    /// Errors: `Internal` when the system gives no threads.
    fn engine(&self) -> Result<&Engine, TaskError> {
        let start = || {
            let refused =
                |error: rayon::ThreadPoolBuildError| TaskError::internal("could not start the batcher's threads", error.to_string());
            let batcher = Batcher::new(self.options.batcher(self.pool.thread_count())).map_err(refused)?;
            Ok(Engine { steps: StepPool::new(step_threads(&self.pool), "tallow-prepare")?, batcher: Arc::new(batcher) })
        };
        self.engine.get_or_init(start).as_ref().map_err(Clone::clone)
    }
}

/// Threads that tokenise: half of those that compute, since a text takes about a tenth as long to tokenise; two at least, so that a long one holds up no
/// other. They share the processors with the compute threads, and never a queue.
fn step_threads(pool: &ComputePool) -> usize {
    (pool.thread_count() / 2).max(2)
}

/// A payload that passed admission.
struct Parsed {
    entry: Entry,
    model: ModelDemand,
    request: ErasedRequest,
    /// True when it is prepared on the thread that asks.
    brief: bool,
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
        let batches = options.batcher(pool.thread_count());
        let shelf_options = ShelfOptions {
            source: options.source.clone(),
            device: options.device,
            precision: options.precision.clone(),
            room: BatchRoom { threads: batches.threads, tokens: batches.limits.tokens_max, long_tokens: batches.long_tokens },
            share,
        };
        let capabilities = ExecutorCapabilities {
            supported_types: vec![TaskType::ModelInference],
            max_memory_mb: options.max_memory_mb,
            requires_gpu: options.device != DeviceClass::Host,
        };
        let shelf = Shelf::new(pool.clone(), ledger, shelf_options);
        Self { inner: Arc::new(Inner { pool, shelf, options, capabilities, entries: Entry::all(), engine: OnceLock::new() }) }
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

    /// What the batcher has done and what it holds; nothing before the first encoder is asked.
    #[must_use]
    pub fn batch_stats(&self) -> BatchStats {
        self.inner.engine.get().and_then(|engine| engine.as_ref().ok()).map_or_else(BatchStats::default, |engine| engine.batcher.stats())
    }

    /// How batches are formed, for the capability document.
    fn batch_facts(&self) -> Value {
        let options = self.inner.options.batcher(self.inner.pool.thread_count());
        json!({
            "tokens_max": options.limits.tokens_max,
            "texts_max": options.limits.rows_max,
            "long_text_tokens": options.long_tokens,
            "threads": options.threads,
            "tokenising_threads": step_threads(&self.inner.pool),
            "cache_bytes_max": options.cache_bytes,
        })
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
        let data_bytes = json_bytes(&task.payload.data);
        let brief = entry.may_be_brief && data_bytes <= BRIEF_BYTES;
        // What encoders compute with is booked with the model; their tasks claim no threads, as they join a batch of those there are.
        let (threads, tokenising) = match (sketch.is_static, brief) {
            (true, _) => (self.inner.pool.thread_count(), self.inner.pool.thread_count()),
            (false, true) => (0, 1),
            (false, false) => (0, step_threads(&self.inner.pool)),
        };
        let thread_bytes = (entry.thread_bytes)(&request, &sketch)?.saturating_add(sketch.static_bytes());
        let demand = ResourceDemand {
            host_bytes: BASE_TASK_BYTES
                .saturating_add(data_bytes)
                .saturating_add(own_bytes)
                .saturating_add(thread_bytes.saturating_mul(tokenising as u64)),
            device_bytes: 0,
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            device: self.inner.options.device,
            model: Some(model.clone()),
            share: (self.inner.options.max_memory_mb > 0)
                .then(|| MemoryShare { account: ACCOUNT.into(), limit_bytes: self.inner.options.max_memory_mb.saturating_mul(1 << 20) }),
        };
        Ok((Parsed { entry, model, request, brief }, demand))
    }
}

/// Runs an operation to its end, or until it is cancelled: then what waits at the batcher is withdrawn at once.
async fn perform(parsed: Arc<Parsed>, setting: Setting, model_wait_ms: f64) -> Result<TaskResult, TaskError> {
    let (ctx, pinned) = (setting.ctx.clone(), Arc::clone(&setting.pinned));
    let started = Instant::now();
    let (output, metadata) = tokio::select! {
        biased;
        () = ctx.cancel().cancelled() => return Err(ctx.cancel().cause()),
        answer = (parsed.entry.run)(Arc::clone(&parsed.request), setting) => answer?,
    };
    let mut result = TaskResult::new(output);
    result.metadata = metadata;
    result.metadata.insert(METADATA_OPERATION.into(), json!(parsed.entry.name));
    let tokens = |name: &str| result.output.pointer(name).and_then(Value::as_u64).unwrap_or(0);
    ctx.sink().worked(WorkUnit::PromptTokens, tokens("/usage/prompt_tokens"));
    ctx.sink().worked(WorkUnit::CompletionTokens, tokens("/usage/completion_tokens"));
    result.metadata.insert("model_digest".into(), json!(pinned.embedder().info().digest));
    result.metadata.insert("precision".into(), json!(pinned.embedder().info().precision));
    result.metadata.insert("model_wait_ms".into(), json!(model_wait_ms));
    result.metadata.insert("compute_ms".into(), json!(started.elapsed().as_secs_f64() * 1000.0));
    Ok(result)
}

/// Who asks, in the batcher's words.
fn caller(task: &Task, ctx: &TaskContext) -> Caller {
    fn number(name: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        hasher.finish()
    }
    let cancel = ctx.cancel().clone();
    Caller {
        rank: task.priority as u8,
        submitter: number(ctx.submitter()),
        task: number(task.id),
        deadline: ctx.deadline(),
        stop: Arc::new(move || cancel.is_cancelled()),
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
            pinned = self.inner.shelf.get(&parsed.model.name, Some(&parsed.model)) => Arc::new(pinned?),
        };
        let model_wait_ms = waited.elapsed().as_secs_f64() * 1000.0;
        if matches!(pinned.model(), Model::Static(_)) {
            let setting = Setting { pinned, ctx: ctx.clone(), seat: None, caches: false };
            let at_once = move || perform(parsed, setting, model_wait_ms).now_or_never();
            let late = || Err(TaskError::internal("a model that computes at once has waited", ""));
            return self.inner.pool.run(move || at_once().unwrap_or_else(late)).await;
        }
        let engine = self.inner.engine()?;
        let model = Arc::clone(&pinned) as Arc<dyn Computes>;
        let seat = Seat::new(&engine.batcher, (model, pinned.embedder().info(), pinned.load()), caller(task, ctx));
        let setting = Setting { pinned, ctx: ctx.clone(), seat: Some(seat), caches: self.inner.options.cache_bytes > 0 };
        let brief = parsed.brief;
        let work = perform(parsed, setting, model_wait_ms);
        // A short text is tokenised sooner than another thread wakes up.
        if brief { work.await } else { engine.steps.run(work).await }
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
                "batches": self.batch_facts(),
                "models": self.loaded_models(),
            }),
        }]
    }
}
