//! The door of events: a running task publishes, readers read; in process, on one thread, with default options.

use std::hint::black_box;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use tallow::manager::{Delivery, EventCursor};
use tallow::{ExecutorCapabilities, Task, TaskContext, TaskError, TaskExecutor, TaskManager, TaskPriority, TaskResult, TaskType};

const EVENT_COUNT: usize = 100_000;
/// Published before the readers get their turn.
const BURST: usize = 1_000;

/// Reports progress again and again.
struct Reporter(ExecutorCapabilities);

#[async_trait]
impl TaskExecutor for Reporter {
    async fn execute(&self, _task: &Task) -> Result<TaskResult, TaskError> {
        Ok(TaskResult::default())
    }

    fn can_execute(&self, _task_type: &TaskType) -> bool {
        true
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.0
    }

    async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        for at in 0..EVENT_COUNT {
            ctx.sink().progress(at as f32 / EVENT_COUNT as f32, "counting");
            if at % BURST == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.execute(task).await
    }
}

fn published_and_read(reader_count: usize) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let manager = TaskManager::new(Reporter(ExecutorCapabilities::default()));
        let readers: Vec<_> = (0..reader_count).map(|_| manager.events(EventCursor::Now)).collect();
        let began = Instant::now();
        let id = manager.submit_task(Task::new(TaskType::Storage, TaskPriority::Normal, Value::Null)).await.expect("accepted");
        let mut reading = tokio::task::JoinSet::new();
        for mut reader in readers {
            reading.spawn(async move {
                let mut count = 0;
                while let Some(delivery) = reader.next().await {
                    match delivery {
                        Delivery::Event(record) => {
                            count += 1;
                            if record.is_last() {
                                break;
                            }
                            black_box(record);
                        }
                        Delivery::Missed(missed) => panic!("missed {missed}"),
                    }
                }
                count
            });
        }
        manager.wait(&id).await.expect("completes");
        while let Some(count) = reading.join_next().await {
            assert_eq!(count.expect("a count"), EVENT_COUNT + 3);
        }
        began.elapsed()
    })
}

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("events");
    group.sample_size(20).throughput(Throughput::Elements(EVENT_COUNT as u64));
    for reader_count in [1, 8] {
        group.bench_function(format!("published_and_read_by_{reader_count}"), |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| published_and_read(reader_count)).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
