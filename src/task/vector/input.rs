//! Vectors as they come in: JSON numbers, base64 bytes, or the name of a binary part.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::task::{Dtype, Part};

/// Most dimensions of a vector.
pub const VECTOR_DIM_MAX: usize = 65_536;
/// Most values of one input: 1 GiB as `f32`.
pub const VECTOR_ELEMENTS_MAX: usize = 1 << 28;

/// One vector or many: `[n]` or `[rows, dim]`.
///
/// In JSON an array of numbers, an array of arrays of numbers of equal length, `{"base64", "dtype", "shape"}` (little-endian; `dtype` defaults to
/// `f32`, `shape` to one row) or `{"$part": "name"}`. Neither the row count nor the dimension is zero.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorInput {
    /// JSON numbers, rounded to `f32`; all finite.
    Values {
        /// Row after row.
        values: Vec<f32>,
        /// `[n]` or `[rows, dim]`.
        shape: Vec<usize>,
    },
    /// Bytes that came as base64.
    Bytes(Part),
    /// The name of a binary part of the payload.
    Named(String),
}

/// The object forms of a [`VectorInput`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputDocument {
    /// Little-endian bytes, standard alphabet with padding.
    base64: Option<String>,
    /// Element type of the bytes: `f32` (default), `f64`, `f16`, `bf16`, `i8`, or `u8` for packed bits.
    dtype: Option<Dtype>,
    /// `[n]` or `[rows, dim]`.
    shape: Option<Vec<usize>>,
    /// Name of a binary part of the payload, which carries its own dtype and shape.
    #[serde(rename = "$part")]
    part: Option<String>,
}

impl TryFrom<InputDocument> for VectorInput {
    type Error = String;

    fn try_from(document: InputDocument) -> Result<Self, String> {
        match document {
            InputDocument { part: Some(name), base64: None, dtype: None, shape: None } => Ok(Self::Named(name)),
            InputDocument { part: Some(_), .. } => Err("`$part` stands alone: the part carries its own dtype and shape".into()),
            InputDocument { base64: None, .. } => Err("expected `base64` or `$part`".into()),
            InputDocument { base64: Some(text), dtype, shape, .. } => {
                let dtype = dtype.unwrap_or(Dtype::F32);
                let bytes = STANDARD.decode(text.as_bytes()).map_err(|error| format!("base64: {error}"))?;
                if !bytes.len().is_multiple_of(dtype.size_bytes()) {
                    return Err(format!("base64: {} bytes are no whole number of {} values", bytes.len(), dtype.name()));
                }
                let shape = shape.unwrap_or_else(|| vec![bytes.len() / dtype.size_bytes()]);
                Part::new(dtype, shape, bytes.into()).map(Self::Bytes).map_err(|error| error.to_string())
            }
        }
    }
}

impl<'de> Deserialize<'de> for VectorInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = VectorInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers, an array of such arrays, {\"base64\", \"dtype\", \"shape\"} or {\"$part\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<VectorInput, A::Error> {
        let document = InputDocument::deserialize(MapAccessDeserializer::new(map))?;
        document.try_into().map_err(A::Error::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<VectorInput, A::Error> {
        let mut values = Vec::new();
        let mut first = None;
        let mut count = 0;
        while let Some(item) = items.next_element_seed(ItemSeed { values: &mut values, first })? {
            first = first.or(Some(item));
            count += 1;
        }
        let shape = match first {
            None => return Err(A::Error::custom("found an empty array; at least one number is needed")),
            Some(Item::Number) => vec![count],
            Some(Item::Row(dim)) => vec![count, dim],
        };
        Ok(VectorInput::Values { values, shape })
    }
}

/// What an element of the outer array is.
#[derive(Clone, Copy)]
enum Item {
    Number,
    Row(usize),
}

/// Reads one element of the outer array, which must be like the first.
struct ItemSeed<'a> {
    values: &'a mut Vec<f32>,
    first: Option<Item>,
}

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = Item;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Item, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ItemSeed<'_> {
    fn number<E: Error>(self, value: f64) -> Result<Item, E> {
        if matches!(self.first, Some(Item::Row(_))) {
            return Err(E::custom("found a number among rows; every element must be an array"));
        }
        push(self.values, value, VECTOR_DIM_MAX)?;
        Ok(Item::Number)
    }
}

impl<'de> Visitor<'de> for ItemSeed<'_> {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or an array of numbers")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Item, E> {
        self.number(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Item, E> {
        self.number(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Item, E> {
        self.number(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Item, A::Error> {
        if matches!(self.first, Some(Item::Number)) {
            return Err(A::Error::custom("found an array among numbers; every element must be a number"));
        }
        let start = self.values.len();
        while items.next_element_seed(NumberSeed { values: self.values, start })?.is_some() {}
        let dim = self.values.len() - start;
        match self.first {
            _ if dim == 0 => Err(A::Error::custom("found an empty row; at least one number is needed")),
            Some(Item::Row(expected)) if dim != expected => {
                Err(A::Error::custom(format!("found a row of {dim} numbers; the first row has {expected} and all rows must agree")))
            }
            _ if self.values.len() > VECTOR_ELEMENTS_MAX => {
                Err(A::Error::custom(format!("found more than {VECTOR_ELEMENTS_MAX} numbers, the most allowed")))
            }
            _ => Ok(Item::Row(dim)),
        }
    }
}

/// Reads one number of a row.
struct NumberSeed<'a> {
    values: &'a mut Vec<f32>,
    start: usize,
}

impl<'de> DeserializeSeed<'de> for NumberSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NumberSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        push(self.values, value, self.start + VECTOR_DIM_MAX)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }
}

/// Adds a number while there are fewer than `len_max`.
fn push<E: Error>(values: &mut Vec<f32>, value: f64, len_max: usize) -> Result<(), E> {
    if values.len() >= len_max {
        return Err(E::custom(format!("a vector has at most {VECTOR_DIM_MAX} dimensions")));
    }
    let narrow = value as f32;
    if !narrow.is_finite() {
        return Err(E::custom(format!("{value:e} does not fit f32, whose largest magnitude is {:e}", f32::MAX)));
    }
    values.push(narrow);
    Ok(())
}

impl JsonSchema for VectorInput {
    fn schema_name() -> Cow<'static, str> {
        "VectorInput".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let document = generator.subschema_for::<InputDocument>();
        json_schema!({
            "description": "One vector or many, all of the same dimension.",
            "anyOf": [
                { "type": "array", "minItems": 1, "items": { "type": "number" } },
                { "type": "array", "minItems": 1, "items": { "type": "array", "minItems": 1, "items": { "type": "number" } } },
                document,
            ],
        })
    }
}
