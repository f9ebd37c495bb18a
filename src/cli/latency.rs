//! `tallow bench`: how long one short query takes, alone and beside tasks that fill every batch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::exit::CliError;
use super::local::{Local, spec};
use crate::manager::resolve_names;
use crate::task::{SubmissionSpec, TaskType};

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
            ask(local, task).await?;
        }
        let alone = queries(local, &query, time).await?;
        let stop = AtomicBool::new(false);
        let full = async {
            let tokens = async { loads(local, &load, &stop).await };
            let ends = async {
                tokio::time::sleep(time).await;
                stop.store(true, Ordering::Relaxed);
                Ok::<_, CliError>(())
            };
            tokio::try_join!(tokens, ends).map(|(rate, ())| rate)
        };
        let full = full.await?;
        let stop = AtomicBool::new(false);
        let beside = async {
            let measured = queries(local, &query, time).await;
            stop.store(true, Ordering::Relaxed);
            measured
        };
        let (both, beside) = tokio::try_join!(loads(local, &load, &stop), beside)?;
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
        tokens += ask(local, query).await?;
        measured_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok((measured_ms, tokens as f64 / started.elapsed().as_secs_f64()))
}

/// Keeps tasks under way until `stop`; tokens per second.
async fn loads(local: &Local, load: &SubmissionSpec, stop: &AtomicBool) -> Result<f64, CliError> {
    let started = Instant::now();
    let one = || async {
        let mut tokens = 0;
        while !stop.load(Ordering::Relaxed) {
            tokens += ask(local, load).await?;
        }
        Ok::<u64, CliError>(tokens)
    };
    let all = futures_util::future::try_join_all((0..LOAD_TASKS).map(|_| one())).await?;
    Ok(all.iter().sum::<u64>() as f64 / started.elapsed().as_secs_f64())
}

/// Runs one task to its end; its tokens.
async fn ask(local: &Local, task: &SubmissionSpec) -> Result<u64, CliError> {
    let mut tokens = 0;
    for submission in resolve_names(vec![task.clone()], "")? {
        let id = local.manager().submit(submission).await?;
        let result = local.manager().wait(&id).await?;
        tokens += result.output.pointer("/usage/prompt_tokens").and_then(Value::as_u64).unwrap_or(0);
    }
    Ok(tokens)
}
