//! The settings that a flag, the environment or the file may give; `None` where nobody said anything.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use serde::Deserialize;
use tallow_models::PrecisionChoice;

use super::{ByteSize, Span, checks};
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
    #[arg(long, env = "TALLOW_DEVICE", value_name = "DEVICE", value_parser = checks::device, global = true)]
    #[serde(deserialize_with = "checks::file::device")]
    pub device: Option<String>,
    /// Arithmetic of encoders on the host: auto, exact, bf16 or int8; one per model, not per task [default: auto, the fastest that agrees with exact]
    #[arg(long, env = "TALLOW_PRECISION", value_name = "PRECISION", value_parser = checks::precision, global = true)]
    #[serde(deserialize_with = "checks::file::precision")]
    pub precision: Option<PrecisionChoice>,
    /// Instructions that kernels use: portable, neon, avx2, avx512 or amx; what this processor lacks is an error (exit 4) [default: the best it has]
    #[arg(long, env = "TALLOW_ISA", value_name = "LEVEL", value_parser = checks::isa, global = true)]
    #[serde(deserialize_with = "checks::file::isa")]
    pub isa: Option<String>,
    /// Most memory that tasks, models, payloads and results may hold together: 8GiB, 50% or auto [default: auto, 80 % of what this process may use]
    #[arg(long, env = "TALLOW_MEMORY_LIMIT", value_name = "SIZE", value_parser = checks::memory_limit, global = true)]
    #[serde(deserialize_with = "checks::file::memory_limit")]
    pub memory_limit: Option<MemoryLimit>,
    /// Compute threads [default: the processors this process may use]
    #[arg(long, env = "TALLOW_THREADS", value_name = "N", value_parser = checks::threads, global = true)]
    #[serde(deserialize_with = "checks::file::threads")]
    pub threads: Option<u32>,
    /// Tasks that may wait before new ones are refused
    #[arg(long, env = "TALLOW_QUEUE_MAX", value_name = "N", value_parser = checks::queue_max, global = true)]
    #[serde(deserialize_with = "checks::file::queue_max")]
    pub queue_max: Option<u64>,
    /// Most tokens of one batch, which each compute thread takes at once: smaller ones let a short text through sooner [default: 256, on a GPU 8192]
    #[arg(long, env = "TALLOW_BATCH_TOKENS", value_name = "N", value_parser = checks::batch_tokens, global = true)]
    #[serde(deserialize_with = "checks::file::batch_tokens")]
    pub batch_tokens: Option<u32>,
    /// Memory, within the limit, that keeps vectors and logits of encoders for texts that come again: 64MiB; 0 keeps none [default: 0]
    #[arg(long, env = "TALLOW_RESULT_CACHE", value_name = "SIZE", value_parser = checks::result_cache, global = true)]
    #[serde(deserialize_with = "checks::file::result_cache")]
    pub result_cache: Option<ByteSize>,
    /// Default model: a name, `org/name[@revision]` or a directory [default: the built-in one]
    #[arg(long, env = "TALLOW_MODEL", value_name = "MODEL", value_parser = checks::model, global = true)]
    #[serde(deserialize_with = "checks::file::model")]
    pub model: Option<String>,
    /// Directory of model directories, searched before the Hugging Face cache
    #[arg(long, env = "TALLOW_MODELS_DIR", value_name = "DIR", global = true)]
    pub models_dir: Option<PathBuf>,
    /// Directory in which sets of vectors are saved [default: `vectors` in the data directory]
    #[arg(long, env = "TALLOW_VECTORS_DIR", value_name = "DIR", global = true)]
    pub vectors_dir: Option<PathBuf>,
    /// Never open a connection to fetch a model (also: HF_HUB_OFFLINE=1)
    #[arg(long, env = "TALLOW_OFFLINE", global = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub offline: Option<bool>,
}

/// What `serve` may be told: table `[serve]` of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Server")]
pub struct ServeLayer {
    /// Address to listen on; port 0 takes a free one and says which [default: 127.0.0.1:8117]
    #[arg(long, env = "TALLOW_LISTEN", value_name = "ADDR:PORT", value_parser = checks::listen)]
    #[serde(deserialize_with = "checks::file::listen")]
    pub listen: Option<SocketAddr>,
    /// Serve without a token; refused for any address but loopback
    #[arg(long, env = "TALLOW_NO_AUTH", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub no_auth: Option<bool>,
    /// Host name, beside localhost, under which callers reach the worker; may be repeated (TALLOW_ALLOWED_HOST: separated by commas)
    #[arg(long, env = "TALLOW_ALLOWED_HOST", value_name = "NAME", num_args = 1, value_delimiter = ',', value_parser = checks::host_name)]
    #[serde(deserialize_with = "checks::file::allowed_host")]
    pub allowed_host: Option<Vec<String>>,
    /// Largest accepted body [default: 64MiB]
    #[arg(long, env = "TALLOW_BODY_MAX", value_name = "SIZE", value_parser = checks::body_max)]
    #[serde(deserialize_with = "checks::file::body_max")]
    pub body_max: Option<ByteSize>,
    /// On SIGTERM or Ctrl-C: how long running tasks may take to end [default: 30s]
    #[arg(long, env = "TALLOW_DRAIN_TIMEOUT", value_name = "TIME")]
    #[serde(deserialize_with = "checks::file::drain_timeout")]
    pub drain_timeout: Option<Span>,
    /// How log lines look on standard error [default: text]
    #[arg(long, env = "TALLOW_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which events are logged, as RUST_LOG writes it [default: RUST_LOG, or info]
    #[arg(long, env = "TALLOW_LOG", value_name = "FILTER", value_parser = checks::log_filter)]
    #[serde(deserialize_with = "checks::file::log")]
    pub log: Option<String>,
}

/// How the `task` commands find a running worker: table `[client]` of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Connection")]
pub struct ClientLayer {
    /// Base address of the worker [default: http://127.0.0.1:8117]
    #[arg(long, env = "TALLOW_URL", value_name = "URL", value_parser = checks::url, global = true)]
    #[serde(deserialize_with = "checks::file::url")]
    pub url: Option<String>,
    /// File that holds the token [default: the one in the data directory; the token itself may be in TALLOW_TOKEN]
    #[arg(long, env = "TALLOW_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}
