//! A mixed load on one encoder, with cancels and deadlines: does memory stay flat, is every task answered, how long does a short query take beside it?
//!
//! `cargo run --release --example soak -- SECONDS [MODEL]` (the default is the built-in model; an encoder is what this is for). Prints one line a
//! while, then what was counted. Ends with exit 1 when a task was lost, an answer was wrong, a claim was left over, or resident memory grew.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tallow::worker::{Worker, WorkerManager};
use tallow::{Submission, Task, TaskError, TaskPriority, TaskResult, TaskType};

/// Loops that submit tasks, each one task at a time, and the submitters they belong to.
const LOOPS: u64 = 24;
const SUBMITTERS: u64 = 3;
/// About sixteen tokens.
const QUERY: &str = "how long does a candle burn in a quiet room at night";
/// What the worker may hold: little enough that results which are kept for a while reach their bound within the first seconds.
const MEMORY_LIMIT: &str = "768MiB";
/// How often the query is asked.
const QUERY_EVERY: Duration = Duration::from_millis(10);
/// How often memory is looked at, and growth beyond which it is not flat: between the second and the last quarter.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const GROWTH_MAX: f64 = 0.05;
/// Growth that an allocator's habits explain.
const GROWTH_BYTES_MAX: f64 = 24.0 * 1048576.0;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What became of the tasks.
#[derive(Default)]
struct Counts {
    submitted: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    expired: AtomicU64,
    wrong: AtomicU64,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(60), |text| text.parse::<u64>());
    let Ok(seconds) = seconds else {
        eprintln!("soak SECONDS [MODEL]: the first argument is a number of seconds");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let soaked = runtime.map_err(Fault::from).and_then(|runtime| runtime.block_on(soak(seconds, arguments.next())));
    match soaked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

async fn soak(seconds: u64, model: Option<String>) -> Result<bool, Fault> {
    let mut builder = Worker::builder().memory_limit(MEMORY_LIMIT)?;
    if let Some(model) = &model {
        builder = builder.model(model);
    }
    let worker = builder.start()?;
    let name = worker.preload().await?.to_owned();
    let expected = query(worker.manager()).await?.output["embeddings"].clone();
    let alone = probe(worker.manager(), &expected, Duration::from_secs(3)).await?;
    println!("{name}: a query of 16 tokens alone takes {}", latencies(alone));
    let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let loops: Vec<_> = (0..LOOPS)
        .map(|seed| {
            let (manager, counts, stop) = (Arc::clone(worker.manager()), Arc::clone(&counts), Arc::clone(&stop));
            tokio::spawn(async move { submit_until(&manager, seed, (&counts, &stop)).await })
        })
        .collect();
    let before = worker.batch_stats().tokens;
    let started = Instant::now();
    let time = Duration::from_secs(seconds);
    let (beside, memory) = tokio::try_join!(probe(worker.manager(), &expected, time), watch_memory(time, &worker))?;
    let rate = (worker.batch_stats().tokens - before) as f64 / started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for one in loops {
        one.await??;
    }
    println!("beside {LOOPS} tasks at once it takes {}; {rate:.0} tokens/s in all", latencies(beside));
    report(&worker, &counts, &memory, &name)
}

/// One loop: submits, sometimes cancels, waits, until it is told to stop.
async fn submit_until(manager: &WorkerManager, seed: u64, (counts, stop): (&Counts, &AtomicBool)) -> Result<(), Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let (data, count) = work(&mut random);
        let priority = [TaskPriority::Low, TaskPriority::Normal, TaskPriority::Normal][random.random_range(0..3)];
        let mut submission = Submission::new(Task::new(TaskType::ModelInference, priority, data));
        submission = submission.submitter(format!("submitter {}", seed % SUBMITTERS));
        if random.random_range(0..10) == 0 {
            submission = submission.deadline(chrono::Utc::now() + chrono::TimeDelta::milliseconds(random.random_range(1..400)));
        }
        let id = manager.submit(submission).await?;
        counts.submitted.fetch_add(1, Ordering::Relaxed);
        if random.random_range(0..5) == 0 {
            let patience = Duration::from_millis(random.random_range(0..150));
            if tokio::time::timeout(patience, manager.wait(&id)).await.is_err() {
                // It may have ended just now.
                let _ended = manager.cancel_task(&id).await;
            }
        }
        let counter = match manager.wait(&id).await {
            Ok(result) if answers(&result) == Some(count) => &counts.completed,
            Ok(_) => &counts.wrong,
            Err(TaskError::Cancelled { .. }) => &counts.cancelled,
            Err(TaskError::DeadlineExceeded { .. }) => &counts.expired,
            Err(error) => {
                eprintln!("{error}");
                &counts.wrong
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A request and how many answers it has.
fn work(random: &mut StdRng) -> (Value, usize) {
    let words = ["wax", "wick", "flame", "a", "the", "quiet", "light", "evening", "table", "burns", "candle", "slowly", "über", "灯"];
    let mut text =
        |most: usize| (0..random.random_range(1..most)).map(|_| words[random.random_range(0..words.len())]).collect::<Vec<_>>().join(" ");
    let (few, many): (Vec<String>, Vec<String>) = ((0..4).map(|_| text(12)).collect(), (0..160).map(|_| text(120)).collect());
    match random.random_range(0..6) {
        0 | 1 => (json!({ "operation": "embed", "texts": many, "encoding": "part" }), many.len()),
        2 => (json!({ "operation": "embed", "texts": many[..40], "encoding": "base64" }), 40),
        3 => (json!({ "operation": "similarity", "texts_a": few, "texts_b": many[..10] }), few.len()),
        4 => (json!({ "operation": "zero_shot", "texts": many[..20], "labels": few, "method": "embedding" }), 20),
        _ => (json!({ "operation": "tokenize", "texts": many[..30] }), 30),
    }
}

fn answers(result: &TaskResult) -> Option<usize> {
    let length = |name: &str| result.output.get(name).and_then(Value::as_array).map(Vec::len);
    let count = result.output.get("count").and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    count.or_else(|| length("scores")).or_else(|| length("items"))
}

async fn query(manager: &WorkerManager) -> Result<TaskResult, Fault> {
    let task = Task::new(TaskType::ModelInference, TaskPriority::Normal, json!({ "operation": "embed", "texts": [QUERY] }));
    let id = manager.submit(Submission::new(task).submitter("probe")).await?;
    Ok(manager.wait(&id).await?)
}

/// Asks the same query again and again; its latencies in milliseconds. Errors: an answer that is another one than alone.
async fn probe(manager: &WorkerManager, expected: &Value, time: Duration) -> Result<Vec<f64>, Fault> {
    let started = Instant::now();
    let mut found = Vec::new();
    let mut pause = tokio::time::interval(QUERY_EVERY);
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while started.elapsed() < time {
        let begun = Instant::now();
        let answer = query(manager).await?;
        found.push(begun.elapsed().as_secs_f64() * 1e3);
        if distance(&answer.output["embeddings"], expected) > 1e-5 {
            return Err("a query's vector is another one beside others than alone".into());
        }
        pause.tick().await;
    }
    Ok(found)
}

fn distance(a: &Value, b: &Value) -> f64 {
    let numbers =
        |value: &Value| value[0].as_array().map(|row| row.iter().filter_map(Value::as_f64).collect::<Vec<_>>()).unwrap_or_default();
    let (a, b) = (numbers(a), numbers(b));
    if a.is_empty() || a.len() != b.len() { f64::INFINITY } else { a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) }
}

fn latencies(mut found: Vec<f64>) -> String {
    found.sort_by(f64::total_cmp);
    let at = |share: f64| found[((found.len() - 1) as f64 * share) as usize];
    format!("p50 {:.2} ms, p99 {:.2} ms, {:.2} ms at most ({} queries)", at(0.5), at(0.99), at(1.0), found.len())
}

/// Resident bytes, looked at again and again.
async fn watch_memory(time: Duration, worker: &Worker) -> Result<Vec<f64>, Fault> {
    let started = Instant::now();
    let mut found = Vec::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    while started.elapsed() < time {
        looks.tick().await;
        found.push(resident_bytes()?);
        if found.len() % 40 == 0 {
            let stats = worker.batch_stats();
            let (mib, waiting) = (found[found.len() - 1] / 1048576.0, stats.waiting);
            println!(
                "{:>5} s: {mib:.0} MiB resident, {} texts computed, {waiting} wait, {} left",
                started.elapsed().as_secs(),
                stats.texts,
                stats.left
            );
        }
    }
    Ok(found)
}

fn resident_bytes() -> Result<f64, Fault> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("this system does not tell the resident memory")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}

/// Says what was found; true when all of it is as it should be.
fn report(worker: &Worker, counts: &Counts, memory: &[f64], model: &str) -> Result<bool, Fault> {
    let told = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let ends: BTreeMap<&str, u64> = [
        ("completed", told(&counts.completed)),
        ("cancelled", told(&counts.cancelled)),
        ("past their deadline", told(&counts.expired)),
        ("wrong", told(&counts.wrong)),
    ]
    .into();
    println!("{} tasks: {ends:?}", told(&counts.submitted));
    let complete = ends.values().sum::<u64>() == told(&counts.submitted) && ends["wrong"] == 0;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let quarter = memory.len() / 4;
    let (early, late) = (mean(&memory[quarter..2 * quarter]), mean(&memory[3 * quarter..]));
    println!("resident memory: {:.1} MiB in the second quarter, {:.1} MiB in the last", early / 1048576.0, late / 1048576.0);
    let flat = late <= early * (1.0 + GROWTH_MAX) || late - early <= GROWTH_BYTES_MAX;
    let stats = worker.batch_stats();
    println!(
        "batches: {}, {:.0} tokens each; {} texts computed, {} left before",
        stats.batch_tokens.count(),
        stats.tokens as f64 / stats.batch_tokens.count().max(1) as f64,
        stats.texts,
        stats.left
    );
    let unloaded = worker.unload(model);
    let books = worker.manager().ledger().snapshot();
    println!(
        "unload: {unloaded:?}; still claimed: {} bytes, {} threads; still waiting: {}",
        books.host.used, books.threads.used, stats.waiting
    );
    let clean = books.host.used == 0 && books.threads.used == 0 && stats.waiting == 0;
    println!("nothing lost: {complete}; memory flat: {flat}; nothing held: {clean}");
    Ok(complete && flat && clean)
}
