//! The candle door: norms of tensors of the CPU device.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

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
        x.apply_op1_no_bwd(self)
    }
}

impl CustomOp1 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(values), Some((from, to))) = (x, layout.contiguous_offsets()) else {
            bail!("norm: contiguous f32 tensors can be normalised");
        };
        let shift = self.shift.as_ref().map(|shift| shift.as_slice());
        let norm = if self.is_rms { super::Norm::Rms { scale: &self.scale } } else { super::Norm::Layer { scale: &self.scale, shift } };
        let mut out = vec![0f32; to - from];
        super::normalize(&values[from..to], &norm, self.epsilon, &mut out).map_err(candle_core::Error::wrap)?;
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}
