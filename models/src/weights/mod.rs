//! Weights from safetensors and GGUF files: checked before they are read, read tensor by tensor into memory of their own, hashed on the way.
//!
//! Files are read, not mapped: every value is copied to the device anyway, a file that shrinks under the reader is an error instead of a signal,
//! and the digest is that of the very bytes that were loaded. Knows no architecture.

mod dequantize;
pub mod gguf;
pub mod header;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tallow_kernels::gemm::Precision;

pub use header::{HEADER_BYTES_MAX, Header, HeaderFault, RANK_MAX, TENSOR_COUNT_MAX, TensorEntry, header_length, parse_header};
pub use names::TensorNames;

use crate::ModelError;
use crate::source::files::{file_name, looks_like, open_regular, read_json_optional};

/// More shards than this are refused.
const SHARD_COUNT_MAX: usize = 1024;
/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// The tensors of a model as f32, and the digest of the files they came from.
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
    digest: String,
    file: String,
    names: TensorNames,
    precision: Precision,
}

/// Reads the table of a safetensors file without its data. Errors: `Missing`, `Io`, `Corrupt` naming the tensor, `Unsupported` naming the format it looks like.
pub fn read_header(path: &Path) -> Result<Header, ModelError> {
    let (mut file, about) = open_regular(path)?;
    let (header, _) = read_header_from(&mut file, about.len(), path)?;
    Ok(header)
}

/// The weight files of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` names.
///
/// Errors: `Missing` with what there is instead (pickles are named and refused), `Corrupt` for an index that points outside the folder.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let single = folder.join("model.safetensors");
    if single.exists() {
        return Ok(vec![single]);
    }
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    const INDEX: &str = "model.safetensors.index.json";
    if let Some(index) = read_json_optional::<Index>(&folder.join(INDEX))? {
        let names: BTreeSet<String> = index.weight_map.into_values().collect();
        if names.is_empty() || names.len() > SHARD_COUNT_MAX {
            return Err(ModelError::corrupt(INDEX, "weight_map", format!("names {} files, 1 to {SHARD_COUNT_MAX} are read", names.len())));
        }
        if let Some(bad) = names.iter().find(|name| !is_plain_name(name)) {
            return Err(ModelError::corrupt(INDEX, "weight_map", format!("`{}` is not a plain file name", bad.escape_debug())));
        }
        return Ok(names.into_iter().map(|name| folder.join(name)).collect());
    }
    let pickles = ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "tf_model.h5", "flax_model.msgpack", "rust_model.ot"];
    match pickles.iter().find(|name| folder.join(name).exists()) {
        Some(name) => Err(ModelError::unsupported(format!(
            "found {name} but no model.safetensors; pickles and other formats are never loaded, convert the weights to safetensors"
        ))),
        None => Err(ModelError::Missing { reason: format!("no model.safetensors and no GGUF file in {}", folder.display()) }),
    }
}

/// A name without a folder, not hidden: what an index may refer to.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']) && name.len() <= 255
}

fn read_header_from(file: &mut File, file_bytes: u64, path: &Path) -> Result<(Header, Vec<u8>), ModelError> {
    let name = file_name(path);
    let mut head = Vec::new();
    file.by_ref().take(64.min(file_bytes)).read_to_end(&mut head).map_err(|error| ModelError::io(path, &error))?;
    if let Some(what) = looks_like(&head) {
        return Err(ModelError::unsupported(format!("{name} is not safetensors: it looks like {what}")));
    }
    let corrupt = |fault: HeaderFault| ModelError::corrupt(name.clone(), fault.field, fault.reason);
    let length = header_length(&head, file_bytes).map_err(corrupt)?;
    let end = usize::try_from(8 + length).map_err(|_| ModelError::corrupt(name.clone(), "header length", "does not fit this machine"))?;
    let mut raw = head;
    let kept_tail = raw.split_off(end.min(raw.len()));
    let missing = (end - raw.len()) as u64;
    file.by_ref().take(missing).read_to_end(&mut raw).map_err(|error| ModelError::io(path, &error))?;
    if raw.len() < end {
        return Err(ModelError::corrupt(name, "size", "the file shrank while it was read"));
    }
    let header = parse_header(&raw[8..], file_bytes).map_err(corrupt)?;
    raw.extend_from_slice(&kept_tail);
    Ok((header, raw))
}

impl Weights {
    /// Reads every floating-point tensor of the files to `device` as f32 (f16 and bf16 are widened), and the digest of all bytes.
    ///
    /// Other dtypes are passed over. Peak memory: the f32 weights plus the largest tensor twice. Errors: as [`read_header`], `Corrupt` for a name in
    /// two files or a file that changes while it is read.
    pub fn read(files: &[PathBuf], device: &Device) -> Result<Self, ModelError> {
        let mut tensors = BTreeMap::new();
        let mut digests = Vec::new();
        for path in files {
            digests.push(read_file(path, device, &mut tensors)?);
        }
        Ok(Self::new(tensors, joined_digest(&digests), files.first().map_or_else(String::new, |path| file_name(path))))
    }

    fn new(tensors: BTreeMap<String, Tensor>, digest: String, file: String) -> Self {
        Self { tensors, digest, file, names: TensorNames::SAME, precision: Precision::Exact }
    }

    /// The same; errors name tensors as their file does.
    fn with_names(self, names: TensorNames) -> Self {
        Self { names, ..self }
    }

    /// The same, for layers that will compute with `precision`.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The arithmetic that layers are packed for.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Hex sha256 of the file; of the shards' digests, one a line, when there are several.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// True when a floating-point tensor of that name is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The first name, in the order of the alphabet, that ends so.
    #[must_use]
    pub fn name_ending(&self, ending: &str) -> Option<&str> {
        self.tensors.keys().map(String::as_str).find(|name| name.ends_with(ending))
    }

    /// A tensor that stays here for others too; its memory is shared. Errors: as [`Weights::take`].
    pub fn shared(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let tensor = self.take(name, shape)?;
        self.tensors.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }

    /// Changes a tensor that is there.
    pub fn change(&mut self, name: &str, change: impl FnOnce(Tensor) -> candle_core::Result<Tensor>) -> Result<(), ModelError> {
        if let Some(tensor) = self.tensors.remove(name) {
            self.tensors.insert(name.to_owned(), change(tensor)?);
        }
        Ok(())
    }

    /// Puts the rows of several tensors together under `name`, when all of them are there.
    pub fn join(&mut self, parts: &[String], name: &str) -> Result<(), ModelError> {
        if parts.iter().all(|part| self.contains(part)) {
            let taken: Vec<Tensor> = parts.iter().filter_map(|part| self.tensors.remove(part)).collect();
            self.tensors.insert(name.to_owned(), Tensor::cat(&taken, 0)?);
        }
        Ok(())
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Takes a tensor out. Errors: `Corrupt` when it is missing or of another shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let field = format!("tensor `{}`", self.names.in_file(name));
        let tensor = self
            .tensors
            .remove(name)
            .ok_or_else(|| ModelError::corrupt(self.file.clone(), field.clone(), "missing, or not of a floating-point dtype"))?;
        if tensor.dims() != shape {
            return Err(ModelError::corrupt(
                self.file.clone(),
                field,
                format!("shape {:?}, the configuration says {shape:?}", tensor.dims()),
            ));
        }
        Ok(tensor)
    }
}

/// The digest of a model's weights from those of its files, in their order.
#[must_use]
pub fn joined_digest(digests: &[String]) -> String {
    match digests {
        [one] => one.clone(),
        many => hex(&Sha256::digest(many.join("\n").as_bytes())),
    }
}

/// Reads one file in the order of its data, so that the hash covers every byte exactly once.
fn read_file(path: &Path, device: &Device, tensors: &mut BTreeMap<String, Tensor>) -> Result<String, ModelError> {
    let name = file_name(path);
    let (mut file, about) = open_regular(path)?;
    let (header, raw) = read_header_from(&mut file, about.len(), path)?;
    let mut reader =
        HashedReader { inner: std::io::Cursor::new(raw).chain(BufReader::with_capacity(READ_BYTES, file)), hash: Sha256::new() };
    let data_start = header.tensors.first().map_or(about.len(), |tensor| tensor.bytes.start);
    reader.skip(data_start).map_err(|error| ModelError::io(path, &error))?;
    for entry in header.tensors {
        let length = usize::try_from(entry.bytes.end - entry.bytes.start)
            .map_err(|_| ModelError::corrupt(name.clone(), entry.name.clone(), "does not fit this machine"))?;
        let values = read_values(&mut reader, &entry.dtype, length).map_err(|error| ModelError::io(path, &error))?;
        let Some(values) = values else { continue };
        let tensor = Tensor::from_vec(values, entry.shape, device)?;
        if tensors.insert(entry.name.clone(), tensor).is_some() {
            return Err(ModelError::corrupt(name, format!("tensor `{}`", entry.name), "occurs in two files"));
        }
    }
    Ok(hex(&reader.hash.finalize()))
}

/// `length` bytes as f32, or `None` (the bytes are read all the same) for a dtype that is not floating point.
fn read_values(reader: &mut impl Read, dtype: &str, length: usize) -> std::io::Result<Option<Vec<f32>>> {
    match dtype {
        "F32" => {
            let mut values = vec![0f32; length / 4];
            reader.read_exact(bytemuck::cast_slice_mut(&mut values))?;
            if cfg!(target_endian = "big") {
                values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits().swap_bytes()));
            }
            Ok(Some(values))
        }
        "F16" => Ok(Some(read_halves(reader, length, |bits| half::f16::from_bits(bits).to_f32())?)),
        "BF16" => Ok(Some(read_halves(reader, length, |bits| half::bf16::from_bits(bits).to_f32())?)),
        _ => {
            let copied = std::io::copy(&mut reader.take(length as u64), &mut std::io::sink())?;
            if copied == length as u64 { Ok(None) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
        }
    }
}

fn read_halves(reader: &mut impl Read, length: usize, widen: impl Fn(u16) -> f32) -> std::io::Result<Vec<f32>> {
    let mut bytes = vec![0u8; length];
    reader.read_exact(&mut bytes)?;
    Ok(bytes.chunks_exact(2).map(|pair| widen(u16::from_le_bytes([pair[0], pair[1]]))).collect())
}

/// Hashes what passes through.
struct HashedReader<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> HashedReader<R> {
    fn skip(&mut self, count: u64) -> std::io::Result<()> {
        let copied = std::io::copy(&mut self.take(count), &mut std::io::sink())?;
        if copied == count { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl<R: Read> Read for HashedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
