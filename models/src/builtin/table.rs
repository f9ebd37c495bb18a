//! The static token vectors: 4-bit rows with one scale each, as packed by the maker and as read at run time. Both ends of the layout live here.
//!
//! File: safetensors with `rows` u8 `[piece_count, 128]` and `scales` f32 `[piece_count]`. Byte `j` of a row holds component `j` in its low
//! four bits and component `j + 128` in its high four, each stored as the level plus 8. Levels run from -7 to 7; a component is level x scale.

use safetensors::{Dtype, SafeTensors};

use super::vocabulary::PIECE_COUNT;
use crate::ModelError;

/// Components of a token vector.
pub const TOKEN_DIM: usize = 256;
/// Bytes of a packed row.
pub const ROW_BYTES: usize = TOKEN_DIM / 2;
/// The name of the tensor of packed rows.
pub const ROWS: &str = "rows";
/// The name of the tensor of scales.
pub const SCALES: &str = "scales";

const LEVEL_MAX: f64 = 7.0;
const LEVEL_OFFSET: f64 = 8.0;
/// A row's largest components are clipped to this share of the largest: finer steps for all the others are worth it.
const CLIP: f64 = 0.85;

/// Packed rows where they lie in the file, and their scales.
pub(super) struct TokenTable<'a> {
    rows: &'a [u8],
    scales: Vec<f32>,
}

impl<'a> TokenTable<'a> {
    /// Reads and checks the file's bytes. Errors: `Corrupt` for another layout, shape, dtype or a scale that is not a finite number from 0.
    pub(super) fn read(file: &str, bytes: &'a [u8]) -> Result<Self, ModelError> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| ModelError::corrupt(file, "header", error.to_string()))?;
        let find = |name: &str, dtype: Dtype, shape: &[usize]| {
            let view = tensors.tensor(name).map_err(|error| ModelError::corrupt(file, name, error.to_string()))?;
            if view.dtype() != dtype || view.shape() != shape {
                let reason = format!("found {:?} {:?}, expected {dtype:?} {shape:?}", view.dtype(), view.shape());
                return Err(ModelError::corrupt(file, name, reason));
            }
            Ok(view.data())
        };
        let rows = find(ROWS, Dtype::U8, &[PIECE_COUNT, ROW_BYTES])?;
        let (quads, _) = find(SCALES, Dtype::F32, &[PIECE_COUNT])?.as_chunks::<4>();
        let scales: Vec<f32> = quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect();
        match scales.iter().position(|scale| !scale.is_finite() || *scale < 0.0) {
            Some(row) => Err(ModelError::corrupt(file, SCALES, format!("row {row} has the scale {}", scales[row]))),
            None => Ok(Self { rows, scales }),
        }
    }

    /// Adds `weight` times the vector of `id` to `sum` `[TOKEN_DIM]`, in f32. `id` must be below [`PIECE_COUNT`].
    pub(super) fn add(&self, id: u32, weight: f32, sum: &mut [f32; TOKEN_DIM]) {
        let from = id as usize * ROW_BYTES;
        let row = &self.rows[from..from + ROW_BYTES];
        let factor = weight * self.scales[id as usize];
        let (low, high) = sum.split_at_mut(ROW_BYTES);
        for ((byte, low), high) in row.iter().zip(low).zip(high) {
            *low += factor * (f32::from(byte & 15) - LEVEL_OFFSET as f32);
            *high += factor * (f32::from(byte >> 4) - LEVEL_OFFSET as f32);
        }
    }
}

/// Packs one vector: its bytes and its scale; a zero vector has the scale 0.
pub fn pack(vector: &[f64; TOKEN_DIM]) -> ([u8; ROW_BYTES], f32) {
    let largest = vector.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let scale = (largest * CLIP / LEVEL_MAX) as f32;
    let level = |value: f64| {
        let steps = if scale > 0.0 { (value / f64::from(scale)).round().clamp(-LEVEL_MAX, LEVEL_MAX) } else { 0.0 };
        (steps + LEVEL_OFFSET) as u8
    };
    let bytes = std::array::from_fn(|at| level(vector[at]) | (level(vector[at + ROW_BYTES]) << 4));
    (bytes, scale)
}
