//! The worker's own executors, joined in one registry.

use std::path::Path;
use std::sync::Arc;

use tallow_kernels::isa::Isa;
use tallow_models::source::{ModelRef, SourceOptions};
use tallow_models::{PrecisionPolicy, builtin};

use super::WorkerPlan;
use super::tokenizers::ModelTokenizers;
use crate::config::WorkerSettings;
use crate::executor::inference::{ACCOUNT, InferenceOptions, ModelInferenceExecutor};
use crate::executor::{ExecutorRegistry, TextOptions, TextProcessingExecutor, VectorComputationExecutor, VectorOptions};
use crate::resource::{ChosenDevice, ComputePool, HostAccount, Ledger};
use crate::task::{MemoryShare, ResourceDemand, TaskError};

/// The account of vector tasks and sets, and the name of their executor in reports.
const VECTOR_ACCOUNT: &str = "vector";

/// The worker's own executors: behind one registry, and those by themselves that are asked for more than tasks.
pub(super) struct Executors {
    pub(super) registry: Arc<ExecutorRegistry>,
    pub(super) vectors: VectorComputationExecutor,
    pub(super) inference: ModelInferenceExecutor,
}

/// Everything this build can execute. All share the compute pool; models and sets of vectors are booked in the ledger beside the tasks.
pub(super) fn executors(plan: &WorkerPlan, device: &ChosenDevice, pool: &ComputePool, ledger: &Ledger) -> Result<Executors, TaskError> {
    let (source, default_model) = models(plan.settings());
    let tokenizers = Arc::new(ModelTokenizers::new(source.clone(), default_model.clone()));
    let max_memory_mb = memory_mb(ledger);
    let text = TextProcessingExecutor::with_options(pool.clone(), TextOptions { tokenizers: Some(tokenizers), max_memory_mb });
    let precision = precision_policy(plan.settings());
    let (batch_tokens, cache_bytes) = (plan.settings().batch_tokens, plan.memory_split().cache_bytes);
    let options = InferenceOptions { source, default_model, device: device.device, precision, max_memory_mb, batch_tokens, cache_bytes };
    let registry = Arc::new(ExecutorRegistry::new());
    registry.register("text", text)?;
    let inference = ModelInferenceExecutor::with_options(pool.clone(), ledger.clone(), options);
    let vectors = VectorComputationExecutor::with_options(pool.clone(), vector_options(plan, &inference, (ledger, max_memory_mb)));
    registry.register(VECTOR_ACCOUNT, vectors.clone())?;
    registry.register(ACCOUNT, inference.clone())?;
    Ok(Executors { registry, vectors, inference })
}

/// Rows of sets count with the tasks of their executor; for them idle models leave.
fn vector_options(plan: &WorkerPlan, inference: &ModelInferenceExecutor, (ledger, max_memory_mb): (&Ledger, u64)) -> VectorOptions {
    let share = MemoryShare { account: VECTOR_ACCOUNT.into(), limit_bytes: max_memory_mb.saturating_mul(1 << 20) };
    let models = inference.clone();
    let relief = move |bytes| models.make_room(&ResourceDemand { host_bytes: bytes, ..ResourceDemand::default() });
    let account = HostAccount::new(ledger.clone(), Some(share)).with_relief(relief);
    VectorOptions { max_memory_mb, account, folder: plan.settings().vectors_dir.clone(), allow_paths: plan.settings().model_paths }
}

/// What each executor declares that it may hold: everything the worker may, since it is the ledger that divides it between them.
fn memory_mb(ledger: &Ledger) -> u64 {
    let budget = ledger.snapshot();
    let bytes = budget.devices.values().fold(budget.host.limit, |sum, device| sum.saturating_add(device.limit));
    (bytes >> 20).max(1)
}

/// Where models lie, from the settings and from Hugging Face's variables.
#[must_use]
pub fn model_source(settings: &WorkerSettings) -> SourceOptions {
    models(settings).0
}

/// Which arithmetic encoders are loaded for, and where measurements are kept.
#[must_use]
pub fn precision_policy(settings: &WorkerSettings) -> PrecisionPolicy {
    PrecisionPolicy { choice: settings.precision, records: settings.precision_records.clone() }
}

/// Where models lie, and the name of the default one.
fn models(settings: &WorkerSettings) -> (SourceOptions, String) {
    let mut source = SourceOptions::from_variables(|name| std::env::var(name).ok());
    source.offline |= settings.offline;
    source.allow_paths = settings.model_paths;
    source.model_dirs.extend(settings.models_dir.clone());
    let Some(model) = settings.model.clone() else { return (source, builtin::NAME.into()) };
    if settings.model_paths {
        return (source, model);
    }
    // Tasks may not name paths, but the operator may: the folder becomes a model by the name it has in its parent.
    match ModelRef::parse(&model) {
        Ok(ModelRef::Folder(folder)) => match folder_name(&folder) {
            Some((parent, name)) => {
                source.model_dirs.insert(0, parent.to_owned());
                (source, name.to_owned())
            }
            None => (source, model),
        },
        _ => (source, model),
    }
}

fn folder_name(folder: &Path) -> Option<(&Path, &str)> {
    let name = folder.file_name()?.to_str()?;
    matches!(ModelRef::parse(name), Ok(ModelRef::Repo { revision: None, .. })).then_some((folder.parent()?, name))
}

/// Instruction sets of this processor that the kernels can use, plainest first.
#[must_use]
pub fn processor_features() -> Vec<&'static str> {
    Isa::available().into_iter().map(Isa::name).collect()
}
