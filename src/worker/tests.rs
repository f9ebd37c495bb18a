//! The worker as other programs embed it.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{MemorySplit, Worker};
use crate::config::{ServeLayer, ServeSettings};
use crate::task::{Task, TaskError, TaskPriority, TaskType};

fn worker() -> Worker {
    Worker::builder().memory_limit("512MiB").expect("a size").threads(1).device("cpu").start().expect("a worker")
}

fn cosine() -> Task {
    let data = json!({ "operation": "cosine_similarity", "vector_a": [1, 0], "vector_b": [1, 0] });
    Task::new(TaskType::VectorComputation, TaskPriority::Normal, data)
}

#[tokio::test]
async fn a_built_worker_executes_what_is_submitted() {
    let worker = worker();
    let id = worker.manager().submit_task(cosine()).await.expect("accepted");
    assert_eq!(worker.manager().wait(&id).await.expect("a result").output["similarity"], 1.0);
    let split = worker.plan().memory_split();
    assert_eq!(worker.manager().ledger().snapshot().host.limit, split.tasks_bytes);
    assert_eq!(worker.pool().thread_count(), 1);
    let embed = Task::new(TaskType::ModelInference, TaskPriority::Normal, json!({ "operation": "embed", "texts": ["wax"] }));
    let id = worker.manager().submit_task(embed).await.expect("accepted");
    assert_eq!(worker.manager().wait(&id).await.expect("a result").output["count"], 1);
}

#[test]
fn what_cannot_be_had_is_refused_at_the_start() {
    let refused = Worker::builder().device("cuda:99").start().err();
    assert!(matches!(refused, Some(TaskError::DeviceUnavailable { .. })), "{refused:?}");
    assert!(Worker::builder().memory_limit("lots").is_err());
    let refused = Worker::builder().memory_limit("1MiB").expect("a size").start().err();
    assert!(matches!(refused, Some(TaskError::InvalidPayload { .. })), "{refused:?}");
    let settings = crate::config::WorkerSettings {
        memory_limit: "1GiB".parse().expect("a size"),
        result_cache_bytes: 300 << 20,
        ..crate::config::WorkerSettings::default()
    };
    let refused = Worker::builder().settings(settings).start().err().expect("more than a quarter").to_string();
    assert!(refused.contains("result_cache") && refused.contains("256.0 MiB for it"), "{refused}");
    let refused = Worker::builder().precision("fp8").expect_err("no such precision").to_string();
    assert!(refused.contains("found `fp8`; allowed: auto, exact, bf16, int8"), "{refused}");
    let settings = crate::config::WorkerSettings { isa: Some("sse9".into()), ..crate::config::WorkerSettings::default() };
    let refused = Worker::builder().settings(settings).start().err();
    assert!(matches!(refused, Some(TaskError::DeviceUnavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_served_worker_makes_its_token_once_and_stops_when_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let worker = worker();
    let mut settings = ServeSettings::resolve(&ServeLayer::default(), &ServeLayer::default());
    settings.listen.set_port(0);
    let serving = worker.bind(&settings, dir.path()).await.expect("bound");
    let token = serving.token().expect("a token").reveal().to_owned();
    assert!(serving.address().port() > 0);
    let stop = CancellationToken::new();
    stop.cancel();
    let report = serving.run(stop, Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!((report.cancelled, report.abandoned), (0, 0));
    assert!(matches!(worker.manager().submit_task(cosine()).await, Err(TaskError::ShuttingDown)));
    let again = worker.bind(&settings, dir.path()).await.expect("bound");
    assert_eq!(again.token().expect("a token").reveal(), token);
    settings.no_auth = true;
    settings.listen.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    assert!(worker.bind(&settings, dir.path()).await.is_err(), "open access is for loopback only");
}

#[tokio::test]
async fn the_default_model_is_listed_once_it_is_loaded() {
    use crate::task::TaskExecutor as _;
    let worker = worker();
    let name = worker.preload().await.expect("the built-in model").to_owned();
    let reports = worker.manager().executor().reports();
    let models: Vec<_> = reports.iter().filter_map(|report| report.details.get("models")?.as_array()).flatten().collect();
    // The key under which the API looks for models.
    assert_eq!(models.iter().map(|model| model["name"].as_str()).collect::<Vec<_>>(), [Some(name.as_str())]);
    assert!(models[0]["digest"].as_str().is_some_and(|digest| digest.len() == 64));
}

#[test]
fn everything_that_can_be_held_adds_up_to_the_memory_limit() {
    for limit in [64 << 20, 100_000_007, 512 << 20, 3 << 30, 16 << 30, 1 << 40] {
        for cache in [0, 1 << 20, MemorySplit::cache_bytes_max(limit), u64::MAX] {
            let MemorySplit {
                tasks_bytes,
                payload_bytes,
                copied_bytes,
                parked_bytes,
                retained_bytes,
                event_bytes,
                body_bytes,
                cache_bytes,
            } = MemorySplit::of(limit, cache);
            let all = [tasks_bytes, payload_bytes, copied_bytes, parked_bytes, retained_bytes, event_bytes, body_bytes];
            assert_eq!(all.iter().sum::<u64>() + cache_bytes, limit);
            assert_eq!(cache_bytes, cache.min(limit / 4));
            let least = if cache == 0 { limit * 3 / 5 } else { limit / 3 };
            assert!(all.iter().all(|bytes| *bytes > 0) && tasks_bytes >= least, "{limit}: {all:?}");
        }
    }
}

#[tokio::test]
async fn every_bound_of_a_worker_is_its_share_and_what_is_advertised_agrees() {
    use crate::task::TaskExecutor as _;
    let worker = worker();
    let split = worker.plan().memory_split();
    assert_eq!(split, MemorySplit::of(512 << 20, 0));
    let options = super::manager_options(&worker.plan, worker.manager().ledger().clone(), worker.inference.clone());
    assert_eq!(
        [options.open_bytes_max, options.graph_bytes_max, options.retained_bytes_max, options.event_bytes_max],
        [split.payload_bytes, split.copied_bytes, split.retained_bytes, split.event_bytes]
    );
    assert_eq!(split.copied_bytes, split.parked_bytes, "one option bounds both");
    assert!(options.reference_bytes_max <= split.copied_bytes, "the first copy may always be made");
    for report in worker.manager().executor().reports() {
        assert_eq!(report.capabilities.max_memory_mb, split.tasks_bytes >> 20, "{}", report.name);
    }
    // What is parsed of a request is counted beside the payload.
    let text = "wax ".repeat(100_000);
    let task = Task::new(TaskType::TextProcessing, TaskPriority::Normal, json!({ "operation": "word_count", "text": text }));
    let payload_bytes = crate::task::json_bytes(&task.payload.data);
    let prepared = worker.manager().executor().prepare(&task).expect("a good payload");
    assert_eq!(prepared.request_bytes, payload_bytes);
    let mut settings = ServeSettings::resolve(&ServeLayer::default(), &ServeLayer::default());
    settings.body_bytes_max = 1 << 30;
    let limits = worker.http_options(crate::security::Access::Open, &settings).limits;
    let bodies = usize::try_from(split.body_bytes).expect("it fits");
    assert_eq!((limits.body_bytes_max, limits.body_bytes_total_max), (bodies, bodies));
}
