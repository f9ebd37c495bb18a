//! Compiles only against the names of the contract at the crate root, the way another agent would use them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tallow::{
    CancelHandle, EventError, EventHandler, EventNotifier, ExecutorCapabilities, ExecutorRegistry, MAX_RETRY_COUNT, MetricsCollector,
    ResourceDemand, Submission, Task, TaskContext, TaskError, TaskEvent, TaskEventHandler, TaskExecutor, TaskId, TaskManager, TaskMessage,
    TaskPayload, TaskPriority, TaskProtocol, TaskResult, TaskStatus, TaskType, VectorComputationExecutor,
};
use tokio::sync::{Notify, mpsc};

/// A user's own executor: doubles a number, fails, panics or waits as it is told.
struct Foreign {
    capabilities: ExecutorCapabilities,
    calls: Arc<AtomicU32>,
    started: Arc<Notify>,
}

impl Foreign {
    fn new() -> Self {
        Self {
            capabilities: ExecutorCapabilities {
                supported_types: vec![TaskType::Custom("double".into())],
                max_memory_mb: 64,
                requires_gpu: false,
            },
            calls: Arc::default(),
            started: Arc::default(),
        }
    }
}

#[async_trait]
impl TaskExecutor for Foreign {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        let value = task.payload.data["value"].as_f64();
        let value = value.ok_or_else(|| TaskError::InvalidPayload { field: "data.value".into(), reason: "expected a number".into() })?;
        Ok(TaskResult { output: json!({ "value": value * 2.0 }), metadata: HashMap::new() })
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        self.capabilities.supported_types.contains(task_type)
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.capabilities
    }

    async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.started.notify_one();
        match task.payload.data["mode"].as_str() {
            Some("wait") => {
                let cancel: &CancelHandle = ctx.cancel();
                cancel.cancelled().await;
                Err(cancel.cause())
            }
            Some("panic") => panic!("as told"),
            _ => self.execute(task).await,
        }
    }

    fn demand(&self, task: &Task) -> ResourceDemand {
        ResourceDemand::of_payload(task)
    }
}

fn double(data: Value) -> Task {
    Task::new(TaskType::Custom("double".into()), TaskPriority::Normal, data)
}

#[test]
fn a_manager_is_made_outside_a_runtime_and_runs_inside_one() {
    let manager = TaskManager::new(Foreign::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let result = runtime.block_on(async {
        let id = manager.submit_task(double(json!({"value": 21}))).await?;
        manager.execute_task(&id).await
    });
    assert_eq!(result.expect("it completes").output, json!({"value": 42.0}));
}

#[tokio::test]
async fn a_task_goes_through_pending_running_and_completed() {
    let executor = Foreign::new();
    let (calls, started) = (executor.calls.clone(), executor.started.clone());
    let manager = TaskManager::new(executor);

    let task = double(json!({"value": 4}));
    assert!(task.is_pending() && !task.is_running() && !task.is_completed() && !task.is_terminal());
    let id: TaskId = manager.submit_task(task).await.expect("accepted");
    assert_eq!(manager.get_task(&id).expect("known").status, TaskStatus::Pending, "the run loop has not had its turn");
    let waiting = manager.submit_task(double(json!({"mode": "wait"}))).await.expect("accepted");
    started.notified().await;

    let result: TaskResult = manager.execute_task(&id).await.expect("completes");
    assert_eq!(result.output["value"], 8.0);
    assert!(result.is_success());
    let done: Task = manager.get_task(&id).expect("known");
    assert_eq!(done.status, TaskStatus::Completed);
    assert_eq!(done.result.as_ref().map(|result| result.output.clone()), Some(json!({"value": 8.0})));
    assert!(done.completed_at.is_some_and(|at| at >= done.created_at));
    assert_eq!(manager.execute_task(&id).await.expect("still there").output["value"], 8.0);

    while manager.get_task(&waiting).expect("known").status != TaskStatus::Running {
        tokio::task::yield_now().await;
    }
    let running: Vec<TaskId> = manager.get_tasks_by_status(TaskStatus::Running).iter().map(|task| task.id).collect();
    assert_eq!(running, [waiting]);
    manager.cancel_task(&waiting).await.expect("cancelled");
    assert_eq!(manager.get_task(&waiting).expect("known").status, TaskStatus::Cancelled);
    assert_eq!(calls.load(Ordering::SeqCst), 2, "no task runs twice");
}

#[tokio::test]
async fn a_failing_task_keeps_its_error_and_a_panic_harms_only_its_own_task() {
    let manager = TaskManager::new(Foreign::new());
    let wrong = manager.submit_task(double(json!({"value": "x"}))).await.expect("accepted");
    let panics = Submission::new(double(json!({"mode": "panic"}))).retries_max(0);
    let panics = manager.submit(panics).await.expect("accepted");
    let fine = manager.submit_task(double(json!({"value": 1}))).await.expect("accepted");

    let error = manager.execute_task(&wrong).await.expect_err("fails");
    assert_eq!(error.code(), "invalid_payload");
    assert!(matches!(manager.get_task(&wrong).expect("known").status, TaskStatus::Failed(text) if text.contains("data.value")));
    assert_eq!(manager.execute_task(&panics).await.expect_err("fails").code(), "internal");
    assert_eq!(manager.execute_task(&fine).await.expect("completes").output["value"], 2.0);
    assert_eq!(manager.get_tasks_by_status(TaskStatus::Failed(String::new())).len(), 2);
}

#[tokio::test]
async fn errors_are_the_ones_the_contract_names() {
    let manager = TaskManager::new(Foreign::new());
    let unknown = TaskId::new();
    assert_eq!(manager.get_task(&unknown), Err(TaskError::NotFound { task_id: unknown }));
    assert_eq!(manager.execute_task(&unknown).await, Err(TaskError::NotFound { task_id: unknown }));
    assert_eq!(manager.cancel_task(&unknown).await, Err(TaskError::NotFound { task_id: unknown }));
    let storage = Task::new(TaskType::Storage, TaskPriority::Low, json!({}));
    assert_eq!(manager.submit_task(storage).await, Err(TaskError::UnsupportedTaskType));
    let mut ended = double(json!({"value": 1}));
    ended.status = TaskStatus::Completed;
    assert_eq!(manager.submit_task(ended).await.map_err(|error| error.code()), Err("invalid_payload"));

    let id = manager.submit_task(double(json!({"value": 1}))).await.expect("accepted");
    manager.execute_task(&id).await.expect("completes");
    let again = manager.cancel_task(&id).await;
    assert_eq!(again, Err(TaskError::AlreadyTerminal { task_id: id, status: TaskStatus::Completed }));
}

struct Listener(mpsc::Sender<TaskEvent>);

impl EventHandler<TaskEvent> for Listener {
    async fn handle(&self, event: TaskEvent) -> Result<(), EventError> {
        self.0.send(event).await.map_err(|_| EventError::Closed)
    }
}

#[tokio::test]
async fn handlers_hear_of_everything_in_order() {
    let (sender, mut receiver) = mpsc::channel(16);
    let ready_made = TaskEventHandler::new(MetricsCollector::new(), EventNotifier::new());
    let manager = TaskManager::new(Foreign::new());
    manager.add_handler(Listener(sender));
    manager.add_handler(ready_made.clone());
    let mut subscriber = ready_made.notifier().subscribe();

    let id = manager.submit_task(double(json!({"value": 3}))).await.expect("accepted");
    manager.execute_task(&id).await.expect("completes");
    for name in ["task_submitted", "task_started", "task_completed"] {
        let event = receiver.recv().await.expect("an event");
        assert_eq!((event.name(), event.task_id()), (name, id));
        assert_eq!(subscriber.recv().await.expect("an event").name(), name);
        if let TaskEvent::TaskCompleted { task_id, result, duration } = event {
            assert_eq!((task_id, &result.output["value"]), (id, &json!(6.0)));
            assert!(duration < Duration::from_secs(60));
        }
    }
    let metrics = ready_made.metrics().snapshot();
    assert_eq!(metrics.events["task_completed"], 1);
    assert_eq!(metrics.durations.count(), 1);

    let id = manager.submit_task(double(json!({"value": "x"}))).await.expect("accepted");
    manager.execute_task(&id).await.expect_err("fails");
    let failed = loop {
        match receiver.recv().await.expect("an event") {
            TaskEvent::TaskFailed { task_id, error, retry_count } => break (task_id, error.code(), retry_count),
            _ => continue,
        }
    };
    assert_eq!(failed, (id, "invalid_payload", 0));
    assert!(failed.2 <= MAX_RETRY_COUNT);
}

#[tokio::test]
async fn boxed_and_shared_executors_are_executors_too() {
    let shared = Arc::new(TaskManager::new(Arc::new(Foreign::new())));
    let boxed: Box<dyn TaskExecutor> = Box::new(Foreign::new());
    let boxed = TaskManager::new(boxed);
    let task = || Submission::new(double(json!({"value": 2}))).submitter("someone").label("kind", "test");
    let one = shared.submit(task()).await.expect("accepted");
    let two = boxed.submit(task()).await.expect("accepted");
    assert_eq!(shared.execute_task(&one).await.expect("completes").output, boxed.execute_task(&two).await.expect("completes").output);
    assert_eq!(shared.status(&one).expect("known").priority, TaskPriority::Normal);
}

#[test]
fn literals_of_the_open_structs_compile() {
    let now = Task::new(TaskType::Storage, TaskPriority::Critical, Value::Null).created_at;
    let payload = TaskPayload::new(TaskType::TextProcessing, json!({"operation": "word_count", "text": "a b"}));
    let task = Task {
        id: TaskId::new(),
        priority: TaskPriority::High,
        payload,
        status: TaskStatus::Failed("why".into()),
        result: None,
        created_at: now,
        completed_at: Some(now),
    };
    assert!(task.is_terminal());
    assert!(TaskPriority::Low < TaskPriority::Critical && TaskPriority::Critical as u8 == 3);
    assert_eq!(serde_json::to_value(&task.status).expect("json"), json!({"failed": "why"}));
    let text = task.id.to_string();
    assert_eq!(text.parse::<TaskId>().expect("an id"), task.id);
}

#[tokio::test]
async fn a_registry_serves_many_executors_and_takes_more_while_it_runs() {
    let registry = Arc::new(ExecutorRegistry::new());
    registry.register("vector", VectorComputationExecutor::default()).expect("a free name");
    let manager = TaskManager::new(Arc::clone(&registry));
    assert_eq!(manager.submit_task(double(json!({"value": 2}))).await, Err(TaskError::UnsupportedTaskType));
    registry.register("foreign", Foreign::new()).expect("a free name");
    let doubled = manager.submit_task(double(json!({"value": 2}))).await.expect("accepted");
    let data = json!({"operation": "cosine_similarity", "vector_a": [1.0, 0.0], "vector_b": [1.0, 0.0]});
    let compared = Task::new(TaskType::VectorComputation, TaskPriority::Normal, data);
    let compared = manager.submit_task(compared).await.expect("accepted");
    assert_eq!(manager.execute_task(&compared).await.expect("completes").output["similarity"], json!(1.0));
    manager.execute_task(&doubled).await.expect("completes");
    assert!(registry.capabilities().supported_types.contains(&TaskType::VectorComputation));
}

#[test]
fn messages_between_workers_are_made_of_the_contracts_fields() {
    let task_id = TaskId::new();
    let message = TaskMessage {
        from: "a".into(),
        to: "b".into(),
        task_id,
        task_type: TaskType::TextProcessing,
        payload: b"{}".to_vec(),
        priority: TaskPriority::Normal,
    };
    let response = TaskProtocol::TaskResponse { task_id, result: Ok(TaskResult { output: json!(1), metadata: HashMap::new() }) };
    let progress = TaskProtocol::TaskProgress { task_id, progress: 0.5, message: "half".into() };
    let cancel = TaskProtocol::TaskCancel { task_id, reason: "enough".into() };
    for protocol in [TaskProtocol::TaskRequest(message), response, progress, cancel] {
        let text = serde_json::to_string(&protocol).expect("json");
        assert_eq!(serde_json::from_str::<TaskProtocol>(&text).expect("the same message"), protocol);
    }
}
