//! Registers an executor of one's own beside Tallow's, in-process: `cargo run --release --example own_executor`.

use async_trait::async_trait;
use serde_json::json;
use tallow::executor::ExecutorRegistry;
use tallow::manager::TaskManager;
use tallow::{ExecutorCapabilities, Task, TaskError, TaskExecutor, TaskPriority, TaskResult, TaskType};

/// Rolls dice: a stand-in for whatever your agent can do that Tallow cannot.
struct Dice {
    capabilities: ExecutorCapabilities,
}

#[async_trait]
impl TaskExecutor for Dice {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        let sides = task.payload.data["sides"].as_u64().filter(|&sides| sides > 0);
        let sides = sides.ok_or_else(|| TaskError::invalid("sides", "expected a whole number of at least 1"))?;
        let roll = task.id.as_u128() % u128::from(sides) + 1;
        Ok(TaskResult::new(json!({ "roll": roll })))
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        self.capabilities.supported_types.contains(task_type)
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.capabilities
    }
}

#[tokio::main]
async fn main() -> Result<(), TaskError> {
    let dice_type = TaskType::Custom("dice".into());
    let dice =
        Dice { capabilities: ExecutorCapabilities { supported_types: vec![dice_type.clone()], max_memory_mb: 16, requires_gpu: false } };

    let registry = ExecutorRegistry::new();
    registry.register("dice", dice)?;
    let manager = TaskManager::new(registry);

    let roll = manager.submit_task(Task::new(dice_type, TaskPriority::High, json!({ "sides": 20 }))).await?;
    println!("{}", manager.execute_task(&roll).await?.output);
    Ok(())
}
