//! The models of this host: the built-in one, folders, the Hugging Face cache. Reads directories; loads nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tallow_models::encoder::{EncoderPlan, estimate_bytes};
use tallow_models::source::{self, SourceOptions};
use tallow_models::{ModelError, PrecisionChoice, builtin};

/// Models that one folder of models is searched for, at most.
const FOLDER_MODELS_MAX: usize = 10_000;

/// Where a model lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelPlace {
    /// Inside the program.
    BuiltIn,
    /// In a folder of models: this one.
    Folder(PathBuf),
    /// In the Hugging Face cache.
    Cache,
}

/// A model of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostModel {
    /// The name under which a task finds it; several revisions share one.
    pub name: String,
    /// Where it lies.
    pub place: ModelPlace,
    /// The commit, in the cache.
    pub revision: Option<String>,
    /// Bytes of its files, in the cache.
    pub bytes: Option<u64>,
}

/// Every model that lies on this host, in the order in which a name is looked up. Says nothing about whether it can be run.
///
/// Errors: `Io` for a folder that is there and cannot be read; one that does not exist holds none.
pub fn host_models(source: &SourceOptions) -> Result<Vec<HostModel>, ModelError> {
    let mut found = vec![HostModel { name: builtin::NAME.into(), place: ModelPlace::BuiltIn, revision: None, bytes: None }];
    for folder in &source.model_dirs {
        let names = names_in(folder)?.into_iter();
        found.extend(names.map(|name| HostModel { name, place: ModelPlace::Folder(folder.clone()), revision: None, bytes: None }));
    }
    if let Some(cache) = &source.cache_dir {
        for model in source::list_cached(cache)? {
            let names = source::model_names(&model.folder, &model.name)?;
            let names = if names.is_empty() { vec![model.name] } else { names };
            let (revision, bytes) = (Some(model.revision), Some(model.bytes));
            found.extend(names.into_iter().map(|name| HostModel { name, place: ModelPlace::Cache, revision: revision.clone(), bytes }));
        }
    }
    Ok(found)
}

/// The models that a task may name now, each once, as the API lists them: those whose files can be loaded by this worker.
///
/// Errors: as [`host_models`].
pub(super) fn servable_models(source: &SourceOptions, precision: PrecisionChoice) -> Result<Vec<Value>, ModelError> {
    let mut seen = BTreeSet::new();
    let fresh = host_models(source)?.into_iter().filter(|model| seen.insert(model.name.clone()));
    Ok(fresh.filter_map(|model| described(&model, source, precision)).collect())
}

/// `None` for a model that cannot be loaded.
fn described(model: &HostModel, source: &SourceOptions, precision: PrecisionChoice) -> Option<Value> {
    let place = match &model.place {
        ModelPlace::BuiltIn => {
            return Some(json!({ "name": model.name, "place": "built_in", "precision": builtin::PRECISION }));
        }
        ModelPlace::Folder(_) => "folder",
        ModelPlace::Cache => "cache",
    };
    let found = source::resolve(&model.name, source).ok()?;
    let bytes = EncoderPlan::read(&found.folder).and_then(|plan| estimate_bytes(&plan, precision)).ok()?;
    Some(
        json!({ "name": model.name, "place": place, "revision": found.revision, "memory_bytes": bytes, "precision": precision.to_string() }),
    )
}

/// Names of the models in a folder: `name` (a folder or a GGUF file), and `org/name` one folder deeper; each with its file where it has several.
fn names_in(folder: &Path) -> Result<Vec<String>, ModelError> {
    let mut names = source::gguf_files(folder)?;
    for name in folders(folder)? {
        let own = source::model_names(&folder.join(&name), &name)?;
        let inner = if own.is_empty() { folders(&folder.join(&name))? } else { Vec::new() };
        names.extend(own);
        for inner in inner {
            names.extend(source::model_names(&folder.join(&name).join(&inner), &format!("{name}/{inner}"))?);
        }
        if names.len() >= FOLDER_MODELS_MAX {
            break;
        }
    }
    names.sort();
    Ok(names)
}

/// Names of the folders in a folder, without hidden ones and those whose name is not text.
fn folders(folder: &Path) -> Result<Vec<String>, ModelError> {
    let mut names = Vec::new();
    for entry in source::folder_entries(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'));
        names.extend(name.filter(|_| entry.path().is_dir()));
    }
    Ok(names)
}
