//! Finding, sizing and reading a model: the part of the shelf that blocks.

use std::sync::Arc;

use tallow_models::builtin::{self, BuiltinEmbedder};
use tallow_models::device::{self, DeviceKind};
use tallow_models::encoder::{EncoderPlan, estimate_bytes};
use tallow_models::source::{SourceOptions, resolve};
use tallow_models::{Abilities, Ability, Embedder as _, EmbedderInfo, Encoder, Model, ModelError};

use super::{Loaded, Shelf};
use crate::task::{DeviceClass, ResourceDemand, TaskError};

/// What a task's price needs to know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelSketch {
    /// Numbers per vector; an upper bound while the model is not loaded.
    pub dimensions: usize,
    /// The longest sequence in tokens, if there is a limit.
    pub max_tokens: Option<usize>,
    /// Peak bytes of one token while it is computed.
    pub working_bytes_per_token: u64,
    /// What it can be asked for.
    pub abilities: Abilities,
    /// Labels of its classification head.
    pub label_count: usize,
    /// Entries of its vocabulary.
    pub vocabulary: usize,
}

impl ModelSketch {
    pub(super) fn of(info: &EmbedderInfo) -> Self {
        Self {
            dimensions: info.dimensions,
            max_tokens: info.max_tokens,
            working_bytes_per_token: info.working_bytes_per_token,
            abilities: info.abilities,
            label_count: info.labels.len(),
            vocabulary: info.vocabulary,
        }
    }

    /// Most tokens of a text of so many bytes: a byte makes at most one, beside the special ones, and no sequence is longer than the model takes.
    #[must_use]
    pub fn tokens_max(&self, bytes: usize) -> u64 {
        (bytes as u64 + 8).min(self.max_tokens.map_or(u64::MAX, |limit| limit as u64))
    }
}

/// A model's error as the task's, with the model's name.
#[must_use]
pub fn task_error(model: &str, error: ModelError) -> TaskError {
    let model = model.chars().take(200).collect::<String>();
    match error {
        ModelError::Missing { reason } => {
            let reason = format!("{reason}; `tallow models pull {model}` fetches it from the hub");
            TaskError::ModelMissing { model, reason }
        }
        ModelError::Unsupported { reason } => TaskError::ModelUnsupported { model, reason },
        ModelError::Corrupt { .. } | ModelError::NonFinite => TaskError::ModelCorrupt { model, reason: error.to_string() },
        ModelError::Input { reason } => TaskError::invalid("texts", reason),
        ModelError::Stopped => TaskError::Cancelled { reason: "the work was stopped".into() },
        ModelError::Device { device, reason } => TaskError::DeviceUnavailable { device, reason },
        other => TaskError::internal(format!("model `{model}` failed"), other.to_string()),
    }
}

/// An error of the name or the files: a bad name is the `model` field's fault.
fn found_error(model: &str, error: ModelError) -> TaskError {
    match error {
        ModelError::Input { reason } => TaskError::invalid("model", reason),
        other => task_error(model, other),
    }
}

pub(super) fn sketch(name: &str, source: &SourceOptions) -> Result<ModelSketch, TaskError> {
    if name == builtin::NAME {
        let abilities = Abilities::default().with(Ability::Embed);
        let dimensions = builtin::DIMENSIONS;
        return Ok(ModelSketch { dimensions, max_tokens: None, working_bytes_per_token: 64, abilities, label_count: 0, vocabulary: 0 });
    }
    let plan = resolve(name, source).and_then(|found| EncoderPlan::read(&found.folder)).map_err(|error| found_error(name, error))?;
    let max_tokens = plan.max_tokens(None);
    Ok(ModelSketch {
        dimensions: plan.pooling.width(plan.config.hidden),
        max_tokens: Some(max_tokens),
        working_bytes_per_token: plan.config.working_bytes_per_token(max_tokens),
        abilities: plan.abilities(),
        label_count: plan.head.labels.len(),
        vocabulary: plan.config.vocab,
    })
}

/// Books and reads a model. Runs on a compute thread.
pub(super) fn load(shelf: &Shelf, name: &str) -> Result<Loaded, TaskError> {
    let options = &shelf.inner.options;
    if name == builtin::NAME {
        let embedder = BuiltinEmbedder::load().map_err(|error| task_error(name, error))?;
        let demand = ResourceDemand { host_bytes: embedder.info().memory_bytes, share: options.share.clone(), ..ResourceDemand::default() };
        let claim = shelf.claim(&demand)?;
        return Ok(Loaded { model: Arc::new(Model::Static(Box::new(embedder))), claim });
    }
    let failed = |error| found_error(name, error);
    let found = resolve(name, &options.source).map_err(failed)?;
    let bytes = estimate_bytes(&found.folder).map_err(failed)?;
    let claim = shelf.claim(&model_demand(bytes, options.device, options.share.clone()))?;
    let device = device::open(device_kind(options.device)).map_err(failed)?;
    let encoder = Encoder::load(&found.folder, name, &device).map_err(failed)?;
    Ok(Loaded { model: Arc::new(Model::Encoder(Box::new(encoder))), claim })
}

/// On the host a model holds host bytes; on another device its weights lie there, and the host keeps the vocabulary.
fn model_demand(bytes: u64, device: DeviceClass, share: Option<crate::task::MemoryShare>) -> ResourceDemand {
    match device {
        DeviceClass::Host => ResourceDemand { host_bytes: bytes, share, ..ResourceDemand::default() },
        other => ResourceDemand { host_bytes: 32 << 20, device_bytes: bytes, device: other, share, ..ResourceDemand::default() },
    }
}

fn device_kind(device: DeviceClass) -> DeviceKind {
    match device {
        DeviceClass::Host => DeviceKind::Cpu,
        DeviceClass::Cuda(index) => DeviceKind::Cuda(index),
        DeviceClass::Metal => DeviceKind::Metal,
    }
}
