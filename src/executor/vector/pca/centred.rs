//! Rows less their mean, block by block, and directions at right angles.

use ndarray::{Array2, ArrayView2, ArrayViewMut1, Axis};
use rayon::prelude::*;
use tallow_kernels::Rows;

use crate::executor::vector::reduce::fold_columns;
use crate::task::{CancelHandle, TaskError};

/// Rows that are centred and multiplied together.
pub(super) const BLOCK_ROWS: usize = 256;

/// Rows from which the mean is taken block by block.
pub(in crate::executor::vector) struct Centred<'a> {
    pub(super) rows: Rows<'a>,
    pub(in crate::executor::vector) mean: Vec<f64>,
    /// What products in `f32` multiply the rows with, so that they neither overflow nor vanish: a power of two.
    pub(super) scale: f64,
}

impl<'a> Centred<'a> {
    pub(in crate::executor::vector) fn new(rows: Rows<'a>, cancel: &CancelHandle) -> Result<Self, TaskError> {
        let count = rows.len() as f64;
        // Summed as distances from the first row, so that a dimension that never changes has no variance at all.
        let distances = fold_columns(rows, (0.0, 0.0), cancel, |(first, sum), value, row| match row {
            0 => *first = value,
            _ => *sum += value - *first,
        })?;
        let mean = distances.into_iter().map(|(first, sum)| first + sum / count).collect();
        Ok(Self { rows, mean, scale: 1.0 })
    }

    /// Some rows less the mean, in `f64`.
    pub(super) fn block(&self, from: usize) -> Array2<f64> {
        let rows = self.rows.slice(from..self.rows.len().min(from + BLOCK_ROWS));
        Array2::from_shape_fn((rows.len(), rows.dim()), |(row, column)| f64::from(rows.row(row)[column]) - self.mean[column])
    }

    /// The first row of each block.
    pub(super) fn starts(&self) -> std::iter::StepBy<std::ops::Range<usize>> {
        (0..self.rows.len()).step_by(BLOCK_ROWS)
    }

    /// The rows in the coordinates of `directions`, row after row, in `f64`.
    pub(in crate::executor::vector) fn project(&self, directions: &Array2<f64>, cancel: &CancelHandle) -> Result<Vec<f32>, TaskError> {
        let starts: Vec<usize> = self.starts().collect();
        let blocks = starts.into_par_iter().map(|from| {
            cancel.check()?;
            Ok(self.block(from).dot(&directions.t()).iter().map(|value| *value as f32).collect::<Vec<f32>>())
        });
        let blocks: Vec<Vec<f32>> = blocks.collect::<Result<_, TaskError>>()?;
        Ok(blocks.concat())
    }

    /// Scales the rows for products in `f32` by the variance of all dimensions together.
    pub(super) fn scale_by(&mut self, total_variance: f64) {
        let deviation = (total_variance / self.rows.dim() as f64).sqrt();
        self.scale = if deviation > 0.0 { (-deviation.log2().round()).exp2() } else { 1.0 };
    }

    /// A row less the mean, scaled for products in `f32`.
    pub(super) fn scaled(&self, row: &[f32], from: usize) -> impl Iterator<Item = f32> {
        row[from..].iter().zip(&self.mean[from..]).map(|(value, mean)| ((f64::from(*value) - mean) * self.scale) as f32)
    }

    /// The variances of all dimensions together, divided by the number of rows less one.
    pub(super) fn total_variance(&self, cancel: &CancelHandle) -> Result<f64, TaskError> {
        let squares = |row: &[f32]| row.iter().zip(&self.mean).map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum::<f64>();
        // Collected before it is summed, so that the order of additions does not depend on the threads.
        let pieces = self.rows.values().par_chunks(self.rows.dim() * BLOCK_ROWS).map(|rows| {
            cancel.check()?;
            Ok(rows.chunks_exact(self.rows.dim()).map(squares).collect::<Vec<f64>>())
        });
        let rows: Vec<Vec<f64>> = pieces.collect::<Result<_, TaskError>>()?;
        Ok(rows.iter().flatten().sum::<f64>() / (self.rows.len() as f64 - 1.0))
    }
}

/// Takes from a direction what lies along orthonormal ones, and scales the rest to length one. What depends on them becomes anything, or nothing.
pub(super) fn make_orthogonal(mut direction: ArrayViewMut1<'_, f64>, done: ArrayView2<'_, f64>) {
    // Twice, since what the first pass leaves of a nearly dependent direction is mostly rounding.
    for _pass in 0..2 {
        scale_to_one(direction.view_mut());
        for before in done.axis_iter(Axis(0)) {
            let share = before.dot(&direction);
            direction.scaled_add(-share, &before);
        }
    }
    scale_to_one(direction);
}

fn scale_to_one(mut direction: ArrayViewMut1<'_, f64>) {
    let length = direction.dot(&direction).sqrt();
    if length > 0.0 {
        direction /= length;
    }
}
