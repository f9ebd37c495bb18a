//! Angles: how fast each pair of numbers turns with the position, and the cosines and sines of all positions. Computed in `f64`, kept in `f32`.

use std::f64::consts::TAU;

use crate::KernelError;

/// Most positions of a table.
pub const ROTARY_POSITIONS_MAX: usize = 1 << 24;

/// How a model stretches the positions it was trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Scaling {
    /// Not at all.
    #[default]
    None,
    /// All positions are divided by the factor (Chen et al. 2023, arXiv:2306.15595).
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// The base grows, so that slow pairs are stretched and fast ones hardly. A dynamic scaling passes
    /// `factor * tokens / trained - (factor - 1)` when it makes the table for a longer sequence.
    Ntk {
        /// At least 1.
        factor: f64,
    },
    /// Slow pairs are divided by the factor, fast ones stay, those between are mixed (Llama 3.1).
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Pairs that turn fewer times than this over the trained positions are slow.
        low: f64,
        /// Pairs that turn more times than this are fast.
        high: f64,
        /// Positions of the training.
        trained: f64,
    },
    /// The same with a ramp over the pairs' numbers, and scores that are scaled to the length (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// At least 1.
        factor: f64,
        /// Turns over the trained positions from which a pair stays as it is, usually 32.
        fast: f64,
        /// Turns below which a pair is divided by the factor, usually 1.
        slow: f64,
        /// Positions of the training.
        trained: f64,
        /// Multiplies cosines and sines; `None` is the paper's `0.1 ln(factor) + 1`.
        attention: Option<f64>,
    },
}

/// How far each pair turns from one position to the next, in radians: `[dims / 2]`. `dims` numbers of a head are turned.
///
/// Errors: `Mismatch` for an odd number, `OutOfRange` for none or above 2^16, `Unsupported` for a base or a factor that is no positive number.
pub fn frequencies(dims: usize, base: f64, scaling: Scaling) -> Result<Vec<f64>, KernelError> {
    check(dims, base, scaling)?;
    let count = dims as f64;
    let powers = |base: f64| (0..dims / 2).map(move |pair| base.powf(-2.0 * pair as f64 / count));
    Ok(match scaling {
        Scaling::None => powers(base).collect(),
        Scaling::Linear { factor } => powers(base).map(|frequency| frequency / factor).collect(),
        // With one pair there is nothing between slow and fast.
        Scaling::Ntk { factor } if dims > 2 => powers(base * factor.powf(count / (count - 2.0))).collect(),
        Scaling::Ntk { .. } => powers(base).collect(),
        Scaling::Llama3 { factor, low, high, trained } => {
            let stretched = |frequency: f64| {
                let turns = trained * frequency / TAU;
                let stays = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (stays + (1.0 - stays) / factor)
            };
            powers(base).map(stretched).collect()
        }
        Scaling::Yarn { factor, fast, slow, trained, .. } => {
            let pair_of = |turns: f64| count * (trained / (turns * TAU)).ln() / (2.0 * base.ln());
            let first = pair_of(fast).floor().max(0.0);
            let last = pair_of(slow).ceil().min(count - 1.0);
            let width = if last == first { 1e-3 } else { last - first };
            let stretched = |(pair, frequency): (usize, f64)| {
                let stays = 1.0 - ((pair as f64 - first) / width).clamp(0.0, 1.0);
                frequency * (stays + (1.0 - stays) / factor)
            };
            powers(base).enumerate().map(stretched).collect()
        }
    })
}

fn check(dims: usize, base: f64, scaling: Scaling) -> Result<(), KernelError> {
    if dims == 0 || dims > 1 << 16 {
        return Err(KernelError::OutOfRange { op: "rotary", what: "dimensions", max: 1 << 16, got: dims });
    }
    if !dims.is_multiple_of(2) {
        return Err(KernelError::Mismatch { op: "rotary", what: "dimensions (an even number)", expected: dims + 1, got: dims });
    }
    let numbers = match scaling {
        Scaling::None => [base, 1.0, 1.0, 1.0],
        Scaling::Linear { factor } | Scaling::Ntk { factor } => [base, factor, 1.0, 1.0],
        Scaling::Llama3 { factor, low, high, trained } => [base, factor, trained, high - low],
        Scaling::Yarn { factor, fast, slow, trained, .. } => [base, factor, trained, fast.min(slow)],
    };
    let is_positive = |number: &f64| number.is_finite() && *number > 0.0;
    if base <= 1.0 || !numbers.iter().all(is_positive) {
        return Err(KernelError::Unsupported { op: "rotary", reason: "base above 1, factor and bounds must be positive numbers" });
    }
    Ok(())
}

/// Cosines and sines of the first positions, `[positions, dims / 2]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryTable {
    cosines: Vec<f32>,
    sines: Vec<f32>,
    pairs: usize,
}

impl RotaryTable {
    /// Of `positions` positions. Memory: `4 * positions * dims` bytes. Errors: as [`frequencies`]; `OutOfRange` for too many positions.
    pub fn new(dims: usize, positions: usize, base: f64, scaling: Scaling) -> Result<Self, KernelError> {
        let frequencies = frequencies(dims, base, scaling)?;
        if positions > ROTARY_POSITIONS_MAX {
            return Err(KernelError::OutOfRange { op: "rotary", what: "positions", max: ROTARY_POSITIONS_MAX, got: positions });
        }
        let size = match scaling {
            Scaling::Yarn { attention: Some(size), .. } => size,
            Scaling::Yarn { factor, .. } => 0.1 * factor.ln() + 1.0,
            _ => 1.0,
        };
        let angles = || (0..positions).flat_map(|position| frequencies.iter().map(move |frequency| position as f64 * frequency));
        let cosines = angles().map(|angle| (angle.cos() * size) as f32).collect();
        let sines = angles().map(|angle| (angle.sin() * size) as f32).collect();
        Ok(Self { cosines, sines, pairs: dims / 2 })
    }

    /// Of the first `positions` positions with angles in `f32`, as most models were trained: position times frequency, rounded, `frequencies` `[dims / 2]`.
    ///
    /// Errors: `OutOfRange` for no frequency or too many positions.
    pub fn with_rounded_angles(frequencies: &[f32], positions: usize) -> Result<Self, KernelError> {
        if frequencies.is_empty() {
            return Err(KernelError::OutOfRange { op: "rotary", what: "frequencies", max: 1 << 15, got: 0 });
        }
        if positions > ROTARY_POSITIONS_MAX {
            return Err(KernelError::OutOfRange { op: "rotary", what: "positions", max: ROTARY_POSITIONS_MAX, got: positions });
        }
        let angles = || (0..positions).flat_map(|position| frequencies.iter().map(move |frequency| position as f32 * frequency));
        let (cosines, sines) = (angles().map(f32::cos).collect(), angles().map(f32::sin).collect());
        Ok(Self { cosines, sines, pairs: frequencies.len() })
    }

    /// Numbers of a head that are turned.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.pairs * 2
    }

    /// Positions that it holds.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.cosines.len() / self.pairs
    }

    /// The cosines and sines of a position, `[dims / 2]` each. Panics beyond [`Self::positions`], as slices do.
    #[must_use]
    pub fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.pairs..(position + 1) * self.pairs;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}
