//! Vectors in the encodings an answer may ask for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use crate::embed::{Embedded, each_of};
use crate::task::inference::VectorEncoding;
use crate::task::{Part, TaskError};

/// Vectors as they are answered.
pub(super) enum Encoded {
    /// In the JSON.
    Json {
        /// One value per vector.
        embeddings: Vec<Value>,
        /// One scale per vector, with `int8`.
        scales: Option<Vec<f32>>,
    },
    /// Beside it.
    Part(Part),
}

/// Writes the vectors in `encoding`. Errors: `Internal` for a value JSON cannot hold, which finite vectors never have.
pub(super) fn encode(done: &Embedded, encoding: VectorEncoding) -> Result<Encoded, TaskError> {
    let rows: Vec<&[f32]> = done.vectors.chunks(done.dimensions).collect();
    let json = |embeddings| Ok(Encoded::Json { embeddings, scales: None });
    match encoding {
        VectorEncoding::Float => json(each_of(&rows, |_, row| float_row(row))?),
        VectorEncoding::Base64 => json(each_of(&rows, |_, row| Ok::<_, TaskError>(Value::String(STANDARD.encode(little_endian(row)))))?),
        VectorEncoding::Binary => json(each_of(&rows, |_, row| Ok::<_, TaskError>(Value::from(packed_bits(row))))?),
        VectorEncoding::Int8 => {
            let (embeddings, scales) = each_of(&rows, |_, row| Ok::<_, TaskError>(int8_row(row)))?.into_iter().unzip();
            Ok(Encoded::Json { embeddings, scales: Some(scales) })
        }
        VectorEncoding::Part => {
            let count = done.token_counts.len();
            Ok(Encoded::Part(Part::from_f32(vec![count, done.dimensions], &done.vectors)?))
        }
    }
}

/// Numbers with the fewest digits that still read back as the same f32.
fn float_row(row: &[f32]) -> Result<Value, TaskError> {
    let number = |&value: &f32| {
        let short: f64 = value.to_string().parse().unwrap_or(f64::NAN);
        Number::from_f64(short).map(Value::Number).ok_or_else(|| TaskError::internal("a vector holds a value that is no number", ""))
    };
    Ok(Value::Array(row.iter().map(number).collect::<Result<_, _>>()?))
}

fn little_endian(row: &[f32]) -> Vec<u8> {
    row.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Symmetric per vector: the largest magnitude becomes 127. A zero vector has scale 0.
fn int8_row(row: &[f32]) -> (Value, f32) {
    let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let quantised = |&value: &f32| if scale > 0.0 { (value / scale).round().clamp(-127.0, 127.0) as i8 } else { 0 };
    (Value::Array(row.iter().map(quantised).map(Value::from).collect()), scale)
}

fn packed_bits(row: &[f32]) -> Vec<u8> {
    row.chunks(8).map(|bits| bits.iter().enumerate().fold(0u8, |byte, (bit, &value)| byte | u8::from(value > 0.0) << (7 - bit))).collect()
}
