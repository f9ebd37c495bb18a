//! Admitted rows of a block in the form that the products read, with what their tests need.

use half::bf16;

use super::packed::{Packed, Scheme};
use super::pieces::Place;
use super::{Sketch, StoredRows, bound};
use crate::Isa;
use crate::gemm::STRIP_ROWS;
use crate::gemm::convert::round_row;
use crate::gemm::pack::Line;
use crate::gemm::rows::Operand;

/// Rows that are converted together.
pub(super) const CONVERTED_ROWS: usize = 256;
/// A spare line per row, so that rows do not all fall into the same sets of a cache.
const ROW_PADDING: usize = 64;

/// What the tests of a row read.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    /// Its length; NaN where its products are not bounded, so that its test passes.
    pub norm: f32,
    /// The square of that.
    pub square: f32,
    /// What its products are multiplied with.
    pub scale: f32,
    /// Of its sketch.
    pub residual: f32,
}

/// Some rows, ready to be multiplied.
#[derive(Default)]
pub(super) struct Converted {
    lines: Vec<Line>,
    row_bytes: usize,
    widened: Vec<f32>,
    /// The rows, counted in their block.
    pub rows: Vec<u32>,
    /// One per row.
    pub facts: Vec<Facts>,
}

impl Converted {
    /// Takes up the rows that `self.rows` names.
    pub(super) fn fill(&mut self, isa: Isa, packed: &Packed, place: &Place<'_>, dim: usize) {
        let form = packed.weights.form();
        let step_bytes = if packed.scheme == Scheme::Single { 4 } else { 64 };
        self.row_bytes = (packed.weights.steps() * step_bytes).next_multiple_of(64) + ROW_PADDING;
        debug_assert!(form.step() * packed.weights.steps() >= dim, "a row has room for its dimensions");
        // Tiles read whole ones.
        let lines = self.rows.len().next_multiple_of(STRIP_ROWS) * self.row_bytes / size_of::<Line>();
        if self.lines.len() < lines {
            self.lines.resize(lines, bytemuck::Zeroable::zeroed());
        }
        self.widened.resize(dim, 0.0);
        self.facts.clear();
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        for (target, &row) in bytes.chunks_exact_mut(self.row_bytes).zip(&self.rows) {
            let row = row as usize;
            let (scale, residual) = convert((isa, packed.scheme), (place, row), &mut self.widened, target);
            let norm = place.block.norms[row];
            let is_bounded = bound::is_bounded(norm.into()) && scale.is_finite() && residual.is_finite();
            let norm = if is_bounded { norm } else { f32::NAN };
            self.facts.push(Facts { norm, square: norm * norm, scale, residual });
        }
    }

    /// What will be converted when the strips that are converted have passed, as far as it is the share of the strip at `from`: from where on, and bytes.
    pub(super) fn ahead(&self, scheme: Scheme, (place, from): (&Place<'_>, usize)) -> (*const u8, usize) {
        let row = self.rows[from] as usize + CONVERTED_ROWS;
        if row + STRIP_ROWS > place.len {
            return (std::ptr::null(), 0);
        }
        let source = match (scheme, place.block.sketch) {
            (Scheme::Sketch, Some(Sketch::Int8 { values, scales, .. })) => StoredRows::Int8 { values, scales },
            _ => place.block.rows,
        };
        let (start, bytes) = source.address(row, self.widened.len());
        (start, bytes * STRIP_ROWS)
    }

    /// The strip that begins at row `from`.
    pub(super) fn operand(&self, packed: &Packed, from: usize) -> Operand<'_> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.lines);
        let rows = STRIP_ROWS.min(self.rows.len() - from);
        Operand { form: packed.weights.form(), rows, row_bytes: self.row_bytes, plane_bytes: 0, bytes: &bytes[from * self.row_bytes..] }
    }
}

/// Writes one row, then zeros; gives what its products are multiplied with, and its residual.
fn convert((isa, scheme): (Isa, Scheme), (place, row): (&Place<'_>, usize), widened: &mut [f32], target: &mut [u8]) -> (f32, f32) {
    let dim = widened.len();
    let range = row * dim..(row + 1) * dim;
    match (scheme, place.block.rows, place.block.sketch) {
        (Scheme::Sketch, _, Some(Sketch::Int8 { values, scales, residuals })) => {
            copy(&values[range], bytemuck::cast_slice_mut(target));
            (scales[row], residuals[row])
        }
        (Scheme::Int8, StoredRows::Int8 { values, scales }, _) => {
            copy(&values[range], bytemuck::cast_slice_mut(target));
            (scales[row], 0.0)
        }
        (Scheme::Half, StoredRows::Bf16(values), _) => {
            copy(&values[range], bytemuck::cast_slice_mut(target));
            (1.0, 0.0)
        }
        (Scheme::Rounded, rows, _) => {
            let values = match rows {
                StoredRows::F32(values) => &values[range],
                _ => {
                    rows.widen(row, widened);
                    &*widened
                }
            };
            let target: &mut [bf16] = bytemuck::cast_slice_mut(target);
            round_row(isa, values, target);
            target[dim..].fill(bf16::ZERO);
            (1.0, 0.0)
        }
        (_, rows, _) => {
            rows.widen(row, widened);
            copy(widened, bytemuck::cast_slice_mut(target));
            (1.0, 0.0)
        }
    }
}

/// The numbers, then zeros.
fn copy<T: Copy + Default>(values: &[T], target: &mut [T]) {
    target[..values.len()].copy_from_slice(values);
    target[values.len()..].fill(T::default());
}
