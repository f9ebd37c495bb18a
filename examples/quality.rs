//! How good a model is when it is asked through the worker's executor: `quality DATA_DIR [MODEL]`, where DATA_DIR holds `stsbenchmark/sts-test.csv` and
//! `scifact/` in the BEIR layout and MODEL is a folder or a name (the built-in model without one).
//!
//! Prints Spearman's correlation on STS-B test and nDCG@10 on SciFact test. all-MiniLM-L6-v2: 0.8203 and 0.6451.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ndarray::Array2;
use serde_json::json;
use tallow::{ModelInferenceExecutor, PartSink, Task, TaskContext, TaskExecutor, TaskPriority, TaskSink, TaskType};
use tallow_models::builtin;
use tallow_models::quality::{ndcg, read_judgements, read_passages, read_sts, spearman};

/// Texts of one task.
const TEXTS_PER_TASK: usize = 512;
/// Places that count.
const PLACES: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let data = PathBuf::from(arguments.next().ok_or("usage: quality DATA_DIR [MODEL]")?);
    let model = arguments.next().unwrap_or_else(|| builtin::NAME.into());
    let executor = ModelInferenceExecutor::default();
    executor.preload(&model).await?;

    let pairs = read_sts("sts-test.csv", &read(&data, "stsbenchmark/sts-test.csv")?)?;
    let texts: Vec<String> = pairs.iter().flat_map(|pair| [pair.first.clone(), pair.second.clone()]).collect();
    let started = Instant::now();
    let rows = embed(&executor, &model, &texts).await?;
    report("sts-b", texts.len(), started);
    let cosines: Vec<f64> = (0..pairs.len()).map(|pair| f64::from(rows.row(2 * pair).dot(&rows.row(2 * pair + 1)))).collect();
    let scores: Vec<f64> = pairs.iter().map(|pair| pair.score).collect();
    println!("sts-b test: spearman {:.4}", spearman(&cosines, &scores).ok_or("the correlation is undefined")?);

    let corpus = read_passages("corpus.jsonl", &read(&data, "scifact/corpus.jsonl")?)?;
    let queries: HashMap<String, String> = read_passages("queries.jsonl", &read(&data, "scifact/queries.jsonl")?)?
        .into_iter()
        .map(|query| (query.id.clone(), query.full_text()))
        .collect();
    let judgements = read_judgements("test.tsv", &read(&data, "scifact/qrels/test.tsv")?)?;
    let texts: Vec<String> = corpus.iter().map(|passage| passage.full_text()).collect();
    let started = Instant::now();
    let passages = embed(&executor, &model, &texts).await?;
    report("scifact", texts.len(), started);
    let asked: Vec<String> =
        judgements.iter().map(|(id, _)| queries.get(id).cloned().ok_or_else(|| format!("no query {id}"))).collect::<Result<_, _>>()?;
    let scores = embed(&executor, &model, &asked).await?.dot(&passages.t());
    let mut total = 0.0;
    for ((_, grades), row) in judgements.iter().zip(scores.rows()) {
        let mut order: Vec<usize> = (0..corpus.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        let ranked: Vec<&str> = order[..PLACES.min(order.len())].iter().map(|&index| corpus[index].id.as_str()).collect();
        total += ndcg(&ranked, grades, PLACES);
    }
    println!("scifact test: ndcg@{PLACES} {:.4}", total / judgements.len() as f64);
    Ok(())
}

/// Unit vectors `[texts.len(), dimensions]`, too long texts cut, by tasks of [`TEXTS_PER_TASK`] texts.
async fn embed(executor: &ModelInferenceExecutor, model: &str, texts: &[String]) -> Result<Array2<f32>, Box<dyn Error>> {
    let (mut values, mut dimensions) = (Vec::new(), 0);
    for slice in texts.chunks(TEXTS_PER_TASK) {
        let data = json!({ "operation": "embed", "texts": slice, "model": model, "normalize": true, "long_input": "truncate", "encoding": "part" });
        let task = Task::new(TaskType::ModelInference, TaskPriority::Normal, data);
        let sink = std::sync::Arc::new(PartSink::default());
        let ctx = TaskContext::new(tallow::CancelHandle::default(), std::sync::Arc::clone(&sink) as std::sync::Arc<dyn TaskSink>);
        executor.execute_with(&task, &ctx).await?;
        let parts = sink.take();
        let part = parts.get("embeddings").ok_or("the answer has no part `embeddings`")?;
        dimensions = part.shape()[1];
        values.extend(part.to_f32()?);
    }
    Ok(Array2::from_shape_vec((texts.len(), dimensions), values)?)
}

fn read(data: &Path, name: &str) -> Result<String, Box<dyn Error>> {
    let path = data.join(name);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn report(what: &str, count: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what}: {count} texts in {seconds:.1} s, {:.0} texts/s", count as f64 / seconds);
}
