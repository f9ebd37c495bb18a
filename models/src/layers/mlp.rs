//! The two or three linear layers of a block that look at one token at a time.

use candle_core::Tensor;
use tallow_kernels::activation::tensor::Gate;

use super::{Activation, Linear, activate};
use crate::ModelError;
use crate::weights::Weights;

/// `down(activation(up(x)))`.
pub struct Mlp {
    /// `[wide, hidden]`.
    pub up: Linear,
    /// `[hidden, wide]`.
    pub down: Linear,
    /// Between them.
    pub activation: Activation,
}

impl Mlp {
    /// `x` and `residual` `[n, hidden]` to the sum of the layer's output and `residual`.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor, ModelError> {
        self.down.forward_onto(&self.up.forward_active(x, self.activation)?, residual)
    }
}

/// `down(activation(gate(x)) * up(x))`: GeGLU, SwiGLU and ReGLU.
///
/// Source: Shazeer 2020 (arXiv:2002.05202).
pub struct GatedMlp {
    /// Gate and up as one layer, the gate's outputs first.
    joined: Linear,
    down: Linear,
    wide: usize,
    activation: Activation,
}

/// How a file stores gate and up.
pub enum GatedNames<'a> {
    /// As two layers.
    Apart {
        /// The layer whose output is activated.
        gate: &'a str,
        /// The layer it multiplies.
        up: &'a str,
    },
    /// As one layer whose first half is the gate.
    GateFirst(&'a str),
    /// As one layer whose second half is the gate.
    GateLast(&'a str),
}

/// What a [`GatedMlp`] is made from.
pub struct GatedMlpSpec<'a> {
    /// Put before every name.
    pub prefix: &'a str,
    /// The layers in.
    pub names: GatedNames<'a>,
    /// The layer out.
    pub down: &'a str,
    /// Numbers per token.
    pub hidden: usize,
    /// Numbers between the layers.
    pub wide: usize,
    /// Biases of the layers in, and of the layer out.
    pub biases: (bool, bool),
    /// Of the gate.
    pub activation: Activation,
}

impl GatedMlp {
    /// Takes the layers. Errors: `Corrupt` for a missing tensor or another shape.
    pub fn take(weights: &mut Weights, spec: &GatedMlpSpec<'_>) -> Result<Self, ModelError> {
        let (hidden, wide, (bias_in, bias_out)) = (spec.hidden, spec.wide, spec.biases);
        let full = |name: &str| format!("{}{name}", spec.prefix);
        let joined = match spec.names {
            GatedNames::Apart { gate, up } => {
                let gate = Linear::take(weights, &full(gate), hidden, wide, bias_in)?;
                Linear::joined(&[gate, Linear::take(weights, &full(up), hidden, wide, bias_in)?])?
            }
            GatedNames::GateFirst(name) => Linear::take(weights, &full(name), hidden, 2 * wide, bias_in)?,
            GatedNames::GateLast(name) => {
                let stored = Linear::take(weights, &full(name), hidden, 2 * wide, bias_in)?;
                Linear::joined(&[stored.outputs(wide, wide)?, stored.outputs(0, wide)?])?
            }
        };
        let down = Linear::take(weights, &full(spec.down), wide, hidden, bias_out)?;
        Ok(Self { joined, down, wide, activation: spec.activation })
    }

    /// `x` `[n, hidden]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.down.forward(&self.gated(x)?)
    }

    /// [`Self::forward`] plus `residual` `[n, hidden]`.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor, ModelError> {
        self.down.forward_onto(&self.gated(x)?, residual)
    }

    fn gated(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let both = self.joined.forward(x)?;
        if both.device().is_cpu() {
            return Ok(Gate { activation: self.activation, dtype: self.down.input_dtype() }.forward(&both)?);
        }
        let (gate, up) = (both.narrow(1, 0, self.wide)?.contiguous()?, both.narrow(1, self.wide, self.wide)?);
        Ok((activate(self.activation, &gate)? * up)?)
    }
}
