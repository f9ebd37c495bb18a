//! From computed arrays to the answer, and what they cost: bounded before they exist.

use crate::executor::operation::{Cost, Scope};
use crate::task::TaskError;
use crate::task::vector::{ArrayEncoding, ArrayOutput, Numbers};

/// Most numbers of an answer's array as JSON; larger ones leave as bytes.
pub(super) const JSON_NUMBERS_MAX: usize = 1 << 22;
/// Most bytes of an answer's array as base64.
pub(super) const BASE64_BYTES_MAX: usize = 1 << 26;
/// Most bytes of an answer's array as a binary part.
pub(super) const PART_BYTES_MAX: usize = 1 << 30;

/// Heap bytes of one JSON number with its place in an array.
const JSON_NUMBER_BYTES: u64 = 40;
/// Multiply-adds above which work is worth all threads.
const PARALLEL_WORK: u64 = 2_000_000;

/// Bytes that an array of `elements` of `size_bytes` holds while it leaves; `field` is the answer's name for it.
///
/// Errors: `InvalidPayload` at `encoding` when the array is too large for the way it shall leave.
pub(super) fn array_bytes(field: &str, encoding: ArrayEncoding, elements: usize, size_bytes: usize) -> Result<u64, TaskError> {
    let bytes = elements.saturating_mul(size_bytes);
    let (found, limit, unit, other) = match encoding {
        ArrayEncoding::Float => (elements, JSON_NUMBERS_MAX, "JSON numbers", "; use the encoding `part`"),
        ArrayEncoding::Base64 => (bytes, BASE64_BYTES_MAX, "bytes as base64", "; use the encoding `part`"),
        ArrayEncoding::Part => (bytes, PART_BYTES_MAX, "bytes as a binary part", "; split the task"),
    };
    if found > limit {
        return Err(TaskError::invalid("encoding", format!("`{field}` would have {found} {unit}; at most {limit} are allowed{other}")));
    }
    Ok(match encoding {
        ArrayEncoding::Float => bytes as u64 + elements as u64 * JSON_NUMBER_BYTES,
        ArrayEncoding::Base64 => bytes as u64 * 5,
        ArrayEncoding::Part => bytes as u64 * 2,
    })
}

/// A cost from the bytes that are held and the number of multiply-adds.
pub(super) fn cost(host_bytes: u64, work: u64) -> Cost {
    Cost { host_bytes, parallel: work > PARALLEL_WORK }
}

/// Lets an array leave: as a value for the answer, or as a binary part named `field` and `None`.
pub(super) fn emit<S>(
    scope: &Scope<'_, S>,
    (field, encoding): (&str, ArrayEncoding),
    numbers: Numbers,
    shape: Vec<usize>,
) -> Result<Option<ArrayOutput>, TaskError> {
    let array = ArrayOutput::new(numbers, shape);
    match encoding {
        ArrayEncoding::Float => Ok(Some(array)),
        ArrayEncoding::Base64 => Ok(Some(array.into_base64())),
        ArrayEncoding::Part => {
            scope.sink.part(field, array.into_part()?);
            Ok(None)
        }
    }
}
