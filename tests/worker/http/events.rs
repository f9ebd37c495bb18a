//! Event streams: order, resumption, bounds, slow and deaf readers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Served, TOKEN, plain, served};
use tallow::journal::MemoryJournal;

/// Opens a stream and reads until `enough` says so.
async fn follow(worker: &Served, path: &str, headers: &str, enough: impl Fn(&str) -> bool) -> String {
    let mut stream = TcpStream::connect(worker.address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n{headers}\r\n", worker.address);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !enough(&text) {
        let read =
            tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.unwrap_or_else(|_| panic!("stuck at {text}"));
        let count = read.unwrap();
        if count == 0 {
            break;
        }
        text += &String::from_utf8_lossy(&buffer[..count]);
    }
    text
}

fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

#[tokio::test]
async fn a_tasks_stream_tells_everything_and_ends_with_it() {
    let worker = plain().await;
    let id = worker.submit(json!({ "operation": "hang" })).await;
    worker.until(&id, "running").await;
    let path = format!("/v1/tasks/{id}/events");
    let line = format!("DELETE /v1/tasks/{id}");
    let (text, cancelled) = tokio::join!(worker.get(&path), async {
        worker.until(&id, "running").await;
        worker.call(&line, &[], b"").await
    });
    assert_eq!(cancelled.status, 200);
    let text = String::from_utf8(text.body).unwrap();
    assert_eq!(names(&text), ["task_submitted", "task_started", "task_progress", "task_cancelled"], "{text}");
    assert!(text.contains(&format!("\"task_id\":\"{id}\"")), "{text}");

    let last = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap();
    let resumed = worker.call(&format!("GET {path}"), &[("last-event-id", last)], b"").await;
    let resumed = String::from_utf8(resumed.body).unwrap();
    assert_eq!(names(&resumed), ["task"], "the task has ended: its view is all there is to say; {resumed}");
    worker.stop().await;
}

#[tokio::test]
async fn a_stream_resumes_after_a_number_and_counts_what_it_missed() {
    let worker = served(|_, manager| manager.events_max = 4).await;
    for value in 0..3 {
        let id = worker.submit(json!({ "operation": "echo", "value": value })).await;
        worker.until(&id, "completed").await;
    }
    // Nine events have happened; four are kept.
    let from_start = follow(&worker, "/v1/events?from=1", "", |text| text.contains("\"seq\":9")).await;
    assert_eq!(names(&from_start)[0], "missed", "{from_start}");
    assert!(from_start.contains("data: {\"event\":\"missed\",\"count\":5}"), "{from_start}");
    let epoch = epoch(&from_start);
    assert_eq!(ids(&from_start), (5..=9).map(|seq| format!("{epoch}-{seq}")).collect::<Vec<_>>(), "{from_start}");
    for (id, expected) in [(format!("{epoch}-8"), ["task_completed"].as_slice()), ("8".into(), &["task_completed"])] {
        let resumed = follow(&worker, "/v1/events", &format!("last-event-id: {id}\r\n"), |text| text.contains("\"seq\":9")).await;
        assert_eq!(names(&resumed), expected, "{resumed}");
    }
    let late = follow(&worker, "/v1/events", &format!("last-event-id: {epoch}-2\r\n"), |text| text.contains("\"seq\":9")).await;
    assert!(late.contains("\"count\":3}") && names(&late).len() == 5, "events 3 to 5 are gone: {late}");
    for (path, header) in [
        ("/v1/events?from=x", None),
        ("/v1/events?form=1", None),
        ("/v1/events", Some(("last-event-id", "x"))),
        ("/v1/events", Some(("last-event-id", "0-7"))),
    ] {
        let answer = worker.call(&format!("GET {path}"), header.as_slice(), b"").await;
        assert_eq!(answer.status, 400, "{path}");
    }
    worker.stop().await;
}

fn ids(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

fn epoch(text: &str) -> String {
    ids(text)[0].split_once('-').map(|(epoch, _)| epoch.to_owned()).unwrap()
}

#[tokio::test]
async fn a_client_that_comes_back_to_a_restarted_worker_is_told_that_events_are_missing() {
    let journal = Arc::new(MemoryJournal::new());
    let kept = Arc::clone(&journal);
    let before = served(move |_, manager| manager.journal = kept).await;
    let id = before.submit(json!({ "operation": "hang" })).await;
    before.until(&id, "running").await;
    let seen = follow(&before, &format!("/v1/tasks/{id}/events"), "", |text| text.contains("half way")).await;
    let last = ids(&seen).last().copied().unwrap().to_owned();
    // As a worker that is killed: its journal does not hear of the end.
    before.done.abort();
    drop(before);

    let after = served(move |_, manager| manager.journal = journal).await;
    after.until(&id, "running").await;
    for (path, header) in [
        (format!("/v1/tasks/{id}/events"), format!("last-event-id: {last}\r\n")),
        ("/v1/events".to_owned(), format!("last-event-id: {last}\r\n")),
        ("/v1/events".to_owned(), "last-event-id: 5000\r\n".to_owned()),
        ("/v1/events?from=5001".to_owned(), String::new()),
    ] {
        let text = follow(&after, &path, &header, |text| text.contains("half way")).await;
        assert_eq!(names(&text), ["missed", "task_submitted", "task_started", "task_progress"], "{path} {header}: {text}");
        assert!(text.contains("\"count\":null,\"reason\":\"") && epoch(&text) != epoch(&seen), "{text}");
        // The gap is told once: whoever comes back after it goes on.
        let again = follow(&after, "/v1/events", &format!("last-event-id: {}\r\n", ids(&text)[0]), |text| text.contains("half way")).await;
        assert_eq!(names(&again), ["task_submitted", "task_started", "task_progress"], "{again}");
    }
    after.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_and_end_when_the_worker_stops() {
    let worker = served(|options, _| options.limits.event_streams_max = 1).await;
    let mut first = TcpStream::connect(worker.address).await.unwrap();
    let head = format!("GET /v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\r\n", worker.address);
    first.write_all(head.as_bytes()).await.unwrap();
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.unwrap();
    let second = worker.get("/v1/events").await;
    assert_eq!((second.status, second.code().as_str()), (429, "overloaded"));
    assert!(second.header("retry-after").is_some());
    worker.stop().await;
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_never_reads_is_closed_and_holds_up_nobody() {
    let worker = served(|options, _| options.limits.stall_timeout = Duration::from_millis(200)).await;
    let mut deaf = TcpStream::connect(worker.address).await.unwrap();
    let head = format!("GET /v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\r\n", worker.address);
    deaf.write_all(head.as_bytes()).await.unwrap();
    let mut byte = [0; 1];
    deaf.read_exact(&mut byte).await.unwrap();
    // More than the buffers of both sockets hold.
    let value = "x".repeat(1 << 20);
    for _ in 0..24 {
        let body = json!({ "type": { "custom": "test" }, "data": { "operation": "echo", "value": value } });
        assert_eq!(worker.post("/v1/tasks?wait_ms=20000", &body).await.status, 200);
    }
    let mut drained = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), deaf.read_to_end(&mut drained)).await;
    assert!(ended.is_ok(), "the connection stayed open");
    assert!(drained.len() < 24 << 20, "the worker kept {} bytes for it", drained.len());
    worker.stop().await;
}
