//! Normalisation of the last dimension.

use std::sync::Arc;

use candle_core::{D, Tensor};
use candle_nn::ops::{layer_norm, rms_norm};
use tallow_kernels::norm::tensor;

use super::AttentionSpec;
use crate::ModelError;
use crate::weights::Weights;

/// Normalises the last dimension to mean 0 and variance 1, then scales and shifts.
pub struct LayerNorm {
    scale: Tensor,
    shift: Tensor,
    epsilon: f32,
    /// On the host.
    kernel: Option<tensor::Norm>,
}

impl LayerNorm {
    /// Takes `<name>.weight` and `<name>.bias` `[size]` (`gamma` and `beta` in old files). Errors: `Corrupt`.
    pub fn take(weights: &mut Weights, name: &str, size: usize, epsilon: f64) -> Result<Self, ModelError> {
        let old = weights.contains(&format!("{name}.gamma"));
        let (scale, shift) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let scale = weights.take(&format!("{name}.{scale}"), &[size])?;
        let shift = weights.take(&format!("{name}.{shift}"), &[size])?;
        Self::of(scale, shift, epsilon as f32)
    }

    /// Takes `<name>.weight` `[size]` alone: nothing is shifted. Errors: `Corrupt`.
    pub fn take_unshifted(weights: &mut Weights, name: &str, size: usize, epsilon: f64) -> Result<Self, ModelError> {
        let scale = weights.take(&format!("{name}.weight"), &[size])?;
        let shift = scale.zeros_like()?;
        Self::of(scale, shift, epsilon as f32)
    }

    fn of(scale: Tensor, shift: Tensor, epsilon: f32) -> Result<Self, ModelError> {
        let kernel = kernel(&scale, Some(&shift), epsilon)?;
        Ok(Self { scale, shift, epsilon, kernel })
    }

    /// `x` `[.., size]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let x = x.contiguous()?;
        Ok(match &self.kernel {
            Some(kernel) => kernel.forward(&x)?,
            None => layer_norm(&x, &self.scale, &self.shift, self.epsilon)?,
        })
    }

    /// [`Self::forward`] of a tensor that nobody else holds, over it.
    pub fn forward_over(&self, x: Tensor) -> Result<Tensor, ModelError> {
        match &self.kernel {
            Some(kernel) => Ok(kernel.over(x.contiguous()?)?),
            None => self.forward(&x),
        }
    }

    /// [`Self::forward`] of `x`, which nobody else holds, plus `residual`, both `[n, size]`.
    pub fn forward_sum(&self, x: Tensor, residual: &Tensor) -> Result<Tensor, ModelError> {
        match &self.kernel {
            Some(kernel) => Ok(kernel.of_sum(x.contiguous()?, &residual.contiguous()?)?),
            None => self.forward(&(x + residual)?),
        }
    }
}

/// Divides the last dimension by the root of its mean square, then scales.
///
/// Source: Zhang and Sennrich 2019 (arXiv:1910.07467).
pub struct RmsNorm {
    scale: Tensor,
    epsilon: f32,
    /// On the host.
    kernel: Option<tensor::Norm>,
}

impl RmsNorm {
    /// Takes `<name>.weight` `[size]`. Errors: `Corrupt`.
    pub fn take(weights: &mut Weights, name: &str, size: usize, epsilon: f64) -> Result<Self, ModelError> {
        Self::of(weights.take(&format!("{name}.weight"), &[size])?, epsilon as f32)
    }

    fn of(scale: Tensor, epsilon: f32) -> Result<Self, ModelError> {
        let kernel = kernel(&scale, None, epsilon)?;
        Ok(Self { scale, epsilon, kernel })
    }

    /// The same norm with scales that are stored as their distance from 1.
    pub fn offset_by_one(self) -> Result<Self, ModelError> {
        Self::of((self.scale + 1.0)?, self.epsilon)
    }

    /// `x` `[.., size]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let x = x.contiguous()?;
        Ok(match &self.kernel {
            Some(kernel) => kernel.forward(&x)?,
            None => rms_norm(&x, &self.scale, self.epsilon)?,
        })
    }

    /// [`Self::forward`] of `x`, which nobody else holds, and then plus `residual`, both `[n, size]`.
    pub fn forward_onto(&self, x: Tensor, residual: &Tensor) -> Result<Tensor, ModelError> {
        match &self.kernel {
            Some(kernel) => Ok(kernel.then_sum(x.contiguous()?, &residual.contiguous()?)?),
            None => Ok((self.forward(&x)? + residual)?),
        }
    }
}

/// The host's kernel of a norm, with RMSNorm's rule where nothing is shifted; none on other devices.
fn kernel(scale: &Tensor, shift: Option<&Tensor>, epsilon: f32) -> Result<Option<tensor::Norm>, ModelError> {
    if !scale.device().is_cpu() {
        return Ok(None);
    }
    let numbers = |tensor: &Tensor| tensor.to_vec1().map(Arc::new);
    Ok(Some(tensor::Norm { scale: numbers(scale)?, shift: shift.map(numbers).transpose()?, is_rms: shift.is_none(), epsilon }))
}

/// What normalises queries and keys before they meet.
pub enum QkNorm {
    /// Every head by itself, over its `head_dim` values.
    Heads {
        /// Of the queries.
        query: RmsNorm,
        /// Of the keys.
        key: RmsNorm,
    },
    /// All heads of a token together, over its `heads * head_dim` values.
    Rows {
        /// Of the queries.
        query: LayerNorm,
        /// Of the keys.
        key: LayerNorm,
    },
}

impl QkNorm {
    /// `qkv` as [`super::attention`] takes it, held by nobody else, with queries and keys normalised.
    pub fn forward(&self, qkv: Tensor, spec: &AttentionSpec) -> Result<Tensor, ModelError> {
        let (wide, narrow) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let (kernels, counts) = match self {
            Self::Heads { query, key } => ((&query.kernel, &key.kernel), (spec.heads, spec.kv_heads)),
            Self::Rows { query, key } => ((&query.kernel, &key.kernel), (1, 1)),
        };
        if let (Some(query), Some(key)) = kernels {
            query.over_heads(&qkv, (0, counts.0))?;
            key.over_heads(&qkv, (wide, counts.1))?;
            return Ok(qkv);
        }
        let (query, key) = (qkv.narrow(D::Minus1, 0, wide)?, qkv.narrow(D::Minus1, wide, narrow)?);
        let by_heads = |part: &Tensor, heads: usize, norm: &RmsNorm| -> Result<Tensor, ModelError> {
            Ok(norm.forward(&part.reshape(((), heads, spec.head_dim))?)?.flatten_from(1)?)
        };
        let (query, key) = match self {
            Self::Heads { query: query_norm, key: key_norm } => {
                (by_heads(&query, spec.heads, query_norm)?, by_heads(&key, spec.kv_heads, key_norm)?)
            }
            Self::Rows { query: query_norm, key: key_norm } => (query_norm.forward(&query)?, key_norm.forward(&key)?),
        };
        Ok(Tensor::cat(&[&query, &key, &qkv.narrow(D::Minus1, wide + narrow, narrow)?], D::Minus1)?)
    }
}
