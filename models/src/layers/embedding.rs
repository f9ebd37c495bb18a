//! Rows of a table by number.

use candle_core::Tensor;
use tallow_kernels::gather::tensor::gather;

use crate::ModelError;
use crate::weights::Weights;

/// A table `[rows, size]` f32.
pub struct Embedding {
    table: Tensor,
    /// What every row is multiplied by when it is read.
    factor: f32,
}

impl Embedding {
    /// Takes the tensor `name` `[rows, size]`. Errors: `Corrupt` for a missing tensor or another shape.
    pub fn take(weights: &mut Weights, name: &str, shape: (usize, usize)) -> Result<Self, ModelError> {
        Ok(Self { table: weights.take(name, &[shape.0, shape.1])?.contiguous()?, factor: 1.0 })
    }

    /// The same table whose rows are multiplied by `factor` when they are read.
    #[must_use]
    pub fn scaled(self, factor: f32) -> Self {
        Self { factor, ..self }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.table.dims()[0]
    }

    /// The rows of `ids`, `[ids, size]`. Errors: `Input` for an id without a row.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor, ModelError> {
        Self::sum(&[(self, ids)])
    }

    /// The rows of several tables added up, as many ids of each and at least one table: `[ids, size]`. Errors: `Input` for an id without a row.
    pub fn sum(parts: &[(&Self, &[u32])]) -> Result<Tensor, ModelError> {
        for (part, ids) in parts {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= part.rows()) {
                return Err(ModelError::input(format!("token id {id}, the embedding has {} rows", part.rows())));
            }
        }
        if parts.iter().all(|(part, _)| part.table.device().is_cpu()) {
            let parts: Vec<(&Tensor, &[u32], f32)> = parts.iter().map(|(part, ids)| (&part.table, *ids, part.factor)).collect();
            return Ok(gather(&parts)?);
        }
        let rows = parts.iter().map(|(part, ids)| {
            let ids = Tensor::from_slice(ids, ids.len(), part.table.device())?;
            let rows = part.table.index_select(&ids, 0)?;
            if part.factor == 1.0 { Ok(rows) } else { rows * f64::from(part.factor) }
        });
        let sum = rows.reduce(|sum, rows| sum? + rows?);
        sum.unwrap_or_else(|| candle_core::bail!("the sum of no embedding")).map_err(ModelError::from)
    }
}
