//! The settings that a flag, the environment or the file may give; `None` where nobody said anything.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use serde::Deserialize;

use super::quantity::parsed;
use super::{ByteSize, Span};
use crate::resource::MemoryLimit;

/// How log lines look on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// What every command that computes here may be told: table `[worker]` of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Worker")]
pub struct WorkerLayer {
    /// Where models run: auto, cpu, cuda, cuda:N or metal. What is asked for and absent is an error (exit 4), never a fallback
    #[arg(long, env = "TALLOW_DEVICE", value_name = "DEVICE")]
    pub device: Option<String>,
    /// Most memory that tasks, models, payloads and results may hold together: 8GiB, 50% or auto [default: auto, 80 % of what this process may use]
    #[arg(long, env = "TALLOW_MEMORY_LIMIT", value_name = "SIZE")]
    #[serde(deserialize_with = "parsed")]
    pub memory_limit: Option<MemoryLimit>,
    /// Compute threads [default: the processors this process may use]
    #[arg(long, env = "TALLOW_THREADS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
    /// Tasks that may wait before new ones are refused
    #[arg(long, env = "TALLOW_QUEUE_MAX", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub queue_max: Option<u64>,
    /// Default model: a name, `org/name[@revision]` or a directory [default: the built-in one]
    #[arg(long, env = "TALLOW_MODEL", value_name = "MODEL")]
    pub model: Option<String>,
    /// Directory of model directories, searched before the Hugging Face cache
    #[arg(long, env = "TALLOW_MODELS_DIR", value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// Never open a connection to fetch a model (also: HF_HUB_OFFLINE=1)
    #[arg(long, env = "TALLOW_OFFLINE", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub offline: Option<bool>,
}

/// What `serve` may be told: table `[serve]` of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Server")]
pub struct ServeLayer {
    /// Address to listen on; port 0 takes a free one and says which [default: 127.0.0.1:8117]
    #[arg(long, env = "TALLOW_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Serve without a token; refused for any address but loopback
    #[arg(long, env = "TALLOW_NO_AUTH", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub no_auth: Option<bool>,
    /// Largest accepted body [default: 64MiB]
    #[arg(long, env = "TALLOW_BODY_MAX", value_name = "SIZE")]
    pub body_max: Option<ByteSize>,
    /// On SIGTERM or Ctrl-C: how long running tasks may take to end [default: 30s]
    #[arg(long, env = "TALLOW_DRAIN_TIMEOUT", value_name = "TIME")]
    pub drain_timeout: Option<Span>,
    /// How log lines look on standard error [default: text]
    #[arg(long, env = "TALLOW_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which events are logged, as RUST_LOG writes it [default: RUST_LOG, or info]
    #[arg(long, env = "TALLOW_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// How the `task` commands find a running worker: table `[client]` of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Connection")]
pub struct ClientLayer {
    /// Base address of the worker [default: http://127.0.0.1:8117]
    #[arg(long, env = "TALLOW_URL", value_name = "URL", global = true)]
    pub url: Option<String>,
    /// File that holds the token [default: the one in the data directory; the token itself may be in TALLOW_TOKEN]
    #[arg(long, env = "TALLOW_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}
