//! The candle door: norms of tensors of the CPU device, into a new tensor or over the one that is given.

use std::sync::Arc;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};

use super::Target;
use crate::tensor::{singles, written};

/// A norm of the last dimension of f32 tensors.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[dim]`.
    pub scale: Arc<Vec<f32>>,
    /// `[dim]`; with LayerNorm only.
    pub shift: Option<Arc<Vec<f32>>>,
    /// True for RMSNorm.
    pub is_rms: bool,
    /// Added to the variance or the mean square.
    pub epsilon: f32,
}

impl Norm {
    /// `x` `[.., dim]`, contiguous, f32, on the CPU, to the same shape. Errors: candle's, for other tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        singles(x, "norm", |values| written(x.shape(), |out| super::normalize(values, &self.kernel(), self.epsilon, out)))
    }

    /// The same over `x` itself, which nobody else holds.
    pub fn over(&self, x: Tensor) -> Result<Tensor> {
        x.inplace_op1(&Heads { norm: self, first: 0, count: 0 })?;
        Ok(x)
    }

    /// The norm of `x` plus `residual`, both `[.., dim]`, over `x`, which nobody else holds.
    pub fn of_sum(&self, x: Tensor, residual: &Tensor) -> Result<Tensor> {
        x.inplace_op2(residual, &OfSum(self))?;
        Ok(x)
    }

    /// The norm of `x`, then plus `residual`, both `[.., dim]`, over `x`, which nobody else holds.
    pub fn then_sum(&self, x: Tensor, residual: &Tensor) -> Result<Tensor> {
        x.inplace_op2(residual, &ThenSum(self))?;
        Ok(x)
    }

    /// Normalises `count` heads of `dim` numbers in every row of `x` `[rows, columns]`, over `x`; the first begins at column `first`.
    pub fn over_heads(&self, x: &Tensor, (first, count): (usize, usize)) -> Result<()> {
        x.inplace_op1(&Heads { norm: self, first, count })
    }

    fn kernel(&self) -> super::Norm<'_> {
        let shift = self.shift.as_ref().map(|shift| shift.as_slice());
        if self.is_rms { super::Norm::Rms { scale: &self.scale } } else { super::Norm::Layer { scale: &self.scale, shift } }
    }
}

/// Heads of every row; the whole rows where `count` is 0.
struct Heads<'a> {
    norm: &'a Norm,
    first: usize,
    count: usize,
}

impl InplaceOp1 for Heads<'_> {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let values = contiguous(x, layout)?;
        let (norm, epsilon) = (self.norm.kernel(), self.norm.epsilon);
        if self.count == 0 {
            return super::add_normalize((values, None), &norm, epsilon, Target::InPlace(None)).map_err(candle_core::Error::wrap);
        }
        let (_, columns) = layout.shape().dims2()?;
        let heads = self.first..self.first + self.count * self.norm.scale.len();
        if heads.end > columns {
            bail!("norm: heads up to column {}, a row has {columns}", heads.end);
        }
        for row in values.chunks_exact_mut(columns) {
            let heads = (&mut row[heads.clone()], None);
            super::add_normalize(heads, &norm, epsilon, Target::InPlace(None)).map_err(candle_core::Error::wrap)?;
        }
        Ok(())
    }
}

struct OfSum<'a>(&'a Norm);

impl InplaceOp2 for OfSum<'_> {
    fn name(&self) -> &'static str {
        "norm of a sum"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout, residual: &CpuStorage, residual_layout: &Layout) -> Result<()> {
        let sum = (contiguous(x, layout)?, Some(read(residual, residual_layout)?));
        super::add_normalize(sum, &self.0.kernel(), self.0.epsilon, Target::InPlace(None)).map_err(candle_core::Error::wrap)
    }
}

struct ThenSum<'a>(&'a Norm);

impl InplaceOp2 for ThenSum<'_> {
    fn name(&self) -> &'static str {
        "norm, then a sum"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout, residual: &CpuStorage, residual_layout: &Layout) -> Result<()> {
        let (values, residual) = (contiguous(x, layout)?, read(residual, residual_layout)?);
        if values.len() != residual.len() {
            bail!("norm: {} numbers and a residual of {}", values.len(), residual.len());
        }
        super::add_normalize((&mut *values, None), &self.0.kernel(), self.0.epsilon, Target::InPlace(None))
            .map_err(candle_core::Error::wrap)?;
        values.iter_mut().zip(residual).for_each(|(value, residual)| *value += residual);
        Ok(())
    }
}

fn contiguous<'a>(x: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (x, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&mut values[from..to]),
        _ => bail!("norm: contiguous f32 tensors can be normalised"),
    }
}

fn read<'a>(x: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (x, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => bail!("norm: contiguous f32 residuals can be added"),
    }
}
