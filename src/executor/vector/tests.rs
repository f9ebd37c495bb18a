//! The vector executor through its port.

mod bounds;
mod clusters;
mod golden;
mod joins;
mod laws;
mod pca;
mod reduced;
mod sets;

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::task::{CancelHandle, Part, PartSink, Parts, TaskPriority};

/// An executor with two threads.
fn executor() -> VectorComputationExecutor {
    VectorComputationExecutor::new(ComputePool::new(2).expect("two threads"))
}

fn task(data: Value, parts: Parts) -> Task {
    Task::new(TaskType::VectorComputation, TaskPriority::Normal, data).with_parts(parts)
}

/// Runs a task to its output and parts.
async fn run_with(data: Value, parts: Parts) -> Result<(Value, Parts), TaskError> {
    let (executor, task, sink) = (executor(), task(data, parts), Arc::new(PartSink::default()));
    let prepared = executor.prepare(&task)?;
    let ctx = TaskContext::new(CancelHandle::default(), sink.clone()).with_request(prepared.request);
    let result = executor.execute_with(&task, &ctx).await?;
    Ok((result.output, sink.take()))
}

async fn run(data: Value) -> Result<Value, TaskError> {
    run_with(data, Parts::default()).await.map(|(output, _parts)| output)
}

/// Rows of numbers from an answer.
fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().expect("rows").iter().map(numbers).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// The same values as the program that makes the golden file: multiples of 2^-24 in -0.5..0.5.
fn values(salt: u64, row_count: usize, dim: usize) -> Vec<Vec<f32>> {
    let value = |index: usize| ((((index as u64 + salt) * 2_654_435_761) % (1 << 32)) >> 8) as f32 / (1 << 24) as f32 - 0.5;
    (0..row_count).map(|row| (0..dim).map(|column| value(row * dim + column)).collect()).collect()
}

fn part(rows: &[Vec<f32>]) -> Part {
    Part::from_f32(vec![rows.len(), rows[0].len()], &rows.concat()).expect("equal rows")
}

#[track_caller]
fn assert_close(got: &[f64], want: &[f64], allowed: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= allowed, "{what}[{index}]: got {got}, want {want}, allowed {allowed}");
    }
}
