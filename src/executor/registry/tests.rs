//! The registry with executors that it has never heard of: routing, growth at run time, shares, panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;
use crate::task::{CancelHandle, OperationInfo, PartSink, TaskPriority, TaskSink};

/// An executor of another house: serves the given types and answers its own name.
struct Foreign {
    answer: &'static str,
    caps: ExecutorCapabilities,
    ran: Arc<AtomicUsize>,
}

fn foreign(answer: &'static str, types: &[TaskType], max_memory_mb: u64) -> Foreign {
    let caps = ExecutorCapabilities { supported_types: types.to_vec(), max_memory_mb, requires_gpu: false };
    Foreign { answer, caps, ran: Arc::default() }
}

#[async_trait]
impl TaskExecutor for Foreign {
    async fn execute(&self, _task: &Task) -> Result<TaskResult, TaskError> {
        self.ran.fetch_add(1, Ordering::Relaxed);
        Ok(TaskResult::new(json!(self.answer)))
    }
    fn can_execute(&self, task_type: &TaskType) -> bool {
        self.caps.supported_types.contains(task_type)
    }
    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.caps
    }
}

/// Parses in `prepare`, can be switched on, and panics where told to.
struct Odd {
    caps: ExecutorCapabilities,
    on: Arc<AtomicBool>,
    panics_in: &'static str,
}

fn odd(panics_in: &'static str) -> Odd {
    let caps = ExecutorCapabilities { supported_types: vec![custom("odd")], max_memory_mb: 3, requires_gpu: true };
    Odd { caps, on: Arc::new(AtomicBool::new(true)), panics_in }
}

impl Odd {
    fn maybe_panic(&self, method: &str) {
        assert!(self.panics_in != method, "secret detail of {method}");
    }
}

#[async_trait]
impl TaskExecutor for Odd {
    async fn execute(&self, _task: &Task) -> Result<TaskResult, TaskError> {
        self.maybe_panic("execute");
        Ok(TaskResult::new(json!("direct")))
    }
    fn can_execute(&self, task_type: &TaskType) -> bool {
        self.maybe_panic("can_execute");
        self.on.load(Ordering::Relaxed) && self.caps.supported_types.contains(task_type)
    }
    fn capabilities(&self) -> &ExecutorCapabilities {
        self.maybe_panic("capabilities");
        &self.caps
    }
    async fn execute_with(&self, _task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        self.maybe_panic("execute_with");
        tokio::task::yield_now().await;
        self.maybe_panic("execute_with_later");
        ctx.sink().progress(1.0, "done");
        Ok(TaskResult::new(json!(ctx.request::<String>().map(|parsed| parsed.to_string()))))
    }
    fn demand(&self, _task: &Task) -> ResourceDemand {
        self.maybe_panic("demand");
        ResourceDemand { host_bytes: 7, ..ResourceDemand::default() }
    }
    fn prepare(&self, task: &Task) -> Result<Prepared, TaskError> {
        self.maybe_panic("prepare");
        Ok(Prepared::new(self.demand(task), String::from("parsed once")))
    }
    fn reports(&self) -> Vec<ExecutorReport> {
        self.maybe_panic("reports");
        let operations = vec![OperationInfo {
            task_type: custom("odd"),
            name: "ask".into(),
            summary: "Asks.".into(),
            request_schema: Value::Null,
            result_schema: Value::Null,
        }];
        vec![ExecutorReport { name: "its own name".into(), capabilities: self.caps.clone(), operations, details: Value::Null }]
    }
}

fn custom(name: &str) -> TaskType {
    TaskType::Custom(name.into())
}

fn task(task_type: TaskType) -> Task {
    Task::new(task_type, TaskPriority::Normal, json!({ "operation": "ask" }))
}

fn context(prepared: Prepared) -> TaskContext {
    TaskContext::new(CancelHandle::default(), Arc::new(PartSink::default()) as Arc<dyn TaskSink>).with_request(prepared.request)
}

async fn run(registry: &ExecutorRegistry, task: &Task) -> Result<TaskResult, TaskError> {
    let prepared = registry.prepare(task)?;
    registry.execute_with(task, &context(prepared)).await
}

#[tokio::test]
async fn an_empty_registry_serves_nothing() {
    let registry = ExecutorRegistry::new();
    assert!(registry.is_empty());
    assert_eq!(registry.capabilities(), &ExecutorCapabilities::default());
    assert!(!registry.can_execute(&TaskType::Storage));
    assert!(matches!(registry.prepare(&task(TaskType::Storage)), Err(TaskError::UnsupportedTaskType)));
    assert_eq!(registry.execute(&task(TaskType::Storage)).await, Err(TaskError::UnsupportedTaskType));
}

#[tokio::test]
async fn the_executor_registered_first_wins_and_later_ones_serve_the_rest() {
    let registry = ExecutorRegistry::new();
    registry.register("a", foreign("a", &[TaskType::TextProcessing], 0)).unwrap();
    registry.register("b", foreign("b", &[TaskType::TextProcessing, custom("x")], 0)).unwrap();
    assert_eq!(registry.execute(&task(TaskType::TextProcessing)).await.unwrap().output, json!("a"));
    assert_eq!(run(&registry, &task(custom("x"))).await.unwrap().output, json!("b"));
    assert_eq!(registry.execute(&task(custom("y"))).await, Err(TaskError::UnsupportedTaskType));
}

#[tokio::test]
async fn an_executor_can_be_registered_while_capabilities_are_borrowed() {
    let registry = Arc::new(ExecutorRegistry::new());
    registry.register("a", foreign("a", &[TaskType::TextProcessing], 10)).unwrap();
    let before = registry.capabilities();
    assert!(!registry.can_execute(&custom("late")));
    registry.register("late", foreign("late", &[custom("late"), TaskType::TextProcessing], 5)).unwrap();
    assert_eq!(before.supported_types, [TaskType::TextProcessing]);
    let after = registry.capabilities();
    assert_eq!(after.supported_types, [TaskType::TextProcessing, custom("late")]);
    assert_eq!(after.max_memory_mb, 15);
    assert_eq!(run(&registry, &task(custom("late"))).await.unwrap().output, json!("late"));
}

#[test]
fn merged_capabilities_declare_no_bound_when_one_executor_declares_none() {
    let registry = ExecutorRegistry::new();
    registry.register("gpu", odd("")).unwrap();
    assert!(registry.capabilities().requires_gpu);
    assert_eq!(registry.capabilities().max_memory_mb, 3);
    registry.register("open", foreign("open", &[TaskType::Storage], 0)).unwrap();
    assert!(!registry.capabilities().requires_gpu);
    assert_eq!(registry.capabilities().max_memory_mb, 0);
}

#[test]
fn bad_and_taken_names_are_refused_and_change_nothing() {
    let registry = ExecutorRegistry::new();
    registry.register("a", foreign("a", &[], 0)).unwrap();
    let long = "x".repeat(65);
    for name in ["", "A", "a b", "ä", "a/b", "a", long.as_str()] {
        let refused = registry.register(name, foreign("z", &[TaskType::Storage], 0));
        assert!(matches!(refused, Err(TaskError::InvalidPayload { ref field, .. }) if field == "name"), "{name}: {refused:?}");
    }
    assert_eq!(registry.len(), 1);
    assert!(!registry.can_execute(&TaskType::Storage));
}

#[test]
fn the_registry_is_bounded() {
    let registry = ExecutorRegistry::new();
    for index in 0..REGISTERED_EXECUTORS_MAX {
        registry.register(&format!("e{index}"), foreign("e", &[], 0)).unwrap();
    }
    assert!(registry.register("one-too-many", foreign("e", &[], 0)).is_err());
    assert_eq!(registry.names().len(), REGISTERED_EXECUTORS_MAX);
    assert_eq!(registry.names()[9].as_ref(), "e9");
}

#[test]
fn executors_registered_from_many_threads_are_all_there() {
    let registry = ExecutorRegistry::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let registry = &registry;
            scope.spawn(move || {
                for index in 0..16 {
                    let name = format!("t{thread}-{index}");
                    registry.register(&name, foreign("t", &[custom(&name)], 1)).unwrap();
                    assert!(registry.can_execute(&custom(&name)));
                }
            });
        }
    });
    assert_eq!(registry.len(), 128);
    assert_eq!(registry.capabilities().max_memory_mb, 128);
    assert_eq!(registry.capabilities().supported_types.len(), 128);
}

#[tokio::test]
async fn the_executor_that_admitted_a_task_runs_it() {
    let registry = ExecutorRegistry::new();
    let first = odd("");
    let switch = Arc::clone(&first.on);
    switch.store(false, Ordering::Relaxed);
    registry.register("first", first).unwrap();
    registry.register("second", foreign("second", &[custom("odd")], 0)).unwrap();
    let admitted = task(custom("odd"));
    let prepared = registry.prepare(&admitted).unwrap();
    switch.store(true, Ordering::Relaxed);
    assert_eq!(registry.execute_with(&admitted, &context(prepared)).await.unwrap().output, json!("second"));
    assert_eq!(run(&registry, &admitted).await.unwrap().output, json!("parsed once"));
}

#[tokio::test]
async fn registries_nest() {
    let inner = ExecutorRegistry::new();
    inner.register("odd", odd("")).unwrap();
    let outer = ExecutorRegistry::new();
    outer.register("inner", inner).unwrap();
    let prepared = outer.prepare(&task(custom("odd"))).unwrap();
    assert_eq!(prepared.demand.share.as_ref().unwrap().account.as_ref(), "odd");
    assert_eq!(outer.execute_with(&task(custom("odd")), &context(prepared)).await.unwrap().output, json!("parsed once"));
}

#[test]
fn the_memory_bound_of_the_executor_is_added_to_the_demand() {
    let registry = ExecutorRegistry::new();
    registry.register("odd", odd("")).unwrap();
    registry.register("open", foreign("open", &[TaskType::Storage], 0)).unwrap();
    registry.register("huge", foreign("huge", &[custom("huge")], u64::MAX)).unwrap();
    let expected = MemoryShare { account: "odd".into(), limit_bytes: 3 * MIB };
    let prepared = registry.prepare(&task(custom("odd"))).unwrap();
    assert_eq!(prepared.demand.host_bytes, 7);
    assert_eq!(prepared.demand.share, Some(expected.clone()));
    assert_eq!(registry.demand(&task(custom("odd"))).share, Some(expected));
    assert_eq!(registry.prepare(&task(TaskType::Storage)).unwrap().demand.share, None);
    assert_eq!(registry.demand(&task(custom("huge"))).share.unwrap().limit_bytes, u64::MAX);
}

#[tokio::test]
async fn a_panic_fails_the_one_task_and_its_detail_stays_inside() {
    for method in ["execute", "execute_with", "execute_with_later", "prepare", "demand"] {
        let registry = ExecutorRegistry::new();
        registry.register("odd", odd(method)).unwrap();
        registry.register("calm", foreign("calm", &[TaskType::Storage], 0)).unwrap();
        let victim = task(custom("odd"));
        let error = if method == "execute" { registry.execute(&victim).await } else { run(&registry, &victim).await }.unwrap_err();
        assert_eq!(error.code(), "internal", "{method}");
        assert!(!error.to_string().contains("secret") && error.detail().contains("secret"), "{method}: {error:?}");
        assert_eq!(run(&registry, &task(TaskType::Storage)).await.unwrap().output, json!("calm"), "{method}");
    }
}

#[test]
fn a_panic_outside_a_task_is_contained_too() {
    let registry = ExecutorRegistry::new();
    assert_eq!(registry.register("odd", odd("capabilities")).unwrap_err().code(), "internal");
    assert!(registry.is_empty());
    registry.register("refuser", odd("can_execute")).unwrap();
    registry.register("mute", odd("reports")).unwrap();
    registry.register("vague", odd("demand")).unwrap();
    assert!(registry.can_execute(&custom("odd")), "the next executor is asked");
    assert!(!registry.can_execute(&TaskType::Storage));
    let reports = registry.reports();
    assert_eq!(reports.iter().map(|report| report.name.as_str()).collect::<Vec<_>>(), ["refuser", "mute", "vague"]);
    assert_eq!(reports[1].details["error"]["code"], json!("internal"));
    assert_eq!(reports[0].operations.len(), 1);
}

#[test]
fn a_demand_without_an_executor_is_the_default_estimate() {
    let unknown = task(TaskType::Storage);
    assert_eq!(ExecutorRegistry::new().demand(&unknown), ResourceDemand::of_payload(&unknown));
    let registry = ExecutorRegistry::new();
    registry.register("odd", odd("demand")).unwrap();
    let estimate = registry.demand(&task(custom("odd")));
    assert_eq!(estimate.host_bytes, ResourceDemand::of_payload(&task(custom("odd"))).host_bytes);
    assert!(estimate.share.is_some());
}
