//! Names and metadata of rows as they come in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::task::vector::ItemId;

/// Names of rows, one each: a list of integers or strings, or `{"$part": "name"}`, a binary part of `i64`.
#[derive(Clone, Debug, PartialEq)]
pub enum IdsInput {
    /// As JSON.
    List(Vec<ItemId>),
    /// The name of a binary part `[rows]` of dtype `i64`.
    Named(String),
}

/// A name of a part.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PartDocument {
    /// A binary part of the payload.
    #[serde(rename = "$part")]
    part: String,
}

impl<'de> Deserialize<'de> for IdsInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdsVisitor;
        impl<'de> Visitor<'de> for IdsVisitor {
            type Value = IdsInput;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of integers or strings, or {\"$part\"}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<IdsInput, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(IdsInput::List)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<IdsInput, A::Error> {
                PartDocument::deserialize(MapAccessDeserializer::new(map)).map(|document| IdsInput::Named(document.part))
            }
        }
        deserializer.deserialize_any(IdsVisitor)
    }
}

impl JsonSchema for IdsInput {
    fn schema_name() -> Cow<'static, str> {
        "IdsInput".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (list, part) = (generator.subschema_for::<Vec<ItemId>>(), generator.subschema_for::<PartDocument>());
        json_schema!({ "description": "Names of rows, one each.", "anyOf": [list, part] })
    }
}

/// A value of a row's metadata: a string, a number, a boolean, or a list of strings. All values of a field are of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum MetadataValue {
    /// True or false.
    Boolean(bool),
    /// A finite number; integers beyond 2^53 lose their last digits.
    Number(f64),
    /// A string.
    Text(String),
    /// Strings; an empty list is as good as none.
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for MetadataValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = MetadataValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, a boolean or a list of strings")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<MetadataValue, E> {
                Ok(MetadataValue::Boolean(value))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<MetadataValue, E> {
                Ok(MetadataValue::Number(value))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<MetadataValue, E> {
                Ok(MetadataValue::Number(value as f64))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<MetadataValue, E> {
                Ok(MetadataValue::Number(value as f64))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<MetadataValue, E> {
                Ok(MetadataValue::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<MetadataValue, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(MetadataValue::List)
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

impl JsonSchema for MetadataValue {
    fn schema_name() -> Cow<'static, str> {
        "MetadataValue".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A string, a number, a boolean or a list of strings.",
            "anyOf": [{ "type": "string" }, { "type": "number" }, { "type": "boolean" }, { "type": "array", "items": { "type": "string" } }],
        })
    }
}

/// Metadata of rows: a list with an object a row, or an object with a list a field. A value that is null is absent.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataInput {
    /// `[{"lang": "de"}, {}]`
    Rows(Vec<BTreeMap<String, Option<MetadataValue>>>),
    /// `{"lang": ["de", null]}`
    Columns(BTreeMap<String, Vec<Option<MetadataValue>>>),
}

impl<'de> Deserialize<'de> for MetadataInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;
        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = MetadataInput;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array with an object for each row, or an object with an array for each field")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<MetadataInput, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(MetadataInput::Rows)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MetadataInput, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(MetadataInput::Columns)
            }
        }
        deserializer.deserialize_any(MetadataVisitor)
    }
}

impl JsonSchema for MetadataInput {
    fn schema_name() -> Cow<'static, str> {
        "MetadataInput".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<Option<MetadataValue>>();
        json_schema!({
            "description": "Metadata of rows, by row or by field.",
            "anyOf": [
                { "type": "array", "items": { "type": "object", "additionalProperties": value.clone() } },
                { "type": "object", "additionalProperties": { "type": "array", "items": value } },
            ],
        })
    }
}
