//! Sets for tests: the same rows in every form that they may be stored in.

use half::{bf16, f16};

use super::super::{Block, Int8Sketch, StoredRows, exact, norms};
use crate::quantize;

/// The forms a set may be stored in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stored {
    F32,
    F16,
    Bf16,
    Int8,
    Binary,
    /// F32 with an int8 sketch.
    Sketched,
}

pub(super) const STORED: [Stored; 6] = [Stored::F32, Stored::F16, Stored::Bf16, Stored::Int8, Stored::Binary, Stored::Sketched];

/// Rows that own their memory, cut into blocks of some rows.
pub(super) struct Set {
    parts: Vec<Part>,
}

#[derive(Default)]
struct Part {
    f32: Vec<f32>,
    f16: Vec<f16>,
    bf16: Vec<bf16>,
    int8: (Vec<i8>, Vec<f32>),
    words: Vec<u64>,
    kind: Option<Stored>,
    norms: Vec<f32>,
    sketch: Option<Int8Sketch>,
    admitted: Option<Vec<u64>>,
}

impl Part {
    fn new(stored: Stored, values: &[f32], dim: usize) -> Self {
        let mut part = Self { kind: Some(stored), ..Self::default() };
        match stored {
            Stored::F32 | Stored::Sketched => part.f32 = values.to_vec(),
            Stored::F16 => part.f16 = values.iter().map(|value| f16::from_f32(*value)).collect(),
            Stored::Bf16 => part.bf16 = values.iter().map(|value| bf16::from_f32(*value)).collect(),
            Stored::Int8 => {
                for row in values.chunks_exact(dim) {
                    let (rounded, scale) = quantize::reference_int8_row(row);
                    part.int8.0.extend(rounded);
                    part.int8.1.push(if row.iter().all(|value| value.is_finite()) { scale } else { f32::NAN });
                }
            }
            Stored::Binary => part.words = values.chunks_exact(dim).flat_map(exact::pack).collect(),
        }
        part.norms = norms(part.rows(), dim).expect("whole rows");
        if stored == Stored::Sketched {
            part.sketch = Some(Int8Sketch::of(part.rows(), dim).expect("whole rows"));
        }
        part
    }

    fn rows(&self) -> StoredRows<'_> {
        match self.kind.expect("a part has a kind") {
            Stored::F32 | Stored::Sketched => StoredRows::F32(&self.f32),
            Stored::F16 => StoredRows::F16(&self.f16),
            Stored::Bf16 => StoredRows::Bf16(&self.bf16),
            Stored::Int8 => StoredRows::Int8 { values: &self.int8.0, scales: &self.int8.1 },
            Stored::Binary => StoredRows::Binary(&self.words),
        }
    }

    fn block(&self) -> Block<'_> {
        let sketch = self.sketch.as_ref().map(Int8Sketch::sketch);
        Block { rows: self.rows(), norms: &self.norms, sketch, admitted: self.admitted.as_deref() }
    }
}

impl Set {
    pub(super) fn new(stored: Stored, values: &[f32], (dim, part_rows): (usize, usize)) -> Self {
        Self { parts: values.chunks(dim * part_rows).map(|values| Part::new(stored, values, dim)).collect() }
    }

    /// Admits the rows that `admits` names, counted over all parts.
    pub(super) fn admit(&mut self, dim: usize, admits: impl Fn(u64) -> bool) {
        let mut first = 0;
        for part in &mut self.parts {
            let len = part.rows().len(dim).expect("whole rows");
            let mut words = vec![0u64; len.div_ceil(64)];
            (0..len).filter(|row| admits(first + *row as u64)).for_each(|row| words[row / 64] |= 1 << (row % 64));
            part.admitted = Some(words);
            first += len as u64;
        }
    }

    pub(super) fn blocks(&self) -> Vec<Block<'_>> {
        self.parts.iter().map(Part::block).collect()
    }
}
