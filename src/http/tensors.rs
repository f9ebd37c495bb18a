//! Binary parts on the wire: safetensors in and out, `.npy` out. Bytes are shared, never copied; headers are checked before anything is built.
//!
//! Format: 8 bytes little-endian header length, a JSON header `{name: {"dtype", "shape", "data_offsets"}}`, then the data without gaps.

use std::fmt::Write as _;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;
use super::json;
use crate::task::{Dtype, Part, Parts, SubmissionSpec};

/// Longest header of a submitted body.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// Most parts of a submitted body.
const PARTS_MAX: usize = 1024;
/// Longest name of a part.
const NAME_BYTES_MAX: usize = 128;
/// Most dimensions of a part.
const RANK_MAX: usize = 8;
/// The key of the header that holds texts.
const METADATA: &str = "__metadata__";
/// The text of the metadata that holds the submission.
const SUBMISSION: &str = "submission";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// A submission from a safetensors body: `__metadata__.submission` holds its JSON, the tensors become its parts. Parts share the body's bytes.
///
/// Errors: `invalid_safetensors` for a header that is too short, too long, not strict JSON, or whose tensors overlap, leave gaps or pass the end;
/// those of the JSON rules for the submission.
pub(crate) fn submission(body: &Bytes) -> Result<SubmissionSpec, ApiError> {
    let (header, data) = split(body)?;
    let Value::Object(mut entries) = json::value(&header)? else { return Err(broken("the header is not an object")) };
    let Some(Value::Object(mut metadata)) = entries.remove(METADATA) else {
        return Err(broken("the header has no `__metadata__` object with the `submission` text"));
    };
    let Some(Value::String(spec)) = metadata.remove(SUBMISSION) else {
        return Err(broken("`__metadata__.submission` must be a text that holds the submission's JSON"));
    };
    if let Some(name) = metadata.keys().find(|name| *name != "format") {
        return Err(broken(format!("unknown metadata `{name}`; `submission` and `format` are known")));
    }
    let mut spec: SubmissionSpec = json::parse(spec.as_bytes())?;
    if entries.len() > PARTS_MAX {
        return Err(broken(format!("{} tensors; at most {PARTS_MAX} are allowed", entries.len())));
    }
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        check_name(&name)?;
        tensors.push((json::typed::<TensorEntry>(entry)?, name));
    }
    tensors.sort_by_key(|(entry, _)| entry.data_offsets);
    let mut end = 0;
    for (entry, name) in tensors {
        let [from, to] = entry.data_offsets;
        if from != end || to < from || to > data.len() {
            return Err(broken(format!(
                "tensor `{name}` lies at {from}..{to}; tensors must follow each other without gaps within {} bytes",
                data.len()
            )));
        }
        end = to;
        if spec.parts.insert(name.clone(), part(&entry, &name, data.slice(from..to))?).is_some() {
            return Err(broken(format!("part `{name}` is given twice: as a tensor and in `parts`")));
        }
    }
    if end != data.len() {
        return Err(broken(format!("{} bytes follow the last tensor", data.len() - end)));
    }
    Ok(spec)
}

fn split(body: &Bytes) -> Result<(Bytes, Bytes), ApiError> {
    let Some((length, rest)) = body.split_first_chunk::<8>() else { return Err(broken("shorter than its 8 bytes of header length")) };
    let length = u64::from_le_bytes(*length);
    let header_bytes = usize::try_from(length).ok().filter(|&bytes| bytes <= HEADER_BYTES_MAX && bytes <= rest.len());
    let Some(header_bytes) = header_bytes else {
        return Err(broken(format!("the header claims {length} bytes; {} follow, and at most {HEADER_BYTES_MAX} are allowed", rest.len())));
    };
    Ok((body.slice(8..8 + header_bytes), body.slice(8 + header_bytes..)))
}

fn part(entry: &TensorEntry, name: &str, bytes: Bytes) -> Result<Part, ApiError> {
    let Some(dtype) = DTYPES.iter().find(|(_, known)| *known == entry.dtype).map(|(dtype, _)| *dtype) else {
        let known: Vec<&str> = DTYPES.iter().map(|(_, name)| *name).collect();
        let found: String = entry.dtype.chars().take(16).collect();
        return Err(broken(format!("tensor `{name}` has dtype `{found}`; known are {}", known.join(", "))));
    };
    if entry.shape.len() > RANK_MAX {
        return Err(broken(format!("tensor `{name}` has {} dimensions; at most {RANK_MAX} are allowed", entry.shape.len())));
    }
    Part::new(dtype, entry.shape.clone(), bytes).map_err(|error| broken(format!("tensor `{name}`: {error}")))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let shown: String = name.chars().take(32).collect();
    Err(broken(format!("tensor name {shown:?} is not 1 to {NAME_BYTES_MAX} visible ASCII characters")))
}

fn broken(message: impl Into<String>) -> ApiError {
    ApiError::bad("invalid_safetensors", message)
}

/// The names of element types in safetensors.
const DTYPES: [(Dtype, &str); 9] = [
    (Dtype::F64, "F64"),
    (Dtype::I64, "I64"),
    (Dtype::F32, "F32"),
    (Dtype::I32, "I32"),
    (Dtype::U32, "U32"),
    (Dtype::F16, "F16"),
    (Dtype::Bf16, "BF16"),
    (Dtype::I8, "I8"),
    (Dtype::U8, "U8"),
];

/// All parts as one safetensors body, in pieces that share the parts' bytes: header first, then the data, widest elements first so that every
/// tensor is aligned to its element.
pub(crate) fn encode(parts: &Parts) -> Vec<Bytes> {
    let mut ordered: Vec<(&String, &Part)> = parts.iter().collect();
    ordered.sort_by_key(|(name, part)| (std::cmp::Reverse(part.dtype().size_bytes()), *name));
    let mut entries = serde_json::Map::new();
    let mut offset = 0;
    for (name, part) in &ordered {
        let end = offset + part.bytes().len();
        let dtype = DTYPES.iter().find(|(dtype, _)| *dtype == part.dtype()).map_or("U8", |(_, name)| name);
        entries.insert((*name).clone(), serde_json::json!({ "dtype": dtype, "shape": part.shape(), "data_offsets": [offset, end] }));
        offset = end;
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut head = Vec::with_capacity(8 + header.len());
    head.extend_from_slice(&(header.len() as u64).to_le_bytes());
    head.extend_from_slice(&header);
    std::iter::once(Bytes::from(head)).chain(ordered.iter().map(|(_, part)| part.bytes().clone())).collect()
}

/// A part as `.npy` (version 1.0, C order, little-endian): header, then the shared bytes.
///
/// Errors: 406 for `bf16`, which the format does not know.
pub(crate) fn npy(part: &Part) -> Result<[Bytes; 2], ApiError> {
    let descr = match part.dtype() {
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
        Dtype::F16 => "<f2",
        Dtype::I8 => "|i1",
        Dtype::U8 => "|u1",
        Dtype::I32 => "<i4",
        Dtype::U32 => "<u4",
        Dtype::I64 => "<i8",
        Dtype::Bf16 => {
            return Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "npy has no bf16; ask for application/octet-stream"));
        }
    };
    let mut shape = String::new();
    for dim in part.shape() {
        // Writing to a string cannot fail.
        write!(shape, "{dim},").map_err(|_never| ApiError::bad("internal", "could not write the shape"))?;
    }
    let mut dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version and length take 10 bytes; the header ends with a newline at a multiple of 64.
    let padded = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    while dict.len() < padded - 1 {
        dict.push(' ');
    }
    dict.push('\n');
    let Ok(length) = u16::try_from(dict.len()) else { return Err(ApiError::bad("not_acceptable", "too many dimensions for npy")) };
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(dict.as_bytes());
    Ok([Bytes::from(head), part.bytes().clone()])
}

#[cfg(test)]
#[path = "tests/tensors.rs"]
mod tests;
