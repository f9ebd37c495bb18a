//! What every caller needs to know of an encoder before its weights are read, whatever its family.

use std::sync::Arc;

use candle_core::Device;

use super::config_file::{ConfigFile, FILE, HIDDEN_MAX, LAYERS_MAX, POSITIONS_MAX};
use super::{EncoderArch, FAMILIES, supported};
use crate::ModelError;
use crate::layers::SCORE_ROWS;
use crate::text::VOCAB_MAX;
use crate::weights::Weights;

/// What a family keeps of its configuration: enough to build itself.
pub(super) trait Plan: Send + Sync {
    /// Takes its tensors. Errors: `Corrupt` for weights that do not match, `Unsupported` for what they show that the configuration did not.
    fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError>;

    /// Rows of its segment embedding; 0 without one.
    fn segments(&self) -> usize {
        0
    }
}

/// An encoder's configuration after checking.
#[derive(Clone)]
pub struct EncoderConfig {
    /// `model_type`.
    pub family: String,
    /// Numbers per token vector.
    pub hidden: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Rows of the token embedding.
    pub vocab: usize,
    /// Shorter lengths the model was trained for.
    pub matryoshka: Vec<usize>,
    /// What was ignored.
    pub notes: Vec<String>,
    /// Bytes that the loaded model holds beside its weights: tables made from them.
    pub derived_bytes: u64,
    positions: usize,
    working: Working,
    plan: Arc<dyn Plan>,
}

/// What a token takes while it is computed, in f32 values.
#[derive(Clone, Copy)]
pub(super) struct Working {
    /// Whatever the length of its sequence.
    pub(super) values: usize,
    /// For every token of its sequence, up to [`SCORE_ROWS`].
    pub(super) values_per_key: usize,
}

/// The facts that all families spell alike.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) vocab: usize,
    /// `max_position_embeddings`.
    pub(super) positions: usize,
}

impl Facts {
    /// Errors: `Corrupt` naming the field that is missing or out of bounds.
    pub(super) fn read(file: &ConfigFile) -> Result<Self, ModelError> {
        let hidden = file.size("hidden_size", 1..=HIDDEN_MAX)?;
        Ok(Self {
            hidden,
            layers: file.size("num_hidden_layers", 1..=LAYERS_MAX)?,
            heads: file.size("num_attention_heads", 1..=HIDDEN_MAX)?,
            vocab: file.size("vocab_size", 1..=VOCAB_MAX)?,
            positions: file.size("max_position_embeddings", 1..=POSITIONS_MAX)?,
        })
    }

    /// `hidden / heads`. Errors: `Corrupt` when the heads do not divide it, or when it is odd and `paired` dimensions are needed.
    pub(super) fn head_dim(&self, paired: Paired) -> Result<usize, ModelError> {
        if !self.hidden.is_multiple_of(self.heads) {
            let reason = format!("{} heads do not divide hidden_size {}", self.heads, self.hidden);
            return Err(ModelError::corrupt(FILE, "num_attention_heads", reason));
        }
        let dim = self.hidden / self.heads;
        if paired == Paired::Yes && !dim.is_multiple_of(2) {
            return Err(ModelError::corrupt(FILE, "num_attention_heads", format!("heads of {dim} dimensions cannot be rotated in pairs")));
        }
        Ok(dim)
    }
}

/// Whether the dimensions of a head are rotated in pairs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Paired {
    /// They are: their number is even.
    Yes,
    /// They are not.
    No,
}

impl EncoderConfig {
    /// Reads a configuration. Errors: `Unsupported` for another family, listing the supported ones, or naming a field whose value cannot be run;
    /// `Corrupt` naming the field that is missing or out of bounds.
    pub fn from_json(json: serde_json::Value) -> Result<Self, ModelError> {
        let file = ConfigFile::new(json)?;
        if file.value("model_type").is_none() {
            return Err(ModelError::corrupt(FILE, "model_type", "missing"));
        }
        let model_type = file.word_or("model_type", "")?;
        let family =
            FAMILIES.iter().find(|family| family.model_types.contains(&model_type) && (family.claims)(&file)).ok_or_else(|| {
                ModelError::unsupported(format!(
                    "architecture `{}` cannot be run; supported: {}",
                    model_type.chars().take(60).flat_map(char::escape_debug).collect::<String>(),
                    supported().join(", ")
                ))
            })?;
        (family.parse)(&file)
    }

    /// The configuration of a family: what `file` says to all, and what the family made of it.
    pub(super) fn new(file: &ConfigFile, facts: &Facts, working: Working, plan: impl Plan + 'static) -> Result<Self, ModelError> {
        Ok(Self {
            family: file.word_or("model_type", "")?.to_owned(),
            hidden: facts.hidden,
            layers: facts.layers,
            vocab: facts.vocab,
            matryoshka: matryoshka(file)?,
            notes: ignored_code(file),
            derived_bytes: 0,
            positions: facts.positions,
            working,
            plan: Arc::new(plan),
        })
    }

    /// The same with another number of positions.
    pub(super) fn with_positions(self, positions: usize) -> Self {
        Self { positions, ..self }
    }

    /// The same with tables of so many bytes made from its weights.
    pub(super) fn with_derived_bytes(self, derived_bytes: u64) -> Self {
        Self { derived_bytes, ..self }
    }

    /// Rows of its segment embedding; 0 without one.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.plan.segments()
    }

    /// The longest sequence in tokens.
    #[must_use]
    pub fn usable_positions(&self) -> usize {
        self.positions
    }

    /// Peak bytes of one token of a sequence of `seq` tokens while it is computed.
    #[must_use]
    pub fn working_bytes_per_token(&self, seq: usize) -> u64 {
        4 * (self.working.values as u64 + self.working.values_per_key as u64 * seq.min(SCORE_ROWS) as u64)
    }

    pub(super) fn build(&self, weights: &mut Weights, device: &Device) -> Result<Box<dyn EncoderArch>, ModelError> {
        self.plan.build(weights, device)
    }
}

fn matryoshka(file: &ConfigFile) -> Result<Vec<usize>, ModelError> {
    const FIELD: &str = "matryoshka_dimensions";
    let Some(value) = file.value(FIELD) else { return Ok(Vec::new()) };
    let sizes: Option<Vec<usize>> =
        value.as_array().and_then(|list| list.iter().map(|size| size.as_u64().and_then(|size| usize::try_from(size).ok())).collect());
    let sizes = sizes.ok_or_else(|| ModelError::corrupt(FILE, FIELD, "a list of whole numbers is expected"))?;
    Ok(sizes.into_iter().filter(|&size| size > 0).collect())
}

fn ignored_code(file: &ConfigFile) -> Vec<String> {
    ["auto_map", "custom_pipelines"]
        .into_iter()
        .filter(|field| file.value(field).is_some())
        .map(|field| format!("`{field}` of config.json is ignored: code from model repositories is never run"))
        .collect()
}
