//! Positions as rotations of queries and keys.
//!
//! Sources: Su et al. 2021 (arXiv:2104.09864); position interpolation, Chen et al. 2023 (arXiv:2306.15595); the fixed NTK scaling of
//! <https://kexue.fm/archives/9706>.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{D, Device, Tensor};
use candle_nn::rotary_emb::rope_thd;
use tallow_kernels::rotary::{self, tensor};

use super::AttentionSpec;
use crate::ModelError;

/// Positions of the first table.
const FIRST_POSITIONS: usize = 512;

/// How angles are stretched for more positions than a model began with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RotaryScaling {
    /// Not at all.
    None,
    /// Every angle is divided by this factor.
    Linear(f32),
    /// The base is multiplied by the factor, and every angle divided by its (2/`dim`)th power.
    Ntk(f32),
}

/// The angles of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotarySpec {
    /// Dimensions of a head; all of them are rotated, the first half paired with the second.
    pub dim: usize,
    /// The base of the frequencies.
    pub theta: f32,
    /// How they are stretched.
    pub scaling: RotaryScaling,
}

/// The rotation of a model.
pub struct Rotary {
    /// Angle per position, by pair of dimensions.
    frequencies: Vec<f32>,
    /// The host's rotations of the positions that were asked for so far.
    host: RwLock<Option<Arc<rotary::RotaryTable>>>,
}

/// The rotations of the tokens of one batch.
pub enum RotaryTable {
    /// By the kernel.
    Host(tensor::Rotary),
    /// `[tokens, dim / 2]` each.
    Device {
        /// Cosines.
        cos: Tensor,
        /// Sines.
        sin: Tensor,
    },
}

impl Rotary {
    /// The rotation of `spec`. Powers are rounded to f32 before they divide and angles are f32, as the models were trained: the angle of a far position
    /// depends on it.
    #[must_use]
    pub fn new(spec: &RotarySpec) -> Self {
        let (theta, divisor) = match spec.scaling {
            RotaryScaling::None => (spec.theta, 1.0),
            RotaryScaling::Linear(factor) => (spec.theta, factor),
            RotaryScaling::Ntk(factor) => (spec.theta * factor, (f64::from(factor)).powf(2.0 / spec.dim as f64) as f32),
        };
        let power = |pair: usize| f64::from(theta).powf(f64::from((2 * pair) as f32 / spec.dim as f32)) as f32;
        Self { frequencies: (0..spec.dim / 2).map(|pair| 1.0 / power(pair) / divisor).collect(), host: RwLock::new(None) }
    }

    /// The rotations of a batch: positions count from 0 in every sequence. `offsets` as in [`super::attention`].
    pub fn table(&self, offsets: &[usize], device: &Device) -> Result<RotaryTable, ModelError> {
        let positions: Vec<u32> = offsets.windows(2).flat_map(|pair| 0..(pair[1] - pair[0]) as u32).collect();
        let longest = positions.iter().max().map_or(0, |&last| last + 1);
        if device.is_cpu() {
            return Ok(RotaryTable::Host(tensor::Rotary { table: self.host(longest as usize)?, positions: Arc::new(positions) }));
        }
        let angles: Vec<f32> = (0..longest).flat_map(|at| self.frequencies.iter().map(move |frequency| at as f32 * frequency)).collect();
        let shape = (longest as usize, self.frequencies.len());
        let rows = Tensor::from_vec(positions.clone(), positions.len(), device)?;
        let of_tokens = |function: fn(f32) -> f32| -> Result<Tensor, ModelError> {
            let values: Vec<f32> = angles.iter().map(|&angle| function(angle)).collect();
            Ok(Tensor::from_vec(values, shape, device)?.index_select(&rows, 0)?)
        };
        Ok(RotaryTable::Device { cos: of_tokens(f32::cos)?, sin: of_tokens(f32::sin)? })
    }

    /// The host's table of at least so many positions; it grows by doubling and is shared.
    fn host(&self, positions: usize) -> Result<Arc<rotary::RotaryTable>, ModelError> {
        let held = self.host.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(table) = held.filter(|table| table.positions() >= positions) {
            return Ok(table);
        }
        let grown = positions.next_power_of_two().max(FIRST_POSITIONS);
        let table = rotary::RotaryTable::with_rounded_angles(&self.frequencies, grown)
            .map_err(|error| ModelError::Internal { reason: error.to_string() })?;
        let table = Arc::new(table);
        *self.host.write().unwrap_or_else(PoisonError::into_inner) = Some(table.clone());
        Ok(table)
    }
}

impl RotaryTable {
    /// `qkv` as [`super::attention`] takes it, held by nobody else, with queries and keys rotated.
    pub fn forward(&self, qkv: Tensor, spec: &AttentionSpec) -> Result<Tensor, ModelError> {
        let (cos, sin) = match self {
            Self::Host(rotary) => return Ok(rotary.over(qkv, (spec.heads + spec.kv_heads, spec.head_dim))?),
            Self::Device { cos, sin } => (cos, sin),
        };
        let tokens = qkv.dim(0)?;
        let turned = (spec.heads + spec.kv_heads) * spec.head_dim;
        let heads = qkv.narrow(D::Minus1, 0, turned)?.contiguous()?.reshape((1, tokens, spec.heads + spec.kv_heads, spec.head_dim))?;
        let heads = rope_thd(&heads, cos, sin)?.reshape((tokens, turned))?;
        Ok(Tensor::cat(&[&heads, &qkv.narrow(D::Minus1, turned, spec.kv_heads * spec.head_dim)?], D::Minus1)?)
    }
}
