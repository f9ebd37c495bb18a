//! The API's door: real sockets on loopback, one kept-alive connection, a token, default bounds; server and client share the machine.
//!
//! Submitted tasks count words on the text executor and run to their end: a submission waits while half of the queue's room is taken, so the figure is
//! what the worker sustains, and a refusal fails the bench.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tallow::http::{ApiManager, AppState, HttpOptions, serve};
use tallow::security::{Access, Identity, Keyring, TokenDigest};
use tallow::{TaskExecutor, TaskManager, TextProcessingExecutor};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "bench-token-0123456789";
const BATCH: usize = 1000;

/// A served worker; the runtime ends with it.
struct Worker {
    address: SocketAddr,
    manager: Arc<ApiManager>,
    _runtime: Runtime,
}

impl Worker {
    /// Returns once less than half of the queue's room is taken.
    fn keep_up(&self) {
        loop {
            let (open, room) = self.manager.stats().open_tasks;
            if open < room / 2 {
                return;
            }
            std::thread::yield_now();
        }
    }
}

fn worker() -> Worker {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut keyring = Keyring::default();
    keyring.add(Identity::new("bench", TokenDigest::of(TOKEN)).expect("a sound name")).expect("room for one");
    let executor: Arc<dyn TaskExecutor> = Arc::new(TextProcessingExecutor::default());
    let manager = Arc::new(TaskManager::new(executor));
    let state = AppState::new(Arc::clone(&manager), HttpOptions::new(Access::Keys(keyring)));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(serve(listener, state, CancellationToken::new()));
    Worker { address, manager, _runtime: runtime }
}

/// One kept-alive connection.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn new(worker: &Worker) -> Self {
        let stream = TcpStream::connect(worker.address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        Self { stream, buffer: vec![0; 1 << 20] }
    }

    /// Sends a prepared call and returns status and body.
    fn call(&mut self, bytes: &[u8]) -> (u16, &[u8]) {
        self.stream.write_all(bytes).expect("the call is sent");
        let mut filled = 0;
        loop {
            filled += self.stream.read(&mut self.buffer[filled..]).expect("an answer");
            let Some(head_bytes) = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
                continue;
            };
            let head = std::str::from_utf8(&self.buffer[..head_bytes]).expect("a head");
            let status = head[9..12].parse().expect("a status");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            let end = head_bytes + length.parse::<usize>().expect("a number");
            if end > self.buffer.len() {
                self.buffer.resize(end, 0);
            }
            self.stream.read_exact(&mut self.buffer[filled..end]).expect("the whole answer");
            return (status, &self.buffer[head_bytes..end]);
        }
    }
}

fn call(line: &str, body: &str) -> Vec<u8> {
    format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn task() -> Value {
    json!({ "type": "text_processing", "data": { "operation": "word_count", "text": "five words are in this" } })
}

fn submissions(criterion: &mut Criterion) {
    let worker = worker();
    let mut client = Client::new(&worker);
    let mut group = criterion.benchmark_group("http/submit");
    group.throughput(Throughput::Elements(BATCH as u64));
    let batch = call("POST /v1/tasks/batch", &Value::from(vec![task(); BATCH]).to_string());
    group.bench_function("batch_1000", |bencher| {
        bencher.iter(|| {
            worker.keep_up();
            let (status, body) = client.call(&batch);
            assert!(
                status == 202 && body.starts_with(b"{\"accepted\":1000,"),
                "{status}: {}",
                String::from_utf8_lossy(&body[..body.len().min(200)])
            );
        });
    });
    group.throughput(Throughput::Elements(1));
    let one = call("POST /v1/tasks", &task().to_string());
    group.bench_function("one", |bencher| {
        bencher.iter(|| {
            worker.keep_up();
            assert_eq!(client.call(&one).0, 202);
        });
    });
    let waited = call("POST /v1/tasks?wait_ms=10000", &task().to_string());
    group.bench_function("one_with_result", |bencher| bencher.iter(|| assert_eq!(client.call(&waited).0, 200)));
    group.finish();
}

fn statuses(criterion: &mut Criterion) {
    let worker = worker();
    let mut client = Client::new(&worker);
    let batch = call("POST /v1/tasks/batch", &Value::from(vec![task(); BATCH]).to_string());
    let accepted: Value = serde_json::from_slice(client.call(&batch).1).expect("an answer");
    let ids: Vec<&str> = accepted["tasks"].as_array().expect("tasks").iter().filter_map(|task| task["id"].as_str()).collect();
    assert_eq!(ids.len(), BATCH);
    let mut group = criterion.benchmark_group("http/status");
    group.throughput(Throughput::Elements(BATCH as u64));
    let many = call("POST /v1/tasks/status", &json!({ "ids": ids }).to_string());
    group.bench_function("batch_1000", |bencher| bencher.iter(|| assert_eq!(client.call(&many).0, 200)));
    group.throughput(Throughput::Elements(1));
    let one = format!("GET /v1/tasks/{} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n", ids[0]).into_bytes();
    group.bench_function("one", |bencher| bencher.iter(|| assert_eq!(client.call(&one).0, 200)));
    group.finish();
}

criterion_group!(benches, submissions, statuses);
criterion_main!(benches);
