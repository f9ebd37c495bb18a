//! A served worker with a scripted executor, and a client made of raw bytes: nothing between a test and the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tallow::http::{ApiManager, AppState, HttpOptions, ServeError, serve};
use tallow::manager::{ManagerOptions, TaskManager};
use tallow::security::{Access, Identity, Keyring, TokenDigest};
use tallow::{ExecutorCapabilities, ExecutorReport, Part, Task, TaskContext, TaskError, TaskExecutor, TaskResult, TaskType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "tok-alice-0123456789";
pub(crate) const OTHER_TOKEN: &str = "tok-bob-0123456789";

/// Executes `test` tasks by their `operation`, and `embed` as vectors of the text's length.
pub(crate) struct Scripted {
    capabilities: ExecutorCapabilities,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        let supported_types = vec![TaskType::Custom("test".into()), TaskType::ModelInference];
        Self { capabilities: ExecutorCapabilities { supported_types, ..ExecutorCapabilities::default() } }
    }
}

#[async_trait]
impl TaskExecutor for Scripted {
    async fn execute(&self, task: &Task) -> Result<TaskResult, TaskError> {
        tallow::execute_inline(self, task).await
    }

    fn can_execute(&self, task_type: &TaskType) -> bool {
        self.capabilities.supported_types.contains(task_type)
    }

    fn capabilities(&self) -> &ExecutorCapabilities {
        &self.capabilities
    }

    async fn execute_with(&self, task: &Task, ctx: &TaskContext) -> Result<TaskResult, TaskError> {
        let data = &task.payload.data;
        match data["operation"].as_str().unwrap_or_default() {
            "echo" => Ok(TaskResult::new(json!({ "echo": data["value"], "parts": task.payload.parts.len() }))),
            "hang" => {
                ctx.sink().progress(0.5, "half way");
                ctx.cancel().cancelled().await;
                Err(ctx.cancel().cause())
            }
            "parts" => {
                ctx.sink().part("small", Part::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])?);
                ctx.sink().part("bytes", Part::new(tallow::Dtype::U8, vec![3], vec![1u8, 2, 3].into())?);
                Ok(TaskResult::new(json!({})))
            }
            "embed" if data["model"] == "absent" => {
                Err(TaskError::ModelMissing { model: "absent".into(), reason: "not on this host".into() })
            }
            "embed" if data["model"] == "hang" => {
                ctx.cancel().cancelled().await;
                Err(ctx.cancel().cause())
            }
            "embed" => {
                let texts = data["texts"].as_array().cloned().unwrap_or_default();
                let rows: Vec<f32> = texts.iter().flat_map(|text| [text.as_str().unwrap_or_default().len() as f32, -0.5]).collect();
                ctx.sink().part("embeddings", Part::from_f32(vec![texts.len(), 2], &rows)?);
                Ok(TaskResult::new(json!({ "model": "scripted", "dimensions": 2, "count": texts.len(), "usage": { "prompt_tokens": 7 } })))
            }
            other => Err(TaskError::invalid("operation", format!("`{other}` is unknown"))),
        }
    }

    fn reports(&self) -> Vec<ExecutorReport> {
        vec![ExecutorReport {
            name: "scripted".into(),
            capabilities: self.capabilities.clone(),
            operations: Vec::new(),
            details: json!({ "models": [{ "name": "org/scripted", "digest": "sha256:00", "dimensions": 2 }] }),
        }]
    }
}

/// A worker that serves until it is stopped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) state: AppState,
    pub(crate) manager: Arc<ApiManager>,
    pub(crate) stop: CancellationToken,
    pub(crate) done: JoinHandle<Result<(), ServeError>>,
}

/// Two known callers, `alice` and `bob`.
pub(crate) fn keys() -> Access {
    let mut keyring = Keyring::default();
    for (name, token) in [("alice", TOKEN), ("bob", OTHER_TOKEN)] {
        keyring.add(Identity::new(name, TokenDigest::of(token)).unwrap()).unwrap();
    }
    Access::Keys(keyring)
}

pub(crate) async fn served(adjust: impl FnOnce(&mut HttpOptions, &mut ManagerOptions)) -> Served {
    serving(Arc::new(Scripted::new()), adjust).await
}

/// A worker with an executor of the test's own.
pub(crate) async fn serving(executor: Arc<dyn TaskExecutor>, adjust: impl FnOnce(&mut HttpOptions, &mut ManagerOptions)) -> Served {
    let mut options = HttpOptions::new(keys());
    let mut manager_options = ManagerOptions::default();
    adjust(&mut options, &mut manager_options);
    let manager = Arc::new(TaskManager::with_options(executor, manager_options));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = AppState::new(Arc::clone(&manager), options);
    let stop = CancellationToken::new();
    let done = tokio::spawn(serve(listener, state.clone(), stop.clone()));
    Served { address, state, manager, stop, done }
}

pub(crate) async fn plain() -> Served {
    served(|_, _| {}).await
}

/// An answer, read to the end of the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.head, String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The error's code, after checking that the whole error has its shape.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        for key in ["message", "type", "code", "request_id"] {
            assert!(error[key].is_string(), "{key} is missing: {body}");
        }
        assert!(error.get("param").is_some(), "{body}");
        assert_eq!(Some(error["request_id"].as_str().unwrap()), self.header("x-request-id"));
        error["code"].as_str().unwrap().to_owned()
    }
}

impl Served {
    /// Sends bytes and reads until the worker closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The worker may refuse and close before all is sent.
        let _sent = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("the worker did not close");
        parse(&answer)
    }

    /// One call of alice.
    pub(crate) async fn call(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let authorization = format!("Bearer {TOKEN}");
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        self.bare(line, &all, body).await
    }

    /// One call without a token.
    pub(crate) async fn bare(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let bytes = [format!("{head}\r\n").as_bytes(), body].concat();
        self.raw(&bytes).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(&format!("GET {path}"), &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(&format!("POST {path}"), &[("content-type", "application/json")], body.to_string().as_bytes()).await
    }

    /// Submits a task of the scripted executor and returns its id.
    pub(crate) async fn submit(&self, data: Value) -> String {
        let answer = self.post("/v1/tasks", &json!({ "type": { "custom": "test" }, "data": data })).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("location"), Some(format!("/v1/tasks/{id}").as_str()));
        id
    }

    /// Stops and waits for the end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.done.await.unwrap().unwrap();
    }

    /// Waits until the task is in that state.
    pub(crate) async fn until(&self, id: &str, status: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let id = id.parse().unwrap();
        while self.manager.status(&id).unwrap().status.name() != status {
            assert!(tokio::time::Instant::now() < deadline, "{id} is {:?}", self.manager.status(&id));
            tokio::task::yield_now().await;
        }
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut body = bytes[split..].to_vec();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body = dechunk(&body);
    }
    Answer { status, head, body }
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(at) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..at]).unwrap(), 16).unwrap();
        if size == 0 || bytes.len() < at + 4 + size {
            break;
        }
        body.extend_from_slice(&bytes[at + 2..at + 2 + size]);
        bytes = &bytes[at + 4 + size..];
    }
    body
}
