//! A worker in this process, as its users have it: texts go in by submitted tasks, vectors come back as binary parts.

use std::path::Path;

use serde_json::{Value, json};
use tallow::worker::Worker;
use tallow::{Submission, Task, TaskPriority, TaskType};
use tallow_kernels::Isa;
use tokio::runtime::Runtime;

use super::{Engine, Failure, Sequences};

/// Texts of one task; all tasks of a pass are submitted at once.
const TEXTS_PER_TASK: usize = 32;

pub(super) struct Submitted {
    worker: Worker,
    runtime: Runtime,
    model: String,
    /// What the worker computes with, in the words of its answer.
    precision: String,
}

impl Submitted {
    /// Starts the worker and lets it load the model, so that no measured task waits for that.
    pub(super) fn load(folder: &Path, precision: &str, threads: usize) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let model = folder.display().to_string();
        let worker = Worker::builder().threads(threads).precision(precision)?.model(&model).start()?;
        let mut loaded = Self { worker, runtime, model, precision: String::new() };
        let manager = loaded.worker.manager();
        let result = loaded.runtime.block_on(async {
            let id = manager.submit_task(loaded.task(&["warm"])).await?;
            manager.wait(&id).await
        })?;
        loaded.precision = result.metadata.get("precision").and_then(Value::as_str).unwrap_or("not named").to_owned();
        Ok(loaded)
    }

    fn task(&self, texts: &[impl AsRef<str>]) -> Task {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let data = json!({ "operation": "embed", "texts": texts, "model": self.model, "normalize": true, "encoding": "part" });
        Task::new(TaskType::ModelInference, TaskPriority::Normal, data)
    }
}

impl Engine for Submitted {
    fn describe(&self) -> Value {
        let threads = self.worker.plan().threads().compute;
        let settings = format!(
            "{threads} threads, {} instructions, computes with {}; texts in by tasks of {TEXTS_PER_TASK} submitted at once, tokenising included",
            Isa::active(),
            self.precision
        );
        json!({ "engine": "tallow, submitted tasks", "version": env!("CARGO_PKG_VERSION"), "settings": settings })
    }

    fn embed(&self, sequences: &Sequences) -> Result<(Vec<f32>, usize), Failure> {
        let manager = self.worker.manager();
        let submissions = sequences.texts.chunks(TEXTS_PER_TASK).map(|texts| Submission::new(self.task(texts))).collect();
        self.runtime.block_on(async {
            let (mut vectors, mut dimensions, mut tokens) = (Vec::new(), 0, 0);
            for id in manager.submit_all(submissions).await? {
                let result = manager.wait(&id).await?;
                tokens += result.output.pointer("/usage/prompt_tokens").and_then(Value::as_u64).unwrap_or(0);
                let parts = manager.parts(&id)?;
                let part = parts.get("embeddings").ok_or("the answer has no part `embeddings`")?;
                dimensions = part.shape()[1];
                vectors.extend(part.to_f32()?);
            }
            let expected: usize = sequences.ids.iter().map(Vec::len).sum();
            if tokens != expected as u64 {
                return Err(format!("the worker counted {tokens} tokens where the other engines get {expected}").into());
            }
            Ok((vectors, dimensions))
        })
    }
}
