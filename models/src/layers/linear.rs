//! Matrix products with the weights.

use candle_core::{Device, Tensor};

use crate::ModelError;
use crate::weights::Weights;

/// `x · wᵀ + b`; `w` `[out, in]` f32, `b` `[out]` or none.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Takes `<name>.weight` `[out, in]` and, with `has_bias`, `<name>.bias` `[out]`. Errors: `Corrupt` for a missing tensor or another shape.
    pub fn take(weights: &mut Weights, name: &str, inputs: usize, outputs: usize, has_bias: bool) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = has_bias.then(|| weights.take(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Self { weight, bias })
    }

    /// The layer of a weight `[out, in]` and a bias `[out]`.
    #[must_use]
    pub fn from_parts(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// Several layers on the same input as one: their outputs side by side. Where only some parts have a bias, the others' is zero.
    pub fn joined(parts: &[Self]) -> Result<Self, ModelError> {
        let weights: Vec<&Tensor> = parts.iter().map(|part| &part.weight).collect();
        let bias = if parts.iter().any(|part| part.bias.is_some()) {
            let biases = parts
                .iter()
                .map(|part| match &part.bias {
                    Some(bias) => Ok(bias.clone()),
                    None => part.weight.narrow(1, 0, 1)?.squeeze(1)?.zeros_like(),
                })
                .collect::<Result<Vec<_>, _>>()?;
            Some(Tensor::cat(&biases, 0)?)
        } else {
            None
        };
        Ok(Self { weight: Tensor::cat(&weights, 0)?, bias })
    }

    /// The layer whose outputs are `from..from + count` of this one.
    pub fn outputs(&self, from: usize, count: usize) -> Result<Self, ModelError> {
        let bias = self.bias.as_ref().map(|bias| bias.narrow(0, from, count)).transpose()?;
        Ok(Self { weight: self.weight.narrow(0, from, count)?, bias })
    }

    /// Where the weights lie.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.weight.device()
    }

    /// `x` `[n, in]` f32 to `[n, out]` f32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let product = x.matmul(&self.weight.t()?)?;
        Ok(match &self.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        })
    }

    /// [`Self::forward`] plus `residual` `[n, out]`.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor, ModelError> {
        Ok((self.forward(x)? + residual)?)
    }
}
