//! The language of filters: conditions on the metadata of rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MetadataValue;

/// A condition on a row's metadata: one of `and`, `or`, `not`, `eq`, `in`, `range`, `exists`.
///
/// A field that a row has not is equal to nothing, in no list and in no range; `not` takes exactly the other rows. A condition on a list of strings holds
/// when one entry meets it. At most 16 levels, 1,024 conditions, 10,000 values in a list.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetFilter {
    /// All of them.
    And(Vec<SetFilter>),
    /// At least one of them.
    Or(Vec<SetFilter>),
    /// The other rows.
    Not(Box<SetFilter>),
    /// The field has this value.
    Eq(FieldValue),
    /// The field has one of these values.
    In(FieldValues),
    /// The field is a number within bounds.
    Range(FieldRange),
    /// The row has the field.
    Exists(FieldCondition),
}

/// A field and a value.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldValue {
    /// The field's name.
    pub field: String,
    /// A string, a number or a boolean.
    pub value: MetadataValue,
}

/// A field and values.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldValues {
    /// The field's name.
    pub field: String,
    /// Strings, numbers or booleans.
    pub values: Vec<MetadataValue>,
}

/// A field of numbers and bounds, of which at least one is given.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldRange {
    /// The field's name.
    pub field: String,
    /// At least this.
    #[serde(default)]
    pub gte: Option<f64>,
    /// More than this.
    #[serde(default)]
    pub gt: Option<f64>,
    /// At most this.
    #[serde(default)]
    pub lte: Option<f64>,
    /// Less than this.
    #[serde(default)]
    pub lt: Option<f64>,
}

/// A field.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldCondition {
    /// The field's name.
    pub field: String,
}
