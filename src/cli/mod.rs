//! The topmost floor, the command line: reads arguments, asks the worker, writes answers. Nothing imports it but `main`.
//!
//! Every command takes the same road as a caller of the library: a task goes to a manager, here or over HTTP, and its result is shown.
//! Invariant: results on standard output, everything else on standard error, and the exit code says how it ended (`Exit`).

mod args;
mod bench;
mod completions;
mod doctor;
mod draft;
mod embed;
mod exit;
mod input;
mod judge;
mod latency;
mod local;
mod models;
mod npy;
mod operation;
mod output;
mod progress;
mod run;
mod search;
mod serve;
mod session;
mod show;
mod similarity;
mod task;
mod text;
mod texts;
mod twins;
mod vector;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use args::{Cli, Command};
use exit::{CliError, Exit};
use session::Session;

/// Runs the program: arguments in, exit code out. Call it first thing in `main`, before any thread is started.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let parsed = twins::parse(Cli::command(), &args).and_then(|mut matches| {
        let of_variables = twins::from_variables(&matches);
        let cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Cli::command()))?;
        Ok((cli, of_variables))
    });
    let (cli, of_variables) = match parsed {
        Ok(parsed) => parsed,
        // Help and version are results; nobody may be reading them.
        Err(error) => {
            let _nobody_listens = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    let ended = dispatch(cli, of_variables);
    if let Err(CliError::Failed { message, .. }) = &ended {
        output::note(&format!("error: {message}"));
    }
    ended.unwrap_or_else(|error| error.exit()).into()
}

fn dispatch(cli: Cli, of_variables: BTreeSet<String>) -> Result<Exit, CliError> {
    if let Command::Completions(args) = &cli.command {
        return completions::run(args, &cli.global);
    }
    let mut session = Session::open(&cli.global, of_variables)?;
    let ended = match cli.command {
        Command::Serve(args) => serve::run(&args, &mut session),
        Command::Run(args) => run::run(&args, &mut session),
        Command::Task(args) => task::run(&args, &mut session),
        Command::Embed(args) => embed::run(&args, &mut session),
        Command::Similarity(args) => similarity::run(&args, &mut session),
        Command::Rerank(args) => judge::rerank(&args, &mut session),
        Command::Classify(args) => judge::classify(&args, &mut session),
        Command::Tag(args) => judge::tag(&args, &mut session),
        Command::FillMask(args) => judge::fill_mask(&args, &mut session),
        Command::ZeroShot(args) => judge::zero_shot(&args, &mut session),
        Command::Search(args) => search::run(&args, &mut session),
        Command::Text(args) => text::run(&args, &mut session),
        Command::Vector(args) => vector::run(&args, &mut session),
        Command::Models(args) => models::run(&args, &mut session),
        Command::Doctor(args) => doctor::run(&args, &mut session),
        Command::Bench(args) => bench::run(&args, &mut session),
        Command::Completions(_) => Ok(Exit::Ok),
    };
    let flushed = session.out.flush();
    let exit = ended?;
    flushed?;
    Ok(exit)
}

#[cfg(test)]
mod tests;
