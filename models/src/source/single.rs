//! Models in a single GGUF file: which file of a folder is meant.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use super::files::file_name;
use crate::ModelError;
use crate::gguf::is_gguf;

/// More such files in one folder are not looked at.
const FILE_COUNT_MAX: usize = 1_000;

/// What lies in a folder, one after the other; nothing for a folder that is not there. Errors: `Io`, also of each entry.
pub fn folder_entries(folder: &Path) -> Result<impl Iterator<Item = Result<DirEntry, ModelError>>, ModelError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => Some(entries),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => None,
        Err(error) => return Err(ModelError::io(folder, &error)),
    };
    let read = |entry: std::io::Result<DirEntry>| entry.map_err(|error| ModelError::io(folder, &error));
    Ok(entries.into_iter().flatten().map(read))
}

/// The names of the GGUF files in a folder, sorted; none for a folder that is not there. Errors: `Io`.
pub fn gguf_files(folder: &Path) -> Result<Vec<String>, ModelError> {
    let mut names = Vec::new();
    for entry in folder_entries(folder)? {
        let path = entry?.path();
        let name = file_name(&path);
        if is_gguf(&path) && path.is_file() && !name.starts_with('.') && names.len() < FILE_COUNT_MAX {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// True when a folder holds safetensors weights or the files that lead to them.
fn has_parts(folder: &Path) -> bool {
    ["model.safetensors", "model.safetensors.index.json", "modules.json"].iter().any(|name| folder.join(name).exists())
}

/// True for a folder that looks like a model, whatever its format.
#[must_use]
pub(super) fn is_model(folder: &Path) -> bool {
    folder.join("config.json").is_file() || folder.join("modules.json").is_file() || gguf_files(folder).is_ok_and(|files| !files.is_empty())
}

/// The names under which a folder called `name` is asked for: its own, those of its GGUF files when there are several, none when it is no model.
///
/// Errors: `Io`.
pub fn model_names(folder: &Path, name: &str) -> Result<Vec<String>, ModelError> {
    if has_parts(folder) {
        return Ok(vec![name.to_owned()]);
    }
    match &gguf_files(folder)?[..] {
        [] => Ok(is_model(folder).then(|| name.to_owned()).into_iter().collect()),
        [_] => Ok(vec![name.to_owned()]),
        several => Ok(several.iter().map(|file| format!("{name}/{file}")).collect()),
    }
}

/// What a folder stands for: itself, or the one GGUF file in it, or the one called `file`. `asked` is its name, for messages.
///
/// Errors: `Missing` for a file that is not there, `Input` naming the files when there are several to choose from.
pub(super) fn meant(folder: PathBuf, file: Option<&str>, asked: &str) -> Result<PathBuf, ModelError> {
    if file.is_none() && has_parts(&folder) {
        return Ok(folder);
    }
    let files = gguf_files(&folder)?;
    match (file, &files[..]) {
        (Some(file), _) if files.iter().any(|name| name == file) => Ok(folder.join(file)),
        (Some(file), []) => Err(ModelError::Missing { reason: format!("there is no {file} in it, nor another GGUF file") }),
        (Some(file), _) => Err(ModelError::Missing { reason: format!("there is no {file} in it, but {}", files.join(", ")) }),
        (None, []) => Ok(folder),
        (None, [only]) => Ok(folder.join(only)),
        (None, _) => Err(several(asked, &files)),
    }
}

/// The error for a name that stands for several files.
pub(super) fn several(asked: &str, files: &[String]) -> ModelError {
    let (name, revision) = asked.split_once('@').map_or((asked, String::new()), |(name, revision)| (name, format!("@{revision}")));
    let names: Vec<String> = files.iter().map(|file| format!("{}/{file}{revision}", name.trim_end_matches('/'))).collect();
    ModelError::input(format!("it holds several GGUF files; name one of them: {}", names.join(", ")))
}
