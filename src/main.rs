//! The `tallow` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    tallow::cli::main()
}
