//! The worker's vector computation as a process that the comparison in `benches/peers` drives: `peer_vectors VARIANT THREADS`, where VARIANT is one of
//! those in `operations.rs`. A worker with default settings runs in this process, and everything is a submitted task.
//!
//! Answers each line of JSON on standard input with one on standard output, until the input ends. Arrays are `.npy` files.
//!
//! * `{"op":"load","rows":NPY,"metric":NAME}` is answered by `{"engine":...,"version":...,"settings":...,"build_seconds":...,"bytes":...}`: what the
//!   process holds more than before beside the file itself.
//! * `{"op":"search","queries":NPY,"k":N,"single":BOOL,"repeat":N,"tune":N,"out":NPY}` is answered by `{"seconds":[...]}`: of each pass over all queries, or of
//!   each query by itself; the row numbers go to `out`, `[queries, k]` i64.
//! * `{"op":"kmeans","rows":NPY,"k":N,"iterations":N,"seed":N,"out":NPY}`, `{"op":"pca","rows":NPY,"components":N,"out":NPY}` and
//!   `{"op":"join","rows":NPY,"threshold":X}` are answered by `{"seconds":[X]}`, a join with `"pairs":N`, too; centroids or components go to `out`.
//! * `{"op":"tiny","repeat":N}` is answered by `{"seconds":[...]}`: the cosine of two vectors of 384 numbers, task by task.
//! * `{"op":"set"}` is answered by what the worker says of the loaded set.
//! * Anything that fails is answered by `{"error":...}`.

mod operations;
mod rows_file;

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

use ndarray::Array2;
use ndarray_npy::write_npy;
use serde::Deserialize;
use serde_json::{Value, json};
use tallow::worker::Worker;
use tallow::{Part, Parts, Task, TaskPriority, TaskResult, TaskType};
use tokio::runtime::Runtime;

use operations::Variant;
use rows_file::RowsFile;

/// Rows that a set is given at once.
const ROWS_PER_TASK: usize = 65_536;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Load { rows: String, metric: String },
    Search(Search),
    Kmeans { rows: String, k: usize, iterations: u32, seed: u64, out: String },
    Pca { rows: String, components: usize, out: String },
    Join { rows: String, threshold: f64 },
    Tiny { repeat: usize },
    Set,
}

#[derive(Deserialize)]
struct Search {
    queries: String,
    k: usize,
    single: bool,
    repeat: usize,
    out: String,
    #[serde(default)]
    tune: Option<usize>,
}

/// Rows that are searched: those of a set are in the worker.
struct Loaded {
    rows: Option<Part>,
    metric: String,
}

/// A worker and what it was given.
struct Driver {
    worker: Worker,
    runtime: Runtime,
    variant: Variant,
    loaded: Option<Loaded>,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: peer_vectors VARIANT THREADS";
    let variant = Variant::named(&arguments.next().ok_or(usage)?);
    let threads: usize = arguments.next().ok_or(usage)?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let worker = Worker::builder().threads(threads).start()?;
    let mut driver = variant.map(|variant| Driver { worker, runtime, variant, loaded: None });
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = driver.as_mut().map_err(|error| error.to_string().into()).and_then(|driver| driver.answer(&line));
        let answer = answer.unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

impl Driver {
    fn answer(&mut self, line: &str) -> Result<Value, Failure> {
        match serde_json::from_str(line)? {
            Request::Load { rows, metric } => self.load(&rows, &metric),
            Request::Search(search) => self.search(&search),
            Request::Kmeans { rows, k, iterations, seed, out } => {
                self.reduced((&rows, &out, "centroids"), operations::kmeans(k, iterations, seed))
            }
            Request::Pca { rows, components, out } => self.reduced((&rows, &out, "components"), operations::pca(components)),
            Request::Join { rows, threshold } => {
                let (result, _, seconds) =
                    self.timed(operations::join(threshold), Parts::from([("rows".into(), RowsFile::all(&rows)?)]))?;
                let pairs = result.output.get("pair_count").cloned().ok_or("the answer has no `pair_count`")?;
                Ok(json!({ "seconds": [seconds], "pairs": pairs }))
            }
            Request::Tiny { repeat } => {
                let (data, parts) = operations::tiny()?;
                let seconds = (0..repeat).map(|_| Ok(self.timed(data.clone(), parts.clone())?.2)).collect::<Result<Vec<f64>, Failure>>()?;
                Ok(json!({ "seconds": seconds }))
            }
            Request::Set => Ok(self.timed(operations::stats(), Parts::default())?.0.output),
        }
    }

    fn load(&mut self, rows: &str, metric: &str) -> Result<Value, Failure> {
        let mut file = RowsFile::open(rows)?;
        let (variant, dim) = (self.variant, file.dim);
        if variant.is_set() {
            // What a worker allocates once is no part of what a set takes.
            self.timed(variant.create(dim, metric), Parts::default())?;
            let (data, parts) = operations::append(file.read(0, ROWS_PER_TASK)?);
            self.timed(data, parts)?;
            self.timed(operations::forget(), Parts::default())?;
        }
        let before = resident_bytes()?;
        let started = Instant::now();
        let rows = if variant.is_set() {
            self.timed(variant.create(dim, metric), Parts::default())?;
            for from in (0..file.rows).step_by(ROWS_PER_TASK) {
                let (data, parts) = operations::append(file.read(from, ROWS_PER_TASK)?);
                self.timed(data, parts)?;
            }
            None
        } else {
            Some(file.read(0, file.rows)?)
        };
        self.loaded = Some(Loaded { rows, metric: metric.to_owned() });
        let seconds = started.elapsed().as_secs_f64();
        let bytes = resident_bytes()?.saturating_sub(before);
        let threads = self.worker.plan().threads().compute;
        let settings = format!("{threads} threads, {} instructions, {}", tallow_kernels::Isa::active(), variant.settings());
        Ok(
            json!({ "engine": "tallow", "version": env!("CARGO_PKG_VERSION"), "settings": settings, "build_seconds": seconds, "bytes": bytes }),
        )
    }

    fn search(&self, search: &Search) -> Result<Value, Failure> {
        let loaded = self.loaded.as_ref().ok_or("nothing is loaded")?;
        let mut queries = RowsFile::open(&search.queries)?;
        let (count, batch_rows) = (queries.rows, if search.single { 1 } else { queries.rows });
        let batches = (0..count).step_by(batch_rows).map(|from| queries.read(from, batch_rows)).collect::<Result<Vec<_>, _>>()?;
        let data = self.variant.search(&loaded.metric, search.k, search.tune);
        let (mut found, mut seconds) = (Vec::new(), Vec::new());
        for _ in 0..search.repeat {
            found.clear();
            for batch in &batches {
                let mut parts = Parts::from([("queries".into(), batch.clone())]);
                parts.extend(loaded.rows.iter().map(|rows| ("rows".into(), rows.clone())));
                let (_, parts, elapsed) = self.timed(data.clone(), parts)?;
                seconds.push(elapsed);
                found.extend(self.variant.found(&parts, search.k)?);
            }
        }
        write_npy(&search.out, &Array2::from_shape_vec((count, search.k), found)?)?;
        Ok(json!({ "seconds": seconds }))
    }

    /// Runs an operation whose answer is a matrix, and leaves it in a file.
    fn reduced(&self, (rows, out, name): (&str, &str, &str), data: Value) -> Result<Value, Failure> {
        let (_, parts, seconds) = self.timed(data, Parts::from([("rows".into(), RowsFile::all(rows)?)]))?;
        let part = parts.get(name).ok_or("the answer lacks its matrix")?;
        write_npy(out, &Array2::from_shape_vec((part.shape()[0], part.shape()[1]), part.to_f32()?)?)?;
        Ok(json!({ "seconds": [seconds] }))
    }

    /// Submits a task and waits for it: its answer, and the seconds that took.
    fn timed(&self, data: Value, parts: Parts) -> Result<(TaskResult, Parts, f64), Failure> {
        let manager = self.worker.manager();
        let task = Task::new(TaskType::VectorComputation, TaskPriority::Normal, data).with_parts(parts);
        self.runtime.block_on(async {
            let started = Instant::now();
            let id = manager.submit_task(task).await?;
            let result = manager.wait(&id).await?;
            let seconds = started.elapsed().as_secs_f64();
            Ok((result, manager.parts(&id)?, seconds))
        })
    }
}

/// What this process holds in memory of its own.
fn resident_bytes() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).ok_or("the system does not tell what the process holds")?;
    let kibibytes: u64 = line.split_whitespace().nth(1).ok_or("the system does not tell what the process holds")?.parse()?;
    Ok(kibibytes * 1024)
}
