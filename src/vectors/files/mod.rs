//! Sets on disk: a folder a set, in it a manifest and a file for every segment. Segment files never change; a save writes those that are not there yet,
//! then the manifest that names them, then takes away what the manifest does not name. So a set is on disk as it was before a save or as it was after.
//!
//! Every file begins with its kind and the version of its format and ends with a SHA-256 of all before; every length is checked against the file before
//! anything of its size is allocated.

mod manifest;
mod sealed;
mod segment;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::set::Watch;
use super::spec::check_name;
use super::version::{Part, Version};
use super::{SetError, SetSpec};
use crate::resource::HostAccount;

pub(super) use manifest::Head;

/// Folders of sets that are looked at.
const FOLDERS_MAX: usize = 10_000;
/// The folder of all sets in the store.
const SETS: &str = "sets";
const MANIFEST: &str = "manifest";
/// The ending of segment files.
const ROWS: &str = "rows";

/// The folder in which a worker saves its sets.
pub(super) struct StoreFolder {
    path: PathBuf,
}

impl StoreFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of one set; its name was checked.
    pub(super) fn set(&self, name: &str) -> SetFolder {
        SetFolder { name: name.to_owned(), path: self.path.join(SETS).join(name), written: BTreeSet::new() }
    }

    /// The sets that are there, each with what its manifest says or what is wrong with it.
    pub(super) fn sets(&self) -> Vec<(String, Result<Head, SetError>)> {
        let entries = match std::fs::read_dir(self.path.join(SETS)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::warn!(folder = %self.path.display(), %error, "the store of sets cannot be read; it counts as empty");
                return Vec::new();
            }
        };
        let names = entries.take(FOLDERS_MAX).flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| check_name(name).is_ok() && self.set(name).path.join(MANIFEST).exists()).collect();
        names.sort();
        names.into_iter().map(|name| (name.clone(), self.set(&name).head())).collect()
    }

    /// Takes a set away, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), SetError> {
        let path = self.set(name).path;
        // Without its manifest a set is not there: what a crash leaves behind is no set.
        for removed in [std::fs::remove_file(path.join(MANIFEST)), std::fs::remove_dir_all(&path)] {
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("remove", &path, &error)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The folder of one set.
pub(super) struct SetFolder {
    name: String,
    path: PathBuf,
    /// Segments whose files are there.
    written: BTreeSet<u64>,
}

impl SetFolder {
    fn head(&self) -> Result<Head, SetError> {
        let watch = Watch { stop: &|| false, progress: &|_| {} };
        manifest::read(&self.path.join(MANIFEST), watch).map(|manifest| manifest.head).map_err(|error| self.damaged(MANIFEST, error))
    }

    fn segment_path(&self, key: u64) -> PathBuf {
        self.path.join(format!("{key:016x}.{ROWS}"))
    }

    /// Saves a version as a whole or not at all. Errors: `Store`, `Stopped`.
    pub(super) fn save(&mut self, spec: &SetSpec, version: &Version, watch: Watch<'_>) -> Result<(), SetError> {
        std::fs::create_dir_all(&self.path).map_err(|error| failed("make", &self.path, &error))?;
        let keys: BTreeSet<u64> = version.parts.iter().map(|part| part.segment.key).collect();
        for part in version.parts.iter().filter(|part| !self.written.contains(&part.segment.key)) {
            let path = self.segment_path(part.segment.key);
            segment::write(&path, spec, &part.segment, watch).map_err(|error| self.store_error("write", &path, error))?;
        }
        let path = self.path.join(MANIFEST);
        manifest::write(&path, spec, version, watch).map_err(|error| self.store_error("write", &path, error))?;
        self.written = keys;
        self.tidy();
        Ok(())
    }

    /// Takes away segment files that no manifest names, and what broken saves left. What cannot be taken away only takes room.
    fn tidy(&self) {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let key = name.strip_suffix(".rows").and_then(|key| u64::from_str_radix(key, 16).ok());
            let stale = key.is_some_and(|key| !self.written.contains(&key)) || name.ends_with(sealed::UNFINISHED);
            if stale && let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::debug!(file = %entry.path().display(), %error, "a stale file of a set stays");
            }
        }
    }

    /// Reads the saved version. Bytes are booked before they are read. Makes no rayon call. Errors: `Damaged`, `DoesNotFit`, `Busy`, `Store`, `Stopped`.
    pub(super) fn load(mut self, account: &HostAccount, watch: Watch<'_>) -> Result<(Self, SetSpec, Version), SetError> {
        let manifest = manifest::read(&self.path.join(MANIFEST), watch).map_err(|error| self.damaged(MANIFEST, error))?;
        let free = account.free_of_tasks();
        if manifest.head.bytes > free {
            return Err(SetError::DoesNotFit { resource: "host memory".into(), needed_bytes: manifest.head.bytes, free_bytes: free });
        }
        let spec = manifest.head.spec;
        let mut parts = Vec::with_capacity(manifest.parts.len());
        let count = manifest.parts.len().max(1);
        for (at, saved) in manifest.parts.into_iter().enumerate() {
            let path = self.segment_path(saved.key);
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let segment = segment::read(&path, (&spec, &saved), account, watch).map_err(|error| self.damaged(&file, error))?;
            self.written.insert(saved.key);
            let dead_count = saved.dead.as_ref().map_or(0, super::Bits::count);
            parts.push(Part { segment: segment.with_key(saved.key).into(), dead: saved.dead.map(Into::into), dead_count });
            (watch.progress)((at + 1) as f32 / count as f32);
        }
        // Rows that come without a name must not get one that is taken.
        let greatest = parts.iter().filter_map(|part| part.segment.ids().greatest()).max();
        if manifest.next_id.is_some_and(|next| greatest.is_some_and(|greatest| greatest >= next)) {
            return Err(self.damaged(MANIFEST, broken("a row has the name of the next one")));
        }
        let version = Version { number: manifest.head.version, parts, schema: manifest.schema, next_id: manifest.next_id };
        Ok((self, spec, version))
    }

    /// What is wrong with a file, as an error of the set.
    fn damaged(&self, file: &str, error: FileError) -> SetError {
        match error {
            FileError::Broken(reason) => SetError::Damaged { name: self.name.clone(), reason: format!("{file}: {reason}") },
            FileError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                SetError::Damaged { name: self.name.clone(), reason: format!("{file}: it is not there") }
            }
            FileError::Io(error) => SetError::Store { reason: format!("read {file} of `{}`: {error}", self.name) },
            FileError::Refused(error) => error,
        }
    }

    fn store_error(&self, what: &str, path: &Path, error: FileError) -> SetError {
        match error {
            FileError::Io(error) => failed(what, path, &error),
            FileError::Broken(reason) => SetError::Store { reason: format!("{what} {}: {reason}", self.name) },
            FileError::Refused(error) => error,
        }
    }
}

/// A path of the host stays in the log; callers may be far away.
fn failed(what: &str, path: &Path, error: &std::io::Error) -> SetError {
    tracing::warn!(path = %path.display(), %error, "the store of sets failed to {what}");
    SetError::Store { reason: format!("{what} {}: {error}", path.file_name().unwrap_or_default().to_string_lossy()) }
}

/// Why a file cannot be read or written.
enum FileError {
    /// It is not what was written.
    Broken(String),
    Io(std::io::Error),
    /// There is no memory for it, or the caller stopped.
    Refused(SetError),
}

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::UnexpectedEof { Self::Broken("ends early".into()) } else { Self::Io(error) }
    }
}

impl From<SetError> for FileError {
    fn from(error: SetError) -> Self {
        Self::Refused(error)
    }
}

fn broken(reason: impl Into<String>) -> FileError {
    FileError::Broken(reason.into())
}
