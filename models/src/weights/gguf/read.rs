//! A GGUF file on disk: its header within bounds, then its tensors in the order of the data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use candle_core::{Device, Tensor};
use sha2::{Digest as _, Sha256};

use super::{GgufFault, GgufHeader, parse_gguf};
use crate::ModelError;
use crate::source::files::{file_name, looks_like, open_regular};
use crate::weights::dequantize::read_blocks;
use crate::weights::{HashedReader, READ_BYTES, TensorNames, Weights, hex, read_values};

/// Bytes that are looked at first; twice as many whenever the header goes on.
const FIRST_BYTES: u64 = 1 << 20;

/// Reads the header of a GGUF file. Errors: `Missing`, `Io`, `Corrupt` naming what does not hold, `Unsupported` saying what can be read.
pub fn read_gguf_header(path: &Path) -> Result<GgufHeader, ModelError> {
    let (mut file, about) = open_regular(path)?;
    Ok(read_header(&mut file, about.len(), path)?.0)
}

/// The header, and the bytes that were read for it.
fn read_header(file: &mut File, file_bytes: u64, path: &Path) -> Result<(GgufHeader, Vec<u8>), ModelError> {
    let name = file_name(path);
    let mut raw = Vec::new();
    let mut wanted = FIRST_BYTES;
    loop {
        file.by_ref().take(wanted - raw.len() as u64).read_to_end(&mut raw).map_err(|error| ModelError::io(path, &error))?;
        if let Some(what) = looks_like(&raw[..raw.len().min(64)]).filter(|_| !raw.starts_with(super::GGUF_MAGIC)) {
            return Err(ModelError::unsupported(format!("{name} is not GGUF: it looks like {what}")));
        }
        match parse_gguf(&raw, file_bytes) {
            Ok(Some(header)) => return Ok((header, raw)),
            Ok(None) if (raw.len() as u64) < wanted => {
                return Err(ModelError::corrupt(name, "size", "the file shrank while it was read"));
            }
            Ok(None) => wanted *= 2,
            Err(GgufFault::Damaged(fault)) => return Err(ModelError::corrupt(name, fault.field, fault.reason)),
            Err(GgufFault::Unsupported(reason)) => return Err(ModelError::unsupported(format!("{name}: {reason}"))),
        }
    }
}

impl Weights {
    /// Reads every tensor of a GGUF file to `device` as f32, quantised ones expanded, under the names of `names`, and the digest of all bytes.
    ///
    /// Peak memory: the f32 weights plus the largest tensor. Errors: as [`read_gguf_header`]; `Unsupported` for a tensor that `names` does not have;
    /// `Corrupt` or `Io` for a file that changes while it is read.
    pub fn read_gguf(path: &Path, names: TensorNames, device: &Device) -> Result<Self, ModelError> {
        let (mut file, about) = open_regular(path)?;
        let (header, raw) = read_header(&mut file, about.len(), path)?;
        let inner = std::io::Cursor::new(raw).chain(BufReader::with_capacity(READ_BYTES, file));
        let mut reader = HashedReader { inner, hash: Sha256::new() };
        let io = |error: std::io::Error| ModelError::io(path, &error);
        let (mut tensors, mut at) = (BTreeMap::new(), 0);
        for entry in header.tensors {
            reader.skip(entry.bytes.start - at).map_err(io)?;
            at = entry.bytes.end;
            let length = usize::try_from(entry.bytes.end - entry.bytes.start)
                .map_err(|_| ModelError::corrupt(file_name(path), entry.name.clone(), "does not fit this machine"))?;
            let values = match read_blocks(&mut reader, &entry.dtype, length).map_err(io)? {
                Some(values) => values,
                None => read_values(&mut reader, &entry.dtype, length).map_err(io)?.unwrap_or_default(),
            };
            let name = known(names, &entry.name)?;
            tensors.insert(name, Tensor::from_vec(values, entry.shape, device)?);
        }
        // The padding behind the last tensor.
        reader.skip(about.len() - at).map_err(io)?;
        Ok(Self::new(tensors, hex(&reader.hash.finalize()), file_name(path)).with_names(names))
    }
}

/// The name of a tensor of the file in the layers. Errors: `Unsupported` for one that the table does not have.
pub fn known(names: TensorNames, name: &str) -> Result<String, ModelError> {
    names.in_layers(name).ok_or_else(|| {
        ModelError::unsupported(format!("tensor `{}` is none that models of this architecture have here", name.escape_debug()))
    })
}
