//! The settings file: TOML, read whole, refused by file and line when a key is unknown or a value is wrong.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ClientLayer, ServeLayer, WorkerLayer};
use crate::task::plainly;

/// Larger files are refused: nobody writes a megabyte of settings.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Everything the file may say. Unknown tables and keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Where the token, measured precisions and saved sets of vectors live.
    pub data_dir: Option<PathBuf>,
    /// Table `[worker]`.
    pub worker: WorkerLayer,
    /// Table `[serve]`.
    pub serve: ServeLayer,
    /// Table `[client]`.
    pub client: ClientLayer,
}

/// Why the settings cannot be used. Its text starts with the file and, where one is to blame, the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: Option<usize>,
    /// What was found and what is allowed.
    pub reason: String,
    /// True when the file does not exist.
    pub missing: bool,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.reason),
            None => write!(f, "{}: {}", self.path.display(), self.reason),
        }
    }
}

impl std::error::Error for ConfigError {}

/// `$XDG_CONFIG_HOME/tallow/config.toml`, else `~/.config/tallow/config.toml`; `None` without a home. `env` looks a variable up.
pub fn default_config_path(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let base =
        super::settings::directory(&env, "XDG_CONFIG_HOME").or_else(|| Some(super::settings::directory(&env, "HOME")?.join(".config")))?;
    Some(base.join("tallow").join("config.toml"))
}

impl ConfigFile {
    /// Reads the file named by the user, which must exist, or else the default one, which may be absent.
    ///
    /// Errors: the file named is absent, cannot be read, is larger than 1 MiB, or says something unknown.
    pub fn load(named: Option<&Path>, default: Option<&Path>) -> Result<Self, ConfigError> {
        let (path, required) = match (named, default) {
            (Some(path), _) => (path, true),
            (None, Some(path)) => (path, false),
            (None, None) => return Ok(Self::default()),
        };
        let fail = |reason: String, missing| ConfigError { path: path.to_owned(), line: None, reason, missing };
        let length = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(Self::default()),
            Err(error) => return Err(fail(error.to_string(), error.kind() == std::io::ErrorKind::NotFound)),
        };
        if length > CONFIG_BYTES_MAX {
            return Err(fail(format!("the file has {length} bytes, at most {CONFIG_BYTES_MAX} are allowed"), false));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string(), false))?;
        Self::parse(&text, path)
    }

    /// Reads settings from text; `path` is named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|&&b| b == b'\n').count());
            let reason = plainly(error.message().trim_end());
            let key = line.and_then(|line| key_of(text.lines().nth(line - 1)?));
            ConfigError { path: path.to_owned(), line, reason: behind(key, reason), missing: false }
        })
    }
}

/// The key of a line such as `threads = 0`.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    (!key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))).then_some(key)
}

/// The reason with its key in front. One about the key itself names it already; one that begins with `is` goes on the key's sentence.
fn behind(key: Option<&str>, reason: String) -> String {
    match key {
        Some(_) if reason.starts_with("unknown field") || reason.starts_with("duplicate key") => reason,
        Some(key) if reason.starts_with("is ") => format!("{key} {reason}"),
        Some(key) => format!("{key}: {reason}"),
        None => reason,
    }
}
