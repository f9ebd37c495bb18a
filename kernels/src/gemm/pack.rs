//! Weights in the order in which the kernels read them.
//!
//! Columns are cut into panels of 32 (the last one is filled with zero columns), a panel is laid out along the inner dimension:
//!
//! - f32: 32 numbers per inner element.
//! - bf16: per 32 inner elements two tiles of 16 columns, each 16 rows of 16 pairs of neighbouring inner elements: what `tdpbf16ps` and `vdpbf16ps` read.
//! - pairs of bf16: the same with four tiles, the two of the rounded weights and the two of what the rounding left.
//! - int8: per 64 inner elements two tiles, each 16 rows of 16 groups of four neighbouring inner elements: what `tdpbssd` reads.

use bytemuck::{Pod, Zeroable};
use half::bf16;

use super::convert::{int8_scale, round_row, split_row, to_int8};
use super::{GEMM_DIM_MAX, PANEL_COLUMNS};
use crate::{Isa, KernelError};

/// The arithmetic of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As good as f32: f32 products, or on AMX each number as the sum of two bf16 and three products of them, which leaves about 2⁻¹⁶ of each product.
    Exact,
    /// Both operands rounded to bf16 (2⁻⁹ of each), products accumulated in f32.
    Bf16,
    /// Weights as int8 with a scale per column, activations as int8 with a scale per row that is found on the way; products accumulated in i32.
    Int8,
}

impl Precision {
    /// All of them, most accurate first.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Bf16, Self::Int8];

    /// The name: `exact`, `bf16`, `int8`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// Bytes that begin at a cache line, as tile loads want them.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Line([u8; 64]);

/// The packed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    F32,
    Bf16,
    Bf16Pair,
    Int8,
}

impl Form {
    /// Inner elements of one step along a panel.
    pub(crate) fn step(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 | Self::Bf16Pair => 32,
            Self::Int8 => 64,
        }
    }

    /// Bytes of one step of a panel.
    pub(crate) fn step_bytes(self) -> usize {
        match self {
            Self::F32 => PANEL_COLUMNS * 4,
            Self::Bf16 | Self::Int8 => 2048,
            Self::Bf16Pair => 4096,
        }
    }
}

/// Weights `[columns, inner]`, packed for the instructions of this processor.
pub struct PackedWeights {
    lines: Vec<Line>,
    /// One per column with `int8`, else empty.
    scales: Vec<f32>,
    /// Sums of the columns' weights, whole panels, with `int8`.
    column_sums: Vec<i32>,
    form: Form,
    isa: Isa,
    precision: Precision,
    columns: usize,
    inner: usize,
}

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedWeights({} x {}, {}, {})", self.columns, self.inner, self.precision.name(), self.isa)
    }
}

impl PackedWeights {
    /// Packs `weights` `[columns, inner]` row-major. Splits over the rayon pool of the calling thread.
    ///
    /// Errors: `OutOfRange` for a dimension of 0 or above [`GEMM_DIM_MAX`], `Mismatch` when there are other than `columns * inner` numbers.
    pub fn pack(weights: &[f32], (columns, inner): (usize, usize), precision: Precision) -> Result<Self, KernelError> {
        Self::pack_on(super::level(), weights, (columns, inner), precision)
    }

    /// The same for a given level of instructions, for tests and comparisons.
    pub fn pack_on(isa: Isa, weights: &[f32], (columns, inner): (usize, usize), precision: Precision) -> Result<Self, KernelError> {
        let mut packed = Self::empty(isa, weights.len(), (columns, inner), precision)?;
        match packed.form {
            Form::F32 => packed.fill_f32(weights),
            Form::Bf16 => packed.fill_bf16(weights, 0, |weight| bf16::from_f32(weight).to_bits()),
            Form::Bf16Pair => {
                packed.fill_bf16(weights, 0, |weight| bf16::from_f32(weight).to_bits());
                packed.fill_bf16(weights, 2, |weight| bf16::from_f32(weight - bf16::from_f32(weight).to_f32()).to_bits());
            }
            Form::Int8 => packed.fill_int8(weights),
        }
        Ok(packed)
    }

    /// Packs weights that lie `[inner, columns]` row-major, the transpose of what [`Self::pack`] takes, without turning them first. The products are those
    /// of the same weights. On the calling thread. Errors: as [`Self::pack`].
    pub fn pack_transposed(weights: &[f32], (columns, inner): (usize, usize), precision: Precision) -> Result<Self, KernelError> {
        Self::pack_transposed_on(super::level(), weights, (columns, inner), precision)
    }

    /// The same for a given level of instructions, for tests and comparisons.
    pub fn pack_transposed_on(
        isa: Isa,
        weights: &[f32],
        (columns, inner): (usize, usize),
        precision: Precision,
    ) -> Result<Self, KernelError> {
        if precision == Precision::Int8 {
            // A scale needs its whole column first.
            let turned: Vec<f32> = (0..columns).flat_map(|column| weights.iter().skip(column).step_by(columns)).copied().collect();
            return Self::pack_on(isa, &turned, (columns, inner), precision);
        }
        let mut packed = Self::empty(isa, weights.len(), (columns, inner), precision)?;
        match packed.form {
            Form::F32 => packed.fill_f32_transposed(weights),
            _ => packed.fill_bf16_transposed(weights),
        }
        Ok(packed)
    }

    /// Zeros for so many weights.
    fn empty(isa: Isa, len: usize, (columns, inner): (usize, usize), precision: Precision) -> Result<Self, KernelError> {
        for (what, got) in [("columns", columns), ("inner elements", inner)] {
            if got == 0 || got > GEMM_DIM_MAX {
                return Err(KernelError::OutOfRange { op: "gemm", what, max: GEMM_DIM_MAX, got });
            }
        }
        if len != columns * inner {
            return Err(KernelError::Mismatch { op: "gemm", what: "weights", expected: columns * inner, got: len });
        }
        let form = match (precision, isa) {
            (Precision::Exact, Isa::Amx(_)) => Form::Bf16Pair,
            (Precision::Exact, _) => Form::F32,
            (Precision::Bf16, _) => Form::Bf16,
            (Precision::Int8, _) => Form::Int8,
        };
        let panels = columns.div_ceil(PANEL_COLUMNS);
        let mut packed = Self { lines: Vec::new(), scales: Vec::new(), column_sums: Vec::new(), form, isa, precision, columns, inner };
        packed.lines = vec![Line::zeroed(); panels * packed.panel_bytes() / size_of::<Line>()];
        Ok(packed)
    }

    /// Columns of the product.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Numbers of an input row.
    #[must_use]
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// The arithmetic.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>() + (self.scales.len() + self.column_sums.len()) * 4
    }

    /// Bytes that packing `columns` x `inner` weights takes at most, whatever the instructions.
    #[must_use]
    pub fn bytes_for((columns, inner): (usize, usize), precision: Precision) -> usize {
        let panels = columns.div_ceil(PANEL_COLUMNS);
        match precision {
            Precision::Exact => panels * inner.next_multiple_of(32) * PANEL_COLUMNS * 4,
            Precision::Bf16 => panels * inner.next_multiple_of(32) * PANEL_COLUMNS * 2,
            Precision::Int8 => panels * inner.next_multiple_of(64) * PANEL_COLUMNS + 4 * (columns + panels * PANEL_COLUMNS),
        }
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The sums of the weights of a panel's columns; none but with `int8`.
    pub(super) fn column_sums(&self, panel: usize) -> &[i32] {
        self.column_sums.get(panel * PANEL_COLUMNS..(panel + 1) * PANEL_COLUMNS).unwrap_or_default()
    }

    /// Steps along a panel.
    pub(crate) fn steps(&self) -> usize {
        self.inner.div_ceil(self.form.step())
    }

    pub(crate) fn panel_bytes(&self) -> usize {
        self.steps() * self.form.step_bytes()
    }

    /// The bytes of one panel.
    pub(crate) fn panel(&self, panel: usize) -> &[u8] {
        self.panels(panel..panel + 1)
    }

    /// The bytes of some panels.
    pub(crate) fn panels(&self, panels: std::ops::Range<usize>) -> &[u8] {
        let bytes: &[u8] = bytemuck::cast_slice(&self.lines);
        &bytes[panels.start * self.panel_bytes()..panels.end * self.panel_bytes()]
    }

    fn fill_f32(&mut self, weights: &[f32]) {
        let (inner, panel_bytes) = (self.inner, self.panel_bytes());
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        for (column, row) in weights.chunks_exact(inner).enumerate() {
            let panel: &mut [f32] = bytemuck::cast_slice_mut(&mut bytes[column / PANEL_COLUMNS * panel_bytes..][..panel_bytes]);
            for (numbers, &weight) in panel.chunks_exact_mut(PANEL_COLUMNS).zip(row) {
                numbers[column % PANEL_COLUMNS] = weight;
            }
        }
    }

    /// Writes pairs of bf16 into the tiles `first` and `first + 1` of every step.
    fn fill_bf16(&mut self, weights: &[f32], first: usize, bits: impl Fn(f32) -> u16) {
        let (inner, panel_bytes, step_halves) = (self.inner, self.panel_bytes(), self.form.step_bytes() / 2);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        for (column, row) in weights.chunks_exact(inner).enumerate() {
            let panel: &mut [u16] = bytemuck::cast_slice_mut(&mut bytes[column / PANEL_COLUMNS * panel_bytes..][..panel_bytes]);
            let (tile, lane) = (first + column % PANEL_COLUMNS / 16, column % 16);
            for (at, &weight) in row.iter().enumerate() {
                let (step, pair, half) = (at / 32, at % 32 / 2, at % 2);
                panel[step * step_halves + tile * 512 + pair * 32 + lane * 2 + half] = bits(weight);
            }
        }
    }

    fn fill_f32_transposed(&mut self, weights: &[f32]) {
        let (columns, panel_bytes) = (self.columns, self.panel_bytes());
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        for (panel, bytes) in bytes.chunks_exact_mut(panel_bytes).enumerate() {
            let panel_numbers: &mut [f32] = bytemuck::cast_slice_mut(bytes);
            for (numbers, row) in panel_numbers.chunks_exact_mut(PANEL_COLUMNS).zip(weights.chunks_exact(columns)) {
                let row = &row[panel * PANEL_COLUMNS..columns.min((panel + 1) * PANEL_COLUMNS)];
                numbers[..row.len()].copy_from_slice(row);
            }
        }
    }

    /// Two rows of weights at a time are the pairs of every column: whole lines of every panel.
    fn fill_bf16_transposed(&mut self, weights: &[f32]) {
        let (isa, columns, panel_bytes, step_bytes) = (self.isa, self.columns, self.panel_bytes(), self.form.step_bytes());
        let is_pair = self.form == Form::Bf16Pair;
        let width = columns.next_multiple_of(PANEL_COLUMNS);
        // Rounded weights of both rows, then what the rounding left; zeros behind the last column and the last row.
        let mut rounded = vec![bf16::ZERO; 4 * width];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        for (pair, rows) in weights.chunks(2 * columns).enumerate() {
            let (high, low) = rounded.split_at_mut(2 * width);
            high[width..].fill(bf16::ZERO);
            low[width..].fill(bf16::ZERO);
            for (row, (high, low)) in rows.chunks_exact(columns).zip(high.chunks_exact_mut(width).zip(low.chunks_exact_mut(width))) {
                if is_pair { split_row(isa, row, (high, low)) } else { round_row(isa, row, high) }
            }
            let place = pair / 16 * step_bytes + pair % 16 * 64;
            for (panel, bytes) in bytes.chunks_exact_mut(panel_bytes).enumerate() {
                for tile in 0..if is_pair { 4 } else { 2 } {
                    let halves = if tile < 2 { &*high } else { &*low };
                    let first = panel * PANEL_COLUMNS + tile % 2 * 16;
                    let line: &mut [u32] = bytemuck::cast_slice_mut(&mut bytes[place + tile * 1024..][..64]);
                    for ((pair, even), odd) in
                        line.iter_mut().zip(&halves[first..first + 16]).zip(&halves[width + first..width + first + 16])
                    {
                        *pair = u32::from(even.to_bits()) | u32::from(odd.to_bits()) << 16;
                    }
                }
            }
        }
    }

    fn fill_int8(&mut self, weights: &[f32]) {
        let (inner, panel_bytes) = (self.inner, self.panel_bytes());
        self.column_sums = vec![0; self.columns.next_multiple_of(PANEL_COLUMNS)];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        for (column, row) in weights.chunks_exact(inner).enumerate() {
            let panel = &mut bytes[column / PANEL_COLUMNS * panel_bytes..][..panel_bytes];
            let (tile, lane) = (column % PANEL_COLUMNS / 16, column % 16);
            let (scale, inverse) = int8_scale(row);
            self.scales.push(scale);
            for (at, &weight) in row.iter().enumerate() {
                let (step, group, part) = (at / 64, at % 64 / 4, at % 4);
                let whole = to_int8(weight, inverse);
                self.column_sums[column] += i32::from(whole);
                panel[step * 2048 + tile * 1024 + group * 64 + lane * 4 + part] = whole.cast_unsigned();
            }
        }
    }
}
