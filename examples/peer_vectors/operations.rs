//! The requests of the comparison, in the words of the worker's operations. The one place that knows them.

use serde_json::{Value, json};
use tallow::{Part, Parts};

use super::Failure;

/// The set that a variant searches.
const SET: &str = "compared";

/// How the rows are kept and searched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// The rows travel with each task, by reference.
    TopK,
    /// A resident set.
    Set { dtype: &'static str, sketch: &'static str },
}

impl Variant {
    pub(super) fn named(name: &str) -> Result<Self, Failure> {
        let set = |dtype, sketch| Ok(Self::Set { dtype, sketch });
        match name {
            "top_k" => Ok(Self::TopK),
            "set-f32" => set("f32", "none"),
            "set-bf16" => set("bf16", "none"),
            "set-int8" => set("int8", "none"),
            "set-sketched" => set("f32", "int8"),
            other => Err(format!("variant `{other}`; supported: top_k, set-f32, set-bf16, set-int8, set-sketched").into()),
        }
    }

    /// Whether the worker keeps the rows.
    pub(super) fn is_set(self) -> bool {
        self != Self::TopK
    }

    pub(super) fn settings(self) -> String {
        match self {
            Self::TopK => "`top_k` with the rows as a part of each task, shared and not copied".into(),
            Self::Set { dtype, sketch: "none" } => format!("`set.search`, {dtype} rows, exact"),
            Self::Set { dtype, sketch } => format!("`set.search`, {dtype} rows with {sketch} sketch; exact, or fast with an oversample"),
        }
    }

    /// Makes the set.
    pub(super) fn create(self, dim: usize, metric: &str) -> Value {
        match self {
            Self::TopK => Value::Null,
            Self::Set { dtype, sketch } => {
                json!({ "operation": "set.create", "set": SET, "dim": dim, "metric": metric, "dtype": dtype, "sketch": sketch })
            }
        }
    }

    /// One search for all of the part `queries`. With `tune` a fast one: so many rows are compared exactly for each one wanted.
    pub(super) fn search(self, metric: &str, k: usize, tune: Option<usize>) -> Value {
        let queries = json!({ "$part": "queries" });
        match self {
            Self::TopK => {
                json!({ "operation": "top_k", "queries": queries, "vectors": { "$part": "rows" }, "k": k, "metric": metric, "encoding": "part" })
            }
            Self::Set { .. } => {
                let mut data = json!({ "operation": "set.search", "set": SET, "queries": queries, "k": k, "encoding": "part" });
                if let Some(oversample) = tune {
                    data["certainty"] = "fast".into();
                    data["oversample"] = oversample.into();
                }
                data
            }
        }
    }

    /// The row numbers of an answer's parts, `k` of each query, -1 where there are fewer. Rows of a set are named by their numbers.
    pub(super) fn found(self, parts: &Parts, k: usize) -> Result<Vec<i64>, Failure> {
        let name = if self.is_set() { "ids" } else { "indices" };
        let part = parts.get(name).ok_or_else(|| format!("the answer has no part `{name}`"))?;
        let number =
            |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).map_err(|_partial| format!("`{name}` does not hold 64-bit integers"));
        let values = part.bytes().chunks(8).map(number).collect::<Result<Vec<i64>, _>>()?;
        let width = part.shape()[1].max(1);
        Ok(values.chunks(width).flat_map(|row| (0..k).map(|at| row.get(at).copied().unwrap_or(-1))).collect())
    }
}

/// Adds the part `rows` to the set; they are named by their numbers from 0.
pub(super) fn append(rows: Part) -> (Value, Parts) {
    (json!({ "operation": "set.append", "set": SET, "vectors": { "$part": "rows" } }), Parts::from([("rows".into(), rows)]))
}

/// Asks what the set holds.
pub(super) fn stats() -> Value {
    json!({ "operation": "set.stats", "set": SET })
}

/// Gives the set's memory back.
pub(super) fn forget() -> Value {
    json!({ "operation": "set.drop", "set": SET })
}

/// Clusters of the part `rows`; the answer's part is `centroids`. All rounds are made.
pub(super) fn kmeans(k: usize, iterations: u32, seed: u64) -> Value {
    json!({
        "operation": "kmeans", "vectors": { "$part": "rows" }, "k": k, "iterations_max": iterations, "tolerance": 0, "seed": seed, "encoding": "part",
    })
}

/// Principal components of the part `rows`; the answer's part is `components`.
pub(super) fn pca(components: usize) -> Value {
    json!({ "operation": "pca", "vectors": { "$part": "rows" }, "components": components, "encoding": "part" })
}

/// All pairs of the part `rows` whose cosine is at least `threshold`; the answer counts them.
pub(super) fn join(threshold: f64) -> Value {
    json!({ "operation": "near_duplicates", "vectors": { "$part": "rows" }, "threshold": threshold, "pairs_max": 1_000_000 })
}

/// The cosine of two vectors of 384 numbers.
pub(super) fn tiny() -> Result<(Value, Parts), Failure> {
    let vector = |step: usize| (0..384).map(|at| (at * step % 61) as f32 / 61.0 - 0.5).collect::<Vec<f32>>();
    let parts = Parts::from([("a".into(), Part::from_f32(vec![384], &vector(7))?), ("b".into(), Part::from_f32(vec![384], &vector(11))?)]);
    Ok((json!({ "operation": "cosine_similarity", "vector_a": { "$part": "a" }, "vector_b": { "$part": "b" } }), parts))
}
