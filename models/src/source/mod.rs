//! Where models lie: folders and GGUF files, the Hugging Face cache (read as it lies, offline) and, behind the feature `hub`, the hub itself.
//!
//! Reads no environment: the caller hands the variables in.

mod cache;
mod catalog;
pub mod files;
#[cfg(feature = "hub")]
mod hub;
mod single;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use cache::{CachedModel, list_cached, remove_cached};
#[cfg(test)]
pub(crate) use catalog::hash_file;
pub use catalog::{FileDetails, ModelDetails, Verification, show, verify};
#[cfg(feature = "hub")]
pub use hub::{PullProgress, PullWatch, Pulled, pull};
use single::is_model;
pub use single::{folder_entries, gguf_files, model_names};

use crate::ModelError;
use crate::gguf::is_gguf;

/// The hub when nothing else is said.
pub const ENDPOINT_DEFAULT: &str = "https://huggingface.co";
/// A download that brings no byte for this long is given up.
pub const STALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Where to look and how to fetch.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// The Hugging Face cache (`.../hub`); `None` when no home folder is known.
    pub cache_dir: Option<PathBuf>,
    /// Folders in which a model's name is the name of a sub-folder; looked through first, in order.
    pub model_dirs: Vec<PathBuf>,
    /// True when a reference may be a path of this host.
    pub allow_paths: bool,
    /// True forbids the hub.
    pub offline: bool,
    /// The hub's address without a trailing slash.
    pub endpoint: String,
    /// The hub's token.
    pub token: Option<String>,
    /// Longest wait for a connection, an answer or the next byte.
    pub stall_timeout: Duration,
}

impl fmt::Debug for SourceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceOptions")
            .field("cache_dir", &self.cache_dir)
            .field("model_dirs", &self.model_dirs)
            .field("allow_paths", &self.allow_paths)
            .field("offline", &self.offline)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("stall_timeout", &self.stall_timeout)
            .finish()
    }
}

impl Default for SourceOptions {
    /// No cache, no folders, paths allowed, offline.
    fn default() -> Self {
        Self {
            cache_dir: None,
            model_dirs: Vec::new(),
            allow_paths: true,
            offline: true,
            endpoint: ENDPOINT_DEFAULT.into(),
            token: None,
            stall_timeout: STALL_TIMEOUT_DEFAULT,
        }
    }
}

impl SourceOptions {
    /// Reads Hugging Face's variables through `lookup` (an empty value counts as unset): `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`,
    /// `XDG_CACHE_HOME`, `HOME`, `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DOWNLOAD_TIMEOUT` (seconds).
    ///
    /// Reads the token file (`$HF_HOME/token`) when no token is set.
    #[must_use]
    pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let home = value("HF_HOME").map(PathBuf::from).or_else(|| {
            let caches = value("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(value("HOME")?).join(".cache")));
            caches.map(|caches| caches.join("huggingface"))
        });
        let cache_dir = value("HF_HUB_CACHE").or_else(|| value("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        let truthy =
            |name: &str| value(name).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        let token_file = value("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| home.as_ref().map(|home| home.join("token")));
        let stored = || token_file.and_then(|path| files::read_bounded(&path, 4096).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
        let seconds = value("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.trim().parse::<u64>().ok()).filter(|n| (1..=3600).contains(n));
        Self {
            cache_dir: cache_dir.or_else(|| home.as_ref().map(|home| home.join("hub"))),
            model_dirs: Vec::new(),
            allow_paths: true,
            offline: truthy("HF_HUB_OFFLINE") || truthy("TRANSFORMERS_OFFLINE"),
            endpoint: value("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT_DEFAULT.into()).trim_end_matches('/').to_owned(),
            token: value("HF_TOKEN").or_else(stored).map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            stall_timeout: seconds.map_or(STALL_TIMEOUT_DEFAULT, Duration::from_secs),
        }
    }
}

/// What a caller means by a model's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelRef {
    /// A folder of this host, or a GGUF file.
    Folder(PathBuf),
    /// `org/name` or `name`, with the revision after `@` if one is pinned.
    Repo {
        /// `org/name` or `name`.
        id: String,
        /// One GGUF file of it, after another `/`.
        file: Option<String>,
        /// A branch, tag or commit.
        revision: Option<String>,
    },
}

impl ModelRef {
    /// Reads a reference: text that starts with `/`, `./`, `../` or `~` or is an absolute path is a folder or a file, everything else
    /// `[org/]name[/FILE.gguf][@revision]`.
    ///
    /// Errors: `Input` saying what a name may hold.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let refuse = |reason: &str| {
            let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
            Err(ModelError::input(format!("model name `{shown}`: {reason}")))
        };
        if text.is_empty() || text.len() > 4096 || text.contains('\0') {
            return refuse("1 to 4096 bytes without NUL are allowed");
        }
        if text.starts_with(['/', '~']) || text.starts_with("./") || text.starts_with("../") || text == "." || Path::new(text).is_absolute()
        {
            return Ok(Self::Folder(PathBuf::from(text)));
        }
        let (id, revision) = match text.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (text, None),
        };
        let (id, file) = match id.rsplit_once('/') {
            Some((id, file)) if is_gguf(Path::new(file)) => (id, Some(file)),
            _ => (id, None),
        };
        let parts: Vec<&str> = id.split('/').collect();
        if file.is_some_and(|file| !is_file_name(file)) {
            return refuse("a GGUF file is named by letters, digits, `.`, `_` and `-`, 255 at most, not starting with `.` or holding `..`");
        }
        if parts.len() > 2 || !parts.iter().all(|part| is_name_part(part)) {
            return refuse(
                "[org/]name[/FILE.gguf][@revision] is allowed, of letters, digits, `.`, `_` and `-`, 1 to 96 each, not starting with `.` or holding `..` or `--`; a folder starts with `/` or `./`",
            );
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return refuse("a revision is a branch, tag or commit of letters, digits, `.`, `_`, `/` and `-`");
        }
        Ok(Self::Repo { id: id.to_owned(), file: file.map(str::to_owned), revision: revision.map(str::to_owned) })
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn is_file_name(name: &str) -> bool {
    name.len() <= 255 && name.bytes().all(is_name_byte) && !name.starts_with('.') && !name.contains("..")
}

fn is_name_part(part: &str) -> bool {
    let allowed = is_name_byte;
    (1..=96).contains(&part.len()) && part.bytes().all(allowed) && !part.starts_with('.') && !part.contains("..") && !part.contains("--")
}

fn is_revision(revision: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    (1..=128).contains(&revision.len())
        && revision.bytes().all(allowed)
        && !revision.contains("..")
        && revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// Where a model was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A folder that was named, or one of the model folders.
    Folder,
    /// The Hugging Face cache.
    Cache,
}

impl Origin {
    /// `folder` or `cache`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Cache => "cache",
        }
    }
}

/// A model that is on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFolder {
    /// As it was asked for.
    pub name: String,
    /// Where its files lie; the file itself for a model in a single GGUF file.
    pub folder: PathBuf,
    /// The commit, when it lies in the cache.
    pub revision: Option<String>,
    /// Where it was found.
    pub origin: Origin,
}

/// Finds a model on this host; never touches the network.
///
/// Errors: `Input` for a name that cannot be, `Missing` saying where it was looked for.
pub fn resolve(name: &str, options: &SourceOptions) -> Result<ModelFolder, ModelError> {
    let found = |folder: PathBuf, revision, origin| ModelFolder { name: name.to_owned(), folder, revision, origin };
    let (id, file, revision) = match ModelRef::parse(name)? {
        ModelRef::Folder(path) => {
            if !options.allow_paths {
                return Err(ModelError::input("paths of this host are not accepted here; name the model as [org/]name[@revision]"));
            }
            return Ok(found(at_path(path, name)?, None, Origin::Folder));
        }
        ModelRef::Repo { id, file, revision } => (id, file, revision),
    };
    if revision.is_none() {
        let places = || options.model_dirs.iter().map(|dir| dir.join(&id));
        if let Some(single) = places().find(|path| file.is_none() && is_gguf(path) && path.is_file()) {
            return Ok(found(single, None, Origin::Folder));
        }
        let holds = |folder: &PathBuf| file.as_ref().map_or_else(|| is_model(folder), |file| folder.join(file).is_file());
        if let Some(folder) = places().find(holds) {
            return Ok(found(single::meant(folder, file.as_deref(), name)?, None, Origin::Folder));
        }
    }
    let mut looked: Vec<String> = options.model_dirs.iter().map(|dir| dir.display().to_string()).collect();
    if let Some(cache) = &options.cache_dir {
        if let Some((folder, commit)) = cache::find(cache, &id, revision.as_deref())? {
            return Ok(found(single::meant(folder, file.as_deref(), name)?, Some(commit), Origin::Cache));
        }
        looked.push(cache.display().to_string());
    }
    let places = if looked.is_empty() { "no cache folder is known".into() } else { format!("looked in {}", looked.join(", ")) };
    Err(ModelError::Missing { reason: format!("it is not on this host ({places})") })
}

/// The model at a path of this host. Errors: `Missing` saying what is there instead.
fn at_path(path: PathBuf, name: &str) -> Result<PathBuf, ModelError> {
    if path.is_dir() {
        return single::meant(path, None, name);
    }
    if is_gguf(&path) && path.is_file() {
        return Ok(path);
    }
    let what = if path.is_file() { "is a file, and no GGUF file" } else { "is neither a folder nor a GGUF file" };
    Err(ModelError::Missing { reason: format!("{} {what}", path.display()) })
}
