//! `{"$from": ...}` references: found or refused in any payload, and resolved against any output.

use std::sync::Arc;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use tallow::manager::references::{REFERENCE_COUNT_MAX, resolve, scan};
use tallow::{Part, Parts, Task, TaskError, TaskId, TaskPriority, TaskResult, TaskType};

use crate::harness::fuzz;
use crate::json::mutate;

const BYTES_MAX: u64 = 1 << 20;

fn path(random: &mut StdRng) -> String {
    let steps = ["chunks", "*", "text", "0", "1", "-1", "99999999999999999999", "", "~1", "~", "a/b"];
    (0..random.random_range(0..6)).map(|_| format!("/{}", steps.choose(random).unwrap_or(&""))).collect()
}

fn payload_and_output(random: &mut StdRng, mutations: usize) -> (Value, Value) {
    let id = TaskId::new().to_string();
    let mut data = json!({
        "operation": "x",
        "texts": { "$from": id, "path": path(random) },
        "vectors": { "$from": id, "part": (["p", "none", ""].choose(random)) },
        "deep": [[{ "a": { "$from": id } }]],
        "a/b~c": { "$from": id, "path": "/chunks" },
    });
    let mut output = json!({ "chunks": [{ "text": "a" }, { "text": "b" }, { "text": null }], "count": 3, "a/b": { "~": [1, [2, [3]]] } });
    for _ in 0..mutations {
        mutate(&mut data, random);
        mutate(&mut output, random);
    }
    (data, output)
}

#[test]
fn references_are_replaced_or_refused_by_name() {
    fuzz("references", payload_and_output, |(data, output)| {
        let task = Task::new(TaskType::TextProcessing, TaskPriority::Normal, data.clone());
        let references = match scan(&task) {
            Ok(scan) => scan.references,
            Err(TaskError::InvalidPayload { .. }) => return Ok(()),
            Err(other) => return Err(format!("scan: {other:?}")),
        };
        if references.len() > REFERENCE_COUNT_MAX {
            return Err(format!("{} references", references.len()));
        }
        let part = Part::from_f32(vec![1], &[1.0]).map_err(|error| error.to_string())?;
        let source = (Arc::new(TaskResult::new(output.clone())), Arc::new(Parts::from([("p".into(), part)])));
        match resolve(&task, &references, BYTES_MAX, &|_id| Some(source.clone())) {
            Ok(resolved) if references.is_empty() && resolved.payload.data != *data => Err("a payload without references changed".into()),
            Ok(_) | Err(TaskError::InvalidPayload { .. } | TaskError::NotFound { .. }) => Ok(()),
            Err(other) => Err(format!("resolve: {other:?}")),
        }
    });
}
