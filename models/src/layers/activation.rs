//! The functions between two linear layers.

use candle_core::Tensor;

use crate::ModelError;

/// The activation between the two linear layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x·Φ(x) with the exact error function.
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// max(0, x).
    Relu,
    /// x·sigmoid(x).
    Silu,
    /// tanh.
    Tanh,
}

impl Activation {
    /// The activation of a `hidden_act` value. Errors: `Unsupported` naming what is known.
    pub fn named(name: &str) -> Result<Self, ModelError> {
        match name {
            "gelu" => Ok(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Self::GeluTanh),
            "relu" => Ok(Self::Relu),
            "silu" | "swish" => Ok(Self::Silu),
            "tanh" => Ok(Self::Tanh),
            other => Err(ModelError::unsupported(format!(
                "activation `{}`; supported: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, tanh",
                crate::error::shortened(other.escape_debug().to_string())
            ))),
        }
    }

    /// Applies it to every element.
    pub fn forward(self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match self {
            Self::Gelu => x.gelu_erf()?,
            Self::GeluTanh => x.gelu()?,
            Self::Relu => x.relu()?,
            Self::Silu => x.silu()?,
            Self::Tanh => x.tanh()?,
        })
    }
}
