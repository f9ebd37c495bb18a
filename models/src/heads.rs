//! What comes after the transformer: the heads of tasks, and after pooling the dense layers and the normalisation that a sentence-transformers model
//! may end in.

mod plan;
mod task;

use std::path::Path;

use candle_core::{Device, Tensor};
use serde::Deserialize;

pub use plan::{HeadKind, HeadPlan, ScoreRule};
pub(crate) use task::log_sums;
pub use task::{MaskedHead, SequenceHead, SparseRule, TaskHead, TokenHead, VOCABULARY_WORK_BYTES};

use crate::ModelError;
use crate::gguf::DenseLayer;
use crate::layers::Linear;
use crate::pooling::normalize_rows;
use crate::source::files::read_json;
use crate::weights::{Weights, weight_files};

/// Dimensions beyond this are refused.
const FEATURES_MAX: usize = 65_536;

/// One step after pooling.
pub enum Head {
    /// A linear layer with an activation.
    Dense {
        /// The layer.
        linear: Linear,
        /// What follows it.
        activation: HeadActivation,
    },
    /// L2 normalisation.
    Normalize,
}

/// The activation of a dense head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadActivation {
    /// Nothing.
    Identity,
    /// tanh.
    Tanh,
    /// max(0, x).
    Relu,
    /// The exact GELU.
    Gelu,
}

#[derive(Deserialize)]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default)]
    activation_function: Option<String>,
}

fn yes() -> bool {
    true
}

impl Head {
    /// Reads a `Dense` module. Errors: `Unsupported` for an unknown activation, `Corrupt` when `width` is not what it takes.
    pub fn read_dense(folder: &Path, width: usize, device: &Device) -> Result<(Self, usize), ModelError> {
        let config: DenseConfig = read_json(&folder.join("config.json"))?;
        if config.in_features != width || config.out_features == 0 || config.out_features > FEATURES_MAX {
            return Err(ModelError::corrupt(
                "config.json of the Dense module",
                "in_features, out_features",
                format!("found {} and {}, expected {width} and 1 to {FEATURES_MAX}", config.in_features, config.out_features),
            ));
        }
        let name = config.activation_function.as_deref().unwrap_or("torch.nn.modules.activation.Tanh");
        let activation = match name.rsplit('.').next().unwrap_or(name) {
            "Identity" => HeadActivation::Identity,
            "Tanh" => HeadActivation::Tanh,
            "ReLU" => HeadActivation::Relu,
            "GELU" => HeadActivation::Gelu,
            other => {
                return Err(ModelError::unsupported(format!(
                    "activation `{}` of the Dense module; supported: Identity, Tanh, ReLU, GELU",
                    other.escape_debug()
                )));
            }
        };
        let mut weights = Weights::read(&weight_files(folder)?, device)?;
        let linear = Linear::take(&mut weights, "linear", config.in_features, config.out_features, config.bias)?;
        Ok((Self::Dense { linear, activation }, config.out_features))
    }

    /// Takes a linear layer that the model's own weights hold, without bias and activation. Errors: `Corrupt` for a missing tensor or another shape.
    pub fn take_dense(weights: &mut Weights, layer: &DenseLayer) -> Result<(Self, usize), ModelError> {
        let (inputs, outputs) = layer.sizes;
        let linear = Linear::take(weights, layer.name, inputs, outputs, false)?;
        Ok((Self::Dense { linear, activation: HeadActivation::Identity }, outputs))
    }

    /// Applies the step to `rows` `[n, width]`; gives the new width.
    pub fn apply(&self, rows: Vec<f32>, width: usize) -> Result<(Vec<f32>, usize), ModelError> {
        match self {
            Self::Normalize => {
                let mut rows = rows;
                normalize_rows(&mut rows, width);
                Ok((rows, width))
            }
            Self::Dense { linear, activation } => {
                let count = rows.len() / width.max(1);
                let out = linear.forward(&Tensor::from_vec(rows, (count, width), linear.device())?)?;
                let out = match activation {
                    HeadActivation::Identity => out,
                    HeadActivation::Tanh => out.tanh()?,
                    HeadActivation::Relu => out.relu()?,
                    HeadActivation::Gelu => out.gelu_erf()?,
                };
                let width = out.dim(1)?;
                Ok((out.flatten_all()?.to_vec1()?, width))
            }
        }
    }
}
