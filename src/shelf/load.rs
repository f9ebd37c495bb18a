//! Finding, pricing and reading a model: the part of the shelf that blocks.

use std::path::PathBuf;
use std::time::Instant;

use tallow_models::builtin::{self, BuiltinEmbedder};
use tallow_models::device::{self, DeviceKind};
use tallow_models::encoder::{Chosen, EncoderPlan, estimate_bytes};
use tallow_models::heads::{HeadKind, VOCABULARY_WORK_BYTES};
use tallow_models::source::resolve;
use tallow_models::{Abilities, Ability, Embedder as _, Encoder, Model, Precision, PrecisionChoice};

use super::ShelfOptions;
use super::errors::{find_error, found_error, incomplete_error, task_error};
use crate::task::{DeviceClass, ModelDemand, ResourceDemand, TaskError};

/// Tokens that a static model has in work on one thread at once.
const STATIC_TOKENS: u64 = 1024;
/// Host bytes of a model whose weights lie on another device: its vocabulary.
const VOCABULARY_BYTES: u64 = 32 << 20;

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
    /// True for a model that computes a text at once, without batches.
    pub is_static: bool,
    /// Host memory it holds while it is loaded, with what its batches are computed in.
    pub host_bytes: u64,
    /// Device memory it holds while it is loaded, with what its batches are computed in.
    pub device_bytes: u64,
}

/// What is computed at once with one model: so much working memory is booked with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchRoom {
    /// Batches that are computed at once.
    pub threads: usize,
    /// Most tokens of one that holds several texts.
    pub tokens: u32,
    /// A text with more tokens is computed alone.
    pub long_tokens: u32,
}

impl BatchRoom {
    /// Bytes in which the batches of a model are computed: on every thread the largest that others run beside, or one long text.
    fn bytes(self, plan: &EncoderPlan) -> u64 {
        let max_tokens = plan.max_tokens(None);
        let longest = max_tokens as u64;
        let beside = u64::from(self.tokens).max(longest.min(u64::from(self.long_tokens))).saturating_mul(self.threads as u64);
        let tokens = plan.config.working_bytes_per_token(max_tokens).saturating_mul(beside.max(longest));
        let vocabulary = match plan.head.kind {
            HeadKind::Masked => {
                // The scores of a text's tokens over all words, what stays of them, and their order.
                let words = plan.config.vocab as u64 * 16;
                VOCABULARY_WORK_BYTES.max(words).saturating_add(words)
            }
            _ => 0,
        };
        tokens.saturating_add(vocabulary.saturating_mul(self.threads as u64))
    }
}

impl ModelSketch {
    /// A model that is loaded under `claimed`.
    pub(super) fn of(model: &Model, claimed: &ResourceDemand) -> Self {
        let info = model.info();
        let (host_bytes, device_bytes) = claimed.model.as_ref().map_or((0, 0), |model| (model.host_bytes, model.device_bytes));
        Self {
            dimensions: info.dimensions,
            max_tokens: info.max_tokens,
            working_bytes_per_token: info.working_bytes_per_token,
            abilities: info.abilities,
            label_count: info.labels.len(),
            vocabulary: info.vocabulary,
            is_static: matches!(model, Model::Static(_)),
            host_bytes,
            device_bytes,
        }
    }

    fn of_builtin() -> Self {
        Self {
            dimensions: builtin::DIMENSIONS,
            max_tokens: None,
            working_bytes_per_token: 64,
            abilities: Abilities::default().with(Ability::Embed),
            label_count: 0,
            vocabulary: 0,
            is_static: true,
            host_bytes: builtin::MEMORY_BYTES,
            device_bytes: 0,
        }
    }

    /// Bytes of a thread that computes a text at once.
    #[must_use]
    pub fn static_bytes(&self) -> u64 {
        if self.is_static { self.working_bytes_per_token.saturating_mul(STATIC_TOKENS) } else { 0 }
    }

    /// A model that is planned to hold `bytes`: on the host, or on a device beside its vocabulary.
    fn of_plan(plan: &EncoderPlan, bytes: u64, device: DeviceClass) -> Self {
        let max_tokens = plan.max_tokens(None);
        let (host_bytes, device_bytes) = if device == DeviceClass::Host { (bytes, 0) } else { (VOCABULARY_BYTES, bytes) };
        Self {
            dimensions: plan.pooling.width(plan.config.hidden),
            max_tokens: Some(max_tokens),
            working_bytes_per_token: plan.config.working_bytes_per_token(max_tokens),
            abilities: plan.abilities(),
            label_count: plan.head.labels.len(),
            vocabulary: plan.config.vocab,
            is_static: false,
            host_bytes,
            device_bytes,
        }
    }

    /// Most tokens of a text of so many bytes: a byte makes at most one, beside the special ones, and no sequence is longer than the model takes.
    #[must_use]
    pub fn tokens_max(&self, bytes: usize) -> u64 {
        (bytes as u64 + 8).min(self.max_tokens.map_or(u64::MAX, |limit| limit as u64))
    }

    /// True when the model holds no more than was claimed for it.
    pub(super) fn fits_into(&self, claimed: &ModelDemand) -> bool {
        self.host_bytes <= claimed.host_bytes && self.device_bytes <= claimed.device_bytes
    }
}

/// A model that is on this host.
pub(super) struct Found {
    /// Where its files lie; `None` for the built-in one.
    folder: Option<PathBuf>,
    pub(super) sketch: ModelSketch,
}

/// Finds and prices a model from its small files.
pub(super) fn find(name: &str, options: &ShelfOptions) -> Result<Found, TaskError> {
    let (source, device) = (&options.source, options.device);
    if name == builtin::NAME {
        return Ok(Found { folder: None, sketch: ModelSketch::of_builtin() });
    }
    let found = resolve(name, source).map_err(|error| find_error(name, error, source))?;
    // Devices hold plain f32 tensors.
    let choice = if device == DeviceClass::Host { options.precision.choice } else { PrecisionChoice::Fixed(Precision::Exact) };
    let priced = EncoderPlan::read(&found.folder).and_then(|plan| {
        let bytes = estimate_bytes(&plan, choice)?.saturating_add(options.room.bytes(&plan));
        Ok(ModelSketch::of_plan(&plan, bytes, device))
    });
    let sketch = priced.map_err(|error| incomplete_error(&found, error, source))?;
    Ok(Found { folder: Some(found.folder), sketch })
}

/// Reads a model that is booked. Runs on a compute thread.
pub(super) fn load(name: &str, found: &Found, options: &ShelfOptions) -> Result<Model, TaskError> {
    let failed = |error| found_error(name, error);
    let Some(folder) = &found.folder else {
        let embedder = BuiltinEmbedder::load().map_err(|error| task_error(name, error))?;
        return Ok(Model::Static(Box::new(embedder)));
    };
    let device = device::open(device_kind(options.device)).map_err(failed)?;
    let began = Instant::now();
    let Chosen { encoder, warnings } = Encoder::load_chosen(folder, name, (&device, &options.precision)).map_err(failed)?;
    for warning in warnings {
        tracing::warn!(model = name, "{warning}");
    }
    let info = encoder.info();
    let (precision, reason, elapsed_ms) = (&info.precision, &info.precision_reason, began.elapsed().as_secs_f64() * 1e3);
    tracing::info!(model = name, precision, reason, memory_bytes = info.memory_bytes, elapsed_ms, "a model is loaded");
    Ok(Model::Encoder(Box::new(encoder)))
}

fn device_kind(device: DeviceClass) -> DeviceKind {
    match device {
        DeviceClass::Host => DeviceKind::Cpu,
        DeviceClass::Cuda(index) => DeviceKind::Cuda(index),
        DeviceClass::Metal => DeviceKind::Metal,
    }
}
