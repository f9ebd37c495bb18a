//! Text processing: every operation works with no model present, on any language, on large inputs.
//!
//! One file per family; adding an operation is a type implementing `DocumentOperation` (or [`Operation`]) and its line in `table`.

mod characters;
mod chunk;
mod decode;
mod diff;
mod documents;
mod duplicates;
mod extract;
mod frequencies;
mod html;
mod keywords;
mod language;
mod lines;
mod normalize;
mod offsets;
mod pii;
mod search;
mod segment;
mod similarity;
mod statistics;
mod summary;
mod tokens;

use std::sync::Arc;

use async_trait::async_trait;

use super::operation::{Entry, Operation, OperationTable, Scope, Work};
use crate::resource::ComputePool;
use crate::task::text::TokenizerSource;
use crate::task::{
    ExecutorCapabilities, ExecutorReport, MemoryShare, Prepared, ResourceDemand, Task, TaskContext, TaskError, TaskExecutor, TaskResult,
    TaskType, execute_inline,
};
use documents::{DocumentOperation, PerDocument};

/// Settings of the text executor.
#[derive(Clone, Default)]
pub struct TextOptions {
    /// Whose tokenizers serve model tokens; without one, asking for them is `ModelMissing`.
    pub tokenizers: Option<Arc<dyn TokenizerSource>>,
    /// Bound on what all running text tasks hold together, in MiB; 0 leaves it to the host's budget.
    pub max_memory_mb: u64,
}

/// What the operations share.
struct TextState {
    tokenizers: Option<Arc<dyn TokenizerSource>>,
}

type TextScope<'a> = Scope<'a, TextState>;

/// Executes [`TaskType::TextProcessing`]. Cheap to clone nothing of: share it as `Arc`.
pub struct TextProcessingExecutor {
    pool: ComputePool,
    state: Arc<TextState>,
    table: Arc<OperationTable<TextState>>,
    capabilities: ExecutorCapabilities,
}

impl TextProcessingExecutor {
    /// An executor that computes on `pool` and has no model's tokenizer.
    #[must_use]
    pub fn new(pool: ComputePool) -> Self {
        Self::with_options(pool, TextOptions::default())
    }

    /// An executor with settings.
    #[must_use]
    pub fn with_options(pool: ComputePool, options: TextOptions) -> Self {
        Self {
            pool,
            state: Arc::new(TextState { tokenizers: options.tokenizers }),
            table: Arc::new(OperationTable::new(TaskType::TextProcessing, table())),
            capabilities: ExecutorCapabilities {
                supported_types: vec![TaskType::TextProcessing],
                max_memory_mb: options.max_memory_mb,
                requires_gpu: false,
            },
        }
    }
}

impl Default for TextProcessingExecutor {
    /// Starts a pool of its own, one thread per available core.
    ///
    /// # Panics
    /// When the system gives the process no thread at all.
    fn default() -> Self {
        let thread_count = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Self::new(ComputePool::new(thread_count).expect("a process that runs can start threads"))
    }
}

/// Every operation, in the order of listings.
fn table() -> Vec<Entry<TextState>> {
    vec![
        document::<statistics::Statistics>(),
        document::<statistics::WordCount>(),
        document::<characters::CharacterCounts>(),
        document::<frequencies::WordFrequencies>(),
        document::<characters::Reverse>(),
        document::<tokens::Tokenize>(),
        document::<tokens::CountTokens>(),
        document::<normalize::Normalize>(),
        document::<html::HtmlToText>(),
        Entry::of::<decode::Decode>(),
        Entry::of::<chunk::ChunkDocuments>(),
        document::<language::DetectLanguage>(),
        document::<keywords::Keywords>(),
        document::<summary::Summarize>(),
        Entry::of::<similarity::Similarity>(),
        Entry::of::<duplicates::NearDuplicates>(),
        document::<pii::DetectPii>(),
        document::<pii::RedactPii>(),
        Entry::of::<extract::Extract>(),
        Entry::of::<diff::Diff>(),
        Entry::of::<search::Search>(),
    ]
}

fn document<O: DocumentOperation>() -> Entry<TextState> {
    Entry::of::<PerDocument<O>>()
}

#[async_trait]
impl TaskExecutor for TextProcessingExecutor {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        execute_inline(self, task).await
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        *task_type == TaskType::TextProcessing
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
        let mut prepared = self.table.prepare(task, &self.state, self.pool.thread_count())?;
        if self.capabilities.max_memory_mb > 0 {
            let limit_bytes = self.capabilities.max_memory_mb.saturating_mul(1024 * 1024);
            prepared.demand.share = Some(MemoryShare { account: "text".into(), limit_bytes });
        }
        Ok(prepared)
    }

    fn reports(&self) -> Vec<ExecutorReport> {
        vec![ExecutorReport {
            name: "text".into(),
            capabilities: self.capabilities.clone(),
            operations: self.table.infos(),
            details: serde_json::json!({ "threads": self.pool.thread_count(), "model_tokens": self.state.tokenizers.is_some() }),
        }]
    }
}

#[cfg(test)]
mod tests;
