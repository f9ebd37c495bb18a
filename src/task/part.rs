//! Binary parts: named little-endian arrays that travel beside a payload or a result instead of JSON numbers.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::TaskError;

/// Named parts of a payload or an outcome. Cloning shares the bytes.
pub type Parts = BTreeMap<String, Part>;

/// Element type of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer, raw bytes or packed bits.
    U8,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 64-bit integer.
    I64,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// The name in JSON, HTTP and `.npy` documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
        }
    }
}

/// A dense row-major array: `bytes.len() == product(shape) * dtype.size_bytes()`, little-endian. Holds for every value of this type.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Bytes,
}

impl Part {
    /// Ties bytes to a dtype and a shape. Errors: `InvalidPayload` when the length does not match, or the shape's product overflows.
    pub fn new(dtype: Dtype, shape: Vec<usize>, bytes: Bytes) -> Result<Self, TaskError> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let expected = elements.and_then(|n| n.checked_mul(dtype.size_bytes()));
        if expected != Some(bytes.len()) {
            return Err(TaskError::invalid(
                "part",
                format!(
                    "shape {shape:?} of {} needs {} bytes, found {}",
                    dtype.name(),
                    expected.map_or_else(|| "too many".into(), |n| n.to_string()),
                    bytes.len()
                ),
            ));
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// A part of `f32` values. Errors: `InvalidPayload` when the length does not match the shape.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self, TaskError> {
        let mut bytes = Vec::with_capacity(values.len() * 4);
        for value in values {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Self::new(Dtype::F32, shape, bytes.into())
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The little-endian bytes, shared.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Copies the values out as `f32`. Errors: `InvalidPayload` when the dtype is not `f32`.
    pub fn to_f32(&self) -> Result<Vec<f32>, TaskError> {
        if self.dtype != Dtype::F32 {
            return Err(TaskError::invalid("part", format!("expected dtype f32, found {}", self.dtype.name())));
        }
        Ok(self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({} {:?}, {} bytes)", self.dtype.name(), self.shape, self.bytes.len())
    }
}

/// The JSON form of a part: `{"dtype": "f32", "shape": [2, 3], "base64": "..."}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartJson {
    dtype: Dtype,
    shape: Vec<usize>,
    base64: String,
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PartJson { dtype: self.dtype, shape: self.shape.clone(), base64: STANDARD.encode(&self.bytes) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = PartJson::deserialize(deserializer)?;
        let bytes = STANDARD.decode(json.base64.as_bytes()).map_err(|e| D::Error::custom(format!("base64: {e}")))?;
        Self::new(json.dtype, json.shape, bytes.into()).map_err(D::Error::custom)
    }
}
