//! Strict JSON: UTF-8, depth at most 64, no duplicate keys, no unknown fields; every refusal names its place.
//!
//! One pass builds a `serde_json::Value` and checks depth and keys on the way, a second moves that value into the typed form and keeps the path.
//! Both run on the calling thread.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::ApiError;
use crate::task::plainly;

/// Deepest nesting of arrays and objects that a body may have.
pub(crate) const DEPTH_MAX: usize = 64;

/// Parses a body into `T`.
///
/// Errors: `invalid_utf8`, `invalid_json` (line and column), `expected_object`, `json_too_deep`, `duplicate_field`, `unknown_field`, `invalid_payload` (path).
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    match value(bytes)? {
        object @ Value::Object(_) => typed(object),
        // The derived parsers would take an array as a struct's fields in order.
        other => {
            let found = match other {
                Value::Null => "null",
                Value::Array(_) => "an array",
                _ => "a single value",
            };
            Err(ApiError::bad("expected_object", format!("the body is {found}; expected a JSON object")))
        }
    }
}

/// Parses a body into a value under the rules of this file.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Err(ApiError::bad("invalid_json", "the body is empty; expected a JSON document"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ApiError::bad("invalid_utf8", format!("the body is not UTF-8 from byte {} on", error.valid_up_to())))?;
    let code = Cell::new("invalid_json");
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0, code: &code }
        .deserialize(&mut deserializer)
        .map_err(|error| ApiError::bad(code.get(), format!("invalid JSON: {error}")))?;
    deserializer.end().map_err(|error| ApiError::bad("invalid_json", format!("invalid JSON: {error}")))?;
    Ok(value)
}

/// Moves a value into its typed form. Errors: `unknown_field` and `invalid_payload`, with the path of the field as `param`.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let reason = plainly(&error.inner().to_string());
        let named = |reason: &str| reason.split('`').nth(1).unwrap_or_default().to_owned();
        let join = |name: String| if path == "." { name } else { format!("{path}.{name}") };
        if reason.starts_with("unknown field") {
            ApiError::bad("unknown_field", reason.clone()).param(join_once(&path, join(named(&reason)), &named(&reason)))
        } else if reason.starts_with("missing field") {
            ApiError::field(join(named(&reason)), reason)
        } else if path == "." {
            ApiError::bad("invalid_payload", reason)
        } else {
            ApiError::field(path, reason)
        }
    })
}

/// The path may already end in the unknown field's name, depending on how far serde had come.
fn join_once(path: &str, joined: String, name: &str) -> String {
    if path == name || path.ends_with(&format!(".{name}")) { path.to_owned() } else { joined }
}

/// Builds a value and refuses what `serde_json` would let pass.
#[derive(Clone, Copy)]
struct Strict<'c> {
    depth: usize,
    code: &'c Cell<&'static str>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            self.code.set("json_too_deep");
            return Err(E::custom(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if fields.contains_key(&key) {
                self.code.set("duplicate_field");
                let shown: String = key.chars().take(64).collect();
                return Err(A::Error::custom(format!("duplicate field `{shown}`")));
            }
            let value = map.next_value_seed(inner)?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
#[path = "tests/json.rs"]
mod tests;
