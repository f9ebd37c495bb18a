//! `tallow completions`: a script that teaches a shell the commands and flags.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::args::{Cli, GlobalArgs};
use super::exit::{CliError, Exit};
use super::output::Out;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell
    pub(crate) shell: Shell,
}

/// Writes the script to standard output.
pub(crate) fn run(args: &CompletionsArgs, global: &GlobalArgs) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tallow", &mut script);
    let mut out = Out::new(global.json);
    out.bytes(&script)?;
    out.flush()?;
    Ok(Exit::Ok)
}
