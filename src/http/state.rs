//! What every handler shares: the manager, the options, and the counters that keep bodies and streams bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HttpOptions;
use crate::manager::TaskManager;
use crate::task::TaskExecutor;

/// The manager as the API speaks to it: over any executor, usually a registry.
pub type ApiManager = TaskManager<Arc<dyn TaskExecutor>>;

/// The shared state of the API. Cloning shares it.
#[derive(Clone)]
pub struct AppState {
    inner: Arc<Inner>,
}

struct Inner {
    manager: Arc<ApiManager>,
    options: HttpOptions,
    body_kib: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    draining: AtomicBool,
    shutdown: CancellationToken,
    after_work: TaskTracker,
}

/// One unit of the body budget, in bytes.
pub(crate) const BODY_UNIT: usize = 1024;

impl AppState {
    /// State over a manager. Starts nothing.
    #[must_use]
    pub fn new(manager: Arc<ApiManager>, options: HttpOptions) -> Self {
        let limits = &options.limits;
        let body_kib = Arc::new(Semaphore::new((limits.body_bytes_total_max / BODY_UNIT).clamp(1, Semaphore::MAX_PERMITS)));
        let streams = Arc::new(Semaphore::new(limits.event_streams_max.min(Semaphore::MAX_PERMITS)));
        Self {
            inner: Arc::new(Inner {
                manager,
                options,
                body_kib,
                streams,
                draining: AtomicBool::new(false),
                shutdown: CancellationToken::new(),
                after_work: TaskTracker::new(),
            }),
        }
    }

    /// Makes `/readyz` answer 503 while everything else still works: the first step of a graceful end.
    pub fn begin_drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn manager(&self) -> &Arc<ApiManager> {
        &self.inner.manager
    }

    pub(crate) fn options(&self) -> &HttpOptions {
        &self.inner.options
    }

    /// Permits of [`BODY_UNIT`] bytes for bodies under way.
    pub(crate) fn body_budget(&self) -> &Arc<Semaphore> {
        &self.inner.body_kib
    }

    /// One permit per open event stream.
    pub(crate) fn stream_slots(&self) -> &Arc<Semaphore> {
        &self.inner.streams
    }

    /// Cancelled when the server stops; long answers end then.
    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.inner.shutdown
    }

    /// Owns what must still happen after a caller went away; joined at shutdown.
    pub(crate) fn after_work(&self) -> &TaskTracker {
        &self.inner.after_work
    }
}
