//! The candle door: attention on tensors of the CPU device.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};

use super::{AttentionSpec, Mask, attention};
use crate::gemm::{Output, Precision};
use crate::never_stop;
use crate::tensor::{numbers, written};

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
        let (tokens, row) = qkv.dims2()?;
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
        let shape = (tokens, self.heads * head_dim);
        numbers(qkv, "attention", |qkv| match self.dtype {
            DType::F32 => written(shape, |out| attention(qkv, &self.offsets, &spec, (Output::F32(out), &never_stop))),
            DType::BF16 => written(shape, |out| attention(qkv, &self.offsets, &spec, (Output::Bf16(out), &never_stop))),
            other => bail!("attention: {other:?} results, f32 and bf16 can be written"),
        })
    }
}
