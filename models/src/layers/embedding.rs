//! Rows of a table by number.

use candle_core::Tensor;

use crate::ModelError;
use crate::weights::Weights;

/// A table `[rows, size]` f32.
pub struct Embedding {
    table: Tensor,
    /// What every row is multiplied by when it is read.
    factor: Option<f64>,
}

impl Embedding {
    /// Takes the tensor `name` `[rows, size]`. Errors: `Corrupt` for a missing tensor or another shape.
    pub fn take(weights: &mut Weights, name: &str, shape: (usize, usize)) -> Result<Self, ModelError> {
        Ok(Self { table: weights.take(name, &[shape.0, shape.1])?, factor: None })
    }

    /// The same table whose rows are multiplied by `factor` when they are read.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { factor: Some(factor), ..self }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.table.dims()[0]
    }

    /// The rows of `ids`, `[ids, size]`. Errors: `Input` for an id without a row.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor, ModelError> {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.rows()) {
            return Err(ModelError::input(format!("token id {id}, the embedding has {} rows", self.rows())));
        }
        let ids = Tensor::from_slice(ids, ids.len(), self.table.device())?;
        let rows = self.table.index_select(&ids, 0)?;
        Ok(match self.factor {
            Some(factor) => (rows * factor)?,
            None => rows,
        })
    }

    /// `x` `[n, size]` plus the rows of `ids`. Errors: as [`Self::forward`].
    pub fn forward_onto(&self, ids: &[u32], x: &Tensor) -> Result<Tensor, ModelError> {
        Ok((x + self.forward(ids)?)?)
    }

    /// `x` `[n, size]` plus row 0 in every row.
    pub fn first_onto(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(x.broadcast_add(&self.forward(&[0])?)?)
    }
}
