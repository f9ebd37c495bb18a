//! Matrix products with the weights: packed for the processor on the host, plain tensors on other devices.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{DType, Device, Tensor};
use tallow_kernels::gemm::{PackedWeights, Precision, tensor};

use super::Activation;
use crate::ModelError;
use crate::weights::Weights;

/// `x · wᵀ + b`; `w` `[out, in]`, `b` `[out]` or none.
///
/// On the host the weights are packed at the first use and the f32 ones let go: until then layers can be joined and cut.
pub struct Linear {
    dense: Mutex<Option<Dense>>,
    packed: OnceLock<Result<Packed, ModelError>>,
    device: Device,
    precision: Precision,
}

/// As it came from the file, f32.
#[derive(Clone)]
struct Dense {
    weight: Tensor,
    bias: Option<Tensor>,
}

struct Packed {
    weights: Arc<PackedWeights>,
    bias: Option<Arc<Vec<f32>>>,
}

/// The type of numbers that only products of this precision read: bf16 on the host where they would be rounded to it anyway, or further.
pub(super) fn narrow(device: &Device, precision: Precision) -> DType {
    if device.is_cpu() && precision != Precision::Exact { DType::BF16 } else { DType::F32 }
}

impl Linear {
    /// Takes `<name>.weight` `[out, in]` and, with `has_bias`, `<name>.bias` `[out]`. Errors: `Corrupt` for a missing tensor or another shape.
    pub fn take(weights: &mut Weights, name: &str, inputs: usize, outputs: usize, has_bias: bool) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = has_bias.then(|| weights.take(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Self { precision: weights.precision(), ..Self::from_parts(weight, bias) })
    }

    /// The layer of a weight `[out, in]` and a bias `[out]`, computed as `exact`.
    #[must_use]
    pub fn from_parts(weight: Tensor, bias: Option<Tensor>) -> Self {
        let device = weight.device().clone();
        Self { dense: Mutex::new(Some(Dense { weight, bias })), packed: OnceLock::new(), device, precision: Precision::Exact }
    }

    /// The tensors of a layer that was not used yet. Errors: `Internal` for one that was.
    fn dense(&self) -> Result<Dense, ModelError> {
        let dense = self.dense.lock().unwrap_or_else(PoisonError::into_inner);
        dense.clone().ok_or_else(|| ModelError::Internal { reason: "a linear layer that is in use cannot be changed".into() })
    }

    /// Several layers on the same input as one: their outputs side by side. Where only some parts have a bias, the others' is zero.
    pub fn joined(parts: &[Self]) -> Result<Self, ModelError> {
        let dense: Vec<Dense> = parts.iter().map(Self::dense).collect::<Result<_, _>>()?;
        let weights: Vec<&Tensor> = dense.iter().map(|part| &part.weight).collect();
        let bias = if dense.iter().any(|part| part.bias.is_some()) {
            let biases = dense
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
        let precision = parts.first().map_or(Precision::Exact, |part| part.precision);
        Ok(Self { precision, ..Self::from_parts(Tensor::cat(&weights, 0)?, bias) })
    }

    /// The layer whose outputs are `from..from + count` of this one.
    pub fn outputs(&self, from: usize, count: usize) -> Result<Self, ModelError> {
        let Dense { weight, bias } = self.dense()?;
        let bias = bias.map(|bias| bias.narrow(0, from, count)).transpose()?;
        Ok(Self { precision: self.precision, ..Self::from_parts(weight.narrow(0, from, count)?, bias) })
    }

    /// Where the weights lie.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// `x` `[n, in]` to `[n, out]` f32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.run(x, (Activation::Identity, None), DType::F32)
    }

    /// [`Self::forward`] plus `residual` `[n, out]` f32.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor, ModelError> {
        self.run(x, (Activation::Identity, Some(residual)), DType::F32)
    }

    /// The activation of [`Self::forward`], for products alone: as narrow as `narrow` says.
    pub fn forward_active(&self, x: &Tensor, activation: Activation) -> Result<Tensor, ModelError> {
        self.run(x, (activation, None), narrow(&self.device, self.precision))
    }

    /// The type of its input that loses nothing that its arithmetic would keep.
    #[must_use]
    pub fn input_dtype(&self) -> DType {
        narrow(&self.device, self.precision)
    }

    fn run(&self, x: &Tensor, (activation, residual): (Activation, Option<&Tensor>), dtype: DType) -> Result<Tensor, ModelError> {
        if self.device.is_cpu() {
            let Packed { weights, bias } = self.packed.get_or_init(|| self.pack()).as_ref().map_err(Clone::clone)?;
            let linear = tensor::Linear { weights: weights.clone(), bias: bias.clone(), activation, dtype };
            let residual = residual.map(Tensor::contiguous).transpose()?;
            return Ok(linear.forward(&x.contiguous()?, residual.as_ref())?);
        }
        let active = super::activate(activation, &self.forward_unpacked(x)?)?;
        Ok(match residual {
            Some(residual) => (active + residual)?,
            None => active,
        })
    }

    /// [`Self::forward`] in plain f32 of a layer that was not used yet, and that may be joined afterwards. Errors: `Internal` for one that was.
    pub fn forward_unpacked(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let Dense { weight, bias } = self.dense()?;
        let product = x.matmul(&weight.t()?)?;
        Ok(match bias {
            Some(bias) => product.broadcast_add(&bias)?,
            None => product,
        })
    }

    /// The packed form; the f32 weights are let go.
    fn pack(&self) -> Result<Packed, ModelError> {
        let taken = self.dense.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Dense { weight, bias } = taken.ok_or_else(|| ModelError::Internal { reason: "a linear layer without weights".into() })?;
        let shape = weight.dims2()?;
        let values: Vec<f32> = weight.flatten_all()?.to_vec1()?;
        drop(weight);
        let weights =
            PackedWeights::pack(&values, shape, self.precision).map_err(|error| ModelError::Internal { reason: error.to_string() })?;
        let bias = bias.map(|bias| bias.to_vec1().map(Arc::new)).transpose()?;
        Ok(Packed { weights: Arc::new(weights), bias })
    }
}
