//! Encoders in a single GGUF file: what stands in its metadata becomes what the rest of the crate reads from small files. The one place that knows both
//! how the format calls things and how the families of `arch` do; the format itself is read in `weights`.

mod families;
mod metadata;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::Value;

use crate::ModelError;
use crate::pooling::{Pooling, PoolingMode};
use crate::source::files::file_name;
use crate::text::TextTokenizer;
use crate::weights::gguf::{GgufHeader, known, read_gguf_header};
use crate::weights::{TensorEntry, Weights};
use families::Family;
use metadata::Metadata;

/// More numbers of a vector are refused.
const FEATURES_MAX: usize = 65_536;

/// True for a path that names a GGUF file, by its ending.
#[must_use]
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

/// A GGUF file whose header was read and whose architecture can be run.
pub struct GgufModel {
    path: PathBuf,
    header: GgufHeader,
    family: &'static Family,
}

/// A linear layer behind the pooling, without bias and activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenseLayer {
    /// Its tensor without `.weight`.
    pub name: &'static str,
    /// Numbers in and out.
    pub sizes: (usize, usize),
}

impl GgufModel {
    /// Reads the header of a file. Errors: as [`read_gguf_header`]; `Unsupported` for an architecture, or a kind of file, that cannot be run.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let header = read_gguf_header(path)?;
        let metadata = Metadata::new(&header, file_name(path));
        if let Some(parts) = metadata.whole("split.count")?.filter(|&parts| parts > 1) {
            return Err(ModelError::unsupported(format!("{} is one of {parts} parts; a model in a single file is read", file_name(path))));
        }
        if let Some(kind) = metadata.text("general.type")?.filter(|kind| *kind != "model") {
            return Err(ModelError::unsupported(format!("{} holds a `{}`; models are read", file_name(path), kind.escape_debug())));
        }
        let family = families::named(metadata.needed_text("general.architecture")?)?;
        Ok(Self { path: path.to_owned(), header, family })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn metadata(&self) -> Metadata<'_> {
        Metadata::new(&self.header, file_name(&self.path))
    }

    /// What a `config.json` of the same model would say. Errors: `Corrupt` naming the key that is missing or of another kind, `Unsupported`.
    pub fn config(&self) -> Result<Value, ModelError> {
        self.family.config(&self.metadata())
    }

    /// An error about a field of [`Self::config`], said of the file itself.
    #[must_use]
    pub fn of_file(&self, error: ModelError) -> ModelError {
        match error {
            ModelError::Corrupt { field, reason, .. } => {
                ModelError::corrupt(file_name(&self.path), format!("{} as {field}", self.family.key_of(&field)), reason)
            }
            other => other,
        }
    }

    /// The longest sequence that the file allows. Errors: as [`Self::config`].
    pub fn context(&self) -> Result<usize, ModelError> {
        self.metadata().size(&self.family.key("context_length"))
    }

    /// How token vectors are pooled, and where that was read. Errors: `Unsupported` for a classifier, or a decoder that says nothing of pooling.
    pub fn pooling(&self) -> Result<(Pooling, String), ModelError> {
        let key = self.family.key("pooling_type");
        let mode = match self.metadata().whole(&key)? {
            None | Some(0) if self.family.decoder => {
                return Err(ModelError::unsupported(format!(
                    "{} has no `{key}`: a {} that generates text is no embedder",
                    file_name(&self.path),
                    self.family.architecture
                )));
            }
            None | Some(0) => return Ok((Pooling::mean(), format!("assumed: {} has no `{key}`", file_name(&self.path)))),
            Some(1) => PoolingMode::Mean,
            Some(2) => PoolingMode::Cls,
            Some(3) => PoolingMode::LastToken,
            Some(4) => {
                return Err(ModelError::unsupported(format!(
                    "`{key}` is 4, a model that ranks pairs; of GGUF files embedders are run, rerankers from safetensors"
                )));
            }
            Some(other) => return Err(ModelError::unsupported(format!("`{key}` is {other}; supported: 1 (mean), 2 (cls), 3 (last)"))),
        };
        Ok((Pooling { modes: vec![mode], include_prompt: true }, format!("{}, {key}", file_name(&self.path))))
    }

    /// The linear layers behind the pooling. Errors: `Corrupt` for one that is no matrix.
    pub fn dense(&self) -> Result<Vec<DenseLayer>, ModelError> {
        let mut layers = Vec::new();
        for &name in self.family.dense {
            let Some(entry) = self.header.tensors.iter().find(|entry| entry.name == format!("{name}.weight")) else { continue };
            match entry.shape[..] {
                [outputs, inputs] => layers.push(DenseLayer { name, sizes: (inputs, outputs) }),
                _ => {
                    let reason = format!("shape {:?}, a matrix is expected", entry.shape);
                    return Err(ModelError::corrupt(file_name(&self.path), format!("tensor `{}`", entry.name), reason));
                }
            }
        }
        Ok(layers)
    }

    /// The one of that name, for vectors of `width` numbers. Errors: `Corrupt` when it takes others.
    pub fn dense_layer(&self, name: &str, width: usize) -> Result<DenseLayer, ModelError> {
        let field = format!("tensor `{name}.weight`");
        let layer = self.dense()?.into_iter().find(|layer| layer.name == name);
        let layer = layer.ok_or_else(|| ModelError::corrupt(file_name(&self.path), field.clone(), "missing"))?;
        if layer.sizes.0 == width && layer.sizes.1 <= FEATURES_MAX {
            return Ok(layer);
        }
        let (inputs, outputs) = layer.sizes;
        let reason = format!("it takes {inputs} numbers and gives {outputs}, expected are {width} and at most {FEATURES_MAX}");
        Err(ModelError::corrupt(file_name(&self.path), field, reason))
    }

    /// The table of tensors, under the names of the layers and as they are read: none is quantised. Errors: `Unsupported` for a stray tensor.
    pub fn tensors(&self) -> Result<Vec<TensorEntry>, ModelError> {
        let names = self.family.names;
        let renamed = |entry: &TensorEntry| {
            Ok(TensorEntry {
                name: known(names, &entry.name)?,
                dtype: "F32".into(),
                shape: entry.shape.clone(),
                bytes: entry.bytes.clone(),
            })
        };
        self.header.tensors.iter().map(renamed).collect()
    }

    /// Reads the weights. Errors: as [`Weights::read_gguf`].
    pub fn weights(&self, device: &Device) -> Result<Weights, ModelError> {
        let mut weights = Weights::read_gguf(&self.path, self.family.names, device)?;
        (self.family.adapt)(&mut weights)?;
        Ok(weights)
    }

    /// The tokenizer. Errors: `Corrupt` naming the key, `Unsupported` for a kind that is not built here.
    pub fn tokenizer(&self, embedding_rows: usize) -> Result<TextTokenizer, ModelError> {
        vocabulary::build(&self.metadata(), embedding_rows)
    }

    /// Bytes that a `tokenizer.json` of the same vocabulary would have, about: what the tokenizer holds follows from it.
    #[must_use]
    pub fn tokenizer_bytes(&self) -> u64 {
        vocabulary::file_bytes(&self.header)
    }
}
