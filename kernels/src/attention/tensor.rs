//! The candle door: attention on tensors of the CPU device.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

use super::{AttentionSpec, Mask};
use crate::gemm::{Input, Output, Precision};
use crate::{buffer, never_stop};

/// Attention over an unpadded batch.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Where each sequence begins, and the end of the last.
    pub offsets: Arc<Vec<usize>>,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Scores are multiplied with it.
    pub scale: f32,
    /// Which keys a query sees.
    pub mask: Mask,
    /// See [`AttentionSpec`].
    pub softcap: Option<f32>,
    /// See [`AttentionSpec`].
    pub distance_bias: Option<Arc<Vec<f32>>>,
    /// Of the products.
    pub precision: Precision,
    /// Of the result: `F32` or `BF16`.
    pub dtype: DType,
}

impl Attention {
    /// `qkv` `[tokens, (heads + 2 * kv_heads) * head_dim]` f32 or bf16, contiguous, on the CPU, to `[tokens, heads * head_dim]`.
    ///
    /// Errors: candle's, for other tensors.
    pub fn forward(&self, qkv: &Tensor) -> Result<Tensor> {
        qkv.apply_op1_no_bwd(self)
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, row) = layout.shape().dims2()?;
        let Some((from, to)) = layout.contiguous_offsets() else { bail!("attention: the operand must be contiguous") };
        let input = match qkv {
            CpuStorage::F32(values) => Input::F32(&values[from..to]),
            CpuStorage::BF16(values) => Input::Bf16(&values[from..to]),
            other => bail!("attention: {:?} inputs, f32 and bf16 can be used", candle_core::backend::BackendStorage::dtype(other)),
        };
        let head_dim = row / (self.heads + 2 * self.kv_heads).max(1);
        let spec = AttentionSpec {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim,
            scale: self.scale,
            mask: self.mask,
            softcap: self.softcap,
            distance_bias: self.distance_bias.as_ref().map(|bias| bias.as_slice()),
            precision: self.precision,
        };
        let width = self.heads * head_dim;
        let run = |out: Output<'_>| super::attention(input, &self.offsets, &spec, (out, &never_stop)).map_err(candle_core::Error::wrap);
        let storage = match self.dtype {
            DType::F32 => CpuStorage::F32(buffer::written(tokens * width, |out| run(Output::F32(out)))?),
            DType::BF16 => CpuStorage::BF16(buffer::written(tokens * width, |out| run(Output::Bf16(out)))?),
            other => bail!("attention: {other:?} results, f32 and bf16 can be written"),
        };
        Ok((storage, Shape::from((tokens, width))))
    }
}
