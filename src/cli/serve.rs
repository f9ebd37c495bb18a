//! `tallow serve`: a worker behind HTTP, until a signal ends it.

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::exit::{CliError, Exit};
use super::local::Local;
use super::output::note;
use super::session::Session;
use crate::config::{LogFormat, ServeLayer, ServeSettings, WorkerLayer};
use crate::resource::format_bytes;
use crate::security::SecurityError;
use crate::worker::{Serving, ServingError, Worker};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The server's settings.
    #[command(flatten)]
    pub(crate) serve: ServeLayer,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

impl From<ServingError> for CliError {
    fn from(error: ServingError) -> Self {
        match &error {
            ServingError::Access(SecurityError::ExposedWithoutAuth { .. }) => Self::usage(error.to_string()),
            ServingError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                let advice = "another program, perhaps another worker, listens there; choose another port, or take a free one with --listen 127.0.0.1:0";
                Self::new(Exit::Runtime, format!("{error}; {advice}"))
            }
            _ => Self::new(Exit::Runtime, error.to_string()),
        }
    }
}

/// Serves until SIGTERM or Ctrl-C, then drains; a second signal ends the process at once.
pub(crate) fn run(args: &ServeArgs, session: &mut Session) -> Result<Exit, CliError> {
    let settings = ServeSettings::resolve(&args.serve, &session.file.serve);
    start_log(&settings)?;
    let local = Local::serve(session, &args.worker)?;
    local.run(async {
        let stop = CancellationToken::new();
        // From here on a signal drains, also one that comes while the start message is written.
        let signals = tokio::spawn(watch_signals(stop.clone()));
        let serving = local.worker().bind(&settings, &session.data_dir).await?;
        let model = local.worker().preload().await?;
        greet(local.worker(), &serving, model, session)?;
        let report = serving.run(stop, settings.drain_timeout).await?;
        signals.abort();
        let left = report.cancelled + report.abandoned;
        session.note(&format!("stopped: {} tasks ended while draining, {left} were cancelled", report.completed + report.failed));
        Ok(Exit::Ok)
    })
}

/// Cancels `stop` at the first signal; at the second, ends the process.
async fn watch_signals(stop: CancellationToken) {
    for round in 0..2 {
        if let Err(error) = signal().await {
            note(&format!("signals cannot be watched: {error}"));
            return;
        }
        if round == 0 {
            note("stopping: running tasks may end, new ones are refused; a second signal stops at once");
            stop.cancel();
        } else {
            std::process::exit(Exit::Interrupted as i32);
        }
    }
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Log lines go to standard error. Errors: a filter that cannot be read.
fn start_log(settings: &ServeSettings) -> Result<(), CliError> {
    let wrong = |name: &str, text: &str, error: &dyn std::fmt::Display| CliError::usage(format!("{name} is `{text}`: {error}"));
    let filter = match (&settings.log, super::session::env("RUST_LOG")) {
        (Some(text), _) => text.parse::<EnvFilter>().map_err(|error| wrong("--log", text, &error))?,
        (None, Some(text)) => {
            let text = text.to_string_lossy();
            text.parse::<EnvFilter>().map_err(|error| wrong("RUST_LOG", &text, &error))?
        }
        (None, None) => EnvFilter::new("info"),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| CliError::new(Exit::Runtime, format!("the log cannot be started: {error}")))
}

/// What an operator wants to know, within the first second.
fn greet(worker: &Worker, serving: &Serving<'_>, model: &str, session: &mut Session) -> Result<(), CliError> {
    let url = url_of(serving.address());
    let plan = worker.plan();
    if session.out.json() {
        session.out.json_line(&json!({
            "url": url,
            "address": serving.address(),
            "token_file": serving.token_path(),
            "device": { "name": worker.device().name(), "reason": worker.device().reason },
            "model": model,
            "memory_limit": plan.memory(),
            "memory_split": plan.memory_split(),
            "threads": plan.threads(),
        }))?;
        return session.out.flush();
    }
    let out = &mut session.out;
    let memory = plan.memory();
    out.line(&format!("device    {}", worker.device().reason))?;
    let tasks = format_bytes(plan.memory_split().tasks_bytes);
    out.line(&format!("memory    {tasks} for tasks and models of {}: {}", format_bytes(memory.bytes), memory.reason))?;
    out.line(&format!("threads   {}", plan.threads().reasons.join("; ")))?;
    out.line(&format!("model     {model}"))?;
    out.line(&format!("api       {url}/v1   docs {url}/docs   metrics {url}/metrics"))?;
    match serving.token_path() {
        Some(path) => {
            out.line(&format!("token     {}", path.display()))?;
            out.line(&format!("register  export OPENAI_BASE_URL={url}/v1"))?;
            out.line(&format!("          export OPENAI_API_KEY=\"$(cat '{}')\"", path.display()))?;
        }
        None => {
            out.line("token     none: every program of this machine may call (--no-auth)")?;
            out.line(&format!("register  export OPENAI_BASE_URL={url}/v1"))?;
        }
    }
    out.flush()
}

/// The address as a URL that a client on this machine can use.
fn url_of(address: SocketAddr) -> String {
    match address {
        address if address.ip().is_unspecified() && address.is_ipv4() => format!("http://127.0.0.1:{}", address.port()),
        address if address.ip().is_unspecified() => format!("http://[::1]:{}", address.port()),
        address => format!("http://{address}"),
    }
}
