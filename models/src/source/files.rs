//! Reading a model's small files: regular files only, bounded, and named for what they look like when they are not what they should be.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::ModelError;

/// `config.json` and its kin are refused above this size.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Opens a regular file (a link to one is followed) and gives its metadata.
///
/// Errors: `Missing` when there is none, `Corrupt` for a folder, pipe or device, `Io` for the rest. Never blocks on a pipe: the kind is read first.
pub fn open_regular(path: &Path) -> Result<(File, Metadata), ModelError> {
    let about = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ModelError::Missing { reason: format!("no file {}", path.display()) },
        _ => ModelError::io(path, &error),
    })?;
    if !about.is_file() {
        return Err(ModelError::corrupt(file_name(path), "file", "found something that is not a regular file"));
    }
    let file = File::open(path).map_err(|error| ModelError::io(path, &error))?;
    Ok((file, about))
}

/// The whole file, at most `bytes_max` bytes. Errors: as [`open_regular`], and `Corrupt` for a larger file.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ModelError> {
    let (file, about) = open_regular(path)?;
    let too_large = |found: u64| ModelError::corrupt(file_name(path), "size", format!("found {found} bytes, at most {bytes_max} are read"));
    if about.len() > bytes_max {
        return Err(too_large(about.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| ModelError::io(path, &error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// A JSON file of at most [`CONFIG_BYTES_MAX`] bytes as `T`. Errors: as [`read_bounded`], and `Corrupt` naming line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let bytes = read_bounded(path, CONFIG_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let found = looks_like(&bytes).map(|what| format!("; the file looks like {what}")).unwrap_or_default();
        ModelError::corrupt(file_name(path), "json", format!("{error}{found}"))
    })
}

/// [`read_json`], or `None` when there is no such file.
pub fn read_json_optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ModelError> {
    match read_json(path) {
        Ok(value) => Ok(Some(value)),
        Err(ModelError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the first bytes of a file look like when it is not safetensors or JSON; `None` when nothing is recognised.
#[must_use]
pub fn looks_like(head: &[u8]) -> Option<&'static str> {
    const SIGNS: &[(&[u8], &str)] = &[
        (b"version https://git-lfs", "a Git LFS pointer: the weights themselves were never fetched"),
        (b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint or .npz"),
        (b"\x7fELF", "an ELF program"),
        (b"GGUF", "a GGUF file"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"<!DOCTYPE", "an HTML page"),
        (b"<!doctype", "an HTML page"),
        (b"<html", "an HTML page"),
    ];
    if let Some((_, what)) = SIGNS.iter().find(|(sign, _)| head.starts_with(sign)) {
        return Some(what);
    }
    // Pickle protocols 2 to 5 open with 0x80, the protocol and an opcode.
    if head.len() > 2 && head[0] == 0x80 && (2..=5).contains(&head[1]) {
        return Some("a Python pickle, which is never loaded");
    }
    if !head.is_empty() && head.len() <= 64 && head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        return Some("a short placeholder text");
    }
    None
}

/// The last component of a path, for messages.
#[must_use]
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
