//! Where in a file of tensors the rows and their names are.

use tallow_models::weights::header::{HeaderFault, TensorEntry, header_length, parse_header};

use super::{FRONT_BYTES_MAX, RowsLayout, broken};
use crate::task::{Dtype, TaskError};

/// The tensor that names the rows.
pub(super) const IDS: &str = "ids";

/// Names of element types in the format.
pub(super) const DTYPES: [(Dtype, &str); 9] = [
    (Dtype::F64, "F64"),
    (Dtype::F32, "F32"),
    (Dtype::F16, "F16"),
    (Dtype::Bf16, "BF16"),
    (Dtype::I8, "I8"),
    (Dtype::U8, "U8"),
    (Dtype::I32, "I32"),
    (Dtype::U32, "U32"),
    (Dtype::I64, "I64"),
];

pub(super) fn layout(front: &[u8], file_bytes: u64, tensor: &str) -> Result<(RowsLayout, Option<RowsLayout>), TaskError> {
    let head = front.first_chunk::<8>().ok_or_else(|| broken("shorter than its 8 bytes of header length"))?;
    let fault = |fault: HeaderFault| broken(format!("{}: {}", fault.field, fault.reason));
    let length = header_length(head, file_bytes).map_err(fault)?;
    let json = usize::try_from(length).ok().and_then(|length| front[8..].get(..length));
    let json = json.ok_or_else(|| broken(format!("its header has {length} bytes; at most {} are read", FRONT_BYTES_MAX - 8)))?;
    let table = parse_header(json, file_bytes).map_err(fault)?;
    let find = |name: &str| table.tensors.iter().find(|found| found.name == name);
    let Some(rows) = find(tensor) else {
        let names: Vec<&str> = table.tensors.iter().map(|tensor| tensor.name.as_str()).take(16).collect();
        return Err(broken(format!("no tensor is named `{tensor}`; it has: {}", names.join(", "))));
    };
    let of = |found: &TensorEntry| -> Result<RowsLayout, TaskError> {
        let dtype = DTYPES.iter().find(|(_, name)| *name == found.dtype).map(|(dtype, _)| *dtype);
        let dtype = dtype.ok_or_else(|| broken(format!("tensor `{}` has a dtype that is not read", found.name)))?;
        let (rows, dim) = match found.shape[..] {
            [rows] => (rows, 1),
            [rows, dim] => (rows, dim),
            _ => return Err(broken(format!("tensor `{}` has shape {:?}; rows are [rows, dim]", found.name, found.shape))),
        };
        Ok(RowsLayout { dtype, rows, dim, start: found.bytes.start, lead: 0 })
    };
    let ids = find(IDS).filter(|_| tensor != IDS).map(of).transpose()?;
    if let Some(ids) = ids.as_ref().filter(|ids| ids.dtype != Dtype::I64 || ids.dim != 1) {
        return Err(broken(format!("tensor `{IDS}` is {} with {} numbers a row; names are I64 [rows]", ids.dtype.name(), ids.dim)));
    }
    Ok((of(rows)?, ids))
}
