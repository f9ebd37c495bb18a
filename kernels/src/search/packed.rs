//! A batch of queries, scaled to length 1 and packed for the form in which a block's rows are multiplied.

use half::bf16;

use super::bound::{Bound, HALF_ROUNDING, Key};
use super::{Block, Sketch, StoredRows};
use crate::gemm::convert::{int8_scale, to_int8};
use crate::gemm::{PANEL_COLUMNS, PackedWeights, Precision, has_int8_products};
use crate::{Isa, KernelError};

/// How rows of a block meet the queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scheme {
    /// Widened to f32.
    Single,
    /// Rounded to bf16 on the way.
    Rounded,
    /// bf16 as they are stored.
    Half,
    /// int8 as they are stored.
    Int8,
    /// The int8 of their sketch.
    Sketch,
}

impl Scheme {
    pub(super) const COUNT: usize = 5;

    /// The fastest that the instructions have for the block.
    pub(super) fn of(isa: Isa, block: &Block<'_>) -> Self {
        let has_int8 = has_int8_products(isa);
        match (block.rows, block.sketch) {
            (_, Some(Sketch::Int8 { .. })) if has_int8 => Self::Sketch,
            (StoredRows::Int8 { .. }, _) if has_int8 => Self::Int8,
            (StoredRows::Bf16(_), _) if matches!(isa, Isa::Amx(_)) => Self::Half,
            _ if matches!(isa, Isa::Amx(_)) => Self::Rounded,
            _ => Self::Single,
        }
    }

    pub(super) fn is_int8(self) -> bool {
        matches!(self, Self::Int8 | Self::Sketch)
    }

    fn precision(self) -> Precision {
        match self {
            Self::Single => Precision::Exact,
            Self::Rounded | Self::Half => Precision::Bf16,
            Self::Int8 | Self::Sketch => Precision::Int8,
        }
    }
}

/// One query of a batch: a length that is bounded and not zero, and the values.
pub(super) struct Unit<'a> {
    pub norm: f64,
    pub values: &'a [f32],
}

/// Queries `[count, dim]` as the columns of a product.
pub(super) struct Packed {
    pub scheme: Scheme,
    pub weights: PackedWeights,
    /// One per query.
    pub bounds: Vec<Bound>,
    /// What the product of a column is multiplied with, one per query.
    pub scales: Vec<f32>,
}

impl Packed {
    pub(super) fn new((isa, scheme): (Isa, Scheme), key: Key, units: &[Unit<'_>], dim: usize) -> Result<Self, KernelError> {
        let values: Vec<f32> =
            units.iter().flat_map(|unit| unit.values.iter().map(|value| (f64::from(*value) / unit.norm) as f32)).collect();
        let weights = PackedWeights::pack_on(isa, &values, (units.len(), dim), scheme.precision())?;
        let rounding = if scheme == Scheme::Rounded { HALF_ROUNDING } else { 0.0 };
        // Integers are summed exactly.
        let terms = if scheme.is_int8() { 0 } else { dim.next_multiple_of(32) };
        let (mut bounds, mut scales) = (Vec::with_capacity(units.len()), Vec::with_capacity(units.len()));
        for (unit, values) in units.iter().zip(values.chunks_exact(dim)) {
            let (scale, inverse) = int8_scale(values);
            let stands_for = |value: f32| match scheme {
                Scheme::Single => f64::from(value),
                Scheme::Rounded | Scheme::Half => f64::from(bf16::from_f32(value).to_f32()),
                Scheme::Int8 | Scheme::Sketch => f64::from(to_int8(value, inverse)) * f64::from(scale),
            };
            let left = unit.values.iter().zip(values).map(|(own, value)| f64::from(*own) / unit.norm - stands_for(*value));
            let residual = left.map(|left| left * left).sum::<f64>().sqrt();
            bounds.push(Bound::new((key, unit.norm), residual, (rounding, terms)));
            scales.push(if scheme.is_int8() { scale } else { 1.0 });
        }
        Ok(Self { scheme, weights, bounds, scales })
    }

    /// The same with bounds that are guesses.
    pub(super) fn guess(mut self) -> Self {
        self.bounds.iter_mut().for_each(|bound| *bound = bound.guess());
        self
    }

    /// Panels of 32 columns.
    pub(super) fn panels(&self) -> usize {
        self.bounds.len().div_ceil(PANEL_COLUMNS)
    }
}
