//! Ten times the capacity at once.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::harness::{Served, served};

/// Open tasks that the flooded worker takes.
const CAPACITY: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_capacity_is_refused_in_time_and_nothing_accepted_is_lost() {
    let worker = Arc::new(
        served(|_, manager| {
            manager.open_tasks_max = CAPACITY;
            manager.running_max = 4;
        })
        .await,
    );
    let senders: Vec<_> = (0..10).map(|sender| tokio::spawn(send(Arc::clone(&worker), sender))).collect();
    let (mut accepted, mut all_endless, mut refused) = (HashSet::new(), Vec::new(), 0);
    for sender in senders {
        let (ids, endless, count) = sender.await.unwrap();
        all_endless.extend(endless);
        refused += count;
        for id in ids {
            assert!(accepted.insert(id), "an id was given twice");
        }
        let open = worker.manager.stats().open_tasks;
        assert!(open.0 <= CAPACITY as u64, "{} tasks are open", open.0);
    }
    assert_eq!(accepted.len() + refused, 2000);
    assert!(refused > 0, "the flood was not one");
    for id in all_endless {
        assert_eq!(worker.call(&format!("DELETE /v1/tasks/{id}"), &[], b"").await.status, 200);
    }
    for id in &accepted {
        let id = id.parse().unwrap();
        match worker.manager.wait(&id).await {
            Ok(_) | Err(tallow::TaskError::Cancelled { .. }) => {}
            Err(error) => panic!("{id}: {error}"),
        }
    }
    let Ok(worker) = Arc::try_unwrap(worker) else { panic!("a sender still holds the worker") };
    worker.stop().await;
}

/// What one sender was told.
type Told = (Vec<String>, Vec<String>, usize);

/// Sends ten batches of twenty: all accepted ids, those among them that never end by themselves, and how many tasks were refused.
async fn send(worker: Arc<Served>, sender: usize) -> Told {
    let (mut accepted, mut endless, mut refused) = (Vec::new(), Vec::new(), 0);
    for batch in 0..10 {
        // Tasks that never end keep the queue full; the others are echoes.
        let tasks: Vec<Value> = (0..20)
            .map(|idx| {
                let operation = if sender < 4 && batch == 0 && idx == 0 { "hang" } else { "echo" };
                json!({ "type": { "custom": "test" }, "data": { "operation": operation, "value": idx } })
            })
            .collect();
        let answer = worker.post("/v1/tasks/batch", &json!(tasks)).await;
        assert!(answer.status == 202 || answer.status == 429, "{answer:?}");
        let body = answer.json();
        for (item, task) in body["tasks"].as_array().unwrap().iter().zip(&tasks) {
            let Some(id) = item["id"].as_str() else {
                assert_eq!(item["error"]["code"], "overloaded", "{item}");
                refused += 1;
                continue;
            };
            accepted.push(id.to_owned());
            if task["data"]["operation"] == "hang" {
                endless.push(id.to_owned());
            }
        }
        if body["refused"] != 0 {
            let after = answer.header("retry-after").expect("a refusal says when to try again");
            assert!(after.parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{after}");
        }
    }
    (accepted, endless, refused)
}
