//! The walk over strips of rows, panels of columns and steps along the inner dimension: sequential, one thread's share of a product.

use std::ops::Range;

use half::bf16;

use super::convert::{quantize_row, round_row, split_row, widen_row};
use super::epilogue::Finish;
use super::pack::{Form, Line};
use super::{Epilogue, Input, Output, PANEL_COLUMNS, PackedWeights, STRIP_ROWS, portable};
use crate::{Isa, KernelError, Stop};

/// Bytes of weights that are kept near while all strips pass by: most of a second-level cache.
const WEIGHT_BYTES: usize = 5 << 18;
/// A spare line per row, so that rows do not all fall into the same sets of a cache.
const ROW_PADDING: usize = 64;

/// Sums of one block, row-major; the bits of i32 with `int8`.
pub(super) type Sums = [f32; STRIP_ROWS * PANEL_COLUMNS];

/// One strip of activations in the form that the weights have.
pub(super) struct Operand<'a> {
    pub form: Form,
    /// Rows that count.
    pub rows: usize,
    /// Rows that may be read: a plane's height.
    pub plane_rows: usize,
    pub row_bytes: usize,
    /// One plane; with pairs a second one below it.
    pub bytes: &'a [u8],
}

impl Operand<'_> {
    pub(super) fn planes(&self) -> usize {
        if self.form == Form::Bf16Pair { 2 } else { 1 }
    }
}

/// What a strip is converted into.
struct Scratch {
    lines: Vec<Line>,
    row_bytes: usize,
    scales: [f32; STRIP_ROWS],
}

impl Scratch {
    fn new(weights: &PackedWeights) -> Self {
        let form = weights.form();
        let step_bytes = if form == Form::F32 { 4 } else { 64 };
        let row_bytes = (weights.steps() * step_bytes).next_multiple_of(64) + ROW_PADDING;
        let planes = if form == Form::Bf16Pair { 2 } else { 1 };
        let lines = vec![bytemuck::Zeroable::zeroed(); planes * STRIP_ROWS * row_bytes / size_of::<Line>()];
        Self { lines, row_bytes, scales: [1.0; STRIP_ROWS] }
    }

    /// Converts the rows of a strip; what lies behind them in a row stays zero, rows beyond the strip are not counted.
    fn fill(&mut self, (form, isa): (Form, Isa), x: Input<'_>, inner: usize) {
        let row_bytes = self.row_bytes;
        let plane = STRIP_ROWS * row_bytes;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        let mut widened = Vec::new();
        for row in 0..x.len() / inner {
            let target = row * row_bytes..(row + 1) * row_bytes;
            let values = match x {
                Input::F32(values) => &values[row * inner..][..inner],
                Input::Bf16(values) if form == Form::Bf16 => {
                    let out: &mut [bf16] = bytemuck::cast_slice_mut(&mut bytes[target]);
                    out[..inner].copy_from_slice(&values[row * inner..][..inner]);
                    continue;
                }
                Input::Bf16(values) => {
                    widen_row(isa, &values[row * inner..][..inner], &mut widened);
                    &widened
                }
            };
            match form {
                Form::F32 => bytemuck::cast_slice_mut::<u8, f32>(&mut bytes[target])[..inner].copy_from_slice(values),
                Form::Bf16 => round_row(isa, values, bytemuck::cast_slice_mut(&mut bytes[target])),
                Form::Bf16Pair => {
                    let (high, low) = bytes.split_at_mut(plane);
                    split_row(
                        isa,
                        values,
                        (bytemuck::cast_slice_mut(&mut high[target.clone()]), bytemuck::cast_slice_mut(&mut low[target])),
                    );
                }
                Form::Int8 => {
                    self.scales[row] = quantize_row(isa, values, bytemuck::cast_slice_mut(&mut bytes[target]));
                }
            }
        }
    }
}

/// What all pieces of one product share.
pub(super) struct Strips<'a> {
    pub weights: &'a PackedWeights,
    pub epilogue: &'a Epilogue<'a>,
    pub stop: Stop<'a>,
}

impl Strips<'_> {
    /// The rows `range` of the product, all columns; `x` and `out` hold these rows alone.
    pub(super) fn run(&self, piece: (Input<'_>, Range<usize>), out: &mut Output<'_>) -> Result<(), KernelError> {
        self.run_columns(piece, 0..self.weights.columns(), out)
    }

    /// The same for a range of columns that begins with a panel.
    pub(super) fn run_columns(
        &self,
        piece: (Input<'_>, Range<usize>),
        columns: Range<usize>,
        out: &mut Output<'_>,
    ) -> Result<(), KernelError> {
        let (x, rows) = piece;
        let weights = self.weights;
        let mut scratch = Scratch::new(weights);
        let engine = Engine::new(weights);
        let panels = columns.start / PANEL_COLUMNS..columns.end.div_ceil(PANEL_COLUMNS);
        let near = (WEIGHT_BYTES / weights.panel_bytes()).max(1);
        let mut sums = Box::new([[0f32; STRIP_ROWS * PANEL_COLUMNS]; 2]);
        for first in panels.clone().step_by(near) {
            for from in (0..rows.len()).step_by(STRIP_ROWS) {
                if (self.stop)() {
                    return Err(KernelError::Stopped);
                }
                let strip = from..(from + STRIP_ROWS).min(rows.len());
                let (operand, scales) = operand(weights, x.rows(strip.clone(), weights.inner()), &mut scratch);
                let finish = Finish {
                    epilogue: self.epilogue,
                    isa: weights.isa(),
                    rows: (strip, rows.start + from),
                    columns: columns.clone(),
                    row_columns: weights.columns(),
                };
                let pass = Pass { weights, operand, scales, finish, panels: first..(first + near).min(panels.end) };
                engine.run(&pass, &mut sums, out);
            }
        }
        Ok(())
    }
}

/// One strip against some panels.
pub(super) struct Pass<'a> {
    pub weights: &'a PackedWeights,
    pub operand: Operand<'a>,
    /// Of the strip's rows, with `int8`.
    pub scales: [f32; STRIP_ROWS],
    pub finish: Finish<'a>,
    pub panels: Range<usize>,
}

impl Pass<'_> {
    /// The scales of rows and columns with `int8`.
    pub(super) fn all_scales(&self) -> Option<(&[f32; STRIP_ROWS], &[f32])> {
        (self.weights.form() == Form::Int8).then(|| (&self.scales, self.weights.scales()))
    }
}

/// What computes the blocks.
enum Engine {
    /// Vectors.
    Vectors,
    /// Tiles, configured for this thread.
    #[cfg(target_arch = "x86_64")]
    Tiles(crate::isa::Amx, crate::amx::Tiles),
}

impl Engine {
    fn new(weights: &PackedWeights) -> Self {
        match weights.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(proof) if weights.form() != Form::F32 => Self::Tiles(proof, crate::amx::Tiles::configure(proof)),
            _ => Self::Vectors,
        }
    }

    fn run(&self, pass: &Pass<'_>, sums: &mut [Sums; 2], out: &mut Output<'_>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Tiles(proof, tiles) => super::amx::run((*proof, tiles), pass, sums, out),
            Self::Vectors => {
                let sums = &mut sums[0];
                for panel in pass.panels.clone() {
                    portable::block(pass.weights.isa(), &pass.operand, pass.weights.panel(panel), sums);
                    pass.finish.block(panel, (sums, pass.all_scales()), out);
                }
            }
        }
    }
}

/// The strip `x` as the weights want it: as it lies where that is possible, else converted. The second value are the scales of its rows with `int8`.
fn operand<'a>(weights: &PackedWeights, x: Input<'a>, scratch: &'a mut Scratch) -> (Operand<'a>, [f32; STRIP_ROWS]) {
    let (form, inner) = (weights.form(), weights.inner());
    let rows = x.len() / inner;
    let whole = rows == STRIP_ROWS || rows == STRIP_ROWS / 2;
    let direct: Option<&[u8]> = match (form, x) {
        (Form::Bf16, Input::Bf16(values)) if whole && inner.is_multiple_of(32) => Some(bytemuck::cast_slice(values)),
        (Form::F32, Input::F32(values)) => Some(bytemuck::cast_slice(values)),
        _ => None,
    };
    if let Some(bytes) = direct {
        return (Operand { form, rows, plane_rows: rows, row_bytes: bytes.len() / rows, bytes }, [1.0; STRIP_ROWS]);
    }
    scratch.fill((form, weights.isa()), x, inner);
    let operand = Operand { form, rows, plane_rows: STRIP_ROWS, row_bytes: scratch.row_bytes, bytes: bytemuck::cast_slice(&scratch.lines) };
    (operand, scratch.scales)
}
