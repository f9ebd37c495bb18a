//! `tallow run`: a JSONL file of tasks, executed here, streamed in bounded memory, resumable, with a summary.
//!
//! A line may take the output of any line above it by name (`{"$from": "name", ...}`). Answers keep the order of the lines. With `-o` the
//! answers file is also the memory of a run that was stopped: a line whose answer is there is not executed again (`journal.rs` says what
//! makes two lines the same), a line that failed is.

mod answer;
mod feed;
mod journal;
mod names;
mod pipeline;
mod sink;
mod summary;

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::exit::{CliError, Exit};
use super::input;
use super::local::Local;
use super::session::Session;
use crate::config::WorkerLayer;
use feed::Feed;
use journal::AnswersFile;
use pipeline::Pipeline;
use sink::Sink;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// File with one task per line, or - for standard input
    #[arg(value_name = "FILE.jsonl")]
    pub(crate) file: PathBuf,
    /// Write full answers, one JSON object per line, to this file (- for standard output); an existing file is resumed
    #[arg(long, short, env = "TALLOW_RUN_OUTPUT", value_name = "OUT.jsonl")]
    pub(crate) output: Option<PathBuf>,
    /// Start over instead of resuming: answers already in the output file are lost
    #[arg(long, env = "TALLOW_RUN_OVERWRITE", value_parser = BoolishValueParser::new(), requires = "output")]
    pub(crate) overwrite: bool,
    /// Write binary parts of answers as .npy files into this directory instead of as base64 into the answers
    #[arg(long, env = "TALLOW_RUN_PARTS_DIR", value_name = "DIR")]
    pub(crate) parts_dir: Option<PathBuf>,
    /// Lines in flight at once
    #[arg(long, env = "TALLOW_RUN_WINDOW", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// Executes the file. Exit 6 when some lines failed.
pub(crate) fn run(args: &RunArgs, session: &mut Session) -> Result<Exit, CliError> {
    let feed = Feed::open(&args.file)?;
    let to_stdout = args.output.as_deref().is_some_and(|path| path.as_os_str() == "-") || (args.output.is_none() && session.out.json());
    let file = match args.output.as_deref().filter(|_| !to_stdout) {
        Some(path) if input::is_same_file(&args.file, path) => {
            return Err(CliError::usage("the output would overwrite the tasks; name another file with -o"));
        }
        Some(path) => Some(AnswersFile::open(path, args.overwrite)?),
        None => None,
    };
    if let Some(directory) = &args.parts_dir {
        std::fs::create_dir_all(directory).map_err(|error| CliError::file(directory, &error))?;
    }
    if let Some(kept) = file.as_ref().map(AnswersFile::kept).filter(|kept| kept.answered + kept.dropped > 0) {
        session.note(&format!("resuming: {} answers are kept, {} failed or torn ones are redone", kept.answered, kept.dropped));
    }
    let local = Local::start(session, &args.worker)?;
    let quiet = session.quiet;
    let sink = Sink::new(&mut session.out, file, to_stdout, args.parts_dir.clone());
    let mut pipeline = Pipeline::new(local.manager().clone(), sink, feed.total_bytes(), args.window as usize, quiet);
    let ended = local.block_on(pipeline.run(feed));
    // What was answered before an interruption or a fault is on disk before the command ends.
    let finished = pipeline.finish();
    if !matches!(ended, Err(CliError::PipeClosed)) {
        pipeline.summary().tell(quiet);
    }
    ended?;
    finished?;
    Ok(if pipeline.summary().failed_count() > 0 { Exit::SomeFailed } else { Exit::Ok })
}

#[cfg(test)]
mod tests;
