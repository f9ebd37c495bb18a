//! A worker behind HTTP: the listener, who may call, metrics, and the orderly end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::config::ServeSettings;
use crate::http::{self, AppState, HttpOptions, ServeError};
use crate::manager::DrainReport;
use crate::metrics::{Call, Metrics, Readings, SetFigures};
use crate::resource::format_bytes;
use crate::security::{Access, SecurityError, Token, TokenStore};
use crate::task::vector::set::SetInfo;

/// Why a worker cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServingError {
    /// The address is taken, not of this machine, or needs rights that the process has not.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// The token cannot be made or read, or no token is wanted where others could reach the worker.
    #[error(transparent)]
    Access(#[from] SecurityError),
    /// The API refused or its listener broke.
    #[error(transparent)]
    Api(#[from] ServeError),
}

/// A worker that listens and is about to answer.
pub struct Serving<'a> {
    worker: &'a Worker,
    listener: TcpListener,
    address: SocketAddr,
    token: Option<(Token, PathBuf)>,
    state: AppState,
}

impl Worker {
    /// Listens, and makes the token at the first start. Nothing is answered before [`Serving::run`].
    ///
    /// Errors: no token wanted on an address that others can reach; the address or the token's file cannot be used.
    pub async fn bind(&self, settings: &ServeSettings, data_dir: &Path) -> Result<Serving<'_>, ServingError> {
        if settings.no_auth {
            Access::Open.check_listen(settings.listen)?;
        }
        let failed = |source| ServingError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (access, token) = if settings.no_auth {
            (Access::Open, None)
        } else {
            let store = TokenStore::new(data_dir);
            let stored = store.load_or_create()?;
            (Access::Keys(store.keyring()?), Some((stored.token, stored.path)))
        };
        let state = AppState::new(Arc::clone(self.manager()), self.http_options(access, settings));
        Ok(Serving { worker: self, listener, address, token, state })
    }

    pub(super) fn http_options(&self, access: Access, settings: &ServeSettings) -> HttpOptions {
        let mut options = HttpOptions::new(access);
        options.allowed_hosts.clone_from(&settings.allowed_hosts);
        let body_bytes = self.plan().memory_split().body_bytes;
        if settings.body_bytes_max > body_bytes {
            let (asked, limit) = (format_bytes(settings.body_bytes_max), format_bytes(body_bytes));
            tracing::warn!("bodies may be {limit} and not {asked} large: that is what the memory limit leaves for them");
        }
        options.limits.body_bytes_max = usize::try_from(settings.body_bytes_max.min(body_bytes)).unwrap_or(usize::MAX);
        options.limits.body_bytes_total_max = usize::try_from(body_bytes).unwrap_or(usize::MAX);
        let metrics = Arc::new(Metrics::new());
        let (counted, manager) = (Arc::clone(&metrics), Arc::clone(self.manager()));
        let (inference, vectors) = (self.inference.clone(), self.vectors.clone());
        let figures = |info: SetInfo| SetFigures { name: info.set, rows: info.rows as u64, bytes: info.bytes.booked };
        options.metrics = Arc::new(move || {
            let sets: Vec<SetFigures> = vectors.sets().into_iter().map(figures).collect();
            let (stats, budget, batches) = (manager.stats(), manager.ledger().snapshot(), inference.batch_stats());
            counted.render(&Readings { stats: &stats, budget: &budget, batches: &batches, sets: &sets })
        });
        options.observe = Arc::new(move |call| {
            metrics.observe(Call { method: call.method, path: call.path, status: call.status, elapsed: call.elapsed });
        });
        let (source, precision) = (super::model_source(self.plan().settings()), self.plan().settings().precision);
        options.known_models = Arc::new(move || super::models::servable_models(&source, precision).map_err(|error| error.to_string()));
        let facts = self.host_facts();
        options.host_facts = Arc::new(move || facts.clone());
        options
    }

    /// What the host has and what was chosen, for the capability document.
    fn host_facts(&self) -> Value {
        json!({
            "processors": self.plan().probe().cpus,
            "memory": self.plan().probe().memory,
            "memory_limit": self.plan().memory(),
            "memory_split": self.plan().memory_split(),
            "threads": self.plan().threads(),
            "instructions": super::processor_features(),
            "device": { "name": self.device().name(), "free_bytes": self.device().free_bytes, "reason": self.device().reason },
        })
    }
}

impl Serving<'_> {
    /// Where it listens; with port 0 asked for, the port that was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file of the token; `None` without one.
    #[must_use]
    pub fn token_path(&self) -> Option<&Path> {
        self.token.as_ref().map(|(_, path)| path.as_path())
    }

    /// The token itself, for a program that serves and calls; `None` without one.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref().map(|(token, _)| token)
    }

    /// Answers until `stop` is cancelled. Then new tasks are refused while those accepted may end within `drain_timeout`; results can be
    /// fetched meanwhile; what is left is cancelled, and the listener closes.
    pub async fn run(self, stop: CancellationToken, drain_timeout: Duration) -> Result<DrainReport, ServingError> {
        let closing = CancellationToken::new();
        let state = self.state;
        let manager = self.worker.manager();
        let drained = async {
            stop.cancelled().await;
            state.begin_drain();
            let report = manager.drain(drain_timeout).await;
            closing.cancel();
            report
        };
        let served = async {
            let served = http::serve(self.listener, state.clone(), closing.clone()).await;
            // A listener that broke by itself ends the drain's wait, too.
            stop.cancel();
            served
        };
        let (report, served) = tokio::join!(drained, served);
        served?;
        Ok(report)
    }
}
