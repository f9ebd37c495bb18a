//! What the worker says it has done is what was done: tasks, documents and tokens by executor and operation.

use serde_json::json;
use tallow::manager::OperationStats;
use tallow::{METADATA_EXECUTOR, TaskManager, TaskResult, TaskType, WorkUnit};

use crate::support::{Scripted, custom, registry, rows, runtime, small_task, soon, task, together};

#[test]
fn work_is_counted_by_executor_and_operation() {
    let _together = together();
    runtime().block_on(async {
        let registry = registry();
        let foreign = Scripted::new(&["foreign"], |_, ctx| async move {
            ctx.sink().worked(WorkUnit::CompletionTokens, 5);
            ctx.sink().worked(WorkUnit::CompletionTokens, 6);
            if ctx.attempt() == 1 { Err(tallow::TaskError::internal("as told", "")) } else { Ok(TaskResult::default()) }
        });
        registry.register("mine", foreign).expect("a free name");
        let manager = TaskManager::new(registry);
        let texts = json!(["The sky is blue.", "Light scatters.", "Why?"]);
        let tasks = [
            task(TaskType::TextProcessing, json!({"operation": "statistics", "texts": texts})),
            task(TaskType::TextProcessing, json!({"operation": "statistics", "text": "One more."})),
            task(TaskType::ModelInference, json!({"operation": "embed", "texts": texts})),
            small_task(&rows(10, 4)),
            task(custom("foreign"), json!({})),
        ];
        let mut results = Vec::new();
        for task in tasks {
            let id = manager.submit_task(task).await.expect("accepted");
            results.push(soon("it completes", manager.wait(&id)).await.expect("completes"));
        }
        let tokens = results[2].output["usage"]["prompt_tokens"].as_u64().expect("a number");
        assert!(tokens > 3);
        assert_eq!(results[1].metadata[METADATA_EXECUTOR], "text");
        let stats = manager.stats().operations;
        let counted = |operation: &OperationStats| {
            let OperationStats { tasks, documents, prompt_tokens, completion_tokens, .. } = *operation;
            (operation.executor.clone(), operation.operation.clone(), [tasks, documents, prompt_tokens, completion_tokens])
        };
        let expected = [
            ("inference", "embed", [1, 3, tokens, 0]),
            // Work of the attempt that failed does not count.
            ("mine", "foreign", [1, 0, 0, 11]),
            ("text", "statistics", [2, 4, 0, 0]),
            ("vector", "statistics", [1, 0, 0, 0]),
        ];
        let expected = expected.map(|(executor, operation, work)| (executor.to_owned(), operation.to_owned(), work));
        assert_eq!(stats.iter().map(counted).collect::<Vec<_>>(), expected);
        assert!(stats.iter().all(|operation| operation.tasks_per_s > 0.0), "{stats:?}");
    });
}
