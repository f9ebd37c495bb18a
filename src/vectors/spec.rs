//! What a set is, fixed when it is made, and what is allowed of one. Pure.

use serde::{Deserialize, Serialize};
use tallow_kernels::distance::Metric;

use super::SetError;

/// Sets of one worker, resident and saved.
pub const SETS_MAX: usize = 1024;
/// Characters of a set's name.
pub const NAME_LEN_MAX: usize = 64;
/// Dimensions of a row.
pub const SET_DIM_MAX: usize = 65_536;
/// Rows of one set, dead ones included.
pub const SET_ROWS_MAX: usize = 1 << 30;
/// Rows of a full segment.
pub const SEGMENT_ROWS: usize = 16_384;
/// Bytes of a text that names a row.
pub const ID_BYTES_MAX: usize = 256;

/// How a set keeps the values of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowDtype {
    /// As they come.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// Integers -127 to 127 with one scale a row.
    Int8,
    /// One bit a value, set where it is above zero.
    Binary,
}

impl RowDtype {
    /// Bytes of the values of a row; the scale of `Int8` is not among them.
    #[must_use]
    pub fn value_bytes(self, dim: usize) -> usize {
        match self {
            Self::F32 => dim * 4,
            Self::F16 | Self::Bf16 => dim * 2,
            Self::Int8 => dim,
            // Whole words, as the kernels take bits.
            Self::Binary => dim.div_ceil(64) * 8,
        }
    }

    /// Bytes of a row with all that its values need.
    #[must_use]
    pub fn row_bytes(self, dim: usize) -> usize {
        self.value_bytes(dim) + if self == Self::Int8 { 4 } else { 0 }
    }

    /// Its name in requests and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Binary => "binary",
        }
    }
}

/// What names the rows of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdKind {
    /// Integers of 64 bits; rows that come without one are numbered from where the greatest ends.
    Integer,
    /// Texts of 1 to 256 bytes; every row brings one.
    Text,
}

/// A smaller copy of the rows that single queries run over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SketchKind {
    /// None.
    None,
    /// A byte a value, with a bound on what it leaves out.
    Int8,
}

impl SketchKind {
    /// What pays for rows of this kind: a byte a value where that is less than they take and the metric can use it.
    #[must_use]
    pub fn auto(dtype: RowDtype, metric: Metric) -> Self {
        let wide = matches!(dtype, RowDtype::F32 | RowDtype::F16 | RowDtype::Bf16);
        if wide && is_sketched(metric) { Self::Int8 } else { Self::None }
    }
}

fn is_sketched(metric: Metric) -> bool {
    matches!(metric, Metric::Cosine | Metric::Dot | Metric::L2 | Metric::L2Squared)
}

/// What a set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSpec {
    /// Values of a row.
    pub dim: usize,
    /// How rows are compared.
    pub metric: Metric,
    /// How they are kept.
    pub dtype: RowDtype,
    /// What names them.
    pub ids: IdKind,
    /// The copy that single queries run over first.
    pub sketch: SketchKind,
    /// True when every change is in the store before it is answered.
    pub persistent: bool,
}

impl SetSpec {
    /// Errors: `Invalid` for dimensions out of bounds, a metric that bits are not compared by, a sketch that says no less than the rows.
    pub fn check(&self) -> Result<(), SetError> {
        if self.dim == 0 || self.dim > SET_DIM_MAX {
            return Err(SetError::invalid("dim", format!("found {}; allowed: 1 to {SET_DIM_MAX}", self.dim)));
        }
        if self.dtype == RowDtype::Binary && !self.metric.applies_to_bits() {
            return Err(SetError::invalid("metric", "binary rows are compared by hamming or jaccard only"));
        }
        match self.sketch {
            SketchKind::None => Ok(()),
            SketchKind::Int8 if !is_sketched(self.metric) => {
                Err(SetError::invalid("sketch", "sketches serve cosine, dot, l2 and l2_squared; leave it away"))
            }
            SketchKind::Int8 if matches!(self.dtype, RowDtype::Int8 | RowDtype::Binary) => {
                Err(SetError::invalid("sketch", "rows of int8 are as small as the sketch; leave it away"))
            }
            SketchKind::Int8 => Ok(()),
        }
    }
}

/// Metrics by their names.
const METRICS: [(Metric, &str); 7] = [
    (Metric::Cosine, "cosine"),
    (Metric::Dot, "dot"),
    (Metric::L2, "l2"),
    (Metric::L2Squared, "l2_squared"),
    (Metric::L1, "l1"),
    (Metric::Hamming, "hamming"),
    (Metric::Jaccard, "jaccard"),
];

/// A metric's name in files.
pub(super) fn metric_name(metric: Metric) -> &'static str {
    METRICS.iter().find(|(known, _)| *known == metric).map_or("", |(_, name)| name)
}

/// The metric of that name.
pub(super) fn metric_of(name: &str) -> Option<Metric> {
    METRICS.iter().find(|(_, known)| *known == name).map(|(metric, _)| *metric)
}

/// Errors: `Invalid` at `set` for a name that is not 1 to 64 of `a-z 0-9 _ - .`, beginning with a letter or a digit.
pub fn check_name(name: &str) -> Result<(), SetError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if begins && name.len() <= NAME_LEN_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    let found: String = name.chars().take(NAME_LEN_MAX).collect();
    let rule = format!("a set's name is 1 to {NAME_LEN_MAX} of a-z, 0-9, _, - and ., and begins with a letter or a digit");
    Err(SetError::invalid("set", format!("found `{found}`; {rule}")))
}
