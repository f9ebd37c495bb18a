//! What every command has at hand: standard output, the settings file, the data directory.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use super::args::GlobalArgs;
use super::exit::CliError;
use super::output::{Out, note};
use crate::config::{ConfigFile, WorkerLayer, WorkerSettings, default_config_path, default_data_dir};

/// One run of the program.
pub(crate) struct Session {
    /// Standard output.
    pub(crate) out: Out,
    /// The settings file.
    pub(crate) file: ConfigFile,
    /// Where the token, measured precisions and saved sets of vectors live.
    pub(crate) data_dir: PathBuf,
    /// Nothing but errors goes to standard error.
    pub(crate) quiet: bool,
    /// Arguments of the command whose value a variable gave.
    of_variables: BTreeSet<String>,
}

/// Looks a variable of the environment up.
pub(crate) fn env(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

impl Session {
    /// Reads the settings file. `of_variables` names the arguments whose value a variable gave.
    ///
    /// Errors: exit 2 for a file that says something unknown, 3 for a named file that is absent.
    pub(crate) fn open(global: &GlobalArgs, of_variables: BTreeSet<String>) -> Result<Self, CliError> {
        let file = ConfigFile::load(global.config.as_deref(), default_config_path(env).as_deref())?;
        let data_dir = global.data_dir.clone().or_else(|| file.data_dir.clone()).unwrap_or_else(|| default_data_dir(env));
        Ok(Self { out: Out::new(global.json), file, data_dir, quiet: global.quiet, of_variables })
    }

    /// True when a variable gave the argument's value: then it is left out, not refused, where it does not fit what is asked for.
    #[must_use]
    pub(crate) fn is_of_variable(&self, id: &str) -> bool {
        self.of_variables.contains(id)
    }

    /// The worker's settings: flags and environment over the file.
    #[must_use]
    pub(crate) fn worker(&self, layer: &WorkerLayer) -> WorkerSettings {
        let records = Some(self.data_dir.join("precision"));
        let settings = WorkerSettings::resolve(layer, &self.file.worker, env);
        let vectors_dir = settings.vectors_dir.clone().or_else(|| Some(self.data_dir.join("vectors")));
        WorkerSettings { precision_records: records, vectors_dir, ..settings }
    }

    /// Tells the user something that is no result, unless they asked for quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            note(text);
        }
    }
}
