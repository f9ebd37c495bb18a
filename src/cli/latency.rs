//! `tallow bench`: how long one short query takes, alone and beside tasks that fill every batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::exit::{CliError, Exit};
use super::local::{Local, spec};
use crate::manager::resolve_names;
use crate::task::{SubmissionSpec, TaskType};
use crate::worker::WorkerManager;

/// Queries of one measurement at most.
const QUERIES_MAX: usize = 2_000;
/// Tasks under way beside the queries, and texts of each.
const LOAD_TASKS: usize = 4;
const LOAD_TEXTS: usize = 256;
/// About sixteen tokens.
const QUERY: &str = "how long does a candle burn in a quiet room at night";

/// Latencies of one kind, in milliseconds, ascending.
pub(super) struct Latency {
    pub(super) what: String,
    sorted_ms: Vec<f64>,
    /// Tokens per second that everything together reached.
    pub(super) tokens_per_s: f64,
}

impl Latency {
    fn new(what: String, mut measured_ms: Vec<f64>, tokens_per_s: f64) -> Self {
        measured_ms.sort_by(f64::total_cmp);
        Self { what, sorted_ms: measured_ms, tokens_per_s }
    }

    /// The smallest latency that this share of them does not exceed.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.sorted_ms.len() as f64).ceil() as usize;
        self.sorted_ms.get(rank.clamp(1, self.sorted_ms.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "what": self.what,
            "queries": self.sorted_ms.len(),
            "p50_ms": self.quantile(0.5),
            "p99_ms": self.quantile(0.99),
            "tokens_per_s": self.tokens_per_s,
        })
    }
}

/// A query alone, load alone, and a query beside the load.
pub(super) fn measure(local: &Local, time: Duration) -> Result<Vec<Latency>, CliError> {
    let query = spec(TaskType::ModelInference, json!({ "operation": "embed", "texts": [QUERY], "encoding": "part" }));
    let sentence = "Wax runs down the side of a candle and hardens before it reaches the table. ";
    let texts: Vec<String> = (0..LOAD_TEXTS).map(|index| format!("{index}: {}", sentence.repeat(1 + index % 9))).collect();
    let load = spec(TaskType::ModelInference, json!({ "operation": "embed", "texts": texts, "encoding": "part" }));
    local.block_on(async {
        for task in [&query, &load] {
            ask(local.manager(), task).await?;
        }
        let alone = queries(local, &query, time).await?;
        let loads = Loads::start(local, &load);
        tokio::time::sleep(time).await;
        let full = loads.end().await?;
        let loads = Loads::start(local, &load);
        let beside = queries(local, &query, time).await;
        let both = loads.end().await?;
        let beside = beside?;
        Ok(vec![
            Latency::new("one query of 16 tokens, alone".into(), alone.0, alone.1),
            Latency::new(format!("{LOAD_TASKS} tasks of {LOAD_TEXTS} texts, no query"), Vec::new(), full),
            Latency::new(format!("the same query beside {LOAD_TASKS} tasks of {LOAD_TEXTS} texts"), beside.0, beside.1 + both),
        ])
    })
}

/// Queries one after the other: their latencies, and tokens per second.
async fn queries(local: &Local, query: &SubmissionSpec, time: Duration) -> Result<(Vec<f64>, f64), CliError> {
    let started = Instant::now();
    let mut measured_ms = Vec::new();
    let mut tokens = 0;
    while measured_ms.is_empty() || (started.elapsed() < time && measured_ms.len() < QUERIES_MAX) {
        let begun = Instant::now();
        tokens += ask(local.manager(), query).await?;
        measured_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok((measured_ms, tokens as f64 / started.elapsed().as_secs_f64()))
}

/// Tasks that are kept under way, each by a task of the runtime.
struct Loads {
    started: Instant,
    stop: Arc<AtomicBool>,
    loops: Vec<JoinHandle<Result<u64, CliError>>>,
}

impl Loads {
    fn start(local: &Local, load: &SubmissionSpec) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |_| {
            let (manager, load, stop) = (Arc::clone(local.manager()), load.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut tokens = 0;
                while !stop.load(Ordering::Relaxed) {
                    tokens += ask(&manager, &load).await?;
                }
                Ok(tokens)
            })
        };
        Self { started: Instant::now(), loops: (0..LOAD_TASKS).map(one).collect(), stop }
    }

    /// Lets the tasks end; tokens per second.
    async fn end(self) -> Result<f64, CliError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut tokens = 0;
        for one in self.loops {
            tokens += one.await.map_err(|lost| CliError::new(Exit::Runtime, lost.to_string()))??;
        }
        Ok(tokens as f64 / self.started.elapsed().as_secs_f64())
    }
}

/// Runs one task to its end; its tokens.
async fn ask(manager: &WorkerManager, task: &SubmissionSpec) -> Result<u64, CliError> {
    let mut tokens = 0;
    for submission in resolve_names(vec![task.clone()], "")? {
        let id = manager.submit(submission).await?;
        let result = manager.wait(&id).await?;
        tokens += result.output.pointer("/usage/prompt_tokens").and_then(Value::as_u64).unwrap_or(0);
    }
    Ok(tokens)
}
