//! What is asked of resident sets. A set's name has 1 to 64 of `a-z 0-9 _ - .` and begins with a letter or a digit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{IdsInput, MetadataInput, SetFilter};
use crate::task::vector::{ArrayEncoding, NonFinite, VectorInput, VectorMetric};

/// How a set keeps the values of its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetDtype {
    /// As they come.
    #[default]
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// Integers -127 to 127 with one scale a row.
    Int8,
    /// One bit a value, set where it is above zero; compared by hamming or jaccard.
    Binary,
}

/// What names the rows of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetIdKind {
    /// Integers of 64 bits; rows that come without one are numbered from where the greatest ends.
    #[default]
    Integer,
    /// Strings of 1 to 256 bytes; every row brings one.
    String,
}

/// A smaller copy of the rows that is looked at first. An exact search uses it as far as its error is bounded, a fast one trusts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetSketch {
    /// None.
    #[default]
    None,
    /// A byte a value; for f32, f16 and bf16 rows compared by cosine, dot, l2 or l2_squared.
    Int8,
    /// `int8` where that is possible, else `none`; the answer says which.
    Auto,
}

/// `set.create`: an empty set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetCreateRequest {
    /// Its name.
    pub set: String,
    /// Values of a row, 1 to 65,536; fixed.
    pub dim: usize,
    /// How rows are compared; fixed.
    #[serde(default)]
    pub metric: VectorMetric,
    /// How they are kept; fixed.
    #[serde(default)]
    pub dtype: SetDtype,
    /// What names them; fixed.
    #[serde(default)]
    pub ids: SetIdKind,
    /// The copy that is looked at first; fixed.
    #[serde(default)]
    pub sketch: SetSketch,
    /// True: every change is in the worker's store before it is answered, and there after a restart.
    #[serde(default)]
    pub persistent: bool,
}

/// `set.append`: new rows, all of them or none.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAppendRequest {
    /// The set.
    pub set: String,
    /// The rows; packed bits (dtype `u8`) for binary sets alone.
    pub vectors: VectorInput,
    /// Their names; one that is there already is refused.
    #[serde(default)]
    pub ids: Option<IdsInput>,
    /// What they carry for filters.
    #[serde(default)]
    pub metadata: Option<MetadataInput>,
    /// What happens to NaN and infinities. Only f32 sets can keep them: such a row ranks last wherever its score is NaN.
    #[serde(default)]
    pub non_finite: NonFinite,
}

/// `set.upsert`: rows that take the place of those of the same names, at the end of the set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetUpsertRequest {
    /// The set.
    pub set: String,
    /// The rows; packed bits (dtype `u8`) for binary sets alone.
    pub vectors: VectorInput,
    /// Their names.
    pub ids: IdsInput,
    /// What they carry for filters; nothing is kept of what the old rows carried.
    #[serde(default)]
    pub metadata: Option<MetadataInput>,
    /// What happens to NaN and infinities, as for `set.append`.
    #[serde(default)]
    pub non_finite: NonFinite,
}

/// `set.delete`: rows by their names or by a filter.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetDeleteRequest {
    /// The set.
    pub set: String,
    /// Names; those that are not there are counted, not refused.
    #[serde(default)]
    pub ids: Option<IdsInput>,
    /// The rows that it admits.
    #[serde(default)]
    pub filter: Option<SetFilter>,
}

/// `set.drop`: the set leaves memory, and the store unless it is to be kept there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetDropRequest {
    /// The set.
    pub set: String,
    /// True: only the memory is given back; refused while there are changes that are not saved.
    #[serde(default)]
    pub keep_saved: bool,
}

/// `set.list`: every set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetListRequest {}

/// `set.stats`: one set. A set that is in the store alone is not read for it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetStatsRequest {
    /// The set.
    pub set: String,
}

/// `set.get`: rows by their names.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetGetRequest {
    /// The set.
    pub set: String,
    /// Which rows.
    pub ids: IdsInput,
    /// False leaves the values out.
    #[serde(default = "yes")]
    pub vectors: bool,
    /// False leaves the metadata out.
    #[serde(default = "yes")]
    pub metadata: bool,
    /// How the values leave.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

fn yes() -> bool {
    true
}

/// Whether every row that belongs to an answer must be in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchCertainty {
    /// Yes.
    #[default]
    Exact,
    /// A sketch chooses which rows are compared exactly; without one as `exact`.
    Fast,
}

/// `set.search`: the closest rows of each query, or all within a threshold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSearchRequest {
    /// The set.
    pub set: String,
    /// One query or many; packed bits (dtype `u8`) for binary sets alone.
    #[serde(alias = "query")]
    pub queries: VectorInput,
    /// How many rows each query wants, 1 to 1,000,000. Without it all within the threshold.
    #[serde(default)]
    pub k: Option<usize>,
    /// Only rows at least this close: scores `>=` it for cosine, dot and Jaccard, `<=` it for the others.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// Only rows that it admits.
    #[serde(default)]
    pub filter: Option<SetFilter>,
    /// Whether a sketch may leave rows out.
    #[serde(default)]
    pub certainty: SearchCertainty,
    /// `fast`: rows compared exactly for each row wanted, 1 to 1,000.
    #[serde(default = "default_oversample")]
    pub oversample: usize,
    /// Without `k`: most rows of all queries together, 1 to 10,000,000; more are refused.
    #[serde(default = "default_hits_max")]
    pub hits_max: usize,
    /// True answers with what the rows carry.
    #[serde(default)]
    pub metadata: bool,
    /// What happens to NaN and infinities in queries.
    #[serde(default)]
    pub non_finite: NonFinite,
    /// How scores, and names that are integers, leave.
    #[serde(default)]
    pub encoding: ArrayEncoding,
}

fn default_oversample() -> usize {
    4
}

fn default_hits_max() -> usize {
    100_000
}

/// `set.save`: the set as it is now, in the worker's store; or its rows in a file of another format.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSaveRequest {
    /// The set.
    pub set: String,
    /// A file for other programs instead: `.npy`, `.safetensors` (with names) or `.fvecs`. In the folder `files` of the store, or anywhere where this
    /// worker lets tasks name paths. Metadata stays in the store.
    #[serde(default)]
    pub file: Option<String>,
    /// A file for the names, integers alone: `.npy` or `.ivecs`.
    #[serde(default)]
    pub ids_file: Option<String>,
}

/// `set.load`: a saved set is read into memory; or rows of a file are added to a set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLoadRequest {
    /// The set; one that takes rows from a file must be there.
    pub set: String,
    /// A file of rows: `.npy`, `.safetensors`, `.fvecs` or `.ivecs`, where `set.save` puts such files.
    #[serde(default)]
    pub file: Option<String>,
    /// A file of names, integers alone: `.npy` or `.ivecs` with one a row.
    #[serde(default)]
    pub ids_file: Option<String>,
    /// `.safetensors`: the tensor of the rows; names are in the tensor `ids`, if there is one.
    #[serde(default = "default_tensor")]
    pub tensor: String,
    /// True: rows of the same names are replaced.
    #[serde(default)]
    pub upsert: bool,
}

fn default_tensor() -> String {
    "vectors".into()
}
