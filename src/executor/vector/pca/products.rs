//! Products of centred rows in `f32` on the packed kernels: the covariance, what directions become when it is multiplied with them, and projections.
//!
//! Rows are taken in blocks, some blocks at a time in parallel, and the blocks' products are added up in `f64` in their order, so the threads do not
//! change the result.

use ndarray::Array2;
use rayon::prelude::*;
use tallow_kernels::gemm::{Epilogue, Input, Output, PackedWeights, Precision, gemm};
use tallow_kernels::{KernelError, threads};

use super::centred::Centred;
use crate::executor::vector::input::refused;
use crate::task::{CancelHandle, TaskError};

/// Rows of a block.
const BLOCK_ROWS: usize = 1024;
/// Blocks that are multiplied side by side.
const WAVE: usize = 8;

/// Bytes of the covariance and of what computing it holds.
pub(super) fn covariance_bytes(dim: usize) -> u64 {
    // The block, its columns, and its columns packed, padded to whole panels.
    let block = (3 * dim + 32) * BLOCK_ROWS * 4 + dim * dim * 4;
    (dim * dim * 8 + WAVE * block) as u64
}

/// Bytes of one pass over the rows with so many directions.
pub(super) fn pass_bytes(dim: usize, count: usize) -> u64 {
    let block = dim * BLOCK_ROWS * 8 + count * BLOCK_ROWS * 12 + dim * count * 4;
    (WAVE * block + dim * count * (8 + 8 + 4)) as u64
}

/// The covariance `[dim, dim]`, divided by the number of rows less one.
pub(super) fn covariance(data: &Centred<'_>, cancel: &CancelHandle, progress: &dyn Fn(f32)) -> Result<Array2<f64>, TaskError> {
    let dim = data.rows.dim();
    let starts: Vec<usize> = (0..data.rows.len()).step_by(BLOCK_ROWS).collect();
    let mut covariance = Array2::<f64>::zeros((dim, dim));
    for (index, wave) in starts.chunks(WAVE).enumerate() {
        let block = |from: &usize| threads::alone(|| covariance_of_block(data, *from, cancel));
        let blocks: Vec<Vec<f32>> = wave.par_iter().map(block).collect::<Result<_, _>>().map_err(|e| refused("vectors", e, cancel))?;
        let mut rows: Vec<_> = covariance.rows_mut().into_iter().collect();
        rows.par_iter_mut().enumerate().for_each(|(row, out)| {
            for block in &blocks {
                // What lies before the diagonal is known from what lies behind it.
                out.iter_mut().skip(row).zip(&block[row * dim + row..]).for_each(|(out, value)| *out += f64::from(*value));
            }
        });
        progress((index * WAVE) as f32 / starts.len() as f32);
    }
    let scale = 1.0 / (data.rows.len() as f64 - 1.0) / (data.scale * data.scale);
    for row in 0..dim {
        for column in row..dim {
            let value = covariance[[row, column]] * scale;
            covariance[[row, column]] = value;
            covariance[[column, row]] = value;
        }
    }
    Ok(covariance)
}

/// The products of all columns of a block with each other, `[dim, dim]`.
fn covariance_of_block(data: &Centred<'_>, from: usize, cancel: &CancelHandle) -> Result<Vec<f32>, KernelError> {
    let dim = data.rows.dim();
    let (columns, count) = transposed(data, from);
    let weights = PackedWeights::pack_transposed(&centred(data, from), (dim, count), Precision::Exact)?;
    let mut out = vec![0.0f32; dim * dim];
    let stop = || cancel.is_cancelled();
    gemm(Input::F32(&columns), &weights, &Epilogue::default(), Output::F32(&mut out), &stop)?;
    Ok(out)
}

/// What directions `[count, dim]` become when the covariance is multiplied with them, in two products per block of rows.
pub(super) fn multiply(data: &Centred<'_>, directions: &Array2<f64>, cancel: &CancelHandle) -> Result<Array2<f64>, TaskError> {
    let (count, dim) = directions.dim();
    let refused = |error| refused("vectors", error, cancel);
    let packed = pack(directions).map_err(refused)?;
    let starts: Vec<usize> = (0..data.rows.len()).step_by(BLOCK_ROWS).collect();
    let mut sums = vec![0.0f64; dim * count];
    for wave in starts.chunks(WAVE) {
        let block = |from: &usize| threads::alone(|| multiply_block(data, *from, (&packed, count), cancel));
        let blocks: Vec<Vec<f32>> = wave.par_iter().map(block).collect::<Result<_, _>>().map_err(refused)?;
        sums.par_chunks_mut(count).enumerate().for_each(|(column, sums)| {
            for block in &blocks {
                sums.iter_mut().zip(&block[column * count..]).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        });
    }
    let scale = 1.0 / (data.rows.len() as f64 - 1.0) / (data.scale * data.scale);
    Ok(Array2::from_shape_fn((count, dim), |(direction, column)| sums[column * count + direction] * scale))
}

/// `[dim, count]` for one block.
fn multiply_block(
    data: &Centred<'_>,
    from: usize,
    (packed, count): (&PackedWeights, usize),
    cancel: &CancelHandle,
) -> Result<Vec<f32>, KernelError> {
    let places = project_block(data, from, packed, cancel)?;
    let (columns, rows) = transposed(data, from);
    let weights = PackedWeights::pack_transposed(&places, (count, rows), Precision::Exact)?;
    let mut out = vec![0.0f32; data.rows.dim() * count];
    let stop = || cancel.is_cancelled();
    gemm(Input::F32(&columns), &weights, &Epilogue::default(), Output::F32(&mut out), &stop)?;
    Ok(out)
}

/// The rows in the coordinates of `directions`, row after row.
pub(super) fn project(data: &Centred<'_>, directions: &Array2<f64>, cancel: &CancelHandle) -> Result<Vec<f32>, TaskError> {
    let refused = |error| refused("vectors", error, cancel);
    let packed = pack(&(directions / data.scale)).map_err(refused)?;
    let count = directions.nrows();
    let mut out = vec![0.0f32; data.rows.len() * count];
    out.par_chunks_mut(BLOCK_ROWS * count)
        .enumerate()
        .try_for_each(|(block, out)| {
            let values = threads::alone(|| project_block(data, block * BLOCK_ROWS, &packed, cancel))?;
            out.copy_from_slice(&values);
            Ok(())
        })
        .map_err(refused)?;
    Ok(out)
}

fn project_block(data: &Centred<'_>, from: usize, packed: &PackedWeights, cancel: &CancelHandle) -> Result<Vec<f32>, KernelError> {
    let centred = centred(data, from);
    let mut out = vec![0.0f32; centred.len() / packed.inner() * packed.columns()];
    let stop = || cancel.is_cancelled();
    gemm(Input::F32(&centred), packed, &Epilogue::default(), Output::F32(&mut out), &stop)?;
    Ok(out)
}

/// The rows of a block less the mean, scaled.
fn centred(data: &Centred<'_>, from: usize) -> Vec<f32> {
    let rows = data.rows.slice(from..data.rows.len().min(from + BLOCK_ROWS));
    let mut out = vec![0.0f32; rows.values().len()];
    for (out, row) in out.chunks_exact_mut(rows.dim()).zip(rows.iter()) {
        out.iter_mut().zip(data.scaled(row, 0)).for_each(|(out, value)| *out = value);
    }
    out
}

fn pack(directions: &Array2<f64>) -> Result<PackedWeights, KernelError> {
    let values: Vec<f32> = directions.iter().map(|value| *value as f32).collect();
    PackedWeights::pack(&values, directions.dim(), Precision::Exact)
}

/// The centred columns of a block, `[dim, rows]`, and how many rows there are.
fn transposed(data: &Centred<'_>, from: usize) -> (Vec<f32>, usize) {
    /// Columns whose places in the answer are written side by side.
    const STRIP: usize = 16;
    let rows = data.rows.slice(from..data.rows.len().min(from + BLOCK_ROWS));
    let count = rows.len();
    let mut columns = vec![0.0f32; rows.dim() * count];
    for (strip, columns) in columns.chunks_mut(STRIP * count).enumerate() {
        for (row, values) in rows.iter().enumerate() {
            for (column, value) in columns.chunks_exact_mut(count).zip(data.scaled(values, strip * STRIP)) {
                column[row] = value;
            }
        }
    }
    (columns, count)
}
