//! The accept loop: bounded connections, header time-outs that really run, and a graceful end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::io::StallGuard;
use super::{AppState, HttpLimits, router};
use crate::security::SecurityError;

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Without a token only this machine may call.
    #[error(transparent)]
    Exposed(#[from] SecurityError),
    /// The listener is broken.
    #[error("the listener failed: {0}")]
    Listener(#[from] io::Error),
}

/// Read buffer of one HTTP/1 connection; also the bound that hyper itself puts on the headers of one call.
const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;
/// Pause after the system refuses to accept (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the API on `listener` until `shutdown` is cancelled: then accepts nothing new, ends event streams, lets calls under way end within
/// `limits.shutdown_timeout`, and returns.
///
/// Errors: `Exposed` when the options ask for no token on an address that others can reach.
pub async fn serve(listener: TcpListener, state: AppState, shutdown: CancellationToken) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    state.options().access.check_listen(address)?;
    let loopback = address.ip().to_canonical().is_loopback();
    let limits = state.options().limits.clone();
    let app = router(&state, loopback);
    let slots = Arc::new(Semaphore::new(limits.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some((stream, slot)) = accept(&listener, &slots, &shutdown).await {
        while connections.try_join_next().is_some() {}
        let connection = Connection { stream, slot, app: app.clone(), limits: limits.clone() };
        connections.spawn(connection.run(graceful.watcher()));
    }
    drop(listener);
    state.begin_drain();
    state.shutdown().cancel();
    if tokio::time::timeout(limits.shutdown_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(open = connections.len(), "closing connections that did not end in time");
    }
    connections.shutdown().await;
    state.after_work().close();
    if tokio::time::timeout(limits.shutdown_timeout, state.after_work().wait()).await.is_err() {
        tracing::warn!("cancellations of disconnected callers did not end in time");
    }
    Ok(())
}

/// The next connection with its slot; `None` at shutdown. Takes the slot first: a full server leaves callers in the backlog.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>, shutdown: &CancellationToken) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = tokio::select! {
        () = shutdown.cancelled() => return None,
        slot = Arc::clone(slots).acquire_owned() => slot.ok()?,
    };
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _peer)) => return Some((stream, slot)),
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection until its end.
struct Connection {
    stream: TcpStream,
    slot: OwnedSemaphorePermit,
    app: Router,
    limits: HttpLimits,
}

impl Connection {
    async fn run(self, watcher: Watcher) {
        let Self { stream, slot, app, limits } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        let io = TokioIo::new(StallGuard::new(stream, limits.stall_timeout));
        let connection = builder(&limits).serve_connection(io, TowerToHyperService::new(app));
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(slot);
    }
}

/// HTTP/1.1 with a timer, without which hyper's own time-outs never fire. HTTP/2 is left out: an idle HTTP/2 connection may keep its slot for
/// ever, and no client of a worker needs it.
fn builder(limits: &HttpLimits) -> Builder {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(CONNECTION_BUFFER_BYTES);
    builder
}
