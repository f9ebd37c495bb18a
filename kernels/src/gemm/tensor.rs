//! The candle door: a packed product on tensors of the CPU device.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};

use super::{Epilogue, Output, PackedWeights, gemm};
use crate::activation::Activation;
use crate::never_stop;
use crate::tensor::{numbers, singles, written};

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
            Some(residual) => singles(residual, "linear", |residual| self.run(x, Some(residual))),
            None => self.run(x, None),
        }
    }

    fn run(&self, x: &Tensor, residual: Option<&[f32]>) -> Result<Tensor> {
        let (rows, inner) = x.dims2()?;
        if inner != self.weights.inner() {
            bail!("linear: rows of {inner} numbers, the weights take {}", self.weights.inner());
        }
        let shape = (rows, self.weights.columns());
        let epilogue = Epilogue { bias: self.bias.as_ref().map(|bias| bias.as_slice()), activation: self.activation, residual };
        numbers(x, "linear", |x| match self.dtype {
            DType::BF16 => written(shape, |out| gemm(x, &self.weights, &epilogue, Output::Bf16(out), &never_stop)),
            DType::F32 => written(shape, |out| gemm(x, &self.weights, &epilogue, Output::F32(out), &never_stop)),
            other => bail!("linear: {other:?} results, f32 and bf16 can be written"),
        })
    }
}
