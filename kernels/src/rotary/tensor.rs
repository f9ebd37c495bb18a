//! The candle door: queries and keys of tensors of the CPU device turned in place.

use std::sync::Arc;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};

use super::{Order, RotarySpec, RotaryTable};
use crate::gemm::Output;

/// The rotation of a batch.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// Cosines and sines.
    pub table: Arc<RotaryTable>,
    /// Of every row.
    pub positions: Arc<Vec<u32>>,
}

impl Rotary {
    /// Turns the first `heads` heads of `head_dim` numbers in every row of `rows` `[tokens, row]`, f32 or bf16, contiguous, on the CPU, over `rows`, which
    /// nobody else holds. Numbers `i` and `i + dims / 2` make a pair. Errors: candle's, for other tensors.
    pub fn over(&self, rows: Tensor, (heads, head_dim): (usize, usize)) -> Result<Tensor> {
        rows.inplace_op1(&Turn { rotary: self, heads, head_dim })?;
        Ok(rows)
    }
}

struct Turn<'a> {
    rotary: &'a Rotary,
    heads: usize,
    head_dim: usize,
}

impl InplaceOp1 for Turn<'_> {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, rows: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (_, row) = layout.shape().dims2()?;
        let Some((from, to)) = layout.contiguous_offsets() else { bail!("rotary: the operand must be contiguous") };
        let rows = match rows {
            CpuStorage::F32(values) => Output::F32(&mut values[from..to]),
            CpuStorage::BF16(values) => Output::Bf16(&mut values[from..to]),
            other => bail!("rotary: {:?} rows, f32 and bf16 can be turned", candle_core::backend::BackendStorage::dtype(other)),
        };
        let table = &self.rotary.table;
        let spec = RotarySpec { row, heads: self.heads, head_dim: self.head_dim, order: Order::Halves, table };
        super::rotate(rows, &self.rotary.positions, &spec).map_err(candle_core::Error::wrap)
    }
}
