//! A model's errors as a task's. Where tasks may not name paths of this host, their errors do not name any either: those are for the log.

use tallow_models::ModelError;
use tallow_models::source::{ModelFolder, ModelRef, Origin, SourceOptions};

use crate::task::TaskError;

/// Characters of a model's name that an error repeats.
const NAME_CHARS_MAX: usize = 200;
/// True when this build can fetch models.
const CAN_FETCH: bool = cfg!(feature = "hub");

/// A model's error as the task's, with the model's name.
#[must_use]
pub fn task_error(model: &str, error: ModelError) -> TaskError {
    let model = shown(model);
    match error {
        ModelError::Missing { reason } => TaskError::ModelMissing { model, reason },
        ModelError::Unsupported { reason } => TaskError::ModelUnsupported { model, reason },
        ModelError::Corrupt { .. } | ModelError::NonFinite => TaskError::ModelCorrupt { model, reason: error.to_string() },
        ModelError::Input { reason } => TaskError::invalid("texts", reason),
        ModelError::Stopped => TaskError::Cancelled { reason: "the work was stopped".into() },
        ModelError::Device { device, reason } => TaskError::DeviceUnavailable { device, reason },
        other => TaskError::internal(format!("model `{model}` failed"), other.to_string()),
    }
}

/// The error of looking for a model; where it is not on this host, with what can be done about it.
#[must_use]
pub fn find_error(model: &str, error: ModelError, source: &SourceOptions) -> TaskError {
    let ModelError::Missing { reason } = error else { return found_error(model, error) };
    let (place, advice) = (said(model, &reason, "it is not on this worker", source), fetching(model, source));
    TaskError::ModelMissing { model: shown(model), reason: format!("{place}{advice}") }
}

/// An error of a name or of files: a bad name is the `model` field's fault.
pub(super) fn found_error(model: &str, error: ModelError) -> TaskError {
    match error {
        ModelError::Input { reason } => TaskError::invalid("model", reason),
        other => task_error(model, other),
    }
}

/// An error of the files of a model that was found: one that is missing among them can be fetched where the hub filled the folder.
#[must_use]
pub fn incomplete_error(found: &ModelFolder, error: ModelError, source: &SourceOptions) -> TaskError {
    let ModelError::Missing { reason } = error else { return found_error(&found.name, error) };
    let place = said(&found.name, &reason, "a file of it is missing on this worker", source);
    let advice = if found.origin == Origin::Cache { fetching(&found.name, source) } else { String::new() };
    TaskError::ModelMissing { model: shown(&found.name), reason: format!("{place}{advice}") }
}

/// The error for a model whose files hold more than was claimed for them.
pub(super) fn changed_error(model: &str) -> TaskError {
    let reason = "its files have changed since the task was accepted; submit the task again".into();
    TaskError::ModelCorrupt { model: shown(model), reason }
}

/// The reason, or where paths are not to be told, the `outside` words for it; the log then has the reason.
fn said<'a>(model: &str, reason: &'a str, outside: &'a str, source: &SourceOptions) -> &'a str {
    if source.allow_paths {
        return reason;
    }
    tracing::info!(model = shown(model), reason, "a task asks for a model that is missing");
    outside
}

/// How a missing model comes here; empty where nothing that can be named would bring it.
fn fetching(model: &str, source: &SourceOptions) -> String {
    let is_repo = matches!(ModelRef::parse(model), Ok(ModelRef::Repo { .. }));
    match (is_repo && CAN_FETCH, source.offline, source.allow_paths) {
        (false, ..) => String::new(),
        (true, false, true) => format!("; `tallow models pull {model}` fetches it from the hub"),
        (true, false, false) => format!("; on the worker's host, `tallow models pull {model}` fetches it from the hub"),
        (true, true, true) => "; the hub is switched off (`--offline`, HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE)".into(),
        (true, true, false) => "; the worker never asks the hub, so its operator has to bring the files".into(),
    }
}

fn shown(model: &str) -> String {
    model.chars().take(NAME_CHARS_MAX).collect()
}
