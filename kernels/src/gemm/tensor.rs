//! The candle door: a packed product on tensors of the CPU device.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::{Epilogue, Input, Output, PackedWeights, gemm};
use crate::activation::Activation;
use crate::{buffer, never_stop};

/// A linear layer with what follows it.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[columns, inner]`.
    pub weights: Arc<PackedWeights>,
    /// `[columns]`.
    pub bias: Option<Arc<Vec<f32>>>,
    /// After the bias.
    pub activation: Activation,
    /// Of the result: `F32` or `BF16`.
    pub dtype: DType,
}

impl Linear {
    /// `x` `[rows, inner]` f32 or bf16 to `[rows, columns]`; `residual` `[rows, columns]` f32 is added last. All contiguous, on the CPU.
    ///
    /// Errors: candle's, for other layouts, types, shapes or devices.
    pub fn forward(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        match residual {
            Some(residual) => x.apply_op2_no_bwd(residual, self),
            None => x.apply_op1_no_bwd(self),
        }
    }

    fn run(&self, (x, layout): (&CpuStorage, &Layout), residual: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let (rows, _inner) = layout.shape().dims2()?;
        let (inner, columns) = (self.weights.inner(), self.weights.columns());
        let range = contiguous(layout)?;
        if range.len() != rows * inner {
            bail!("linear: rows of {} numbers, the weights take {inner}", range.len() / rows.max(1));
        }
        let x = match x {
            CpuStorage::F32(values) => Input::F32(&values[range]),
            CpuStorage::BF16(values) => Input::Bf16(&values[range]),
            other => bail!("linear: {:?} inputs, f32 and bf16 can be multiplied", candle_core::backend::BackendStorage::dtype(other)),
        };
        let epilogue = Epilogue { bias: self.bias.as_ref().map(|bias| bias.as_slice()), activation: self.activation, residual, next: None };
        let storage = match self.dtype {
            DType::BF16 => {
                let out = buffer::written(rows * columns, |out| gemm(x, &self.weights, &epilogue, Output::Bf16(out), &never_stop));
                CpuStorage::BF16(out.map_err(candle_core::Error::wrap)?)
            }
            DType::F32 => {
                let out = buffer::written(rows * columns, |out| gemm(x, &self.weights, &epilogue, Output::F32(out), &never_stop));
                CpuStorage::F32(out.map_err(candle_core::Error::wrap)?)
            }
            other => bail!("linear: {other:?} results, f32 and bf16 can be written"),
        };
        Ok((storage, Shape::from((rows, columns))))
    }
}

/// The elements of a contiguous tensor. Errors: for other layouts.
fn contiguous(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(from..to),
        None => bail!("linear: the operands must be contiguous"),
    }
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run((x, layout), None)
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout, residual: &CpuStorage, residual_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let range = contiguous(residual_layout)?;
        match residual {
            CpuStorage::F32(values) => self.run((x, layout), Some(&values[range])),
            other => bail!("linear: {:?} residual, f32 can be added", candle_core::backend::BackendStorage::dtype(other)),
        }
    }
}
