//! The exposition is well-formed and its series are bounded.

use std::time::Duration;

use super::{CALL_SERIES_MAX, Call, Metrics, Readings, SetFigures};
use crate::embed::BatchStats;
use crate::manager::TaskManager;
use crate::resource::{Budget, BudgetLimits};
use crate::task::{ExecutorCapabilities, Task, TaskError, TaskExecutor, TaskResult, TaskType};

struct Nothing(ExecutorCapabilities);

#[async_trait::async_trait]
impl TaskExecutor for Nothing {
    async fn execute(&self, _task: &Task) -> Result<TaskResult, TaskError> {
        Ok(TaskResult::default())
    }
    fn can_execute(&self, _task_type: &TaskType) -> bool {
        true
    }
    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.0
    }
}

fn render(metrics: &Metrics) -> String {
    let budget = Budget::new(&BudgetLimits { host_bytes: 1 << 20, threads: 2, devices: [("cuda:0".to_owned(), 7)].into() });
    let sets = [SetFigures { name: "docs".into(), rows: 3, bytes: 4096 }];
    let stats = TaskManager::new(Nothing(ExecutorCapabilities::default())).stats();
    metrics.render(&Readings { stats: &stats, budget: &budget, batches: &BatchStats::default(), sets: &sets })
}

#[test]
fn every_sample_has_a_head_and_a_number() {
    let metrics = Metrics::new();
    metrics.observe(Call { method: "GET", path: "/v1/\"odd\"\\", status: 200, elapsed: Duration::from_millis(3) });
    let text = render(&metrics);
    let mut heads = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').unwrap();
            assert!(!heads.contains(&name), "{name} has two heads");
            assert!(kind != "counter" || name.ends_with("_total"), "{name}");
            heads.push(name);
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            assert!(heads.contains(&name) || heads.contains(&base), "{line} comes before its head");
            assert!(name.starts_with("tallow_"), "{name}");
        }
    }
    assert!(text.contains(r#"tallow_http_requests_total{method="GET",path="/v1/\"odd\"\\",status="200"} 1"#), "{text}");
    assert!(text.contains(r#"tallow_http_request_duration_seconds_bucket{path="/v1/\"odd\"\\",le="+Inf"} 1"#), "{text}");
    assert!(text.contains("tallow_memory_limit_bytes{device=\"cuda:0\"} 7"), "{text}");
    for line in ["tallow_vector_sets 1", "tallow_vector_set_rows{set=\"docs\"} 3", "tallow_vector_set_bytes{set=\"docs\"} 4096"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

#[test]
fn tokens_and_documents_are_told_by_executor_operation_and_kind() {
    let budget = Budget::new(&BudgetLimits { host_bytes: 1 << 20, threads: 2, devices: Default::default() });
    let mut stats = TaskManager::new(Nothing(ExecutorCapabilities::default())).stats();
    let mut throughput = crate::manager::throughput::Throughput::default();
    let work = crate::manager::throughput::Work { tasks: 1, documents: 3, prompt_tokens: 40, completion_tokens: 10 };
    throughput.count("inference", "generate", work, 0);
    stats.operations = throughput.stats(0);
    let text = Metrics::new().render(&Readings { stats: &stats, budget: &budget, batches: &BatchStats::default(), sets: &[] });
    for line in [
        r#"tallow_tokens_total{executor="inference",operation="generate",kind="prompt"} 40"#,
        r#"tallow_tokens_total{executor="inference",operation="generate",kind="completion"} 10"#,
        r#"tallow_documents_total{executor="inference",operation="generate"} 3"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

#[test]
fn batches_are_told_by_size_and_wait() {
    let text = render(&Metrics::new());
    for line in [
        "tallow_batch_texts_total 0",
        r#"tallow_batch_tokens_bucket{le="256"} 0"#,
        r#"tallow_batch_wait_seconds_bucket{le="0.0025"} 0"#,
        r#"tallow_batch_wait_seconds_bucket{le="+Inf"} 0"#,
        "tallow_batch_wait_seconds_count 0",
        "tallow_batch_cache_bytes 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

#[test]
fn series_are_bounded() {
    let metrics = Metrics::new();
    for idx in 0..CALL_SERIES_MAX + 50 {
        metrics.observe(Call { method: "GET", path: &format!("/{idx}"), status: 200, elapsed: Duration::ZERO });
    }
    let text = render(&metrics);
    assert_eq!(text.lines().filter(|line| line.starts_with("tallow_http_requests_total")).count(), CALL_SERIES_MAX + 1);
    assert!(text.contains(r#"tallow_http_requests_total{method="GET",path="other",status="200"} 50"#), "{text}");
}
