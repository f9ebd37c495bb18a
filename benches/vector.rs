//! The vector door: whole tasks through the executor, and the kernels beneath on every level of instructions.
//!
//! Task benches run prepared tasks as a manager would (parsed once, executed on the compute pool), with inputs as binary parts. Throughput is in
//! rows or multiply-adds per second: 1 Gelem/s of multiply-adds is 2 GFLOP/s.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tallow::{
    CancelHandle, Dtype, Part, PartSink, Parts, Task, TaskContext, TaskExecutor, TaskPriority, TaskType, VectorComputationExecutor,
};
use tallow_kernels::distance::{Metric, scores_on};
use tallow_kernels::{BitRows, Isa, Operand, Rows, never_stop};

const DIM: usize = 384;

/// Values without pattern in -1.0..1.0.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn part(seed: u64, rows: usize, dim: usize) -> Part {
    Part::from_f32(vec![rows, dim], &noise(seed, rows * dim)).expect("whole rows")
}

/// A task that passed admission, to be run again and again.
struct Ready {
    runtime: tokio::runtime::Runtime,
    executor: VectorComputationExecutor,
    task: Task,
    ctx: TaskContext,
}

impl Ready {
    fn new(data: Value, parts: Parts) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let executor = VectorComputationExecutor::default();
        let task = Task::new(TaskType::VectorComputation, TaskPriority::Normal, data).with_parts(parts);
        let prepared = executor.prepare(&task).expect("a valid task");
        let ctx = TaskContext::new(CancelHandle::default(), Arc::new(PartSink::default())).with_request(prepared.request);
        Self { runtime, executor, task, ctx }
    }

    fn run(&self) -> Value {
        self.runtime.block_on(self.executor.execute_with(&self.task, &self.ctx)).expect("the task runs").output
    }
}

fn tasks(c: &mut Criterion) {
    let vectors = part(1, 100_000, DIM);
    let mut group = c.benchmark_group("vector_task");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(4));
    let mut add = |name: &str, elements: u64, data: Value, parts: Parts| {
        let ready = Ready::new(data, parts);
        group.throughput(Throughput::Elements(elements)).bench_function(name, |b| b.iter(|| ready.run()));
    };
    let pair = json!({"operation": "cosine_similarity", "vector_a": noise(3, DIM), "vector_b": noise(4, DIM)});
    add("cosine_pair_384", 1, pair, Parts::default());
    for query_count in [1u64, 100] {
        let parts = Parts::from([("q".into(), part(2, query_count as usize, DIM)), ("v".into(), vectors.clone())]);
        for metric in ["cosine", "l2"] {
            let data = json!({"operation": "top_k", "queries": {"$part": "q"}, "vectors": {"$part": "v"}, "k": 10, "metric": metric});
            add(&format!("top_10_{metric}_of_100k_x384_for_{query_count}/rows"), query_count * 100_000, data, parts.clone());
        }
    }
    let parts = Parts::from([("a".into(), part(5, 1024, 1024)), ("b".into(), part(6, 1024, 1024))]);
    let data = json!({"operation": "matmul", "a": {"$part": "a"}, "b": {"$part": "b"}, "encoding": "part"});
    add("matmul_1024/multiply_adds", 1 << 30, data, parts);
    let parts = Parts::from([("v".into(), part(7, 20_000, 128))]);
    let data = json!({"operation": "kmeans", "vectors": {"$part": "v"}, "k": 64, "iterations_max": 10, "tolerance": 0, "encoding": "part"});
    add("kmeans_20k_x128_k64_10_rounds/rows", 200_000, data, parts.clone());
    let data = json!({"operation": "pca", "vectors": {"$part": "v"}, "components": 16, "encoding": "part"});
    add("pca_20k_x128/rows", 20_000, data, parts.clone());
    let data = json!({"operation": "near_duplicates", "vectors": {"$part": "v"}, "threshold": 0.99});
    add("near_duplicates_20k_x128/pairs", 20_000 * 19_999 / 2, data, parts);
    let data = json!({"operation": "similarity_join", "a": {"$part": "v"}, "threshold": 0.9, "encoding": "part"});
    let parts = Parts::from([("v".into(), vectors.clone())]);
    add("similarity_join_100k_x384/pairs", 100_000 * 99_999 / 2, data, parts);
    let parts = Parts::from([("v".into(), part(8, 200_000, DIM)), ("c".into(), part(9, 1000, DIM))]);
    let rounds = json!({
        "operation": "kmeans", "vectors": {"$part": "v"}, "k": 1000, "iterations_max": 10, "tolerance": 0, "encoding": "part",
    });
    add("kmeans_200k_x384_k1000_10_rounds_and_start/rows", 2_000_000, rounds.clone(), parts.clone());
    let mut rounds = rounds;
    rounds["centroids"] = json!({"$part": "c"});
    add("kmeans_200k_x384_k1000_10_rounds/rows", 2_000_000, rounds, parts);
    let parts = Parts::from([("v".into(), part(10, 200_000, 768))]);
    let data = json!({"operation": "pca", "vectors": {"$part": "v"}, "components": 128, "encoding": "part"});
    add("pca_200k_x768_to_128/rows", 200_000, data, parts);
    let parts = Parts::from([("v".into(), vectors)]);
    let data = json!({"operation": "normalize", "vectors": {"$part": "v"}, "encoding": "part"});
    add("normalize_100k_x384/rows", 100_000, data, parts.clone());
    let data = json!({"operation": "quantize", "vectors": {"$part": "v"}, "to": "int8", "encoding": "part"});
    add("quantize_int8_100k_x384/rows", 100_000, data, parts);
}

/// What each level of instructions brings: the evidence for the files that exist per level.
fn levels(c: &mut Criterion) {
    let mut group = c.benchmark_group("distance_kernel");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let (many, few) = (noise(1, 2048 * DIM), noise(2, 64 * DIM));
    let (many, few) = (Rows::new(&many, DIM).expect("rows"), Rows::new(&few, DIM).expect("rows"));
    let bytes: Vec<u8> = noise(3, 2048 * 128).iter().map(|v| (v * 127.0) as i8 as u8).collect();
    let bits = BitRows::new(&bytes, 1024).expect("rows of bits");
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for isa in Isa::available() {
        let mut add = |name: &str, metric: Metric, operands: (Operand<'_>, Operand<'_>)| {
            let mut out = vec![0.0; operands.0.len() * operands.1.len()];
            group.throughput(Throughput::Elements((out.len() * operands.0.dim()) as u64));
            group.bench_function(BenchmarkId::new(name, isa), |b| {
                b.iter(|| one_thread.install(|| scores_on(isa, metric, operands, &mut out, &never_stop)).expect("valid operands"));
            });
        };
        add("dot_64x2048x384", Metric::Dot, (few.into(), many.into()));
        add("dot_1x2048x384", Metric::Dot, (few.slice(0..1).into(), many.into()));
        add("l2_64x2048x384", Metric::L2, (few.into(), many.into()));
        add("l1_64x2048x384", Metric::L1, (few.into(), many.into()));
        add("hamming_64x2048x1024_bits", Metric::Hamming, (bits.slice(0..64).into(), bits.into()));
    }
}

/// Admission: what parsing vectors costs per number.
fn admission(c: &mut Criterion) {
    let mut group = c.benchmark_group("vector_admission");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let executor = VectorComputationExecutor::default();
    let values = noise(1, 1000 * DIM);
    let rows: Vec<&[f32]> = values.chunks(DIM).collect();
    let bytes: Bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
    let whole = Part::new(Dtype::F32, vec![1000, DIM], bytes).expect("whole rows");
    for (name, vectors) in [("json", json!(rows)), ("base64", serde_json::to_value(&whole).expect("a part is JSON"))] {
        let data = json!({"operation": "sum", "vectors": vectors});
        let task = Task::new(TaskType::VectorComputation, TaskPriority::Normal, data);
        group.throughput(Throughput::Elements((1000 * DIM) as u64));
        group.bench_function(name, |b| b.iter(|| executor.prepare(&task).expect("a valid task")));
    }
}

criterion_group!(benches, tasks, levels, admission);
criterion_main!(benches);
