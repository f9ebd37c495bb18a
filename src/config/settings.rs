//! Settings after all layers have spoken: nothing optional but what has no default.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use tallow_models::PrecisionChoice;

use super::{ClientLayer, LogFormat, ServeLayer, WorkerLayer};
use crate::resource::MemoryLimit;

/// Where `serve` listens unless told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8117));
/// Where the `task` commands look for a worker unless told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8117";
/// Largest accepted body unless told otherwise, in bytes.
const DEFAULT_BODY_BYTES_MAX: u64 = 64 << 20;
/// How long a drain may take unless told otherwise.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What the composition root needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSettings {
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    pub device: String,
    /// Arithmetic of encoders on the host.
    pub precision: PrecisionChoice,
    /// Where measurements for [`PrecisionChoice::Auto`] are kept; `None` = nowhere, so that each load measures.
    pub precision_records: Option<PathBuf>,
    /// Instructions that kernels use; `None` = the best the processor has.
    pub isa: Option<String>,
    /// Bound on what the worker holds: tasks, models, payloads, results.
    pub memory_limit: MemoryLimit,
    /// Compute threads; `None` = the processors the process may use.
    pub threads: Option<usize>,
    /// Threads of candle's own pools; `None` = as many as there are cores, within the compute threads.
    pub candle_threads: Option<usize>,
    /// Tasks that may wait; `None` = the manager's default.
    pub queue_max: Option<usize>,
    /// Most tokens of a batch; `None` = as many as suit the device.
    pub batch_tokens: Option<usize>,
    /// Bytes that keep results of encoders for texts that come again; 0 = none.
    pub result_cache_bytes: u64,
    /// Default model; `None` = the built-in one.
    pub model: Option<String>,
    /// Searched for models before the Hugging Face cache.
    pub models_dir: Option<PathBuf>,
    /// Where sets of vectors are saved; `None` = nowhere.
    pub vectors_dir: Option<PathBuf>,
    /// Never fetch a model.
    pub offline: bool,
    /// A task may name models and files by paths of this host.
    pub model_paths: bool,
}

/// What `serve` needs to know beside the worker's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeSettings {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// No token is asked for.
    pub no_auth: bool,
    /// Host names, beside the local ones, under which callers reach the worker.
    pub allowed_hosts: Vec<String>,
    /// Largest accepted body.
    pub body_bytes_max: u64,
    /// How long running tasks may take to end after the signal.
    pub drain_timeout: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which events are logged.
    pub log: Option<String>,
}

/// How the `task` commands reach a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// Base address, without a slash at its end.
    pub url: String,
    /// File that holds the token, if one was named.
    pub token_file: Option<PathBuf>,
}

/// An absolute directory named by a variable; relative and empty values do not count, as the XDG rules have it.
pub(super) fn directory(env: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    env(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// `$XDG_DATA_HOME/tallow`, else `~/.local/share/tallow`, else `.tallow` here. `env` looks a variable up.
pub fn default_data_dir(env: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    directory(&env, "XDG_DATA_HOME")
        .or_else(|| Some(directory(&env, "HOME")?.join(".local").join("share")))
        .map_or_else(|| PathBuf::from(".tallow"), |base| base.join("tallow"))
}

impl WorkerSettings {
    /// The command line and environment (`first`) over the file (`second`) over defaults; `env` answers for `HF_HUB_OFFLINE`,
    /// `CANDLE_NUM_THREADS` and `RAYON_NUM_THREADS`.
    pub fn resolve(first: &WorkerLayer, second: &WorkerLayer, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let hub_offline = || env("HF_HUB_OFFLINE").is_some_and(|value| !matches!(value.to_str(), Some("" | "0" | "false" | "no" | "off")));
        Self {
            device: first.device.clone().or_else(|| second.device.clone()).unwrap_or_else(|| "auto".into()),
            precision: first.precision.or(second.precision).unwrap_or_default(),
            precision_records: None,
            isa: first.isa.clone().or_else(|| second.isa.clone()),
            memory_limit: first.memory_limit.or(second.memory_limit).unwrap_or_default(),
            threads: first.threads.or(second.threads).map(|n| n as usize),
            candle_threads: ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"].iter().find_map(|name| env(name)?.to_str()?.parse().ok()),
            queue_max: first.queue_max.or(second.queue_max).map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            batch_tokens: first.batch_tokens.or(second.batch_tokens).map(|n| n as usize),
            result_cache_bytes: first.result_cache.or(second.result_cache).map_or(0, |size| size.0),
            model: first.model.clone().or_else(|| second.model.clone()),
            models_dir: first.models_dir.clone().or_else(|| second.models_dir.clone()),
            vectors_dir: first.vectors_dir.clone().or_else(|| second.vectors_dir.clone()),
            offline: first.offline.or(second.offline).unwrap_or_else(hub_offline),
            model_paths: true,
        }
    }
}

impl Default for WorkerSettings {
    /// No layer says anything and the environment is empty: all defaults.
    fn default() -> Self {
        Self::resolve(&WorkerLayer::default(), &WorkerLayer::default(), |_| None)
    }
}

impl ServeSettings {
    /// The command line and environment (`first`) over the file (`second`) over defaults.
    #[must_use]
    pub fn resolve(first: &ServeLayer, second: &ServeLayer) -> Self {
        Self {
            listen: first.listen.or(second.listen).unwrap_or(DEFAULT_LISTEN),
            no_auth: first.no_auth.or(second.no_auth).unwrap_or(false),
            allowed_hosts: first.allowed_host.clone().or_else(|| second.allowed_host.clone()).unwrap_or_default(),
            body_bytes_max: first.body_max.or(second.body_max).map_or(DEFAULT_BODY_BYTES_MAX, |size| size.0),
            drain_timeout: first.drain_timeout.or(second.drain_timeout).map_or(DEFAULT_DRAIN_TIMEOUT, |span| span.0),
            log_format: first.log_format.or(second.log_format).unwrap_or_default(),
            log: first.log.clone().or_else(|| second.log.clone()),
        }
    }
}

impl ClientSettings {
    /// The command line and environment (`first`) over the file (`second`) over defaults.
    #[must_use]
    pub fn resolve(first: &ClientLayer, second: &ClientLayer) -> Self {
        let url = first.url.clone().or_else(|| second.url.clone()).unwrap_or_else(|| DEFAULT_URL.into());
        Self { url: url.trim_end_matches('/').to_owned(), token_file: first.token_file.clone().or_else(|| second.token_file.clone()) }
    }
}
