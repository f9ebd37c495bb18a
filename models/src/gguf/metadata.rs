//! Values of a file's metadata by key, each error naming file and key.

use crate::ModelError;
use crate::weights::gguf::{GgufHeader, MetaValue};

/// The metadata of a file.
pub(super) struct Metadata<'a> {
    header: &'a GgufHeader,
    file: String,
}

impl<'a> Metadata<'a> {
    pub(super) fn new(header: &'a GgufHeader, file: String) -> Self {
        Self { header, file }
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a MetaValue> {
        self.header.metadata.get(key)
    }

    /// An error at a key.
    pub(super) fn fault(&self, key: &str, reason: impl Into<String>) -> ModelError {
        ModelError::corrupt(self.file.clone(), format!("`{key}`"), reason)
    }

    fn other(&self, key: &str, expected: &str) -> ModelError {
        self.fault(key, format!("{expected} is expected"))
    }

    /// A whole number, if it is there.
    pub(super) fn whole(&self, key: &str) -> Result<Option<i64>, ModelError> {
        match self.value(key) {
            None => Ok(None),
            Some(&MetaValue::Whole(value)) => Ok(Some(value)),
            Some(_) => Err(self.other(key, "a whole number")),
        }
    }

    /// A whole number that is no less than zero.
    pub(super) fn size(&self, key: &str) -> Result<usize, ModelError> {
        let value = self.whole(key)?.ok_or_else(|| self.fault(key, "missing"))?;
        usize::try_from(value).map_err(|_| self.fault(key, format!("found {value}, a size is expected")))
    }

    /// A real number, if it is there.
    pub(super) fn real(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.value(key) {
            None => Ok(None),
            Some(&MetaValue::Real(value)) => Ok(Some(value)),
            Some(&MetaValue::Whole(value)) => Ok(Some(value as f64)),
            Some(_) => Err(self.other(key, "a number")),
        }
    }

    /// A real number, as short as it was written in the first place: files hold 1e-12 as the f32 next to it.
    pub(super) fn needed_real(&self, key: &str) -> Result<f64, ModelError> {
        let value = self.real(key)?.ok_or_else(|| self.fault(key, "missing"))?;
        Ok(format!("{}", value as f32).parse().unwrap_or(value))
    }

    /// True or false, if it is there.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.value(key) {
            None => Ok(None),
            Some(&MetaValue::Flag(value)) => Ok(Some(value)),
            Some(_) => Err(self.other(key, "true or false")),
        }
    }

    /// A text, if it is there.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        match self.value(key) {
            None => Ok(None),
            Some(MetaValue::Text(value)) => Ok(Some(value)),
            Some(_) => Err(self.other(key, "a text")),
        }
    }

    /// A text.
    pub(super) fn needed_text(&self, key: &str) -> Result<&'a str, ModelError> {
        self.text(key)?.ok_or_else(|| self.fault(key, "missing"))
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &str) -> Result<&'a [String], ModelError> {
        match self.value(key) {
            Some(MetaValue::Texts(values)) => Ok(values),
            None => Err(self.fault(key, "missing")),
            Some(_) => Err(self.other(key, "a list of texts")),
        }
    }

    /// A list of whole numbers, empty when it is not there.
    pub(super) fn wholes(&self, key: &str) -> Result<&'a [i64], ModelError> {
        match self.value(key) {
            Some(MetaValue::Wholes(values)) => Ok(values),
            None => Ok(&[]),
            Some(_) => Err(self.other(key, "a list of whole numbers")),
        }
    }

    /// A list of real numbers.
    pub(super) fn reals(&self, key: &str) -> Result<&'a [f32], ModelError> {
        match self.value(key) {
            Some(MetaValue::Reals(values)) => Ok(values),
            None => Err(self.fault(key, "missing")),
            Some(_) => Err(self.other(key, "a list of numbers")),
        }
    }

    /// The sizes of a tensor of the file, outermost first.
    pub(super) fn shape(&self, tensor: &str) -> Option<&'a [usize]> {
        self.header.tensors.iter().find(|entry| entry.name == tensor).map(|entry| entry.shape.as_slice())
    }

    /// The rows of a tensor of the file. Errors: `Corrupt` when there is none of that name.
    pub(super) fn rows(&self, tensor: &str) -> Result<usize, ModelError> {
        let missing = || ModelError::corrupt(self.file.clone(), format!("tensor `{tensor}`"), "missing");
        self.shape(tensor).and_then(|shape| shape.first().copied()).ok_or_else(missing)
    }
}
