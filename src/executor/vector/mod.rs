//! Vector computation: comparing, searching, transforming and clustering vectors. Typed requests in, kernels from `tallow-kernels` below.
//!
//! One file per family of operations and one line per operation in [`VectorComputationExecutor::with_options`]'s table. Knows no models.

mod arithmetic;
mod center;
mod compare;
mod duplicates;
mod input;
mod join;
mod kmeans;
mod matmul;
mod nearest;
pub mod npy;
mod output;
mod pairs;
mod pca;
mod projection;
mod quantize;
mod random;
mod ranking;
mod reduce;
pub mod rows_file;
mod search;
mod sets;
mod silhouette;
mod whiten;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::operation::{Entry, OperationTable, Work};
use crate::resource::{BudgetLimits, ComputePool, HostAccount, Ledger};
use crate::task::vector::set::SetInfo;
use crate::task::{
    ExecutorCapabilities, ExecutorReport, Prepared, ResourceDemand, Task, TaskContext, TaskError, TaskExecutor, TaskResult, TaskType,
    execute_inline,
};
use crate::vectors::{SetSpec, SetStore};

/// What the operations of this executor share.
struct VectorState {
    sets: SetStore,
    /// Tasks may name files by any path of this host.
    allow_paths: bool,
}

impl VectorState {
    /// Live rows of a set that is in memory; 0 for any other.
    fn rows_of(&self, name: &str) -> u64 {
        self.sets.resident(name).map_or(0, |set| set.version().len() as u64)
    }

    /// What a set is, where that is known without waiting.
    fn spec_of(&self, name: &str) -> Option<SetSpec> {
        self.sets.spec(name).ok().flatten()
    }
}

/// What an executor of vectors holds and may touch.
#[derive(Clone)]
pub struct VectorOptions {
    /// Bound on tasks and sets together, in MiB; 0 = the budget of the account alone.
    pub max_memory_mb: u64,
    /// Where the bytes of sets are booked.
    pub account: HostAccount,
    /// Where sets are saved; `None` = nowhere.
    pub folder: Option<PathBuf>,
    /// Tasks may name files by any path of this host.
    pub allow_paths: bool,
}

/// Executes [`TaskType::VectorComputation`] tasks on the compute pool. Cloning shares everything.
#[derive(Clone)]
pub struct VectorComputationExecutor {
    table: Arc<OperationTable<VectorState>>,
    state: Arc<VectorState>,
    pool: ComputePool,
    capabilities: Arc<ExecutorCapabilities>,
}

impl VectorComputationExecutor {
    /// An executor on this pool without a memory bound of its own.
    #[must_use]
    pub fn new(pool: ComputePool) -> Self {
        Self::with_memory(pool, 0)
    }

    /// An executor whose running tasks hold at most `memory_mb` MiB together; 0 leaves the host's budget as the only bound.
    #[must_use]
    pub fn with_memory(pool: ComputePool, memory_mb: u64) -> Self {
        let limits = BudgetLimits { host_bytes: u64::MAX, threads: u32::MAX, devices: std::collections::BTreeMap::default() };
        let account = HostAccount::new(Ledger::new(&limits), None);
        Self::with_options(pool, VectorOptions { max_memory_mb: memory_mb, account, folder: None, allow_paths: false })
    }

    /// An executor whose sets are booked and saved as the options say.
    #[must_use]
    pub fn with_options(pool: ComputePool, options: VectorOptions) -> Self {
        let VectorOptions { max_memory_mb, account, folder, allow_paths } = options;
        let entries = vec![
            Entry::of::<compare::CosineSimilarity>(),
            Entry::of::<compare::Similarity>(),
            Entry::of::<compare::Distance>(),
            Entry::of::<search::TopK>(),
            Entry::of::<arithmetic::Normalize>(),
            Entry::of::<arithmetic::Scale>(),
            Entry::of::<arithmetic::Add>(),
            Entry::of::<arithmetic::Subtract>(),
            Entry::of::<arithmetic::Multiply>(),
            Entry::of::<arithmetic::Transpose>(),
            Entry::of::<reduce::Mean>(),
            Entry::of::<reduce::Centroid>(),
            Entry::of::<reduce::Sum>(),
            Entry::of::<reduce::Statistics>(),
            Entry::of::<matmul::Matmul>(),
            Entry::of::<quantize::Quantize>(),
            Entry::of::<quantize::Dequantize>(),
            Entry::of::<kmeans::Kmeans>(),
            Entry::of::<nearest::NearestCentroid>(),
            Entry::of::<silhouette::Silhouette>(),
            Entry::of::<pca::Pca>(),
            Entry::of::<projection::RandomProjection>(),
            Entry::of::<center::Center>(),
            Entry::of::<center::Standardize>(),
            Entry::of::<whiten::Whiten>(),
            Entry::of::<pairs::SimilarityJoin>(),
            Entry::of::<duplicates::NearDuplicates>(),
            Entry::of::<ranking::Mmr>(),
            Entry::of::<ranking::Fusion>(),
            Entry::of::<sets::Create>(),
            Entry::of::<sets::Append>(),
            Entry::of::<sets::Upsert>(),
            Entry::of::<sets::Delete>(),
            Entry::of::<sets::Drop>(),
            Entry::of::<sets::List>(),
            Entry::of::<sets::Stats>(),
            Entry::of::<sets::Get>(),
            Entry::of::<sets::Search>(),
            Entry::of::<sets::Save>(),
            Entry::of::<sets::Load>(),
        ];
        let capabilities = ExecutorCapabilities { supported_types: vec![TaskType::VectorComputation], max_memory_mb, requires_gpu: false };
        Self {
            table: Arc::new(OperationTable::new(TaskType::VectorComputation, entries)),
            state: Arc::new(VectorState { sets: SetStore::open(account, folder), allow_paths }),
            pool,
            capabilities: Arc::new(capabilities),
        }
    }
}

impl VectorComputationExecutor {
    /// Every resident or saved set.
    #[must_use]
    pub fn sets(&self) -> Vec<SetInfo> {
        sets::infos(&self.state.sets)
    }
}

impl Default for VectorComputationExecutor {
    /// An executor with a pool of its own, one thread per processor this process may use.
    fn default() -> Self {
        let thread_count = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(ComputePool::new(thread_count).expect("the system gives this process a few threads"))
    }
}

#[async_trait]
impl TaskExecutor for VectorComputationExecutor {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        execute_inline(self, task).await
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        *task_type == TaskType::VectorComputation
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.capabilities
    }

    async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        self.table.execute(Work { task, ctx, state: Arc::clone(&self.state), pool: &self.pool }).await
    }

    fn demand(&self, task: &Task) -> ResourceDemand {
        self.prepare(task).map_or_else(|_refused_at_admission| ResourceDemand::of_payload(task), |prepared| prepared.demand)
    }

    fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        self.table.prepare(task, &self.state, self.pool.thread_count())
    }

    fn reports(&self) -> Vec<ExecutorReport> {
        vec![ExecutorReport {
            name: "vector".into(),
            capabilities: (*self.capabilities).clone(),
            operations: self.table.infos(),
            details: json!({
                "threads": self.pool.thread_count(),
                "isa": tallow_kernels::Isa::active().name(),
                "sets": self.sets(),
            }),
        }]
    }
}
