//! A sentence encoder read from a folder or a GGUF file: transformer, pooling and heads as sentence-transformers would put them together.

mod batches;
mod files;
mod load;
mod price;
mod promise;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use serde::Deserialize;

use crate::arch::{EncoderArch, EncoderConfig, TokenBatch};
use crate::gguf::is_gguf;
use crate::heads::{Head, HeadKind, HeadPlan, ScoreRule, SparseRule, TaskHead};
use crate::pooling::{Pooling, PoolingConfig};
use crate::source::files::{read_json, read_json_optional};
use crate::text::TextTokenizer;
use crate::{Ability, Embedder, EmbedderInfo, ModelError, Sequence, StopCheck};

pub use load::Chosen;
pub use price::estimate_bytes;
pub use tasks::{MaskFill, TokenRows};

/// Modules beyond this are refused.
const MODULE_COUNT_MAX: usize = 16;

/// An encoder on a device.
pub struct Encoder {
    info: EmbedderInfo,
    tokenizer: TextTokenizer,
    arch: Box<dyn EncoderArch>,
    hidden: usize,
    pooling: Pooling,
    heads: Vec<Head>,
    plan: HeadPlan,
    task_head: TaskHead,
    /// Why the head that the configuration promises is not here, where the model is of use without it.
    head_fault: Option<ModelError>,
    sparse: SparseRule,
    segment_count: usize,
    device: Device,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// `sentence_bert_config.json` and its siblings.
#[derive(Default, Deserialize)]
struct SentenceConfig {
    #[serde(default)]
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

/// `config_sentence_transformers.json`.
#[derive(Default, Deserialize)]
struct PromptConfig {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    #[serde(default)]
    default_prompt_name: Option<String>,
    #[serde(default)]
    similarity_fn_name: Option<String>,
    /// What a cross-encoder does to its logits.
    #[serde(default)]
    activation_fn: Option<String>,
}

/// What the files say, before the weights are read.
pub struct EncoderPlan {
    /// The transformer's configuration.
    pub config: EncoderConfig,
    /// The head that the configuration promises.
    pub head: HeadPlan,
    /// How token vectors are pooled, and where that was read.
    pub pooling: Pooling,
    /// Where the pooling was read, or why it was assumed.
    pub pooling_source: String,
    modules: Vec<Module>,
    sparse: SparseRule,
    files: files::Files,
    sentence: SentenceConfig,
    prompts: PromptConfig,
    /// What the loader ignored or assumed.
    pub notes: Vec<String>,
}

impl EncoderPlan {
    /// Reads the small files of a model folder, or the metadata of a GGUF file.
    ///
    /// Errors: `Missing`, `Unsupported` naming the architecture or module, `Corrupt` naming file and field.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        if is_gguf(folder) {
            return Self::read_gguf(folder);
        }
        let modules: Vec<Module> = read_json_optional(&folder.join("modules.json"))?.unwrap_or_default();
        if modules.len() > MODULE_COUNT_MAX {
            return Err(ModelError::corrupt("modules.json", "length", format!("{} modules, at most {MODULE_COUNT_MAX}", modules.len())));
        }
        if let Some(module) = modules.iter().find(|module| !is_inside(&module.path)) {
            return Err(ModelError::corrupt("modules.json", "path", format!("`{}` leaves the folder", module.path.escape_debug())));
        }
        let first = modules.iter().find(|module| is_transformer(module));
        if !modules.is_empty() && first.is_none() {
            return Err(ModelError::unsupported(format!(
                "modules.json has no Transformer module but {}; supported: {MODULES}",
                modules.iter().map(|module| short_name(&module.kind)).collect::<Vec<_>>().join(", ")
            )));
        }
        let transformer = first.map_or_else(|| folder.to_owned(), |module| folder.join(&module.path));
        let json: serde_json::Value = read_json(&transformer.join("config.json"))?;
        let mut head = HeadPlan::from_json(&json)?;
        let prompts: PromptConfig = read_json_optional(&folder.join("config_sentence_transformers.json"))?.unwrap_or_default();
        if let Some(activation) = &prompts.activation_fn {
            head.rerank = ScoreRule::named(activation);
        }
        let config = EncoderConfig::from_json(json)?;
        let (pooling, pooling_source) = read_pooling(folder, &modules, head.kind)?;
        let mut notes = config.notes.clone();
        if modules.is_empty() && matches!(head.kind, HeadKind::None | HeadKind::Masked) {
            notes.push("no modules.json: mean pooling without normalisation is assumed, as sentence-transformers does".into());
        }
        Ok(Self {
            config,
            head,
            sparse: promise::read_sparse(folder, &modules)?,
            pooling,
            pooling_source,
            sentence: read_sentence_config(&transformer)?,
            prompts,
            modules,
            files: files::Files::Folder(transformer),
            notes,
        })
    }

    /// The longest sequence: `max_seq_length`, or without one the smaller of the positions and the tokenizer's limit; never more than the positions.
    #[must_use]
    pub fn max_tokens(&self, tokenizer_limit: Option<usize>) -> usize {
        let positions = self.config.usable_positions();
        self.sentence.max_seq_length.or(tokenizer_limit).unwrap_or(positions).clamp(1, positions)
    }
}

/// The last part of a Python class path.
fn short_name(kind: &str) -> &str {
    kind.rsplit('.').next().unwrap_or(kind)
}

/// Modules that can be run, for messages.
const MODULES: &str = "Transformer, MLMTransformer, Pooling, SpladePooling, Dense, Normalize";

fn is_transformer(module: &Module) -> bool {
    matches!(short_name(&module.kind), "Transformer" | "MLMTransformer")
}

/// A relative path without `..`.
fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir))
}

fn read_pooling(folder: &Path, modules: &[Module], head: HeadKind) -> Result<(Pooling, String), ModelError> {
    match modules.iter().find(|module| short_name(&module.kind) == "Pooling") {
        Some(module) => {
            let config: PoolingConfig = read_json(&folder.join(&module.path).join("config.json"))?;
            Ok((Pooling::from_config(&config)?, format!("{}/config.json", module.path)))
        }
        None if modules.is_empty() => Ok((Pooling::mean(), "assumed: the model has no modules.json".into())),
        None if head != HeadKind::None => Ok((Pooling::mean(), "none: the model has a head instead".into())),
        None => Err(ModelError::unsupported("modules.json has no Pooling module; token vectors cannot be turned into one")),
    }
}

fn read_sentence_config(folder: &Path) -> Result<SentenceConfig, ModelError> {
    for family in ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"] {
        if let Some(config) = read_json_optional(&folder.join(format!("sentence_{family}_config.json")))? {
            return Ok(config);
        }
    }
    Ok(SentenceConfig::default())
}

impl Encoder {
    /// Pooled rows of one batch, in the batch's order.
    fn embed_batch(&self, sequences: &[&Sequence], stop: StopCheck<'_>) -> Result<Vec<f32>, ModelError> {
        let width = self.pooling.width(self.hidden);
        let mut rows = vec![0f32; sequences.len() * width];
        // A tokenizer without special tokens makes nothing of an empty text; its vector is zero.
        let filled: Vec<usize> = (0..sequences.len()).filter(|&row| !sequences[row].is_empty()).collect();
        if !filled.is_empty() {
            let batch = token_batch(filled.iter().map(|&row| sequences[row]));
            let hidden: Vec<f32> = self.arch.forward(&batch, stop)?.flatten_all()?.to_vec1()?;
            for (&row, range) in filled.iter().zip(batch.offsets.windows(2)) {
                let sequence = sequences[row];
                let skip = if self.pooling.include_prompt || sequence.prompt_tokens == 0 {
                    0
                } else {
                    sequence.content.start + sequence.prompt_tokens
                };
                let tokens = &hidden[range[0] * self.hidden..range[1] * self.hidden];
                self.pooling.pool(tokens, self.hidden, skip, &mut rows[row * width..(row + 1) * width]);
            }
        }
        let mut width = width;
        for head in &self.heads {
            (rows, width) = head.apply(rows, width)?;
        }
        if rows.iter().all(|value| value.is_finite()) { Ok(rows) } else { Err(ModelError::NonFinite) }
    }
}

fn token_batch<'a>(sequences: impl Iterator<Item = &'a Sequence>) -> TokenBatch {
    let mut batch = TokenBatch { ids: Vec::new(), segments: Vec::new(), offsets: vec![0] };
    for sequence in sequences {
        batch.ids.extend_from_slice(&sequence.ids);
        batch.offsets.push(batch.ids.len());
    }
    batch
}

impl Embedder for Encoder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn tokenize(&self, prompt: &str, text: &str) -> Result<Sequence, ModelError> {
        self.tokenizer.tokenize(prompt, text)
    }

    fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.token(id)
    }

    fn embed(&self, sequences: &[Sequence], stop: StopCheck<'_>) -> Result<Vec<f32>, ModelError> {
        let limit = self.info.max_tokens.unwrap_or(usize::MAX);
        if let Some(long) = sequences.iter().find(|sequence| sequence.len() > limit) {
            return Err(ModelError::input(format!("a text of {} tokens, the model takes at most {limit}", long.len())));
        }
        self.info.abilities.require(Ability::Embed)?;
        let lengths: Vec<usize> = sequences.iter().map(Sequence::len).collect();
        let (batches, rows) = batches::compute(&lengths, &self.device, |batch| {
            let picked: Vec<&Sequence> = batch.iter().map(|&index| &sequences[index]).collect();
            self.embed_batch(&picked, stop)
        })?;
        let dim = self.info.dimensions;
        let mut out = vec![0f32; sequences.len() * dim];
        for (batch, rows) in batches.iter().zip(&rows) {
            for (&index, row) in batch.iter().zip(rows.chunks_exact(dim)) {
                out[index * dim..(index + 1) * dim].copy_from_slice(row);
            }
        }
        Ok(out)
    }
}
