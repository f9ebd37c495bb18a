//! The walk over strips of rows, panels of columns and steps along the inner dimension: sequential, one thread's share of a product.

use std::ops::Range;

use super::epilogue::Finish;
use super::pack::Form;
use super::rows::{Operand, Rows};
use super::{Epilogue, Input, Output, PANEL_COLUMNS, PackedWeights, STRIP_ROWS, portable};
use crate::{Isa, KernelError, Stop};

/// Bytes of weights that are kept near while all strips pass by, beside as many that are on their way: some of a second-level cache.
const WEIGHT_BYTES: usize = 448 << 10;
/// Rows that are converted together: what bounds the memory of long products.
const CONVERTED_ROWS: usize = 1024;

/// Sums of one block, row-major; the bits of i32 with `int8`.
///
/// Tiles are written line by line of a cache, two lines per row where the sums began inside one.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Sums(pub [f32; STRIP_ROWS * PANEL_COLUMNS]);

impl std::ops::Deref for Sums {
    type Target = [f32; STRIP_ROWS * PANEL_COLUMNS];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Sums {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
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
        let engine = Engine::new(weights);
        let panels = columns.start / PANEL_COLUMNS..columns.end.div_ceil(PANEL_COLUMNS);
        let near = (WEIGHT_BYTES / weights.panel_bytes()).max(1);
        let mut sums = Box::new([Sums([0.0; STRIP_ROWS * PANEL_COLUMNS]); 2]);
        for block in (0..rows.len()).step_by(CONVERTED_ROWS) {
            let block = block..(block + CONVERTED_ROWS).min(rows.len());
            let converted = Rows::new(weights, x.rows(block.clone(), weights.inner()));
            for first in panels.clone().step_by(near) {
                let group = first..(first + near).min(panels.end);
                let ahead = weights.panels(group.end..(group.end + near).min(panels.end));
                for from in (0..block.len()).step_by(STRIP_ROWS) {
                    if (self.stop)() {
                        return Err(KernelError::Stopped);
                    }
                    let strip = from..(from + STRIP_ROWS).min(block.len());
                    let place = block.start + strip.start..block.start + strip.end;
                    let pass = Pass {
                        weights,
                        operand: converted.operand(strip),
                        scales: converted.scales(from),
                        finish: Finish {
                            epilogue: self.epilogue,
                            isa: weights.isa(),
                            rows: (place.clone(), rows.start + place.start),
                            columns: columns.clone(),
                            row_columns: weights.columns(),
                        },
                        panels: group.clone(),
                        ahead: share(ahead, (from, block.len())),
                    };
                    engine.run(&pass, &mut sums, out);
                }
            }
        }
        Ok(())
    }
}

/// The part of `bytes` that the strip at `from` of `rows` rows fetches, so that all strips together fetch all.
fn share(bytes: &[u8], (from, rows): (usize, usize)) -> &[u8] {
    let strips = rows.div_ceil(STRIP_ROWS);
    let strip = from / STRIP_ROWS;
    &bytes[bytes.len() * strip / strips..bytes.len() * (strip + 1) / strips]
}

/// One strip against some panels.
pub(super) struct Pass<'a> {
    pub weights: &'a PackedWeights,
    pub operand: Operand<'a>,
    /// Of the strip's rows, with `int8`.
    pub scales: [f32; STRIP_ROWS],
    pub finish: Finish<'a>,
    pub panels: Range<usize>,
    /// Weights that are needed soon.
    pub ahead: &'a [u8],
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
                    portable::block((pass.weights, &pass.operand), panel, sums);
                    pass.finish.block(panel, (sums, pass.all_scales()), out);
                }
            }
        }
    }
}
