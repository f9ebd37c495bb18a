//! What clients get wrong: refused at the door with the path of the field, and nothing is kept of it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tallow::{ExecutorRegistry, Submission, SubmissionSpec, Task, TaskError, TaskManager, TaskPriority, TaskType, resolve_names};

use crate::support::{Scripted, custom, registry, runtime, soon, task, together};

type Manager = TaskManager<ExecutorRegistry>;

/// A task that is refused with a path, or that is accepted and fails with one: some facts only the numbers tell.
async fn refusal(manager: &Manager, task: Task) -> Result<(), TaskError> {
    let id = manager.submit_task(task).await?;
    soon("its end", manager.wait(&id)).await.map(drop)
}

/// Every case is refused as an invalid payload whose field contains the given text.
async fn check(manager: &Manager, task_type: &TaskType, cases: Vec<(&str, Value)>) {
    let mut wrong = Vec::new();
    for (expected, data) in cases {
        let shown: String = data.to_string().chars().take(120).collect();
        match refusal(manager, task(task_type.clone(), data)).await {
            Err(TaskError::InvalidPayload { field, reason }) if field.contains(expected) && !reason.is_empty() => {}
            other => wrong.push(format!("{shown}: expected a refusal at `{expected}`, found {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let stats = manager.stats();
    assert_eq!((stats.open_tasks, stats.totals.panicked), ((0, 100_000), 0), "nothing is left of them");
    assert_eq!(manager.ledger().snapshot().host.used, 0);
}

fn base64_f32(values: &[f32]) -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn bad_vectors_are_refused_by_name() {
    let _together = together();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let ab = |a: Value, b: Value| json!({"operation": "cosine_similarity", "vector_a": a, "vector_b": b});
        let top = |queries: Value, vectors: Value, k: Value| json!({"operation": "top_k", "queries": queries, "vectors": vectors, "k": k});
        let wide: Vec<f32> = vec![0.5; 65_537];
        let bytes = |base64: &str, shape: Value| json!({"base64": base64, "dtype": "f32", "shape": shape});
        let nan = base64_f32(&[1.0, f32::NAN]);
        let infinite = base64_f32(&[1.0, f32::INFINITY]);
        let cases = vec![
            ("vector_b", ab(json!([1, 2, 3]), json!([1, 2]))),
            ("vector_a", ab(json!([]), json!([]))),
            ("vector_a", ab(json!([[]]), json!([[]]))),
            ("vector_a", ab(json!(["x", 1]), json!([1, 2]))),
            ("vector_a", ab(json!(null), json!([1]))),
            ("vector_a", ab(json!([1e39, 0]), json!([1, 2]))),
            ("vector_a", ab(bytes(&nan, json!([2])), json!([1, 2]))),
            ("vector_a", ab(bytes(&infinite, json!([2])), json!([1, 2]))),
            ("vector_a", ab(json!(wide), json!([1.0]))),
            ("vector_a", ab(bytes("!!!!", json!([1])), json!([1]))),
            ("vector_a", ab(bytes("AAAA", json!([1])), json!([1]))),
            ("vector_a", ab(bytes("AAAAAA", json!([1])), json!([1]))),
            ("vector_a", ab(bytes("AAAAAAAAAAA=", json!([3])), json!([1, 2]))),
            ("vector_a", ab(bytes("AAAAAA==", json!([u64::MAX, 2])), json!([1]))),
            ("vector_a", ab(bytes("", json!([0])), json!([1]))),
            ("vector_a", ab(json!({"$part": "missing"}), json!([1]))),
            ("vector_a", ab(json!({"base64": "AAAAAA==", "dtype": "f99"}), json!([1]))),
            ("vectors", top(json!([1, 2]), json!([[1, 2], [3]]), json!(1))),
            ("queries", top(json!([1, 2]), json!([[1, 2, 3]]), json!(1))),
            ("k", top(json!([1, 2]), json!([[1, 2]]), json!(0))),
            ("k", top(json!([1, 2]), json!([[1, 2]]), json!(-1))),
            ("k", top(json!([1, 2]), json!([[1, 2]]), json!(1.5))),
            ("k", top(json!([1, 2]), json!([[1, 2]]), json!("3"))),
            ("metric", json!({"operation": "top_k", "queries": [1], "vectors": [[1]], "k": 1, "metric": "euclid"})),
            ("operation", json!({"operation": "nonsense"})),
            ("operation", json!({"vector_a": [1], "vector_b": [1]})),
            ("operation", json!({"operation": 7})),
            ("data", json!([1, 2, 3])),
            ("data", json!("x")),
            ("data", json!(null)),
            ("", json!({"operation": "cosine_similarity", "vector_a": [1], "vector_b": [1], "extra": true})),
            ("", json!({"operation": "cosine_similarity", "vector_a": [1]})),
            ("k", json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 3})),
            ("k", json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 0})),
            ("iterations_max", json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 1, "iterations_max": 1_000_000_000})),
        ];
        check(&manager, &TaskType::VectorComputation, cases).await;
    });
}

#[test]
fn bad_texts_are_refused_by_name() {
    let _together = together();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let chunk = |field: &str, value: Value| {
            let mut data = json!({"operation": "chunk", "text": "One. Two. Three.", "size": 10});
            data[field] = value;
            data
        };
        let cases = vec![
            ("size", chunk("size", json!(0))),
            ("size", chunk("size", json!(-1))),
            ("size", chunk("size", json!(1_000_000_000))),
            ("overlap", chunk("overlap", json!(10))),
            ("overlap", chunk("overlap", json!(11))),
            ("by", chunk("by", json!("moon"))),
            ("text", chunk("text", json!(7))),
            ("text", chunk("text", json!(null))),
            ("", chunk("unknown", json!(true))),
            ("operation", json!({"operation": "nonsense", "text": "x"})),
            ("operation", json!({"text": "x"})),
            ("pattern", json!({"operation": "extract", "text": "x", "pattern": "("})),
            ("pattern", json!({"operation": "extract", "text": "x", "pattern": "x{1000}{1000}{1000}"})),
            ("pattern", json!({"operation": "extract", "text": "x", "pattern": "a".repeat(100 * 1024)})),
        ];
        check(&manager, &TaskType::TextProcessing, cases).await;
    });
}

#[test]
fn a_pattern_that_backtracks_elsewhere_takes_linear_time_here() {
    let _together = together();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let data = json!({"operation": "extract", "text": format!("{}!", "a".repeat(100_000)), "pattern": "^(a+)+$"});
        refusal(&manager, task(TaskType::TextProcessing, data)).await.expect("no match, and no catastrophe");
    });
}

#[test]
fn bad_texts_to_embed_are_refused_by_name() {
    let _together = together();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let embed = |field: &str, value: Value| {
            let mut data = json!({"operation": "embed", "texts": ["x"]});
            data[field] = value;
            data
        };
        let cases = vec![
            ("texts", embed("texts", json!([]))),
            ("texts", embed("texts", json!([1, 2, 3]))),
            ("texts", embed("texts", json!(["x", 1]))),
            ("texts", embed("texts", json!(null))),
            ("dimensions", embed("dimensions", json!(0))),
            ("dimensions", embed("dimensions", json!(1_000_000))),
            ("dimensions", embed("dimensions", json!(-1))),
            ("encoding", embed("encoding", json!("png"))),
            ("", embed("unknown", json!(true))),
            ("operation", json!({"operation": "dream", "texts": ["x"]})),
        ];
        check(&manager, &TaskType::ModelInference, cases).await;
        let mut accepted = Vec::new();
        for name in ["../../etc/passwd", "a/../b", "", "con", "no/such-model", &"x".repeat(5_000), "a\u{0}b"] {
            match refusal(&manager, task(TaskType::ModelInference, embed("model", json!(name)))).await {
                Err(error) if matches!(error.code(), "invalid_payload" | "model_missing" | "model_unsupported") => {}
                other => accepted.push(format!("{:?}: {other:?}", &name[..name.len().min(40)])),
            }
        }
        assert!(accepted.is_empty(), "{}", accepted.join("\n"));
    });
}

#[test]
fn json_that_is_too_deep_is_refused() {
    let _together = together();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let data = json!({"operation": "cosine_similarity", "vector_a": deep, "vector_b": [1]});
        check(&manager, &TaskType::VectorComputation, vec![("data", data)]).await;
    });
}

#[test]
fn k_beyond_the_vectors_gives_what_there_is() {
    let _together = together();
    runtime().block_on(async {
        let manager = TaskManager::new(registry());
        let data = json!({"operation": "top_k", "queries": [1, 0], "vectors": [[1, 0], [0, 1]], "k": 100});
        refusal(&manager, task(TaskType::VectorComputation, data)).await.expect("more than there are is all of them");
    });
}

fn spec(change: impl FnOnce(&mut Value)) -> Result<Vec<Submission>, String> {
    let mut spec = json!({"type": "vector_computation", "data": {"operation": "cosine_similarity", "vector_a": [1], "vector_b": [1]}});
    change(&mut spec);
    let spec: SubmissionSpec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
    resolve_names(vec![spec], "tester").map_err(|error| error.to_string())
}

#[test]
fn bad_conditions_in_json_are_refused() {
    let _together = together();
    assert!(spec(|_| {}).is_ok());
    let fields = [
        ("priority", json!("Ultra")),
        ("priority", json!(4)),
        ("priority", json!(-1)),
        ("deadline_ms", json!(-1)),
        ("deadline_ms", json!(0)),
        ("deadline_ms", json!(10 * 366 * 24 * 3600 * 1000_u64)),
        ("deadline_ms", json!("PT5S")),
        ("deadline", json!("2030-01-01T00:00:00")),
        ("retries_max", json!(-1)),
        ("status", json!("running")),
        ("tenant", json!("root")),
        ("attempt", json!(3)),
        ("result", json!({})),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("type", json!("unknown")),
        ("type", json!({"custom": 1})),
        ("depends_on", json!(["nobody"])),
        ("depends_on", json!(7)),
        ("name", json!("")),
    ];
    for (field, value) in fields {
        let refused = spec(|spec| spec[field] = value.clone());
        assert!(refused.is_err(), "{field}: {value} was taken");
    }
}

#[test]
fn bad_conditions_in_process_are_refused_and_leave_nothing() {
    let _together = together();
    runtime().block_on(async {
        let registry = registry();
        registry.register("any", Scripted::new(&["ok", "a b", "x.>", ""], |_, _| std::future::pending())).expect("a free name");
        let manager = TaskManager::new(registry);
        let good = || Submission::new(task(custom("ok"), json!({})));
        let past: DateTime<Utc> = "0001-01-01T00:00:00Z".parse().expect("a time");
        let typed = |name: &str| Submission::new(task(custom(name), json!({})));
        let mut ended = good();
        ended.task.status = tallow::TaskStatus::Completed;
        let mut answered = good();
        answered.task.result = Some(tallow::TaskResult::default());
        let cases: Vec<(&str, Submission)> = vec![
            ("deadline_exceeded", good().deadline(past)),
            ("deadline_exceeded", good().deadline(Utc::now() - TimeDelta::milliseconds(1))),
            ("invalid_payload", good().retries_max(1_000_000)),
            ("invalid_payload", typed("")),
            ("invalid_payload", typed("a b")),
            ("invalid_payload", typed("x.>")),
            ("invalid_payload", typed("\r\nPUB")),
            ("invalid_payload", typed(&"x".repeat(10 * 1024))),
            ("invalid_payload", typed("оk")),
            ("invalid_payload", ended),
            ("invalid_payload", answered),
            ("invalid_payload", good().idempotency_key("")),
            ("invalid_payload", good().idempotency_key("x".repeat(256))),
            ("invalid_payload", good().idempotency_key("schlüssel")),
            ("invalid_payload", good().submitter("x".repeat(257))),
            ("invalid_payload", good().label("", "x")),
            ("not_found", good().depends_on(tallow::TaskId::new())),
        ];
        for (code, submission) in cases {
            let shown = format!("{:?} {:?}", submission.task.payload.task_type, submission.deadline);
            let refused = manager.submit(submission).await;
            assert_eq!(refused.map_err(|error| error.code()), Err(code), "{}", shown.chars().take(100).collect::<String>());
        }
        assert_eq!((manager.stats().open_tasks.0, manager.stats().totals.submitted), (0, 0), "nothing was kept");
        let far = manager.submit(good().deadline(Utc::now() + TimeDelta::days(3_660))).await;
        assert!(far.is_ok(), "in process a far deadline is only a deadline: {far:?}");
        assert!(manager.submit(good().deadline(DateTime::<Utc>::MAX_UTC)).await.is_ok());
    });
}

#[test]
fn one_key_is_one_task_however_many_ask_at_once() {
    let _together = together();
    runtime().block_on(async {
        let registry = registry();
        registry.register("hang", Scripted::new(&["hang"], |_, _| std::future::pending())).expect("a free name");
        let manager = std::sync::Arc::new(TaskManager::new(registry));
        let racers: Vec<_> = (0..50)
            .map(|_| {
                let manager = manager.clone();
                tokio::spawn(
                    async move { manager.submit(Submission::new(task(custom("hang"), json!({"a": 1}))).idempotency_key("k")).await },
                )
            })
            .collect();
        let mut ids = std::collections::HashSet::new();
        for racer in racers {
            ids.insert(soon("each is answered", racer).await.expect("no panic").expect("accepted"));
        }
        assert_eq!((ids.len(), manager.stats().totals.submitted), (1, 1));
        let other = Submission::new(task(custom("hang"), json!({"a": 2}))).idempotency_key("k");
        assert_eq!(manager.submit(other).await.map_err(|error| error.code()), Err("idempotency_conflict"));
        let labelled = Submission::new(task(custom("hang"), json!({"a": 1}))).label("try", "2").deadline_in(Duration::from_secs(60));
        let again = manager.submit(labelled.idempotency_key("k")).await;
        assert_eq!(again.ok().as_ref(), ids.iter().next(), "what is no part of the work may differ");
        let urgent = Task::new(custom("hang"), TaskPriority::Critical, json!({"a": 1}));
        let urgent = manager.submit(Submission::new(urgent).idempotency_key("k")).await;
        assert!(matches!(urgent, Err(TaskError::IdempotencyConflict { differs, .. }) if differs == "priority"));
    });
}
