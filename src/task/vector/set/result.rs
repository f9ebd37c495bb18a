//! What is answered about resident sets.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{MetadataValue, SetDtype, SetIdKind, SetSketch};
use crate::task::vector::{ArrayOutput, HitRows, ItemId, RankOrder, VectorMetric};

/// Where a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetStateName {
    /// In memory.
    Resident,
    /// In the store alone; read when it is first asked for.
    Saved,
    /// In the store, and not what was written.
    Damaged,
}

/// Bytes of a set by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SetBytesOutput {
    /// Values and scales.
    pub rows: u64,
    /// Names.
    pub ids: u64,
    /// Metadata.
    pub metadata: u64,
    /// The copy that is looked at first.
    pub sketch: u64,
    /// Lengths of rows, what finds them by their names, which are dead.
    pub overhead: u64,
    /// All of these.
    pub total: u64,
    /// What is booked in the worker's memory; 0 for a set that is in the store alone.
    pub booked: u64,
}

/// A set. A damaged one has a name, a state and an error alone.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SetInfo {
    /// Its name.
    pub set: String,
    /// Where it is.
    pub state: SetStateName,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Values of a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// How rows are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<VectorMetric>,
    /// How they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<SetDtype>,
    /// What names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<SetIdKind>,
    /// The copy that is looked at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sketch: Option<SetSketch>,
    /// True when every change is saved.
    pub persistent: bool,
    /// Rows.
    pub rows: usize,
    /// Deleted rows that still hold memory.
    pub dead_rows: usize,
    /// Counts its changes.
    pub version: u64,
    /// The version that a restart would find.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved_version: Option<u64>,
    /// Pieces of its rows.
    pub segments: usize,
    /// Fields of its metadata: `flag`, `number`, `text`, `texts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
    /// What it holds in memory, or would.
    pub bytes: SetBytesOutput,
}

/// Answer of `set.list`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SetListOutput {
    /// By name.
    pub sets: Vec<SetInfo>,
}

/// Answer of `set.append` and `set.upsert`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SetWriteOutput {
    /// The set.
    pub set: String,
    /// The version that has the rows.
    pub version: u64,
    /// Rows that came.
    pub added: usize,
    /// Rows that were replaced.
    pub replaced: usize,
    /// What names the first row, where rows came without names; the others count up from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_id: Option<i64>,
    /// Rows of the set afterwards.
    pub rows: usize,
}

/// Answer of `set.delete`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SetDeleteOutput {
    /// The set.
    pub set: String,
    /// The version that has them not.
    pub version: u64,
    /// Rows that went.
    pub deleted: usize,
    /// Names that were not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<usize>,
    /// Rows of the set afterwards.
    pub rows: usize,
}

/// Answer of `set.drop`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SetDropOutput {
    /// The set.
    pub set: String,
    /// True when it is still in the store.
    pub saved: bool,
    /// Booked bytes that come back with the last task that uses it.
    pub bytes: u64,
}

/// Answer of `set.get`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SetGetOutput {
    /// The set.
    pub set: String,
    /// The version that was read.
    pub version: u64,
    /// Names of the rows that are there, in the order in which they were asked for.
    pub ids: Vec<ItemId>,
    /// Names that are not there.
    pub missing: Vec<ItemId>,
    /// The rows `[ids, dim]`, `f32`: exact for every dtype; bits are 1 and 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<ArrayOutput>,
    /// What each row carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Vec<BTreeMap<String, MetadataValue>>>,
}

/// How a search was done.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SearchFacts {
    /// True when the answer is that of a comparison of all pairs; false when a sketch chose which rows were compared.
    pub exact: bool,
    /// What was read: the dtype of the rows, behind their sketch where there is one.
    pub path: String,
    /// Rows that were compared with each query.
    pub rows_compared: usize,
    /// Rows that the filter left out.
    pub rows_filtered: usize,
}

/// Answer of `set.search`: one row per query, closest first, ties in the order in which rows came, NaN last.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SetSearchOutput {
    /// The set.
    pub set: String,
    /// The version that was searched.
    pub version: u64,
    /// How rows were compared.
    pub metric: VectorMetric,
    /// Which end of the scores is first.
    pub order: RankOrder,
    /// Hits of each query.
    pub counts: Vec<usize>,
    /// Names of the rows. Integers as bytes `[queries, most hits]` of `i64`, -1 after a query's last hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<HitRows<ItemId>>,
    /// Scores, null for NaN. As bytes `[queries, most hits]` of `f64`, NaN after a query's last hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<HitRows<Option<f64>>>,
    /// What the rows carry, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Vec<Vec<BTreeMap<String, MetadataValue>>>>,
    /// How it was done.
    pub search: SearchFacts,
}

/// Answer of `set.save` and `set.load`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SetFileOutput {
    /// The set.
    pub set: String,
    /// Its version.
    pub version: u64,
    /// Rows of the set.
    pub rows: usize,
    /// The file, where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Rows that were read from the file or written to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_rows: Option<usize>,
}
