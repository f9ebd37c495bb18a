//! The Hugging Face cache as Python's `huggingface_hub` lays it out: `models--org--name/{refs,blobs,snapshots/<commit>}`. Read as it lies.

use std::path::{Path, PathBuf};

use super::files::read_bounded;
use crate::ModelError;

/// Models listed at most.
const LIST_MAX: usize = 10_000;

/// A snapshot in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    /// `org/name`.
    pub name: String,
    /// The commit.
    pub revision: String,
    /// Branches and tags that point at it.
    pub refs: Vec<String>,
    /// The snapshot's folder.
    pub folder: PathBuf,
    /// Bytes of its files, links followed.
    pub bytes: u64,
}

/// The folder of a repository inside the cache.
pub(super) fn repo_folder(cache: &Path, id: &str) -> PathBuf {
    cache.join(format!("models--{}", id.replace('/', "--")))
}

/// The snapshot of a revision (`main` without one) and its commit; `None` when it is not there.
///
/// Errors: `Corrupt` for a ref that does not hold a commit.
pub(super) fn find(cache: &Path, id: &str, revision: Option<&str>) -> Result<Option<(PathBuf, String)>, ModelError> {
    let repo = repo_folder(cache, id);
    let revision = revision.unwrap_or("main");
    let exact = repo.join("snapshots").join(revision);
    if is_commit(revision) && exact.is_dir() {
        return Ok(Some((exact, revision.to_owned())));
    }
    let bytes = match read_bounded(&repo.join("refs").join(revision), 256) {
        Ok(bytes) => bytes,
        Err(ModelError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let commit = String::from_utf8_lossy(&bytes).trim().to_owned();
    if !is_commit(&commit) {
        return Err(ModelError::corrupt(format!("refs/{revision}"), "commit", "does not hold a commit of 40 hex digits"));
    }
    let folder = repo.join("snapshots").join(&commit);
    Ok(folder.is_dir().then_some((folder, commit)))
}

pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Every snapshot of every model in the cache, by name; at most 10,000. A cache that does not exist is empty. Errors: `Io`.
pub fn list_cached(cache: &Path) -> Result<Vec<CachedModel>, ModelError> {
    let mut models = Vec::new();
    for repo in entries(cache)? {
        let Some(name) = file_name(&repo).and_then(|name| name.strip_prefix("models--").map(|id| id.replacen("--", "/", 1))) else {
            continue;
        };
        let refs = read_refs(&repo.join("refs"))?;
        for folder in entries(&repo.join("snapshots"))? {
            let Some(revision) = file_name(&folder).filter(|revision| is_commit(revision)) else { continue };
            let bytes = folder_bytes(&folder, 0)?;
            let refs = refs.iter().filter(|(_, commit)| *commit == revision).map(|(name, _)| name.clone()).collect();
            models.push(CachedModel { name: name.clone(), revision, refs, folder, bytes });
            if models.len() == LIST_MAX {
                return Ok(models);
            }
        }
    }
    models.sort_by(|a, b| (&a.name, &a.revision).cmp(&(&b.name, &b.revision)));
    Ok(models)
}

/// Removes every snapshot and blob of a model from the cache; says how many bytes it held. Errors: `Missing`, `Io`.
pub fn remove_cached(cache: &Path, id: &str) -> Result<u64, ModelError> {
    if !matches!(super::ModelRef::parse(id)?, super::ModelRef::Repo { revision: None, file: None, .. }) {
        return Err(ModelError::input("a cached model is removed by its name without file and revision; folders are never removed"));
    }
    let repo = repo_folder(cache, id);
    if !repo.is_dir() {
        return Err(ModelError::Missing { reason: format!("it is not in the cache {}", cache.display()) });
    }
    let bytes = folder_bytes(&repo.join("blobs"), 0)?;
    std::fs::remove_dir_all(&repo).map_err(|error| ModelError::io(&repo, &error))?;
    Ok(bytes)
}

/// The branch and tag names under `refs`, with the commits they hold; one folder deep, as for `refs/pr/1`.
fn read_refs(refs: &Path) -> Result<Vec<(String, String)>, ModelError> {
    let mut found = Vec::new();
    for path in entries(refs)? {
        let nested = if path.is_dir() { entries(&path)? } else { vec![path] };
        for path in nested.into_iter().filter(|path| path.is_file()) {
            let name = path.strip_prefix(refs).unwrap_or(&path).display().to_string();
            found.push((name, String::from_utf8_lossy(&read_bounded(&path, 256)?).trim().to_owned()));
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(ModelError::io(folder, &error)),
    };
    listing.take(LIST_MAX).map(|entry| entry.map(|entry| entry.path()).map_err(|error| ModelError::io(folder, &error))).collect()
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name()?.to_str().map(str::to_owned)
}

/// Bytes of a folder's files, at most four folders deep. A link to a missing blob counts nothing.
fn folder_bytes(folder: &Path, depth: usize) -> Result<u64, ModelError> {
    let mut total = 0;
    for path in entries(folder)? {
        match std::fs::metadata(&path) {
            Ok(about) if about.is_file() => total += about.len(),
            Ok(about) if about.is_dir() && depth < 4 => total += folder_bytes(&path, depth + 1)?,
            _ => {}
        }
    }
    Ok(total)
}
