//! The candle door: rows of tensors of the CPU device.

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};

use super::Picked;
use crate::tensor::written;

/// The sum of rows of some tables `[rows, dim]` f32, contiguous, on the CPU: of each the rows `ids`, times the factor. Result `[ids, dim]`.
///
/// Errors: candle's, for other tensors; those of [`super::gather`].
pub fn gather(parts: &[(&Tensor, &[u32], f32)]) -> Result<Tensor> {
    let Some((first, ids, _)) = parts.first() else { bail!("gather: rows of at least one table") };
    let (_, dim) = first.dims2()?;
    let locks: Vec<_> = parts.iter().map(|(table, ..)| table.storage_and_layout()).collect();
    let mut picked = Vec::with_capacity(parts.len());
    for ((storage, layout), (table, ids, factor)) in locks.iter().zip(parts) {
        let (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) = (&**storage, layout.contiguous_offsets()) else {
            bail!("gather: tables of contiguous f32 on the CPU");
        };
        if table.dims2()?.1 != dim {
            bail!("gather: rows of {} numbers beside rows of {dim}", table.dims2()?.1);
        }
        picked.push(Picked { table: &values[from..to], ids, factor: *factor });
    }
    written((ids.len(), dim), |out| super::gather(&picked, dim, out))
}
