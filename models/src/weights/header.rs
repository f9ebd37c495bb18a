//! The pre-flight of a safetensors file: its header is read within bounds and must describe the data exactly. Pure: bytes in, table out.
//!
//! Format: <https://github.com/huggingface/safetensors#format>: 8 bytes little-endian header length, a JSON object, then the tensors' bytes without gaps.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::error::shortened;

/// A header beyond this is refused before it is read.
pub const HEADER_BYTES_MAX: u64 = 10 << 20;
/// More tensors than this are refused.
pub const TENSOR_COUNT_MAX: usize = 100_000;
/// More dimensions than this are refused.
pub const RANK_MAX: usize = 8;

/// One tensor of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Element type as spelled in the file: `F32`, `BF16`, ...
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Bytes of the file, counted from its start.
    pub bytes: Range<u64>,
}

/// The table of a file, in the order of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Tensors by position: the first starts right after the header, each next one where the last ended, the last at the end of the file.
    pub tensors: Vec<TensorEntry>,
    /// `__metadata__`, if there is one.
    pub metadata: BTreeMap<String, String>,
}

/// What is wrong: the field, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderFault {
    /// `header length`, `tensor \`name\``, ...
    pub field: String,
    /// What was found and what is allowed.
    pub reason: String,
}

pub(super) fn fault<T>(field: impl Into<String>, reason: impl Into<String>) -> Result<T, HeaderFault> {
    Err(HeaderFault { field: shortened(field.into()), reason: shortened(reason.into()) })
}

/// The length of the JSON header of a file of `file_bytes` bytes that starts with `head`. Errors: a length that cannot be.
pub fn header_length(head: &[u8], file_bytes: u64) -> Result<u64, HeaderFault> {
    let Some(Ok(prefix)) = head.get(..8).map(<[u8; 8]>::try_from) else {
        return fault("header length", format!("the file has {file_bytes} bytes and cannot hold a header"));
    };
    let length = u64::from_le_bytes(prefix);
    if length > HEADER_BYTES_MAX {
        return fault("header length", format!("found {length}, at most {HEADER_BYTES_MAX} bytes are read"));
    }
    if length < 2 || length > file_bytes.saturating_sub(8) {
        return fault("header length", format!("found {length} in a file of {file_bytes} bytes"));
    }
    Ok(length)
}

/// Reads the JSON of a header and checks it against the file's size. Errors: the first thing that does not hold.
pub fn parse_header(json: &[u8], file_bytes: u64) -> Result<Header, HeaderFault> {
    let raw: RawHeader = match serde_json::from_slice(json) {
        Ok(raw) => raw,
        Err(error) => return fault("header", error.to_string()),
    };
    let data_start = 8 + json.len() as u64;
    let mut tensors = Vec::with_capacity(raw.tensors.len());
    for (name, tensor) in raw.tensors {
        tensors.push(check_tensor(name, tensor, data_start)?);
    }
    tensors.sort_by_key(|tensor| (tensor.bytes.start, tensor.bytes.end));
    let mut expected = data_start;
    for tensor in &tensors {
        if tensor.bytes.start != expected {
            let what = if tensor.bytes.start < expected { "overlaps the tensor before it" } else { "leaves a gap before it" };
            return fault(
                tensor_field(&tensor.name),
                format!("starts at byte {} where {expected} is expected; it {what}", tensor.bytes.start),
            );
        }
        expected = tensor.bytes.end;
    }
    if expected != file_bytes {
        let what = if expected > file_bytes { "the file is truncated" } else { "there are trailing bytes" };
        return fault("size", format!("the tensors end at byte {expected}, the file at {file_bytes}: {what}"));
    }
    Ok(Header { tensors, metadata: raw.metadata })
}

fn check_tensor(name: String, raw: RawTensor, data_start: u64) -> Result<TensorEntry, HeaderFault> {
    let field = tensor_field(&name);
    let Some(element_bytes) = element_bytes(&raw.dtype) else {
        return fault(field, format!("unknown dtype `{}`", clip(&raw.dtype)));
    };
    if raw.shape.len() > RANK_MAX {
        return fault(field, format!("{} dimensions, at most {RANK_MAX} are read", raw.shape.len()));
    }
    let Some(expected) = raw.shape.iter().try_fold(element_bytes, |bytes, &dim| bytes.checked_mul(dim)) else {
        return fault(field, format!("the shape {:?} overflows", raw.shape));
    };
    let [begin, end] = raw.data_offsets;
    let (Some(length), Some(start), Some(stop)) = (end.checked_sub(begin), data_start.checked_add(begin), data_start.checked_add(end))
    else {
        return fault(field, format!("data_offsets [{begin}, {end}] are out of order or overflow"));
    };
    if length != expected {
        return fault(field, format!("shape {:?} of {} needs {expected} bytes, data_offsets give {length}", raw.shape, raw.dtype));
    }
    let mut shape = Vec::with_capacity(raw.shape.len());
    for dim in raw.shape {
        match usize::try_from(dim) {
            Ok(dim) => shape.push(dim),
            Err(_) => return fault(field, format!("dimension {dim} does not fit this machine")),
        }
    }
    Ok(TensorEntry { name, dtype: raw.dtype, shape, bytes: start..stop })
}

/// Bytes of one element of a dtype of the format; `None` for one that is not whole bytes or unknown.
fn element_bytes(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" => 1,
        "U16" | "I16" | "F16" | "BF16" => 2,
        "U32" | "I32" | "F32" => 4,
        "U64" | "I64" | "F64" => 8,
        _ => return None,
    })
}

pub(super) fn tensor_field(name: &str) -> String {
    format!("tensor `{}`", clip(name))
}

/// At most 80 characters of a string from a file, for messages.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = RawHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            // By hand so that a name that occurs twice is an error and not the last one winning.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader { tensors: Vec::new(), metadata: BTreeMap::new() };
                let mut seen = std::collections::HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("the name `{}` occurs twice", clip(&name))));
                    }
                    if name == "__metadata__" {
                        header.metadata = map.next_value()?;
                        continue;
                    }
                    if header.tensors.len() == TENSOR_COUNT_MAX {
                        return Err(A::Error::custom(format!("more than {TENSOR_COUNT_MAX} tensors")));
                    }
                    header.tensors.push((name, map.next_value()?));
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Table)
    }
}
