//! The candle door: gates of tensors of the CPU device.

use candle_core::{DType, Result, Tensor, bail};
use half::bf16;
use rayon::prelude::*;

use super::{Activation, Grade, gate};
use crate::gemm::Output;
use crate::tensor::{singles, written};
use crate::{KernelError, threads};

/// Rows for a thread at a time.
const PIECE_ROWS: usize = 32;

/// `function(gate) · up`.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Of the first half of every row.
    pub activation: Activation,
    /// Of the result: `F32`, or `BF16`, which is computed less exactly than it can tell.
    pub dtype: DType,
}

impl Gate {
    /// `x` `[rows, 2 · wide]` f32, contiguous, on the CPU, gates first, to `[rows, wide]`. Splits over the rayon pool of the calling thread.
    ///
    /// Errors: candle's, for other tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, columns) = x.dims2()?;
        if !columns.is_multiple_of(2) || columns == 0 {
            bail!("gate: rows of two halves, not of {columns} numbers");
        }
        let wide = columns / 2;
        singles(x, "gate", |x| match self.dtype {
            DType::BF16 => written((rows, wide), |out: &mut [bf16]| self.rows(x, (wide, out), Output::Bf16)),
            DType::F32 => written((rows, wide), |out: &mut [f32]| self.rows(x, (wide, out), Output::F32)),
            other => bail!("gate: {other:?} results, f32 and bf16 can be written"),
        })
    }

    fn rows<'a, T: Send>(
        &self,
        x: &[f32],
        (wide, out): (usize, &'a mut [T]),
        output: fn(&'a mut [T]) -> Output<'a>,
    ) -> std::result::Result<(), KernelError> {
        let grade = if self.dtype == DType::BF16 { Grade::Near } else { Grade::Full };
        let piece = |(x, out): (&[f32], &'a mut [T])| -> std::result::Result<(), KernelError> {
            let rows = x.chunks_exact(2 * wide).zip(out.chunks_exact_mut(wide));
            for (row, out) in rows {
                gate((self.activation, grade), &row[..wide], &row[wide..], output(out))?;
            }
            Ok(())
        };
        if threads::count() == 1 {
            return piece((x, out));
        }
        x.par_chunks(PIECE_ROWS * 2 * wide).zip(out.par_chunks_mut(PIECE_ROWS * wide)).try_for_each(piece)
    }
}
