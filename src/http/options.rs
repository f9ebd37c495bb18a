//! What the worker hands to the API: who may call, bounds, and closures for what lies outside this floor.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::security::Access;

/// Bounds of the API. Everything a client can make grow has one.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Largest body of one call, in bytes; more is a 413.
    pub body_bytes_max: usize,
    /// Bytes of all bodies being read or parsed at once; beyond it calls get a 429.
    pub body_bytes_total_max: usize,
    /// Connections open at once; further ones wait in the listener's backlog.
    pub connections_max: usize,
    /// Event streams open at once; further ones get a 429.
    pub event_streams_max: usize,
    /// Headers of one call; more is a 431.
    pub header_count_max: usize,
    /// Bytes of all header names and values of one call; more is a 431.
    pub header_bytes_max: usize,
    /// Bytes of path and query; more is a 414.
    pub uri_bytes_max: usize,
    /// Tasks in one batch and ids in one status query; more is a 400.
    pub batch_items_max: usize,
    /// Time to send the headers of one call, and the longest a kept-alive connection stays idle.
    pub header_timeout: Duration,
    /// Longest pause while a body is sent or an answer is taken.
    pub stall_timeout: Duration,
    /// Longest `wait_ms` of a submission.
    pub wait_max: Duration,
    /// Time that calls under way get to end after shutdown began.
    pub shutdown_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            body_bytes_total_max: 256 << 20,
            connections_max: 1024,
            event_streams_max: 256,
            header_count_max: 64,
            header_bytes_max: 16 << 10,
            uri_bytes_max: 8 << 10,
            batch_items_max: 10_000,
            header_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            wait_max: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

/// One answered call, for metrics. `path` is the route's pattern, so the number of distinct values is bounded.
#[derive(Clone, Copy, Debug)]
pub struct CallFacts<'a> {
    /// The method, `OTHER` beyond the common ones.
    pub method: &'static str,
    /// The route's pattern, `other` for paths that no route serves.
    pub path: &'a str,
    /// The status.
    pub status: u16,
    /// From the last byte of the headers to the first of the answer.
    pub elapsed: Duration,
}

/// What the API needs from the rest of the worker.
#[derive(Clone)]
pub struct HttpOptions {
    /// Who may call. The name behind a token is the submitter of its tasks, and each caller sees only its own.
    pub access: Access,
    /// Host names, besides `localhost`, `127.0.0.1` and `[::1]`, under which a loopback worker may be addressed.
    pub allowed_hosts: Vec<String>,
    /// Bounds.
    pub limits: HttpLimits,
    /// The Prometheus text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Facts about the host for `/v1/executors`: devices, processor, what was chosen and why.
    pub host_facts: Arc<dyn Fn() -> Value + Send + Sync>,
    /// Models that a task may name, loaded or not, each with a `name`, or why they cannot be listed. Called on a thread that may take the time.
    pub known_models: Arc<dyn Fn() -> Result<Vec<Value>, String> + Send + Sync>,
    /// Reasons why the worker is not ready; empty when it is.
    pub unready_reasons: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Told of every answered call.
    pub observe: Arc<dyn Fn(&CallFacts<'_>) + Send + Sync>,
}

impl HttpOptions {
    /// Options with default bounds, no metrics, no host facts, no models beyond those that executors report, always ready.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self {
            access,
            allowed_hosts: Vec::new(),
            limits: HttpLimits::default(),
            metrics: Arc::new(String::new),
            host_facts: Arc::new(|| Value::Null),
            known_models: Arc::new(|| Ok(Vec::new())),
            unready_reasons: Arc::new(Vec::new),
            observe: Arc::new(|_call| {}),
        }
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions").field("allowed_hosts", &self.allowed_hosts).field("limits", &self.limits).finish_non_exhaustive()
    }
}
