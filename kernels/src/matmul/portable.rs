//! One block of rows through `gemm`, which has the instruction levels inside.

use gemm::{Parallelism, gemm};

use super::RightLayout;
use crate::{KernelError, Rows, Stop};

/// Rows of every call: always the same, so that the library takes the same path whatever the batch.
pub(super) const BLOCK_ROWS: usize = 64;
/// Inner elements of one call. Within this length the library sums in one chain, so the order of additions is fixed.
const INNER_STEP: usize = 512;
/// Columns of one call; with the other two it bounds the time between two questions to `stop`.
const COLUMN_STEP: usize = 4096;

/// The right operand with its strides.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    values: &'a [f32],
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Right<'a> {
    pub(super) fn new(b: Rows<'a>, layout: RightLayout, columns: usize) -> Self {
        let (row_stride, column_stride) = match layout {
            RightLayout::AsIs => (b.dim(), 1),
            RightLayout::Transposed => (1, b.dim()),
        };
        Self { values: b.values(), columns, row_stride, column_stride }
    }
}

/// The product of at most [`BLOCK_ROWS`] rows with all columns into `out`.
pub(super) fn block(rows: Rows<'_>, right: Right<'_>, out: &mut [f32], stop: Stop<'_>) -> Result<(), KernelError> {
    if rows.len() == BLOCK_ROWS {
        return whole_block(rows, right, out, stop);
    }
    let mut padded = rows.values().to_vec();
    padded.resize(BLOCK_ROWS * rows.dim(), 0.0);
    let mut padded_out = vec![0.0; BLOCK_ROWS * right.columns];
    whole_block(Rows::new(&padded, rows.dim())?, right, &mut padded_out, stop)?;
    out.copy_from_slice(&padded_out[..out.len()]);
    Ok(())
}

fn whole_block(rows: Rows<'_>, right: Right<'_>, out: &mut [f32], stop: Stop<'_>) -> Result<(), KernelError> {
    let inner = rows.dim();
    assert!(rows.len() == BLOCK_ROWS && out.len() == BLOCK_ROWS * right.columns && right.values.len() == inner * right.columns);
    for column in (0..right.columns).step_by(COLUMN_STEP) {
        let width = COLUMN_STEP.min(right.columns - column);
        for from in (0..inner).step_by(INNER_STEP) {
            if stop() {
                return Err(KernelError::Stopped);
            }
            let length = INNER_STEP.min(inner - from);
            // SAFETY: the operands' sizes were asserted above: rows `0..BLOCK_ROWS`, inner elements `from..from + length` and columns
            // `column..column + width` lie inside all three slices, and `out` is borrowed exclusively.
            unsafe {
                gemm(
                    BLOCK_ROWS,
                    width,
                    length,
                    out.as_mut_ptr().add(column),
                    1,
                    right.columns as isize,
                    from != 0,
                    rows.values().as_ptr().add(from),
                    1,
                    inner as isize,
                    right.values.as_ptr().add(from * right.row_stride + column * right.column_stride),
                    right.column_stride as isize,
                    right.row_stride as isize,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    Parallelism::None,
                );
            }
        }
    }
    Ok(())
}
