//! `tallow task`: submit, look at, wait for, list, cancel and watch tasks of a running worker, over HTTP.

mod client;
mod query;
mod submit;
pub(super) mod watch;

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};

use super::exit::{CliError, Exit};
use super::session::Session;
use crate::config::{ClientLayer, Span};
use client::Client;

/// Arguments of `task`.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// Where the worker is.
    #[command(flatten)]
    pub(crate) client: ClientLayer,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: TaskCommand,
}

/// What to do with a running worker's tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Submit a task, or an array of tasks that may refer to each other; prints the ids
    Submit(SubmitArgs),
    /// Where tasks stand
    Status {
        /// Ids that submit returned
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// The result of a task; waits for it unless told otherwise
    Result(ResultArgs),
    /// Tasks the worker knows, oldest first
    List(ListArgs),
    /// Cancel tasks
    Cancel {
        /// Ids that submit returned
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Follow what happens, to one task until it ends or to all until interrupted
    Watch(WatchArgs),
}

/// Arguments of `task submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The task as JSON: {"type": "text_processing", "data": {"operation": "word_count", "text": "..."}}; - reads standard input
    #[arg(value_name = "JSON", required_unless_present = "file", conflicts_with = "file")]
    pub(crate) task: Option<String>,
    /// Read the task from this file
    #[arg(long, short, env = "TALLOW_TASK_FILE", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Wait for the result and print it
    #[arg(long, short, env = "TALLOW_TASK_WAIT", value_parser = BoolishValueParser::new())]
    pub(crate) wait: bool,
}

/// Arguments of `task result`.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// The id that submit returned
    pub(crate) id: String,
    /// Write the binary part to this .npy file
    #[arg(long, short, env = "TALLOW_TASK_OUTPUT", value_name = "OUT.npy")]
    pub(crate) output: Option<PathBuf>,
    /// Which binary part to write, where the result has several
    #[arg(long, env = "TALLOW_TASK_PART", value_name = "NAME", requires = "output")]
    pub(crate) part: Option<String>,
    /// Do not wait for a task that has not ended
    #[arg(long, env = "TALLOW_TASK_NO_WAIT", value_parser = BoolishValueParser::new())]
    pub(crate) no_wait: bool,
}

/// Arguments of `task list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only pending, running, completed, failed or cancelled ones
    #[arg(long, env = "TALLOW_TASK_STATUS", value_parser = ["pending", "running", "completed", "failed", "cancelled"])]
    pub(crate) status: Option<String>,
    /// Only this type, such as text_processing
    #[arg(long = "type", env = "TALLOW_TASK_TYPE", value_name = "TYPE")]
    pub(crate) task_type: Option<String>,
    /// Only with this label
    #[arg(long, env = "TALLOW_TASK_LABEL", value_name = "NAME=VALUE")]
    pub(crate) label: Option<String>,
    /// At most this many
    #[arg(long, env = "TALLOW_TASK_LIMIT", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: u32,
}

/// Arguments of `task watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The id that submit returned; every task without it
    pub(crate) id: Option<String>,
    /// Give up when the worker stays away this long
    #[arg(long, env = "TALLOW_WATCH_RETRY", value_name = "TIME", default_value = "30s")]
    pub(crate) retry: Span,
}

/// Talks to the worker.
pub(crate) fn run(args: &TaskArgs, session: &mut Session) -> Result<Exit, CliError> {
    let client = Client::new(session, &args.client)?;
    match &args.command {
        TaskCommand::Submit(submit) => submit::run(submit, &client, session),
        TaskCommand::Status { ids } => query::status(ids, &client, session),
        TaskCommand::Result(result) => query::result(result, &client, session),
        TaskCommand::List(list) => query::list(list, &client, session),
        TaskCommand::Cancel { ids } => query::cancel(ids, &client, session),
        TaskCommand::Watch(watch) => watch::run(watch, &client, session),
    }
}

/// An id as part of a path. Errors: it is no id, before anything is sent.
fn checked_id(text: &str) -> Result<&str, CliError> {
    text.parse::<crate::task::TaskId>().map_err(|error| CliError::usage(format!("`{text}`: {error}")))?;
    Ok(text)
}
