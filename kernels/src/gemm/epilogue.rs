//! What follows a product while its block is near: scales, bias, activation, residual, rounding.

use std::ops::Range;

use super::convert::round_row;
use super::strip::Sums;
use super::{Output, PANEL_COLUMNS, STRIP_ROWS};
use crate::Isa;
use crate::activation::{self, Activation};

/// What is done to `x · wᵀ`: bias first, then the activation, then the residual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to every row, `[columns]`.
    pub bias: Option<&'a [f32]>,
    /// Applied to every number.
    pub activation: Activation,
    /// Added last, `[rows, columns]`.
    pub residual: Option<&'a [f32]>,
}

impl Epilogue<'_> {
    /// The result for number `index` of the whole product, in column `column`.
    pub(super) fn reference(&self, product: f64, index: usize, column: usize) -> f64 {
        let biased = product + self.bias.map_or(0.0, |bias| f64::from(bias[column]));
        activation::reference(self.activation, biased) + self.residual.map_or(0.0, |residual| f64::from(residual[index]))
    }
}

/// Where the blocks of one strip go.
pub(super) struct Finish<'a> {
    pub epilogue: &'a Epilogue<'a>,
    pub isa: Isa,
    /// The strip's rows in the output, and the first of them in the whole product.
    pub rows: (Range<usize>, usize),
    /// The columns that the output holds.
    pub columns: Range<usize>,
    /// Columns of the whole product.
    pub row_columns: usize,
}

/// Of the rows of a strip and of all columns, with `int8`.
type Scales<'a> = Option<(&'a [f32; STRIP_ROWS], &'a [f32])>;

impl Finish<'_> {
    /// Finishes the block of `panel` and writes it.
    pub(super) fn block(&self, panel: usize, (sums, scales): (&mut Sums, Scales<'_>), out: &mut Output<'_>) {
        let first = panel * PANEL_COLUMNS;
        let columns = first..(first + PANEL_COLUMNS).min(self.columns.end);
        let rows = self.rows.0.len();
        if let Some((row_scales, column_scales)) = scales {
            scale(sums, (&row_scales[..rows], &column_scales[columns.clone()]));
        }
        if let Some(bias) = self.epilogue.bias {
            let bias = &bias[columns.clone()];
            for row in sums.chunks_exact_mut(PANEL_COLUMNS).take(rows) {
                row.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
            }
        }
        activation::apply_on(self.isa, self.epilogue.activation, &mut sums[..rows * PANEL_COLUMNS]);
        if let Some(residual) = self.epilogue.residual {
            for (row, sums) in sums.chunks_exact_mut(PANEL_COLUMNS).enumerate().take(rows) {
                let residual = &residual[(self.rows.1 + row) * self.row_columns..][columns.clone()];
                sums.iter_mut().zip(residual).for_each(|(sum, residual)| *sum += residual);
            }
        }
        self.write(columns, sums, out);
    }

    /// Where row `row` of the strip and column `column` of the product lie in the output.
    #[inline]
    pub(super) fn target(&self, row: usize, column: usize) -> usize {
        (self.rows.0.start + row) * self.columns.len() + column - self.columns.start
    }

    fn write(&self, columns: Range<usize>, sums: &Sums, out: &mut Output<'_>) {
        for (row, sums) in sums.chunks_exact(PANEL_COLUMNS).enumerate().take(self.rows.0.len()) {
            let target = self.target(row, columns.start)..self.target(row, columns.end);
            match out {
                Output::F32(out) => out[target].copy_from_slice(&sums[..columns.len()]),
                Output::Bf16(out) => round_row(self.isa, &sums[..columns.len()], &mut out[target]),
            }
        }
    }
}

/// Turns the bits of i32 sums into scaled numbers.
fn scale(sums: &mut Sums, (row_scales, column_scales): (&[f32], &[f32])) {
    for (row, &row_scale) in sums.chunks_exact_mut(PANEL_COLUMNS).zip(row_scales) {
        for (sum, &column_scale) in row.iter_mut().zip(column_scales) {
            *sum = sum.to_bits().cast_signed() as f32 * (row_scale * column_scale);
        }
    }
}
