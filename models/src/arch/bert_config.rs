//! `config.json` of the BERT families, with bounds, as one shape: what differs between them is data.

use serde::Deserialize;

use super::SUPPORTED;
use crate::ModelError;
use crate::layers::{Activation, activation_named};
use crate::text::VOCAB_MAX;

/// Bounds on the numbers of a configuration: beyond them a file is a mistake or an attack.
const HIDDEN_MAX: usize = 16_384;
const INTERMEDIATE_MAX: usize = 131_072;
const LAYERS_MAX: usize = 256;
const POSITIONS_MAX: usize = 1 << 20;

/// Where a token's position comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionScheme {
    /// 0, 1, 2, ...
    Plain,
    /// RoBERTa's: counting starts after the padding id, and tokens that are the padding id stay there.
    AfterPadding(u32),
}

/// A family's configuration after checking.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    /// `model_type`.
    pub family: String,
    /// Numbers per token vector.
    pub hidden: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Width between the two linear layers of a block.
    pub intermediate: usize,
    /// Rows of the token embedding.
    pub vocab: usize,
    /// Rows of the position embedding.
    pub position_rows: usize,
    /// Rows of the segment embedding; 0 without one.
    pub segments: usize,
    /// Positions.
    pub positions: PositionScheme,
    /// Of the layer norms.
    pub epsilon: f64,
    /// Between the linear layers.
    pub activation: Activation,
    /// Buckets of MPNet's relative attention bias; 0 without one.
    pub relative_buckets: usize,
    /// Shorter lengths the model was trained for.
    pub matryoshka: Vec<usize>,
    /// What was ignored.
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    #[serde(alias = "dim")]
    hidden_size: Option<usize>,
    #[serde(alias = "n_layers")]
    num_hidden_layers: Option<usize>,
    #[serde(alias = "n_heads")]
    num_attention_heads: Option<usize>,
    #[serde(alias = "hidden_dim")]
    intermediate_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    pad_token_id: Option<u32>,
    layer_norm_eps: Option<f64>,
    #[serde(alias = "activation")]
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    relative_attention_num_buckets: Option<usize>,
    #[serde(default)]
    matryoshka_dimensions: Vec<usize>,
    auto_map: Option<serde_json::Value>,
    custom_pipelines: Option<serde_json::Value>,
    #[serde(default)]
    is_decoder: bool,
}

const FILE: &str = "config.json";

fn within(field: &str, found: Option<usize>, range: std::ops::RangeInclusive<usize>) -> Result<usize, ModelError> {
    match found {
        Some(value) if range.contains(&value) => Ok(value),
        Some(value) => Err(ModelError::corrupt(FILE, field, format!("found {value}, allowed are {} to {}", range.start(), range.end()))),
        None => Err(ModelError::corrupt(FILE, field, "missing")),
    }
}

impl BertConfig {
    /// Reads a configuration. Errors: `Unsupported` for another family, listing the supported ones; `Corrupt` naming the field that is missing or out of bounds.
    pub fn from_json(json: serde_json::Value) -> Result<Self, ModelError> {
        let raw: RawConfig = serde_json::from_value(json).map_err(|error| ModelError::corrupt(FILE, "json", error.to_string()))?;
        let family = raw.model_type.clone().ok_or_else(|| ModelError::corrupt(FILE, "model_type", "missing"))?;
        if !SUPPORTED.contains(&family.as_str()) {
            return Err(ModelError::unsupported(format!(
                "architecture `{}` cannot be run; supported: {}",
                family.chars().take(60).flat_map(char::escape_debug).collect::<String>(),
                SUPPORTED.join(", ")
            )));
        }
        if let Some(scheme) = raw.position_embedding_type.as_deref().filter(|&scheme| scheme != "absolute") {
            return Err(ModelError::unsupported(format!("position_embedding_type `{}`; supported: absolute", scheme.escape_debug())));
        }
        if raw.is_decoder {
            return Err(ModelError::unsupported("is_decoder is true; only encoders can be run"));
        }
        let hidden = within("hidden_size", raw.hidden_size, 1..=HIDDEN_MAX)?;
        let heads = within("num_attention_heads", raw.num_attention_heads, 1..=hidden)?;
        if !hidden.is_multiple_of(heads) {
            return Err(ModelError::corrupt(FILE, "num_attention_heads", format!("{heads} heads do not divide hidden_size {hidden}")));
        }
        let after_padding = matches!(family.as_str(), "roberta" | "xlm-roberta" | "camembert" | "mpnet");
        let padding = if family == "mpnet" { 1 } else { raw.pad_token_id.unwrap_or(1) };
        let positions = if after_padding { PositionScheme::AfterPadding(padding) } else { PositionScheme::Plain };
        let epsilon = raw.layer_norm_eps.unwrap_or(1e-12);
        if !(epsilon > 0.0 && epsilon <= 0.1) {
            return Err(ModelError::corrupt(FILE, "layer_norm_eps", format!("found {epsilon}, allowed is above 0 to 0.1")));
        }
        let has_segments = !matches!(family.as_str(), "distilbert" | "mpnet");
        let segments = if has_segments { within("type_vocab_size", raw.type_vocab_size.or(Some(2)), 1..=1024)? } else { 0 };
        let relative_buckets = if family == "mpnet" {
            within("relative_attention_num_buckets", raw.relative_attention_num_buckets.or(Some(32)), 4..=1024)?
        } else {
            0
        };
        let config = Self {
            hidden,
            heads,
            layers: within("num_hidden_layers", raw.num_hidden_layers, 1..=LAYERS_MAX)?,
            intermediate: within("intermediate_size", raw.intermediate_size, 1..=INTERMEDIATE_MAX)?,
            vocab: within("vocab_size", raw.vocab_size, 1..=VOCAB_MAX)?,
            position_rows: within("max_position_embeddings", raw.max_position_embeddings, 1..=POSITIONS_MAX)?,
            segments,
            positions,
            epsilon,
            activation: activation_named(raw.hidden_act.as_deref().unwrap_or("gelu"))?,
            relative_buckets,
            matryoshka: raw.matryoshka_dimensions.into_iter().filter(|&dim| dim > 0).collect(),
            notes: ignored_code(raw.auto_map.is_some(), raw.custom_pipelines.is_some()),
            family,
        };
        if config.usable_positions() == 0 {
            return Err(ModelError::corrupt(FILE, "max_position_embeddings", "leaves no position beside the padding"));
        }
        Ok(config)
    }

    /// The longest sequence the position embedding has rows for.
    #[must_use]
    pub fn usable_positions(&self) -> usize {
        match self.positions {
            PositionScheme::Plain => self.position_rows,
            PositionScheme::AfterPadding(padding) => self.position_rows.saturating_sub(padding as usize + 1),
        }
    }

    /// Peak bytes of one token of a sequence of `seq` tokens while it is computed: a dozen hidden rows, the wide rows, its attention scores.
    #[must_use]
    pub fn working_bytes_per_token(&self, seq: usize) -> u64 {
        4 * (12 * self.hidden as u64 + 3 * self.intermediate as u64 + 3 * self.heads as u64 * seq as u64)
    }
}

fn ignored_code(auto_map: bool, custom_pipelines: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if auto_map {
        notes.push("`auto_map` of config.json is ignored: code from model repositories is never run".into());
    }
    if custom_pipelines {
        notes.push("`custom_pipelines` of config.json is ignored: code from model repositories is never run".into());
    }
    notes
}
