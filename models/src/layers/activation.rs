//! The functions between two linear layers.

use candle_core::Tensor;

pub use tallow_kernels::activation::Activation;

use crate::ModelError;

/// The activation of a `hidden_act` value. Errors: `Unsupported` naming what is known.
pub fn activation_named(name: &str) -> Result<Activation, ModelError> {
    match name {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        "tanh" => Ok(Activation::Tanh),
        other => Err(ModelError::unsupported(format!(
            "activation `{}`; supported: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, tanh",
            crate::error::shortened(other.escape_debug().to_string())
        ))),
    }
}

/// Applies an activation to every element of a tensor on any device.
pub fn activate(activation: Activation, x: &Tensor) -> Result<Tensor, ModelError> {
    Ok(match activation {
        Activation::Identity => x.clone(),
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::Relu => x.relu()?,
        Activation::Silu => x.silu()?,
        Activation::Tanh => x.tanh()?,
        Activation::Sigmoid => candle_nn::ops::sigmoid(x)?,
    })
}
