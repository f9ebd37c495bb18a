//! How good an embedder is: Spearman's rank correlation on scored sentence pairs, nDCG on search, and readers of the public test sets.
//!
//! Pure: texts and numbers in, a number out. Files are read by the caller.

mod evaluate;

use std::cmp::Ordering;
use std::collections::HashMap;

use serde::Deserialize;

use crate::ModelError;
pub use evaluate::{SearchSet, pair_spearman, search_ndcg, unit_vectors};

/// Two sentences and how alike people found them, from 0 to 5.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredPair {
    /// The people's score.
    pub score: f64,
    /// The first sentence.
    pub first: String,
    /// The second sentence.
    pub second: String,
}

/// Reads the STS benchmark's files: genre, file, year, id, score, sentence, sentence, separated by tabs, quotation marks being plain
/// characters; more columns are ignored.
///
/// Errors: `Corrupt` names the line.
pub fn read_sts(file: &str, text: &str) -> Result<Vec<ScoredPair>, ModelError> {
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| {
            let columns: Vec<&str> = line.split('\t').collect();
            let bad = |reason: &str| ModelError::corrupt(file, format!("line {}", at + 1), reason);
            let [_, _, _, _, score, first, second, ..] = columns[..] else {
                return Err(bad("fewer than 7 columns"));
            };
            let score = score.parse().ok().filter(|score: &f64| score.is_finite()).ok_or_else(|| bad("the score is not a number"))?;
            Ok(ScoredPair { score, first: first.to_owned(), second: second.to_owned() })
        })
        .collect()
}

/// A text of a search corpus, or a query.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Passage {
    /// Its id in the judgements.
    #[serde(rename = "_id")]
    pub id: String,
    /// Its title, often empty.
    #[serde(default)]
    pub title: String,
    /// Its text.
    pub text: String,
}

impl Passage {
    /// Title and text with a space between, as the BEIR benchmark feeds them to a model.
    #[must_use]
    pub fn full_text(&self) -> String {
        format!("{} {}", self.title, self.text).trim().to_owned()
    }
}

/// Reads a BEIR `corpus.jsonl` or `queries.jsonl`. Errors: `Corrupt` names the line.
pub fn read_passages(file: &str, text: &str) -> Result<Vec<Passage>, ModelError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| ModelError::corrupt(file, format!("line {}", at + 1), error.to_string()))
        })
        .collect()
}

/// What people judged: query id, then passage id, then grade; the order of queries is the file's.
pub type Judgements = Vec<(String, HashMap<String, f64>)>;

/// Reads BEIR judgements: a heading line, then query id, passage id and grade, separated by tabs. Errors: `Corrupt` names the line.
pub fn read_judgements(file: &str, text: &str) -> Result<Judgements, ModelError> {
    let mut judgements = Judgements::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (at, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |reason: &str| ModelError::corrupt(file, format!("line {}", at + 1), reason);
        let columns: Vec<&str> = line.split('\t').collect();
        let [query, passage, grade] = columns[..] else { return Err(bad("not 3 columns")) };
        let grade: f64 = grade.trim().parse().map_err(|_| bad("the grade is not a number"))?;
        let place = *places.entry(query.to_owned()).or_insert(judgements.len());
        if place == judgements.len() {
            judgements.push((query.to_owned(), HashMap::new()));
        }
        judgements[place].1.insert(passage.to_owned(), grade);
    }
    Ok(judgements)
}

/// Spearman's rank correlation in -1.0..=1.0: Pearson's over the ranks, equal values sharing their mean rank.
///
/// `None` for different lengths, fewer than two values, NaN, or values that are all equal: the correlation is undefined there.
#[must_use]
pub fn spearman(xs: &[f64], ys: &[f64]) -> Option<f64> {
    let unusable = |values: &[f64]| values.iter().any(|value| value.is_nan());
    if xs.len() != ys.len() || xs.len() < 2 || unusable(xs) || unusable(ys) {
        return None;
    }
    pearson(&mean_ranks(xs), &mean_ranks(ys))
}

fn pearson(xs: &[f64], ys: &[f64]) -> Option<f64> {
    let count = xs.len() as f64;
    let (mean_x, mean_y) = (xs.iter().sum::<f64>() / count, ys.iter().sum::<f64>() / count);
    let mut sums = [0.0_f64; 3];
    for (x, y) in xs.iter().zip(ys) {
        let (dx, dy) = (x - mean_x, y - mean_y);
        sums[0] += dx * dy;
        sums[1] += dx * dx;
        sums[2] += dy * dy;
    }
    let spread = (sums[1] * sums[2]).sqrt();
    (spread > 0.0).then(|| (sums[0] / spread).clamp(-1.0, 1.0))
}

/// Ranks from 1, equal values sharing the mean of their places. No NaN in.
fn mean_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].partial_cmp(&values[*b]).unwrap_or(Ordering::Equal));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = from as f64 + (group.len() as f64 + 1.0) / 2.0;
        group.iter().for_each(|place| ranks[*place] = rank);
        from += group.len();
    }
    ranks
}

/// Normalised discounted cumulative gain of the first `k` of `ranked` in 0.0..=1.0, as trec_eval counts it: the gain is the grade, the discount
/// log2(place + 1). 0.0 when no grade is above 0. Grades below 0 count as 0; a passage counts once.
#[must_use]
pub fn ndcg(ranked: &[&str], grades: &HashMap<String, f64>, k: usize) -> f64 {
    let discounted = |gains: &[f64]| gains.iter().zip(2_u32..).map(|(gain, place)| gain / f64::from(place).log2()).sum::<f64>();
    let mut seen = std::collections::HashSet::new();
    let unique = ranked.iter().filter(|id| seen.insert(**id)).take(k);
    let found: Vec<f64> = unique.map(|id| grades.get(*id).copied().unwrap_or(0.0).max(0.0)).collect();
    let mut ideal: Vec<f64> = grades.values().map(|grade| grade.max(0.0)).collect();
    ideal.sort_by(|a, b| b.total_cmp(a));
    ideal.truncate(k);
    let best = discounted(&ideal);
    if best > 0.0 { discounted(&found) / best } else { 0.0 }
}

#[cfg(test)]
mod tests;
