//! How a command ends: the exit codes, and errors that know theirs.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::task::TaskError;

/// How the process ends. Stable: scripts depend on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// A fault at run time.
    Runtime = 1,
    /// The command line, the settings or the input is not valid.
    Usage = 2,
    /// A model or file is missing and may not or cannot be fetched.
    Missing = 3,
    /// The device that was asked for is not there.
    NoDevice = 4,
    /// More memory is needed than this worker may use.
    DoesNotFit = 5,
    /// A batch ended, and some of its lines failed.
    SomeFailed = 6,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command stops. `Display` is the line for standard error, without a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CliError {
    /// What to tell, and how to end.
    Failed {
        /// How the process ends.
        exit: Exit,
        /// What was wrong and what to do.
        message: String,
    },
    /// Whoever read standard output has gone: nothing is wrong, and nobody listens.
    PipeClosed,
}

impl CliError {
    /// An error with its exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Failed { exit, message: message.into() }
    }

    /// A mistake in the command or its input.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file that could not be used: absent means exit 3, anything else exit 1.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::Missing } else { Exit::Runtime };
        Self::new(exit, format!("{}: {error}", path.display()))
    }

    /// The same error with a place in front of its message.
    #[must_use]
    pub(crate) fn at(self, place: impl fmt::Display) -> Self {
        match self {
            Self::Failed { exit, message } => Self::Failed { exit, message: format!("{place}: {message}") },
            Self::PipeClosed => self,
        }
    }

    /// The same error with more to tell behind its message.
    #[must_use]
    pub(crate) fn then(self, more: &str) -> Self {
        match self {
            Self::Failed { exit, message } => Self::Failed { exit, message: format!("{message}; {more}") },
            Self::PipeClosed => self,
        }
    }

    /// How the process ends.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Failed { exit, .. } => *exit,
            Self::PipeClosed => Exit::Ok,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { message, .. } => f.write_str(message),
            Self::PipeClosed => f.write_str("standard output was closed"),
        }
    }
}

impl std::error::Error for CliError {}

/// Errors of standard output: a closed pipe is an end, not a fault.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::PipeClosed,
            _ => Self::new(Exit::Runtime, error.to_string()),
        }
    }
}

impl From<TaskError> for CliError {
    fn from(error: TaskError) -> Self {
        let exit = exit_of_code(error.code());
        let message = match error.detail() {
            "" => error.to_string(),
            detail => format!("{error} ({detail})"),
        };
        Self::new(exit, message)
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let exit = if error.missing { Exit::Missing } else { Exit::Usage };
        Self::new(exit, format!("settings: {error}"))
    }
}

/// The exit code for a stable error code, as [`TaskError::code`] and the API name it.
#[must_use]
pub(crate) fn exit_of_code(code: &str) -> Exit {
    match code {
        "invalid_payload" | "unsupported_task_type" | "unsupported_parameter" | "idempotency_conflict" => Exit::Usage,
        "model_missing" | "not_found" | "model_not_found" => Exit::Missing,
        "device_unavailable" => Exit::NoDevice,
        "does_not_fit" => Exit::DoesNotFit,
        _ => Exit::Runtime,
    }
}
