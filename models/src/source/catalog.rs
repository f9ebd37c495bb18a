//! What a model on this host is, and whether its files are whole, without loading it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ModelFolder;
use super::files::{file_name, open_regular};
use crate::encoder::{EncoderPlan, estimate_bytes};
use crate::weights::{hex, joined_digest};
use crate::{ModelError, PrecisionPolicy};

/// Files of a model that are looked at, at most.
const FILE_COUNT_MAX: usize = 256;

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDetails {
    /// Path inside the model's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Hex sha256.
    pub sha256: String,
}

/// What a model is, from its files.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDetails {
    /// As it was asked for.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// The commit, when it lies in the cache.
    pub revision: Option<String>,
    /// `model_type`.
    pub architecture: String,
    /// Numbers per token vector.
    pub hidden: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Pooling modes joined by `+`, and where they were read.
    pub pooling: String,
    /// Where the pooling was read, or why it was assumed.
    pub pooling_source: String,
    /// The longest sequence in tokens.
    pub max_tokens: usize,
    /// Values in the weight files.
    pub parameter_count: u64,
    /// What it will be computed with on the host; `auto` where that is to be measured.
    pub precision: String,
    /// Why.
    pub precision_reason: String,
    /// Bytes it will hold when loaded, at most.
    pub memory_bytes: u64,
    /// Its files with their hashes.
    pub files: Vec<FileDetails>,
    /// What the loader will ignore or assume.
    pub notes: Vec<String>,
}

/// What was checked, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// What held, in sentences.
    pub passed: Vec<String>,
    /// What did not hold, in sentences; empty for a whole model.
    pub failed: Vec<String>,
}

/// Reads and hashes the files of a model, priced for the precisions that `policy` may lead to. Errors: as loading it would give before the weights are read.
pub fn show(model: &ModelFolder, policy: &PrecisionPolicy) -> Result<ModelDetails, ModelError> {
    let plan = EncoderPlan::read(&model.folder)?;
    let tokenizer = plan.tokenizer()?;
    let weights = plan.weight_paths()?;
    let parameter_count = plan.tensors()?.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
    let files = hash_files(&model.folder)?;
    let (precision, precision_reason) = policy.outlook(&weights_digest(&model.folder, &weights, &files), &plan.pooling.name());
    Ok(ModelDetails {
        precision,
        precision_reason,
        name: model.name.clone(),
        folder: model.folder.clone(),
        revision: model.revision.clone(),
        architecture: plan.config.family.clone(),
        hidden: plan.config.hidden,
        layers: plan.config.layers,
        pooling: plan.pooling.name(),
        max_tokens: plan.max_tokens(tokenizer.model_max_length()),
        parameter_count,
        memory_bytes: estimate_bytes(&plan, policy.choice)?,
        files,
        notes: plan.notes,
        pooling_source: plan.pooling_source,
    })
}

/// The digest that loading the weights gives; empty when the hashes of these files are not known.
fn weights_digest(folder: &Path, weights: &[PathBuf], files: &[FileDetails]) -> String {
    let hash_of = |path: &PathBuf| {
        // The folder is the file itself for a model in a single one.
        let name = if path == folder { Path::new(path.file_name()?) } else { path.strip_prefix(folder).ok()? };
        files.iter().find(|file| Path::new(&file.name) == name).map(|file| file.sha256.clone())
    };
    weights.iter().map(hash_of).collect::<Option<Vec<_>>>().map(|hashes| joined_digest(&hashes)).unwrap_or_default()
}

/// Checks a model's files: sizes and tables of the weights, tokenizer against embeddings, and hashes where something to compare with is known
/// (`expected`: sha256 by file name; in a cache, blobs that are named by their sha256).
pub fn verify(model: &ModelFolder, expected: &BTreeMap<String, String>) -> Result<Verification, ModelError> {
    let mut found = Verification::default();
    let mut record = |what: &str, outcome: Result<String, ModelError>| match outcome {
        Ok(detail) => found.passed.push(format!("{what}: {detail}")),
        Err(error) => found.failed.push(format!("{what}: {error}")),
    };
    let plan = EncoderPlan::read(&model.folder);
    record(
        "configuration",
        plan.as_ref().map(|plan| format!("{} with {} layers", plan.config.family, plan.config.layers)).map_err(Clone::clone),
    );
    if let Ok(plan) = &plan {
        record("tokenizer", plan.tokenizer().map(|tokenizer| format!("{} special tokens around a text", tokenizer.special_token_count())));
        record("weights", plan.tensors().map(|tensors| format!("{} tensors cover the files exactly", tensors.len())));
    }
    for file in hash_files(&model.folder)? {
        let path = if model.folder.is_file() { model.folder.clone() } else { model.folder.join(&file.name) };
        let named = std::fs::canonicalize(path).ok().map(|path| file_name(&path));
        let known = expected
            .get(&file.name)
            .cloned()
            .or_else(|| named.filter(|name| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())));
        match known {
            Some(known) if known.eq_ignore_ascii_case(&file.sha256) => record("sha256", Ok(file.name)),
            Some(known) => {
                record("sha256", Err(ModelError::corrupt(file.name, "sha256", format!("found {}, expected {known}", file.sha256))))
            }
            None => {}
        }
    }
    Ok(found)
}

/// Every regular file of the folder and the folders right inside it, by name, or the one file of that path. Hidden names are passed over.
fn hash_files(folder: &Path) -> Result<Vec<FileDetails>, ModelError> {
    let mut names = Vec::new();
    if folder.is_file() {
        let (bytes, sha256) = hash_file(folder)?;
        return Ok(vec![FileDetails { name: file_name(folder), bytes, sha256 }]);
    }
    collect(folder, "", &mut names)?;
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let (bytes, sha256) = hash_file(&folder.join(&name))?;
            Ok(FileDetails { name, bytes, sha256 })
        })
        .collect()
}

fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), ModelError> {
    for entry in std::fs::read_dir(folder).map_err(|error| ModelError::io(folder, &error))? {
        let path = entry.map_err(|error| ModelError::io(folder, &error))?.path();
        let name = file_name(&path);
        if name.starts_with('.') {
            continue;
        }
        if path.is_file() {
            if names.len() == FILE_COUNT_MAX {
                return Err(ModelError::input(format!("{} holds more than {FILE_COUNT_MAX} files", folder.display())));
            }
            names.push(format!("{prefix}{name}"));
        } else if path.is_dir() && prefix.is_empty() {
            collect(&path, &format!("{name}/"), names)?;
        }
    }
    Ok(())
}

/// Size and hex sha256 of a file, read in blocks.
pub(crate) fn hash_file(path: &Path) -> Result<(u64, String), ModelError> {
    let (mut file, _) = open_regular(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0u8; 1 << 20];
    let mut total = 0u64;
    loop {
        let count = file.read(&mut block).map_err(|error| ModelError::io(path, &error))?;
        if count == 0 {
            return Ok((total, hex(&hash.finalize())));
        }
        hash.update(&block[..count]);
        total += count as u64;
    }
}
