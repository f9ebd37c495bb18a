//! The manager's door: submissions, status queries and tasks from end to end, in process, on one thread, with default options.
//!
//! `submit/*` measures the public async call on a manager whose executor is busy, so that the queue fills; making the tasks is not measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use tallow::{ExecutorCapabilities, Submission, Task, TaskError, TaskExecutor, TaskId, TaskManager, TaskPriority, TaskResult, TaskType};
use tokio::runtime::{Builder, Runtime};

const QUEUED_COUNT: usize = 50_000;

/// Answers at once, or never.
struct Probe {
    capabilities: ExecutorCapabilities,
    answers: bool,
}

impl Probe {
    fn new(answers: bool) -> Self {
        Self { capabilities: ExecutorCapabilities::default(), answers }
    }
}

#[async_trait]
impl TaskExecutor for Probe {
    async fn execute(&self, _task: &Task) -> Result<TaskResult, TaskError> {
        if !self.answers {
            std::future::pending::<()>().await;
        }
        Ok(TaskResult::default())
    }

    fn can_execute(&self, _task_type: &TaskType) -> bool {
        true
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.capabilities
    }
}

fn task() -> Task {
    Task::new(TaskType::TextProcessing, TaskPriority::Normal, json!({"operation": "word_count", "text": "five words are in this"}))
}

fn tasks(count: usize) -> Vec<Task> {
    (0..count).map(|_| task()).collect()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A manager whose processors are all taken by runs that never end.
async fn busy() -> TaskManager<Probe> {
    let manager = TaskManager::new(Probe::new(false));
    for _ in 0..64 {
        manager.submit_task(task()).await.expect("room");
    }
    while manager.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    manager
}

fn submit(c: &mut Criterion) {
    let runtime = one_thread();
    let mut group = c.benchmark_group("submit");
    group.sample_size(20).throughput(Throughput::Elements(QUEUED_COUNT as u64));
    group.bench_function("one_by_one", |b| {
        b.iter_custom(|rounds| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..rounds {
                let tasks = tasks(QUEUED_COUNT);
                elapsed += runtime.block_on(async {
                    let manager = busy().await;
                    let began = Instant::now();
                    for task in tasks {
                        black_box(manager.submit_task(task).await.expect("room"));
                    }
                    began.elapsed()
                });
            }
            elapsed
        });
    });
    group.bench_function("batches_of_1000", |b| {
        b.iter_custom(|rounds| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..rounds {
                let mut batches = Vec::new();
                for _ in 0..QUEUED_COUNT / 1000 {
                    batches.push(tasks(1000).into_iter().map(Submission::new).collect::<Vec<_>>());
                }
                elapsed += runtime.block_on(async {
                    let manager = busy().await;
                    let began = Instant::now();
                    for batch in batches {
                        let outcomes = manager.submit_batch(batch).await;
                        assert!(outcomes.iter().all(Result::is_ok), "room");
                    }
                    began.elapsed()
                });
            }
            elapsed
        });
    });
    group.finish();
}

fn status(c: &mut Criterion) {
    let runtime = one_thread();
    let (manager, ids) = runtime.block_on(async {
        let manager = busy().await;
        let mut ids: Vec<TaskId> = Vec::new();
        for task in tasks(QUEUED_COUNT) {
            ids.push(manager.submit_task(task).await.expect("room"));
        }
        (manager, ids)
    });
    // A stride that is coprime with the count visits the ids in an order that no cache foresees.
    let mut at = 0;
    let mut group = c.benchmark_group("status");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("of_50000_queued", |b| {
        b.iter(|| {
            for _ in 0..1000 {
                at = (at + 30_011) % ids.len();
                black_box(manager.status(&ids[at]).expect("known"));
            }
        });
    });
    group.finish();
    drop(runtime);
}

fn end_to_end(c: &mut Criterion) {
    const COUNT: usize = 10_000;
    let runtime = one_thread();
    let mut group = c.benchmark_group("end_to_end");
    group.sample_size(20).throughput(Throughput::Elements(COUNT as u64));
    group.bench_function("no_op_tasks", |b| {
        b.iter_batched(
            || (TaskManager::new(Probe::new(true)), tasks(COUNT)),
            |(manager, tasks)| {
                runtime.block_on(async {
                    let mut last = None;
                    for task in tasks {
                        last = Some(manager.submit_task(task).await.expect("room"));
                    }
                    manager.wait(&last.expect("some")).await.expect("completes");
                    while manager.stats().totals.completed < COUNT as u64 {
                        tokio::task::yield_now().await;
                    }
                    manager
                })
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, submit, status, end_to_end);
criterion_main!(benches);
