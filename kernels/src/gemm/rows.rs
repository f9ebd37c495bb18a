//! Rows of activations in the form that the weights have: as they lie where that is possible, else converted once for all panels.

use std::cell::Cell;
use std::ops::Range;

use half::bf16;

use super::convert::{quantize_row, quantize_row_half, round_row, split_row, widen_row};
use super::pack::{Form, Line};
use super::{Input, PackedWeights, STRIP_ROWS};
use crate::Isa;

/// A spare line per row, so that rows do not all fall into the same sets of a cache.
const ROW_PADDING: usize = 64;

/// One strip.
pub(crate) struct Operand<'a> {
    pub form: Form,
    /// Rows that count.
    pub rows: usize,
    pub row_bytes: usize,
    /// From a row to the row of what the rounding left; 0 with one plane.
    pub plane_bytes: usize,
    /// From the first row to the end of all.
    pub bytes: &'a [u8],
}

thread_local! {
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch { lines: Vec::new(), scales: Vec::new() }) };
}

/// What rows are converted into; kept by its thread from one product to the next.
#[derive(Default)]
struct Scratch {
    lines: Vec<Line>,
    scales: Vec<f32>,
}

/// Rows that are ready to be multiplied.
pub(super) struct Rows<'a> {
    form: Form,
    count: usize,
    /// Rows from the first on that lie as the weights want them, and the bytes of one.
    direct: Option<(&'a [u8], usize)>,
    /// The first row that was converted.
    first: usize,
    scratch: Scratch,
    row_bytes: usize,
    plane_bytes: usize,
}

impl<'a> Rows<'a> {
    /// Converts what must be converted of `x` `[rows, inner]`.
    pub(super) fn new(weights: &PackedWeights, x: Input<'a>) -> Self {
        let (form, inner) = (weights.form(), weights.inner());
        let count = x.len() / inner;
        let direct: Option<(&[u8], usize)> = match (form, x) {
            // Tiles load a line of a cache per row, two where rows begin inside one.
            (Form::Bf16, Input::Bf16(values)) if inner.is_multiple_of(32) && values.as_ptr().cast::<Line>().is_aligned() => {
                Some((bytemuck::cast_slice(values), inner * 2))
            }
            (Form::F32, Input::F32(values)) => Some((bytemuck::cast_slice(values), inner * 4)),
            _ => None,
        };
        // Tiles read whole ones, so the last rows are copied where they do not fill one.
        let first = match direct {
            None => 0,
            Some(_) if form == Form::F32 || count.is_multiple_of(STRIP_ROWS / 2) => count,
            Some(_) => count / STRIP_ROWS * STRIP_ROWS,
        };
        let step_bytes = if form == Form::F32 { 4 } else { 64 };
        let row_bytes = (weights.steps() * step_bytes).next_multiple_of(64) + ROW_PADDING;
        let plane_bytes = (count - first).next_multiple_of(STRIP_ROWS) * row_bytes;
        let mut rows = Self { form, count, direct, first, scratch: SCRATCH.take(), row_bytes, plane_bytes };
        let planes = if form == Form::Bf16Pair { 2 } else { 1 };
        let lines = planes * plane_bytes / size_of::<Line>();
        if rows.scratch.lines.len() < lines {
            rows.scratch.lines.resize(lines, bytemuck::Zeroable::zeroed());
        }
        rows.scratch.scales.clear();
        rows.scratch.scales.resize((count - first).next_multiple_of(STRIP_ROWS), 1.0);
        rows.fill(weights.isa(), x, inner);
        rows
    }

    /// The rows `strip` of them.
    pub(super) fn operand(&self, strip: Range<usize>) -> Operand<'_> {
        let (form, rows) = (self.form, strip.len());
        match self.direct {
            Some((bytes, row_bytes)) if strip.end <= self.first => {
                Operand { form, rows, row_bytes, plane_bytes: 0, bytes: &bytes[strip.start * row_bytes..] }
            }
            _ => {
                let bytes: &[u8] = bytemuck::cast_slice(&self.scratch.lines);
                let bytes = &bytes[(strip.start - self.first) * self.row_bytes..];
                let plane_bytes = if form == Form::Bf16Pair { self.plane_bytes } else { 0 };
                Operand { form, rows, row_bytes: self.row_bytes, plane_bytes, bytes }
            }
        }
    }

    /// The scales of the rows of the strip that begins at `from`; ones but with `int8`.
    pub(super) fn scales(&self, from: usize) -> [f32; STRIP_ROWS] {
        let scales = from.checked_sub(self.first).and_then(|from| self.scratch.scales.get(from..from + STRIP_ROWS));
        scales.and_then(|scales| scales.try_into().ok()).unwrap_or([1.0; STRIP_ROWS])
    }

    /// Converts the rows from `first` on. What lies behind the numbers of a row becomes zero, as it is in the weights; rows beyond the last are not counted.
    fn fill(&mut self, isa: Isa, x: Input<'_>, inner: usize) {
        let (form, row_bytes, plane) = (self.form, self.row_bytes, self.plane_bytes);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.scratch.lines);
        let mut widened = Vec::new();
        for row in self.first..self.count {
            let at = row - self.first;
            let range = at * row_bytes..(at + 1) * row_bytes;
            let numbers = row * inner..(row + 1) * inner;
            let (high, low) = bytes.split_at_mut(plane);
            let target = &mut high[range.clone()];
            match (form, x) {
                (Form::F32, Input::F32(values)) => copy(&values[numbers], bytemuck::cast_slice_mut(target)),
                (Form::F32, Input::Bf16(values)) => {
                    widen_row(isa, &values[numbers], &mut widened);
                    copy(&widened, bytemuck::cast_slice_mut(target));
                }
                (Form::Bf16, Input::F32(values)) => {
                    let target: &mut [bf16] = bytemuck::cast_slice_mut(target);
                    round_row(isa, &values[numbers], target);
                    target[inner..].fill(bf16::ZERO);
                }
                (Form::Bf16, Input::Bf16(values)) => copy(&values[numbers], bytemuck::cast_slice_mut(target)),
                (Form::Bf16Pair, _) => {
                    let low: &mut [bf16] = bytemuck::cast_slice_mut(&mut low[range]);
                    let high: &mut [bf16] = bytemuck::cast_slice_mut(target);
                    let values = match x {
                        Input::F32(values) => &values[numbers],
                        Input::Bf16(values) => {
                            widen_row(isa, &values[numbers], &mut widened);
                            &widened
                        }
                    };
                    split_row(isa, values, (&mut *high, &mut *low));
                    high[inner..].fill(bf16::ZERO);
                    low[inner..].fill(bf16::ZERO);
                }
                (Form::Int8, _) => {
                    let target: &mut [i8] = bytemuck::cast_slice_mut(target);
                    self.scratch.scales[at] = match x {
                        Input::F32(values) => quantize_row(isa, &values[numbers], target),
                        Input::Bf16(values) => quantize_row_half(isa, &values[numbers], target),
                    };
                    target[inner..].fill(0);
                }
            }
        }
    }
}

/// The numbers, then zeros.
fn copy<T: Copy + Default>(values: &[T], target: &mut [T]) {
    target[..values.len()].copy_from_slice(values);
    target[values.len()..].fill(T::default());
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.scratch));
    }
}
