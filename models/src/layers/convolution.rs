//! A convolution over the tokens of each sequence.

use candle_core::Tensor;

use super::Linear;
use crate::ModelError;
use crate::weights::Weights;

/// A convolution of odd width over neighbouring tokens; beyond the ends of a sequence there are zeros.
pub struct Convolution {
    /// On the neighbours of a token side by side, first to last.
    linear: Linear,
    width: usize,
}

impl Convolution {
    /// Takes `<name>.weight` `[size, size, width]` and `<name>.bias` `[size]`. Errors: `Corrupt` for a missing tensor or another shape.
    pub fn take(weights: &mut Weights, name: &str, size: usize, width: usize) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{name}.weight"), &[size, size, width])?;
        let bias = weights.take(&format!("{name}.bias"), &[size])?;
        let weight = weight.permute((0, 2, 1))?.reshape((size, width * size))?;
        Ok(Self { linear: Linear::from_parts(weight, Some(bias)), width })
    }

    /// `x` `[tokens, size]` to the same shape; `offsets` as in [`super::attention`].
    pub fn forward(&self, x: &Tensor, offsets: &[usize]) -> Result<Tensor, ModelError> {
        let (tokens, size) = x.dims2()?;
        let half = self.width / 2;
        // The row behind the last holds the zeros.
        let neighbour = |at: usize, step: usize, range: &[usize]| match (at + step).checked_sub(half) {
            Some(row) if row >= range[0] && row < range[1] => row as u32,
            _ => tokens as u32,
        };
        let rows: Vec<u32> = offsets
            .windows(2)
            .flat_map(|range| (range[0]..range[1]).flat_map(move |at| (0..self.width).map(move |step| neighbour(at, step, range))))
            .collect();
        let padded = Tensor::cat(&[x, &x.narrow(0, 0, 1)?.zeros_like()?], 0)?;
        let rows = Tensor::from_vec(rows, tokens * self.width, x.device())?;
        self.linear.forward(&padded.index_select(&rows, 0)?.reshape((tokens, self.width * size))?)
    }
}
