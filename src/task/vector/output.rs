//! Arrays as they go out: JSON numbers or base64 bytes; a binary part leaves beside the JSON.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use crate::task::{Dtype, Part, TaskError};

/// How the large arrays of an answer leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArrayEncoding {
    /// As JSON numbers; NaN and infinities as null.
    #[default]
    Float,
    /// As `{"base64", "dtype", "shape"}`, little-endian.
    Base64,
    /// As a binary part named like the field, which is then absent from the JSON.
    Part,
}

/// The numbers of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Values.
    F32(Vec<f32>),
    /// Scores.
    F64(Vec<f64>),
    /// Indices; -1 where there is none.
    I64(Vec<i64>),
    /// Quantised values.
    I8(Vec<i8>),
    /// Packed bits.
    U8(Vec<u8>),
    /// Values in two bytes each, already in little-endian bytes: dtype `f16` or `bf16`.
    Half(Dtype, Vec<u8>),
}

/// An array of one or two dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayOutput {
    numbers: Numbers,
    shape: Vec<usize>,
    base64: bool,
}

impl ArrayOutput {
    /// An array of JSON numbers. `shape` has one or two dimensions and its product is the number of numbers.
    #[must_use]
    pub fn new(numbers: Numbers, shape: Vec<usize>) -> Self {
        Self { numbers, shape, base64: false }
    }

    /// The same array as base64 bytes.
    #[must_use]
    pub fn into_base64(self) -> Self {
        Self { base64: true, ..self }
    }

    /// The array as a binary part. Errors: `InvalidPayload` when the shape does not match, which [`ArrayOutput::new`] leaves to its caller.
    pub fn into_part(self) -> Result<Part, TaskError> {
        let (dtype, bytes) = self.numbers.into_bytes();
        Part::new(dtype, self.shape, bytes.into())
    }
}

impl Numbers {
    /// Little-endian bytes and what they are.
    fn into_bytes(self) -> (Dtype, Vec<u8>) {
        match self {
            Self::F32(values) => (Dtype::F32, little_endian(values, |value| value.to_le_bytes())),
            Self::F64(values) => (Dtype::F64, little_endian(values, |value| value.to_le_bytes())),
            Self::I64(values) => (Dtype::I64, little_endian(values, |value| value.to_le_bytes())),
            Self::I8(values) => (Dtype::I8, little_endian(values, |value| value.to_le_bytes())),
            Self::U8(values) => (Dtype::U8, values),
            Self::Half(dtype, bytes) => (dtype, bytes),
        }
    }

    /// Writes a range of the numbers as a JSON array.
    fn write<S: Serializer>(&self, range: std::ops::Range<usize>, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::F32(values) => serializer.collect_seq(&values[range]),
            Self::F64(values) => serializer.collect_seq(&values[range]),
            Self::I64(values) => serializer.collect_seq(&values[range]),
            Self::I8(values) => serializer.collect_seq(&values[range]),
            Self::U8(values) => serializer.collect_seq(&values[range]),
            Self::Half(dtype, bytes) => {
                let widen = |pair: &[u8]| match dtype {
                    Dtype::Bf16 => half::bf16::from_le_bytes([pair[0], pair[1]]).to_f32(),
                    _ => half::f16::from_le_bytes([pair[0], pair[1]]).to_f32(),
                };
                serializer.collect_seq(bytes[range.start * 2..range.end * 2].chunks_exact(2).map(widen))
            }
        }
    }
}

/// The bytes of values, copied whole where the processor has them in this order already.
fn little_endian<T: bytemuck::NoUninit, const N: usize>(values: Vec<T>, convert: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    if cfg!(target_endian = "little") { bytemuck::cast_slice(&values).to_vec() } else { values.into_iter().flat_map(convert).collect() }
}

/// One row of an array while it is written.
struct Row<'a>(&'a Numbers, std::ops::Range<usize>);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(self.1.clone(), serializer)
    }
}

impl Serialize for ArrayOutput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<'a> {
            base64: String,
            dtype: Dtype,
            shape: &'a [usize],
        }
        if self.base64 {
            let (dtype, bytes) = self.numbers.clone().into_bytes();
            return Document { base64: STANDARD.encode(bytes), dtype, shape: &self.shape }.serialize(serializer);
        }
        match self.shape[..] {
            [rows, dim] => {
                let mut seq = serializer.serialize_seq(Some(rows))?;
                for row in 0..rows {
                    seq.serialize_element(&Row(&self.numbers, row * dim..(row + 1) * dim))?;
                }
                seq.end()
            }
            _ => self.numbers.write(0..self.shape.iter().product(), serializer),
        }
    }
}

impl JsonSchema for ArrayOutput {
    fn schema_name() -> Cow<'static, str> {
        "ArrayOutput".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let part = generator.subschema_for::<Dtype>();
        json_schema!({
            "anyOf": [
                { "type": "array", "items": { "type": ["number", "null"] } },
                { "type": "array", "items": { "type": "array", "items": { "type": ["number", "null"] } } },
                {
                    "type": "object",
                    "properties": { "base64": { "type": "string" }, "dtype": part, "shape": { "type": "array", "items": { "type": "integer" } } },
                    "required": ["base64", "dtype", "shape"],
                },
            ],
        })
    }
}
