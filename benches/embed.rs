//! The door `embed`: texts per second through the inference executor, tokenising included.
//!
//! The built-in model is always measured. With `TALLOW_TEST_MODELS` naming a folder that holds `all-MiniLM-L6-v2`, that model is measured too, beside
//! candle-transformers' BERT on the same padded batch (forward pass only) as a yardstick.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::bert::{BertModel, Config};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use tallow::{ModelInferenceExecutor, Task, TaskExecutor, TaskPriority, TaskType};
use tallow_models::{Embedder, Encoder, Sequence, builtin};

/// About 12 and about 110 word pieces.
const SENTENCE: &str = "A man is playing the guitar on a small stage.";
const SENTENCES_PER_PASSAGE: usize = 10;

fn texts(count: usize, sentences: usize) -> Vec<String> {
    (0..count).map(|index| format!("{index} {}", vec![SENTENCE; sentences].join(" "))).collect()
}

fn executor_benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("the runtime starts");
    let executor = ModelInferenceExecutor::default();
    let mut models = vec![("builtin", builtin::NAME.to_owned())];
    models.extend(minilm().map(|folder| ("minilm", folder.display().to_string())));
    for (label, model) in &models {
        let mut group = criterion.benchmark_group(format!("embed_{label}"));
        group.sample_size(10);
        for (shape, count, sentences) in
            [("sentence", 1, 1), ("sentence", 256, 1), ("passage", 1, SENTENCES_PER_PASSAGE), ("passage", 64, SENTENCES_PER_PASSAGE)]
        {
            let data = json!({ "operation": "embed", "texts": texts(count, sentences), "model": model, "encoding": "part" });
            let task = Task::new(TaskType::ModelInference, TaskPriority::Normal, data);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_with_input(BenchmarkId::new(shape, count), &task, |bencher, task| {
                bencher.iter(|| black_box(runtime.block_on(executor.execute(task)).expect("the task runs")));
            });
        }
        group.finish();
    }
}

fn forward_benches(criterion: &mut Criterion) {
    let Some(folder) = minilm() else {
        eprintln!("skipped: TALLOW_TEST_MODELS is not set, so all-MiniLM-L6-v2 is not measured");
        return;
    };
    let ours = Encoder::load(&folder, "minilm", &Device::Cpu).expect("the model loads");
    let theirs = candle_bert(&folder);
    let mut group = criterion.benchmark_group("forward_minilm");
    group.sample_size(10);
    for (shape, count, sentences) in [("sentence", 256, 1), ("passage", 64, SENTENCES_PER_PASSAGE)] {
        let sequences: Vec<Sequence> = texts(count, sentences).iter().map(|text| ours.tokenize("", text).expect("a text")).collect();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("tallow", shape), |bencher| {
            bencher.iter(|| black_box(ours.embed(&sequences, &|| false).expect("the forward pass runs")));
        });
        let seq = sequences.iter().map(Sequence::len).max().unwrap_or(0);
        let padded = |pad: fn(usize, usize) -> u32, value: &dyn Fn(&Sequence, usize) -> u32| {
            let rows: Vec<u32> =
                sequences.iter().flat_map(|s| (0..seq).map(move |i| if i < s.len() { value(s, i) } else { pad(i, seq) })).collect();
            Tensor::from_vec(rows, (count, seq), &Device::Cpu).expect("a tensor")
        };
        let ids = padded(|_, _| 0, &|s, i| s.ids[i]);
        let mask = padded(|_, _| 0, &|_, _| 1);
        let types = ids.zeros_like().expect("a tensor");
        group.bench_function(BenchmarkId::new("candle_transformers", shape), |bencher| {
            bencher.iter(|| black_box(theirs.forward(&ids, &types, Some(&mask)).expect("the forward pass runs")));
        });
    }
    group.finish();
}

fn minilm() -> Option<PathBuf> {
    std::env::var_os("TALLOW_TEST_MODELS").map(|root| Path::new(&root).join("all-MiniLM-L6-v2"))
}

fn candle_bert(folder: &Path) -> BertModel {
    let config: Config =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).expect("a configuration")).expect("a configuration");
    let weights = std::fs::read(folder.join("model.safetensors")).expect("weights");
    let weights = candle_nn::VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).expect("weights");
    BertModel::load(weights, &config).expect("the model loads")
}

criterion_group!(benches, executor_benches, forward_benches);
criterion_main!(benches);
