//! Where the large files of a model lie: weights and tokenizer in a folder, or everything in one GGUF file.

use std::path::{Path, PathBuf};

use candle_core::Device;

use super::{EncoderPlan, Module, SentenceConfig};
use crate::ModelError;
use crate::arch::EncoderConfig;
use crate::gguf::GgufModel;
use crate::heads::{HeadPlan, SparseRule};
use crate::text::TextTokenizer;
use crate::weights::{TensorEntry, Weights, read_header, weight_files};

/// Where weights and tokenizer of a transformer lie.
pub(super) enum Files {
    /// In this folder.
    Folder(PathBuf),
    /// In this file.
    Gguf(Box<GgufModel>),
}

impl EncoderPlan {
    /// Reads the metadata of a GGUF file. Errors: as [`Self::read`].
    pub(super) fn read_gguf(path: &Path) -> Result<Self, ModelError> {
        let model = GgufModel::open(path)?;
        let json = model.config()?;
        let head = HeadPlan::from_json(&json)?;
        let config = EncoderConfig::from_json(json).map_err(|error| model.of_file(error))?;
        let (pooling, pooling_source) = model.pooling()?;
        let mut notes = config.notes.clone();
        notes.push("a GGUF file has no modules: vectors are scaled to length 1, as its usual readers do".into());
        let dense = model.dense()?;
        let module = |kind: &str, path: &str| Module { kind: kind.into(), path: path.into() };
        let mut modules = vec![module("Transformer", ""), module("Pooling", "")];
        modules.extend(dense.iter().map(|layer| module("Dense", layer.name)));
        modules.push(module("Normalize", ""));
        Ok(Self {
            config,
            head,
            sparse: SparseRule::default(),
            pooling,
            pooling_source,
            sentence: SentenceConfig { max_seq_length: Some(model.context()?), do_lower_case: false },
            prompts: super::PromptConfig::default(),
            modules,
            files: Files::Gguf(Box::new(model)),
            notes,
        })
    }

    /// The tokenizer, with what all of the model's files ask of it. Errors: as [`TextTokenizer::read`].
    pub fn tokenizer(&self) -> Result<TextTokenizer, ModelError> {
        match &self.files {
            Files::Folder(folder) => TextTokenizer::read(folder, self.sentence.do_lower_case, self.config.vocab),
            Files::Gguf(model) => model.tokenizer(self.config.vocab),
        }
    }

    /// The files that hold the weights. Errors: as [`weight_files`].
    pub fn weight_paths(&self) -> Result<Vec<PathBuf>, ModelError> {
        match &self.files {
            Files::Folder(folder) => weight_files(folder),
            Files::Gguf(model) => Ok(vec![model.path().to_owned()]),
        }
    }

    /// The tables of all weight files, in the order of files and data. Errors: weights that are missing or whose tables are damaged.
    pub fn tensors(&self) -> Result<Vec<TensorEntry>, ModelError> {
        match &self.files {
            Files::Folder(folder) => {
                let tables = weight_files(folder)?
                    .iter()
                    .map(|file| read_header(file).map(|header| header.tensors))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(tables.concat())
            }
            Files::Gguf(model) => model.tensors(),
        }
    }

    /// Reads the weights. Errors: as [`Weights::read`].
    pub(super) fn weights(&self, device: &Device) -> Result<Weights, ModelError> {
        match &self.files {
            Files::Folder(folder) => Weights::read(&weight_files(folder)?, device),
            Files::Gguf(model) => model.weights(device),
        }
    }

    /// Bytes of the tokenizer's file, or of what would be one.
    pub(super) fn tokenizer_bytes(&self) -> u64 {
        match &self.files {
            Files::Folder(folder) => std::fs::metadata(folder.join("tokenizer.json")).map_or(0, |about| about.len()),
            Files::Gguf(model) => model.tokenizer_bytes(),
        }
    }
}
