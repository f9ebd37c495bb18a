//! A queued task costs at most 1 KB beside its payload, counted by the allocator, with default options.

mod counting;

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use serde_json::json;
use tallow::{ExecutorCapabilities, Task, TaskError, TaskExecutor, TaskManager, TaskPriority, TaskResult, TaskType};

use counting::HELD;

struct Never(ExecutorCapabilities);

#[async_trait]
impl TaskExecutor for Never {
    async fn execute(&self, _task: &Task) -> Result<TaskResult, TaskError> {
        std::future::pending().await
    }

    fn can_execute(&self, _task_type: &TaskType) -> bool {
        true
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.0
    }
}

fn task() -> Task {
    Task::new(TaskType::TextProcessing, TaskPriority::Normal, json!({"operation": "word_count", "text": "a b c"}))
}

/// Bytes of one event in the bounded ring, which belongs to no task.
const EVENT_BYTES: usize = 128;

#[test]
fn a_queued_task_costs_at_most_1_kb_beside_its_payload() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Just above 7/8 of a power of two, where tables have just doubled, and near the bound of the queue.
    for count in [1_000_usize, 29_000, 58_000, 84_000] {
        runtime.block_on(async {
            let manager = TaskManager::new(Never(ExecutorCapabilities::default()));
            let tasks: Vec<Task> = (0..count).map(|_| task()).collect();
            let before = HELD.load(Ordering::Relaxed);
            // What the vector holds by value moves into the manager and is counted there.
            let by_value = (tasks.capacity() * size_of::<Task>()) as i64;
            for task in tasks {
                manager.submit_task(task).await.expect("room");
            }
            let grown = HELD.load(Ordering::Relaxed) - before + by_value;
            let ring = (count.min(65_536).next_power_of_two() * EVENT_BYTES) as i64;
            let per_task = (grown - ring) as f64 / count as f64;
            println!("{count} tasks: {per_task:.0} bytes each, and {} for the ring of events", ring / count as i64);
            assert!(per_task <= 1024.0, "{per_task:.0} bytes for each of {count} tasks");
            assert!(per_task > 200.0, "the allocator counts: {per_task:.0} bytes");
        });
    }
}
