//! `tallow models`: what is on this machine, what it is, whether it is whole; bring it here, take it away.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tallow_models::source::{self, ModelDetails, ModelFolder, SourceOptions};
use tallow_models::{BuiltinEmbedder, Embedder as _, ModelError, PrecisionPolicy, builtin};

use super::exit::{CliError, Exit};
use super::session::Session;
use super::show::{self, ShowLimits};
use crate::config::WorkerLayer;
use crate::resource::format_bytes;
use crate::shelf::{find_error, task_error};
use crate::worker::{HostModel, ModelPlace, host_models, model_source, precision_policy, use_instructions};

/// Arguments of `models`.
#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ModelsCommand,
    /// The worker's settings.
    #[command(flatten)]
    pub(crate) worker: WorkerLayer,
}

/// What to do with models.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Models on this machine
    Ls,
    /// Fetch a model from the hub into the Hugging Face cache
    Pull {
        /// `org/name` or `org/name@revision`
        model: String,
    },
    /// What a model is: architecture, dimensions, pooling, limits, files with their hashes
    Show {
        /// A name, or a directory
        model: String,
    },
    /// Check a model's files: sizes, tables, tokenizer, hashes
    Verify {
        /// A name, or a directory
        model: String,
    },
    /// Remove a model from the Hugging Face cache; directories are never removed
    Rm {
        /// `org/name`
        model: String,
    },
}

/// Does it.
pub(crate) fn run(args: &ModelsArgs, session: &mut Session) -> Result<Exit, CliError> {
    let settings = session.worker(&args.worker);
    use_instructions(&settings)?;
    let source = model_source(&settings);
    match &args.command {
        ModelsCommand::Ls => list(&source, session),
        ModelsCommand::Pull { model } => pull(model, &source, session),
        ModelsCommand::Show { model } => show_one(model, (&source, &precision_policy(&settings)), session),
        ModelsCommand::Verify { model } => verify(model, &source, session),
        ModelsCommand::Rm { model } => remove(model, &source, session),
    }
}

/// An error of a model's files, with its exit code.
fn failed(model: &str, error: ModelError) -> CliError {
    match error {
        ModelError::Input { reason } => CliError::usage(reason),
        ModelError::Network { url, reason } => {
            let advice = "HF_ENDPOINT names a mirror of the hub, HF_TOKEN opens closed models";
            CliError::new(Exit::Runtime, format!("{model}: the hub did not answer as it should: {reason} ({url}); {advice}"))
        }
        other => task_error(model, other).into(),
    }
}

fn is_builtin(model: &str) -> bool {
    matches!(model, builtin::NAME | "builtin" | "tallow-builtin")
}

fn list(source: &SourceOptions, session: &mut Session) -> Result<Exit, CliError> {
    let listed = host_models(source).map_err(|error| failed("models", error))?;
    let place = |model: &HostModel| match &model.place {
        ModelPlace::BuiltIn => "built in".to_owned(),
        ModelPlace::Folder(folder) => folder.display().to_string(),
        ModelPlace::Cache => "cache".to_owned(),
    };
    if session.out.json() {
        for model in &listed {
            let line = json!({ "name": model.name, "place": place(model), "revision": model.revision, "bytes": model.bytes });
            session.out.json_line(&line)?;
        }
        return Ok(Exit::Ok);
    }
    let short = |revision: &Option<String>| revision.as_deref().map_or_else(String::new, |revision| revision.chars().take(12).collect());
    let row = |model: &HostModel| {
        vec![model.name.clone(), model.bytes.map_or_else(String::new, format_bytes), short(&model.revision), place(model)]
    };
    session.out.table(&["name", "size", "revision", "where"], &listed.iter().map(row).collect::<Vec<_>>())?;
    Ok(Exit::Ok)
}

#[cfg(feature = "hub")]
fn pull(model: &str, source: &SourceOptions, session: &mut Session) -> Result<Exit, CliError> {
    let mut progress: Option<super::progress::Progress> = None;
    let mut told = 0;
    let pulled = source::pull(model, source, &mut |state| {
        let bar = progress.get_or_insert_with(|| super::progress::Progress::new("bytes", Some(state.total_bytes), session.quiet));
        bar.add(state.done_bytes.saturating_sub(told));
        told = told.max(state.done_bytes);
        true
    });
    if let Some(progress) = progress {
        progress.finish();
    }
    let pulled = pulled.map_err(|error| failed(model, error))?;
    if session.out.json() {
        let line = json!({
            "name": pulled.name, "revision": pulled.revision, "folder": pulled.folder, "fetched": pulled.fetched, "verified": pulled.verified,
        });
        session.out.json_line(&line)?;
    } else {
        session.out.line(&format!("{}@{}", pulled.name, pulled.revision))?;
        session.note(&format!(
            "{} files fetched, {} verified by hash, in {}",
            pulled.fetched.len(),
            pulled.verified,
            pulled.folder.display()
        ));
    }
    Ok(Exit::Ok)
}

#[cfg(not(feature = "hub"))]
fn pull(model: &str, _source: &SourceOptions, _session: &mut Session) -> Result<Exit, CliError> {
    Err(CliError::new(Exit::Missing, format!("{model}: this build cannot fetch models (cargo feature `hub`)")))
}

fn found(model: &str, source: &SourceOptions) -> Result<ModelFolder, CliError> {
    source::resolve(model, source).map_err(|error| match error {
        ModelError::Missing { .. } => find_error(model, error, source).into(),
        other => failed(model, other),
    })
}

fn show_one(model: &str, (source, precision): (&SourceOptions, &PrecisionPolicy), session: &mut Session) -> Result<Exit, CliError> {
    let value = if is_builtin(model) {
        let embedder = BuiltinEmbedder::load().map_err(|error| failed(model, error))?;
        let info = embedder.info();
        json!({
            "name": info.name, "architecture": info.architecture, "dimensions": info.dimensions, "shorter_dimensions": info.matryoshka,
            "pooling": info.pooling, "max_tokens": info.max_tokens, "memory_bytes": info.memory_bytes,
            "precision": info.precision, "precision_reason": info.precision_reason, "sha256": info.digest, "notes": info.notes,
        })
    } else {
        details(&source::show(&found(model, source)?, precision).map_err(|error| failed(model, error))?)
    };
    if session.out.json() {
        session.out.json_pretty(&value)?;
        return Ok(Exit::Ok);
    }
    for line in show::lines(&value, ShowLimits { width: session.out.width(), rows: 100 }) {
        session.out.line(&line)?;
    }
    Ok(Exit::Ok)
}

fn details(model: &ModelDetails) -> Value {
    let files: Vec<Value> =
        model.files.iter().map(|file| json!({ "name": file.name, "bytes": file.bytes, "sha256": file.sha256 })).collect();
    json!({
        "name": model.name, "folder": model.folder, "revision": model.revision, "architecture": model.architecture, "dimensions": model.hidden,
        "layers": model.layers, "pooling": model.pooling, "pooling_source": model.pooling_source, "max_tokens": model.max_tokens,
        "parameters": model.parameter_count, "memory_bytes": model.memory_bytes, "precision": model.precision,
        "precision_reason": model.precision_reason, "files": files, "notes": model.notes,
    })
}

/// Exit 1 when something does not hold.
fn verify(model: &str, source: &SourceOptions, session: &mut Session) -> Result<Exit, CliError> {
    let checked = if is_builtin(model) {
        let embedder = BuiltinEmbedder::load().map_err(|error| failed(model, error))?;
        source::Verification { passed: vec![format!("built in: sha256 {}", embedder.info().digest)], failed: Vec::new() }
    } else {
        source::verify(&found(model, source)?, &BTreeMap::new()).map_err(|error| failed(model, error))?
    };
    if session.out.json() {
        session.out.json_line(&json!({ "model": model, "passed": checked.passed, "failed": checked.failed }))?;
    } else {
        for line in &checked.passed {
            session.out.line(&format!("ok      {line}"))?;
        }
        for line in &checked.failed {
            session.out.line(&format!("FAILED  {line}"))?;
        }
    }
    Ok(if checked.failed.is_empty() { Exit::Ok } else { Exit::Runtime })
}

fn remove(model: &str, source: &SourceOptions, session: &mut Session) -> Result<Exit, CliError> {
    let Some(cache) = &source.cache_dir else {
        return Err(CliError::new(Exit::Missing, "no cache folder is known: set HF_HOME or HF_HUB_CACHE"));
    };
    let bytes = source::remove_cached(cache, model).map_err(|error| failed(model, error))?;
    if session.out.json() {
        session.out.json_line(&json!({ "model": model, "freed_bytes": bytes }))?;
    } else {
        session.out.line(&format!("{model}: {} freed", format_bytes(bytes)))?;
    }
    Ok(Exit::Ok)
}
