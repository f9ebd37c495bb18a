//! Fields of a `config.json`, read one by one with bounds: what is missing, out of bounds or not supported is named.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::ModelError;
use crate::error::shortened;
use crate::layers::Activation;

/// The file's name in messages.
pub(super) const FILE: &str = "config.json";

/// Bounds on the numbers of a configuration: beyond them a file is a mistake or an attack.
pub(super) const HIDDEN_MAX: usize = 16_384;
pub(super) const INTERMEDIATE_MAX: usize = 131_072;
pub(super) const LAYERS_MAX: usize = 256;
pub(super) const POSITIONS_MAX: usize = 1 << 20;

/// The values of a field that can be run; a field that is missing or null is always well.
#[derive(Clone, Copy)]
pub(super) enum Only {
    /// No value at all.
    Absent,
    /// This one.
    Flag(bool),
    /// This one.
    Number(f64),
    /// None above this one.
    AtMost(f64),
    /// One of these.
    Words(&'static [&'static str]),
}

/// The object in a `config.json`, or in a field of one.
pub(super) struct ConfigFile {
    fields: Map<String, Value>,
    /// How the file spells fields that are known under common names: pairs of (other, common).
    spellings: &'static [(&'static str, &'static str)],
}

impl ConfigFile {
    /// Errors: `Corrupt` for JSON that is no object.
    pub(super) fn new(json: Value) -> Result<Self, ModelError> {
        match json {
            Value::Object(fields) => Ok(Self { fields, spellings: &[] }),
            other => Err(ModelError::corrupt(FILE, "json", format!("an object is expected, found {}", clip(&other)))),
        }
    }

    /// The same object for a family that spells fields otherwise: they are read under their common names, and named in errors as the file has them.
    pub(super) fn spelled(&self, spellings: &'static [(&'static str, &'static str)]) -> Self {
        Self { fields: self.fields.clone(), spellings }
    }

    /// The name of a field in this file: the family's own, unless only the common one is there.
    fn name<'a>(&self, field: &'a str) -> &'a str {
        let own = self.spellings.iter().find(|(_, common)| *common == field).map(|(own, _)| *own);
        own.filter(|own| self.fields.contains_key(*own) || !self.fields.contains_key(field)).unwrap_or(field)
    }

    /// The value of a field that is there and not null.
    pub(super) fn value(&self, field: &str) -> Option<&Value> {
        self.fields.get(self.name(field)).filter(|value| !value.is_null())
    }

    /// The object in a field, if there is one. Errors: `Corrupt` for a value that is none.
    pub(super) fn section(&self, field: &str) -> Result<Option<Self>, ModelError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self { fields: fields.clone(), spellings: &[] })),
            Some(other) => Err(ModelError::corrupt(FILE, self.name(field), format!("an object is expected, found {}", clip(other)))),
        }
    }

    /// A whole number. Errors: `Corrupt` when it is missing or outside `range`.
    pub(super) fn size(&self, field: &str, range: RangeInclusive<usize>) -> Result<usize, ModelError> {
        let value = self.value(field).ok_or_else(|| ModelError::corrupt(FILE, self.name(field), "missing"))?;
        let found = value.as_u64().and_then(|number| usize::try_from(number).ok());
        found.filter(|number| range.contains(number)).ok_or_else(|| {
            let reason = format!("found {}, allowed are the whole numbers {} to {}", clip(value), range.start(), range.end());
            ModelError::corrupt(FILE, self.name(field), reason)
        })
    }

    /// A whole number, or `default` without one. Errors: `Corrupt` when it is outside `range`.
    pub(super) fn size_or(&self, field: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize, ModelError> {
        if self.value(field).is_none() { Ok(default) } else { self.size(field, range) }
    }

    /// A number, or `default` without one. Errors: `Corrupt` when it is outside `range`.
    pub(super) fn number_or(&self, field: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64, ModelError> {
        let Some(value) = self.value(field) else { return Ok(default) };
        value.as_f64().filter(|number| range.contains(number)).ok_or_else(|| {
            ModelError::corrupt(
                FILE,
                self.name(field),
                format!("found {}, allowed is {:e} to {:e}", clip(value), range.start(), range.end()),
            )
        })
    }

    /// The epsilon of a norm, or `default` without one.
    pub(super) fn epsilon_or(&self, field: &str, default: f64) -> Result<f64, ModelError> {
        self.number_or(field, default, 1e-30..=0.1)
    }

    /// True or false, or `default` without a value.
    pub(super) fn flag_or(&self, field: &str, default: bool) -> Result<bool, ModelError> {
        let Some(value) = self.value(field) else { return Ok(default) };
        value
            .as_bool()
            .ok_or_else(|| ModelError::corrupt(FILE, self.name(field), format!("found {}, allowed are true and false", clip(value))))
    }

    /// A word, or `default` without one.
    pub(super) fn word_or<'a>(&'a self, field: &str, default: &'a str) -> Result<&'a str, ModelError> {
        let Some(value) = self.value(field) else { return Ok(default) };
        value.as_str().ok_or_else(|| ModelError::corrupt(FILE, self.name(field), format!("found {}, a word is expected", clip(value))))
    }

    /// An activation, or the one called `default`. Errors: `Unsupported` naming the field and what is known.
    pub(super) fn activation_or(&self, field: &str, default: &str) -> Result<Activation, ModelError> {
        crate::layers::activation_named(self.word_or(field, default)?)
            .map_err(|error| ModelError::unsupported(format!("{field} of {FILE}: {error}")))
    }

    /// A list of words, if there is one.
    pub(super) fn words(&self, field: &str) -> Result<Option<Vec<&str>>, ModelError> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let words = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        words
            .map(Some)
            .ok_or_else(|| ModelError::corrupt(FILE, self.name(field), format!("found {}, a list of words is expected", clip(value))))
    }

    /// Refuses what cannot be run. Errors: `Unsupported` naming the first field whose value is another than allowed.
    pub(super) fn only(&self, fields: &[(&str, Only)]) -> Result<(), ModelError> {
        for (field, only) in fields {
            let Some(value) = self.value(field) else { continue };
            let number = value.as_f64();
            let (fits, allowed) = match only {
                Only::Absent => (false, "no value".to_owned()),
                Only::Flag(flag) => (value.as_bool() == Some(*flag), flag.to_string()),
                Only::Number(only) => (number == Some(*only), only.to_string()),
                Only::AtMost(most) => (number.is_some_and(|number| number <= *most), format!("at most {most}")),
                Only::Words(words) => (value.as_str().is_some_and(|word| words.contains(&word)), words.join(", ")),
            };
            if !fits {
                return Err(unsupported(field, value, &allowed));
            }
        }
        Ok(())
    }
}

/// An `Unsupported` error that names a field, its value and what can be run.
pub(super) fn unsupported(field: &str, value: &Value, allowed: &str) -> ModelError {
    ModelError::unsupported(format!("{field} of {FILE} is {}; supported: {allowed}", clip(value)))
}

/// A value in a message.
fn clip(value: &Value) -> String {
    shortened(value.to_string()).escape_debug().to_string().replace("\\\"", "\"")
}
