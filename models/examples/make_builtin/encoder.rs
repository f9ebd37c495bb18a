//! The forward pass of a BERT encoder in f64, for sequences of one length and no padding.
//!
//! It exists because the made file must not depend on the processor: in f32 the last bits do, in f64 they vanish in the rounding to 4 bits.
//! The candle models cannot be used for it, since candle's layer norm has no f64 form on the CPU.

use std::collections::HashMap;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use serde::Deserialize;

/// The fields of `config.json` that the forward pass needs.
#[derive(Deserialize)]
pub(crate) struct Config {
    hidden_size: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    layer_norm_eps: f64,
}

/// Weights by their names in the file, and the sizes.
pub(crate) struct Encoder {
    weights: HashMap<String, Tensor>,
    config: Config,
}

impl Encoder {
    /// Reads a safetensors file's bytes, widened to f64.
    pub(crate) fn new(bytes: &[u8], config: Config) -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        let weights: Result<_> = tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F64)?))).collect();
        Ok(Self { weights: weights?, config })
    }

    /// Last hidden states `[batch, length, hidden]` f64 of `ids` `[batch, length]` u32.
    pub(crate) fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, length) = ids.dims2()?;
        let width = self.config.hidden_size;
        let words = self.weight("embeddings.word_embeddings.weight")?.index_select(&ids.flatten_all()?, 0)?;
        let places = self.weight("embeddings.position_embeddings.weight")?.narrow(0, 0, length)?;
        let kind = self.weight("embeddings.token_type_embeddings.weight")?.narrow(0, 0, 1)?;
        let summed = words.reshape((batch, length, width))?.broadcast_add(&places)?.broadcast_add(&kind)?;
        let mut states = self.norm(&summed, "embeddings.LayerNorm")?;
        for layer in 0..self.config.num_hidden_layers {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            let attended = self.linear(&self.attention(&states, &name("attention.self"))?, &name("attention.output.dense"))?;
            states = self.norm(&(attended + &states)?, &name("attention.output.LayerNorm"))?;
            let inner = self.linear(&states, &name("intermediate.dense"))?.gelu_erf()?;
            states = self.norm(&(self.linear(&inner, &name("output.dense"))? + &states)?, &name("output.LayerNorm"))?;
        }
        Ok(states)
    }

    fn attention(&self, states: &Tensor, name: &str) -> Result<Tensor> {
        let (batch, length, width) = states.dims3()?;
        let heads = self.config.num_attention_heads;
        let split = |part: &str| {
            let flat = self.linear(states, &format!("{name}.{part}"))?;
            flat.reshape((batch, length, heads, width / heads))?.transpose(1, 2)?.contiguous()
        };
        let (query, key, value) = (split("query")?, split("key")?, split("value")?);
        let scores = (query.matmul(&key.t()?)? / ((width / heads) as f64).sqrt())?;
        softmax_last_dim(&scores)?.matmul(&value)?.transpose(1, 2)?.reshape((batch, length, width))
    }

    fn linear(&self, states: &Tensor, name: &str) -> Result<Tensor> {
        let (batch, length, width) = states.dims3()?;
        let weight = self.weight(&format!("{name}.weight"))?;
        let flat = states.reshape((batch * length, width))?.matmul(&weight.t()?)?;
        flat.broadcast_add(self.weight(&format!("{name}.bias"))?)?.reshape((batch, length, weight.dim(0)?))
    }

    fn norm(&self, states: &Tensor, name: &str) -> Result<Tensor> {
        let centred = states.broadcast_sub(&states.mean_keepdim(D::Minus1)?)?;
        let spread = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.config.layer_norm_eps)?.sqrt()?;
        let unit = centred.broadcast_div(&spread)?;
        unit.broadcast_mul(self.weight(&format!("{name}.weight"))?)?.broadcast_add(self.weight(&format!("{name}.bias"))?)
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        self.weights.get(name).ok_or_else(|| candle_core::Error::Msg(format!("the model has no tensor {name}")))
    }
}
