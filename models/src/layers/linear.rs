//! Linear layers: packed for the processor on the host, plain tensors on other devices.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use tallow_kernels::gemm::{PackedWeights, Precision, tensor};

use super::Activation;
use crate::ModelError;
use crate::weights::Weights;

/// `x · wᵀ + b`, `w` `[out, in]`.
pub struct Linear {
    form: Form,
    device: Device,
}

enum Form {
    /// As it came from the file, f32.
    Dense { weight: Tensor, bias: Option<Tensor> },
    /// Packed, with the arithmetic that the packing decided.
    Packed { weights: Arc<PackedWeights>, bias: Option<Arc<Vec<f32>>> },
}

/// What follows a linear layer while its result is near.
#[derive(Clone, Copy, Default)]
pub struct Then<'a> {
    /// Applied to every number.
    pub activation: Activation,
    /// Added last, f32.
    pub residual: Option<&'a Tensor>,
    /// True when only another linear layer reads the result, which may then be as narrow as that one's arithmetic.
    pub feeds_linear: bool,
}

impl Linear {
    /// Takes `<name>.weight` `[out, in]` and, with `has_bias`, `<name>.bias` `[out]`. Errors: `Corrupt` for a missing tensor or another shape.
    pub fn take(weights: &mut Weights, name: &str, inputs: usize, outputs: usize, has_bias: bool) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = has_bias.then(|| weights.take(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Self::dense(weight, bias))
    }

    fn dense(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { device: weight.device().clone(), form: Form::Dense { weight, bias } }
    }

    /// The tensors of a layer that is not packed yet. Errors: `Internal` for one that is.
    fn into_dense(self) -> Result<(Tensor, Option<Tensor>), ModelError> {
        match self.form {
            Form::Dense { weight, bias } => Ok((weight, bias)),
            Form::Packed { .. } => Err(ModelError::Internal { reason: "a packed layer cannot be changed".into() }),
        }
    }

    /// Several layers on the same input as one: their outputs side by side. Every part needs a bias.
    pub fn joined(parts: Vec<Self>) -> Result<Self, ModelError> {
        let parts: Vec<(Tensor, Option<Tensor>)> = parts.into_iter().map(Self::into_dense).collect::<Result<_, _>>()?;
        let weights: Vec<&Tensor> = parts.iter().map(|(weight, _)| weight).collect();
        let biases: Vec<&Tensor> = parts.iter().filter_map(|(_, bias)| bias.as_ref()).collect();
        if biases.len() != parts.len() {
            return Err(ModelError::Internal { reason: "layers without bias cannot be joined".into() });
        }
        Ok(Self::dense(Tensor::cat(&weights, 0)?, Some(Tensor::cat(&biases, 0)?)))
    }

    /// The layer in the form that computes fastest: on the host packed for `precision`, elsewhere as it is. The f32 weights are let go.
    ///
    /// Errors: `Internal` for a layer that is packed already.
    pub fn packed(self, precision: Precision) -> Result<Self, ModelError> {
        if !self.device.is_cpu() {
            return Ok(self);
        }
        let device = self.device.clone();
        let (weight, bias) = self.into_dense()?;
        let shape = weight.dims2()?;
        let values: Vec<f32> = weight.flatten_all()?.to_vec1()?;
        let weights = PackedWeights::pack(&values, shape, precision).map_err(|error| ModelError::Internal { reason: error.to_string() })?;
        let bias = bias.map(|bias| bias.to_vec1().map(Arc::new)).transpose()?;
        Ok(Self { form: Form::Packed { weights: Arc::new(weights), bias }, device })
    }

    /// Where the weights lie.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// `x` `[n, in]` to `[n, out]` f32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.forward_then(x, &Then::default())
    }

    /// `x` `[n, in]` to `[n, out]` and what follows; f32 unless the result feeds a linear layer.
    pub fn forward_then(&self, x: &Tensor, then: &Then<'_>) -> Result<Tensor, ModelError> {
        match &self.form {
            Form::Packed { weights, bias } => {
                let narrow = then.feeds_linear && weights.precision() != Precision::Exact;
                let dtype = if narrow { DType::BF16 } else { DType::F32 };
                let linear = tensor::Linear { weights: weights.clone(), bias: bias.clone(), activation: then.activation, dtype };
                Ok(linear.forward(&x.contiguous()?, then.residual)?)
            }
            Form::Dense { weight, bias } => {
                let product = x.matmul(&weight.t()?)?;
                let biased = match bias {
                    Some(bias) => product.broadcast_add(bias)?,
                    None => product,
                };
                let active = super::activate(then.activation, &biased)?;
                Ok(match then.residual {
                    Some(residual) => (active + residual)?,
                    None => active,
                })
            }
        }
    }
}
