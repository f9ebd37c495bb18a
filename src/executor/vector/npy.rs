//! `.npy` documents (numpy's array format, versions 1 to 3) from bytes and to bytes. No files, no pickles.
//!
//! Source: numpy enhancement proposal 1 and `numpy.lib.format`. Every length of the header is bounded before it is believed, and the data must be
//! exactly as long as the shape says.

mod header;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::task::{Dtype, Part, TaskError};
use header::Header;

/// First bytes of every document.
const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is read; numpy itself stops at 10,000.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Most dimensions, as in numpy 1.
const DIMENSIONS_MAX: usize = 32;

/// Reads a document into a part: row-major, little-endian, whatever order and byte order it was written in.
///
/// Elements: `f2 f4 f8 i1 u1 i4 u4 i8` of either byte order. Errors: `InvalidPayload` at `npy` for anything else, for truncated, overlong or
/// contradictory documents, and for `.npz` archives.
pub fn parse_npy(bytes: &[u8]) -> Result<Part, TaskError> {
    let (header, data) = split(bytes)?;
    let Header { dtype, big_endian, fortran_order, shape } = header;
    let elements = shape.iter().try_fold(1usize, |count, length| count.checked_mul(*length));
    let expected = elements.and_then(|count| count.checked_mul(dtype.size_bytes()));
    if expected != Some(data.len()) {
        let expected = expected.map_or_else(|| "too many".to_owned(), |bytes| bytes.to_string());
        return Err(invalid(format!("shape {shape:?} of {} needs {expected} bytes of data, found {}", dtype.name(), data.len())));
    }
    let mut data = data.to_vec();
    if big_endian {
        data.chunks_exact_mut(dtype.size_bytes()).for_each(<[u8]>::reverse);
    }
    if fortran_order && shape.iter().filter(|length| **length > 1).count() > 1 {
        data = row_major(&data, &shape, dtype.size_bytes());
    }
    Part::new(dtype, shape, Bytes::from(data))
}

/// Element type, shape and where the data begins, from the beginning of a document whose data is read later, piece by piece.
///
/// Errors: those of [`parse_npy`] for its header; `InvalidPayload` at `npy` for big-endian numbers and Fortran order, which are not read so.
pub fn npy_front(front: &[u8]) -> Result<(Dtype, Vec<usize>, usize), TaskError> {
    let (header, data) = split(front)?;
    let Header { dtype, big_endian, fortran_order, shape } = header;
    let is_flat = shape.iter().filter(|length| **length > 1).count() <= 1;
    if big_endian || (fortran_order && !is_flat) {
        return Err(invalid("it is big-endian or in Fortran order; save it again with `numpy.ascontiguousarray(a.astype('<f4'))`"));
    }
    Ok((dtype, shape, front.len() - data.len()))
}

/// What stands in front of the data in a document of version 1. Errors: as [`write_npy`].
pub fn npy_head(dtype: Dtype, shape: &[usize]) -> Result<Vec<u8>, TaskError> {
    let descr = match dtype {
        Dtype::F16 => "<f2",
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
        Dtype::I8 => "|i1",
        Dtype::U8 => "|u1",
        Dtype::I32 => "<i4",
        Dtype::U32 => "<u4",
        Dtype::I64 => "<i8",
        Dtype::Bf16 => return Err(invalid("numpy has no bf16; write f32 or f16")),
    };
    let lengths: String = shape.iter().map(|length| format!("{length}, ")).collect();
    // A tuple of one keeps its comma; longer ones end without it.
    let lengths = if shape.len() == 1 { lengths.trim_end() } else { lengths.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({lengths}), }}");
    // The data begins at a multiple of 64 bytes, after the magic, two bytes of version and two of length.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let header_bytes =
        u16::try_from(header.len()).map_err(|_too_long| invalid(format!("{} dimensions do not fit the header", shape.len())))?;
    let mut out = Vec::with_capacity(MAGIC.len() + 4 + header.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[1, 0]);
    out.extend_from_slice(&header_bytes.to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    Ok(out)
}

/// Writes a part as a document of version 1, as `numpy.save` does.
///
/// Errors: `InvalidPayload` at `npy` for `bf16`, which numpy has no type for.
pub fn write_npy(part: &Part) -> Result<Vec<u8>, TaskError> {
    let mut out = npy_head(part.dtype(), part.shape())?;
    out.reserve_exact(part.bytes().len());
    out.extend_from_slice(part.bytes());
    Ok(out)
}

fn invalid(reason: impl Into<String>) -> TaskError {
    TaskError::invalid("npy", reason)
}

/// The header and the data behind it.
fn split(bytes: &[u8]) -> Result<(Header, &[u8]), TaskError> {
    if bytes.starts_with(b"PK") {
        return Err(invalid("found a zip archive (.npz?); extract one array and save it as .npy"));
    }
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| invalid("the first bytes are not those of an .npy document"))?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(|| invalid("ends inside the version"))?;
    let length_bytes = match version[0] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(invalid(format!("found version {other}; known: 1, 2 and 3"))),
    };
    let (length, rest) = rest.split_at_checked(length_bytes).ok_or_else(|| invalid("ends inside the header's length"))?;
    let length = length.iter().rev().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
    if length > HEADER_BYTES_MAX {
        return Err(invalid(format!("the header claims {length} bytes; at most {HEADER_BYTES_MAX} are read")));
    }
    let (header, data) = rest.split_at_checked(length).ok_or_else(|| invalid("ends inside the header"))?;
    let header = std::str::from_utf8(header).map_err(|error| invalid(format!("the header is no text: {error}")))?;
    Ok((header::parse(header)?, data))
}

/// Reorders elements from column-major to row-major. The lengths' product was checked against the data.
fn row_major(data: &[u8], shape: &[usize], size_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for length in shape {
        strides.push(stride);
        stride *= length;
    }
    let mut place = vec![0usize; shape.len()];
    for _element in 0..stride {
        let from: usize = place.iter().zip(&strides).map(|(place, stride)| place * stride).sum();
        out.extend_from_slice(&data[from * size_bytes..][..size_bytes]);
        // Counts up like an odometer: the last dimension turns fastest.
        for (place, length) in place.iter_mut().zip(shape).rev() {
            *place += 1;
            if *place < *length {
                break;
            }
            *place = 0;
        }
    }
    out
}
