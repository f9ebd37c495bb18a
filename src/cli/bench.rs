//! `tallow bench`: this machine in a few seconds, through submitted tasks at default settings. The careful measurements are the criterion
//! benchmarks; this answers "is something badly wrong here?".

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use super::args::VERSION;
use super::exit::{CliError, Exit};
use super::latency::{self, Latency};
use super::local::{Local, spec};
use super::session::Session;
use crate::config::{Span, WorkerLayer};
use crate::manager::{ManagerOptions, TaskManager, resolve_names};
use crate::task::{
    Dtype, ExecutorCapabilities, Part, Submission, SubmissionSpec, Task, TaskError, TaskExecutor, TaskPriority, TaskResult, TaskType,
};

/// Tasks of one round of submissions.
const SUBMISSIONS: usize = 20_000;
/// Bytes of the text that is chunked.
const TEXT_BYTES: usize = 4 << 20;
/// Rows and numbers of the set that is searched, and queries of one task.
const ROWS: usize = 20_000;
const DIM: usize = 384;
const QUERIES: usize = 16;
/// Texts of one embedding task.
const TEXTS: usize = 256;
/// Rounds of a door at most, however short they are.
const ROUNDS_MAX: usize = 200;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// How long each door is measured
    #[arg(long, env = "TALLOW_BENCH_TIME", value_name = "TIME", default_value = "1s")]
    pub(crate) time: Span,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// What was measured at one door.
struct Measured {
    door: &'static str,
    what: String,
    unit: &'static str,
    /// Units per second, a value per round.
    rates: Vec<f64>,
}

impl Measured {
    fn mean(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len().max(1) as f64
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let spread = self.rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>();
        (spread / self.rates.len().saturating_sub(1).max(1) as f64).sqrt()
    }
}

/// Measures every door and writes a Markdown table.
pub(crate) fn run(args: &BenchArgs, session: &mut Session) -> Result<Exit, CliError> {
    let local = Local::start(session, &args.worker)?;
    let time = args.time.0;
    let mut all = vec![submissions(&local, time)?];
    all.push(chunk(&local, time)?);
    all.push(top_k(&local, time)?);
    all.push(embed(&local, time)?);
    let latencies = latency::measure(&local, time)?;
    let plan = local.worker().plan();
    if session.out.json() {
        let doors: Vec<Value> = all
            .iter()
            .map(|door| json!({ "door": door.door, "what": door.what, "unit": door.unit, "mean": door.mean(), "sd": door.deviation(), "rounds": door.rates }))
            .collect();
        let machine = json!({ "threads": plan.threads(), "cpus": plan.probe().cpus, "instructions": crate::worker::processor_features() });
        session.out.json_pretty(&json!({ "version": VERSION.as_str(), "machine": machine, "doors": doors, "latencies": latencies.iter().map(Latency::json).collect::<Vec<_>>() }))?;
        return Ok(Exit::Ok);
    }
    session.out.line(&format!("tallow {}, {} compute threads", VERSION.as_str(), plan.threads().compute))?;
    session.out.line("")?;
    session.out.line("| door | what | rate ± sd | unit | rounds |")?;
    session.out.line("| --- | --- | ---: | --- | ---: |")?;
    for door in &all {
        let rate = format!("{} ± {}", rate_text(door.mean()), rate_text(door.deviation()));
        session.out.line(&format!("| {} | {} | {rate} | {} | {} |", door.door, door.what, door.unit, door.rates.len()))?;
    }
    session.out.line("")?;
    session.out.line("| embed | p50 ms | p99 ms | tokens/s of all |")?;
    session.out.line("| --- | ---: | ---: | ---: |")?;
    for found in &latencies {
        let ms = |share: f64| Some(found.quantile(share)).filter(|ms| ms.is_finite()).map_or_else(String::new, |ms| format!("{ms:.3}"));
        session.out.line(&format!("| {} | {} | {} | {} |", found.what, ms(0.5), ms(0.99), rate_text(found.tokens_per_s)))?;
    }
    Ok(Exit::Ok)
}

fn rate_text(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.1} k", rate / 1e3),
        rate if rate >= 100.0 => format!("{rate:.0}"),
        rate => format!("{rate:.2}"),
    }
}

/// Repeats a round, after one that does not count, until the time is over; `units` of work per round.
fn measure(time: Duration, units: f64, mut round: impl FnMut() -> Result<(), CliError>) -> Result<Vec<f64>, CliError> {
    round()?;
    let started = Instant::now();
    let mut rates = Vec::new();
    while rates.is_empty() || (started.elapsed() < time && rates.len() < ROUNDS_MAX) {
        let begun = Instant::now();
        round()?;
        rates.push(units / begun.elapsed().as_secs_f64().max(1e-9));
    }
    Ok(rates)
}

/// An executor that has nothing to do: what remains is the manager.
struct Idle(ExecutorCapabilities);

#[async_trait]
impl TaskExecutor for Idle {
    async fn execute(&self, _task: &Task) -> Result<TaskResult, TaskError> {
        Ok(TaskResult::default())
    }
    fn can_execute(&self, _task_type: &TaskType) -> bool {
        true
    }
    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.0
    }
}

fn submissions(local: &Local, time: Duration) -> Result<Measured, CliError> {
    let manager =
        local.block_on(async { Ok(TaskManager::with_options(Idle(ExecutorCapabilities::default()), ManagerOptions::default())) })?;
    let round = || {
        let task = || Submission::new(Task::new(TaskType::Custom("idle".into()), TaskPriority::Normal, Value::Null));
        let submissions: Vec<Submission> = (0..SUBMISSIONS).map(|_| task()).collect();
        local.block_on(async {
            let mut ids = Vec::with_capacity(SUBMISSIONS);
            for id in manager.submit_batch(submissions).await {
                ids.push(id?);
            }
            for id in ids {
                manager.wait(&id).await?;
            }
            Ok(())
        })
    };
    let rates = measure(time, SUBMISSIONS as f64, round)?;
    Ok(Measured { door: "manager", what: format!("{SUBMISSIONS} empty tasks submitted and awaited"), unit: "tasks/s", rates })
}

fn chunk(local: &Local, time: Duration) -> Result<Measured, CliError> {
    let sentence = "The quick brown fox jumps over the lazy dog, and nobody in the village was surprised. ";
    let paragraph = format!("{}\n\n", sentence.repeat(6));
    let text = paragraph.repeat(TEXT_BYTES / paragraph.len() + 1);
    let megabytes = text.len() as f64 / 1e6;
    let task = spec(TaskType::TextProcessing, json!({ "operation": "chunk", "text": text }));
    let rates = measure(time, megabytes, || run_one(local, &task))?;
    Ok(Measured { door: "text", what: format!("chunk {megabytes:.1} MB"), unit: "MB/s", rates })
}

fn top_k(local: &Local, time: Duration) -> Result<Measured, CliError> {
    let mut task = spec(
        TaskType::VectorComputation,
        json!({ "operation": "top_k", "queries": { "$part": "queries" }, "vectors": { "$part": "vectors" }, "k": 10, "metric": "cosine" }),
    );
    task.parts.insert("queries".into(), noise(QUERIES)?);
    task.parts.insert("vectors".into(), noise(ROWS)?);
    let rates = measure(time, (ROWS * QUERIES) as f64, || run_one(local, &task))?;
    Ok(Measured { door: "vector", what: format!("top 10 of {ROWS} x {DIM}, {QUERIES} queries"), unit: "rows/s", rates })
}

fn embed(local: &Local, time: Duration) -> Result<Measured, CliError> {
    let texts: Vec<String> =
        (0..TEXTS).map(|index| format!("Text number {index} is about candles, wax and the light of {} evenings.", index % 17)).collect();
    let task = spec(TaskType::ModelInference, json!({ "operation": "embed", "texts": texts, "encoding": "part" }));
    let answer = local.answer(task.clone())?;
    let model = super::show::inline(answer.field("model")?, 60);
    let rates = measure(time, TEXTS as f64, || run_one(local, &task))?;
    Ok(Measured { door: "embed", what: format!("{TEXTS} short texts, {model}"), unit: "texts/s", rates })
}

fn run_one(local: &Local, task: &SubmissionSpec) -> Result<(), CliError> {
    local.block_on(async {
        for submission in resolve_names(vec![task.clone()], "")? {
            let id = local.manager().submit(submission).await?;
            local.manager().wait(&id).await?;
        }
        Ok(())
    })
}

/// Rows of pseudo-random numbers in -1..1: the values do not matter, that they differ does.
fn noise(rows: usize) -> Result<Part, CliError> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(rows * DIM * 4);
    for _ in 0..rows * DIM {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = (state >> 40) as f32 / 8_388_608.0 - 1.0;
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    Ok(Part::new(Dtype::F32, vec![rows, DIM], Bytes::from(bytes))?)
}
