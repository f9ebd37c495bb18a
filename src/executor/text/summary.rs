//! `summarize`: continuous LexRank (G. Erkan and D. Radev, "LexRank: Graph-based lexical centrality as salience in text summarization", JAIR 22, 2004).
//!
//! Sentences are TF-IDF vectors of unit length, edges their cosines, and the score is the stationary distribution of a damped random walk. The matrix of
//! cosines is `X * Xt` for the sparse matrix `X` of sentences, so a step of the walk is two sparse products: time and memory grow with the number of
//! words, not with the square of the number of sentences.

use std::collections::HashMap;
use std::ops::Range;

use super::frequencies::fold_word;
use super::language::{KnownLanguage, check_language, resolve_language, stop_words};
use super::normalize::collapse;
use super::segment::{for_each_word, sentences};
use super::{DocumentOperation, TextScope, TextState};
use crate::task::text::{SummarizeOutput, SummarizeRequest, SummarySentence, TOP_MAX, check_range, check_share};
use crate::task::{CancelHandle, TaskError};

/// The walk jumps to a random sentence with this probability (the paper's d is 1 - 0.85).
const JUMP: f64 = 0.15;
/// The walk ends when scores change less than this together, or after the most steps: 0.85^100 is below 1e-7.
const CHANGE_MIN: f64 = 1e-9;
const STEPS_MAX: usize = 100;

pub(super) struct Summarize;

impl DocumentOperation for Summarize {
    type Request = SummarizeRequest;
    type Output = SummarizeOutput;
    const NAME: &'static str = "summarize";
    const SUMMARY: &'static str = "Picks the most central sentences by LexRank, in the order of the text.";
    // Words as (term, weight) of 16 bytes, spans and scores of sentences, the vocabulary.
    const BYTES_PER_BYTE: u64 = 24;

    fn check(request: &SummarizeRequest, _state: &TextState) -> Result<(), TaskError> {
        check_range("sentences", request.sentences, 1..=TOP_MAX)?;
        check_share("redundancy_max", request.redundancy_max, 0.0..=1.0)?;
        check_language("language", &request.language)
    }

    fn run(text: &str, request: &SummarizeRequest, scope: &TextScope<'_>) -> Result<SummarizeOutput, TaskError> {
        let spans = sentences(text, scope.cancel)?;
        let language = resolve_language(&request.language, text);
        let vectors = Vectors::of(text, &spans, language, scope.cancel)?;
        let scores = vectors.centrality(scope.cancel)?;
        let mut ranked: Vec<usize> = (0..spans.len()).collect();
        ranked.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let mut picked: Vec<usize> = Vec::new();
        for idx in ranked {
            if picked.len() == request.sentences {
                break;
            }
            scope.cancel.check()?;
            if request.redundancy_max >= 1.0 || picked.iter().all(|&other| vectors.cosine(idx, other) <= request.redundancy_max) {
                picked.push(idx);
            }
        }
        picked.sort_unstable();
        let best = scores.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let sentences: Vec<SummarySentence> = picked
            .into_iter()
            .map(|idx| SummarySentence {
                text: text[spans[idx].clone()].to_owned(),
                start_byte: spans[idx].start,
                end_byte: spans[idx].end,
                sentence_idx: idx,
                score: scores[idx] / best,
            })
            .collect();
        let summary = sentences.iter().map(|sentence| collapse(&sentence.text)).collect::<Vec<_>>().join(" ");
        Ok(SummarizeOutput { summary, sentences, sentence_count: spans.len(), language: language.map(|language| language.iso1.to_owned()) })
    }
}

/// Sentences as sparse unit vectors: rows of `(term, weight)` sorted by term.
struct Vectors {
    rows: Vec<Vec<(u32, f64)>>,
    term_count: usize,
}

impl Vectors {
    fn of(text: &str, spans: &[Range<usize>], language: Option<KnownLanguage>, cancel: &CancelHandle) -> Result<Self, TaskError> {
        let stops = language.map(|language| stop_words(language.iso1)).unwrap_or_default();
        let stemmer = language.and_then(KnownLanguage::stemmer);
        let mut ids: HashMap<String, u32> = HashMap::new();
        let mut rows: Vec<Vec<(u32, f64)>> = Vec::with_capacity(spans.len());
        let mut sentence_counts: Vec<u32> = Vec::new();
        for span in spans {
            let sentence = &text[span.clone()];
            let mut terms: Vec<u32> = Vec::new();
            for_each_word(sentence, cancel, |range| {
                let word = fold_word(&sentence[range]);
                if stops.contains(word.as_ref()) {
                    return;
                }
                let stem = stemmer.as_ref().map_or(word.clone(), |stemmer| stemmer.stem(&word).into_owned().into());
                let next = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                terms.push(*ids.entry(stem.into_owned()).or_insert(next));
            })?;
            terms.sort_unstable();
            sentence_counts.resize(ids.len(), 0);
            let row: Vec<(u32, f64)> = terms.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as f64)).collect();
            for &(term, _) in &row {
                sentence_counts[term as usize] += 1;
            }
            rows.push(row);
            cancel.check()?;
        }
        let sentence_count = spans.len() as f64;
        for row in &mut rows {
            for (term, weight) in row.iter_mut() {
                // Smoothed, so that a term of every sentence keeps a little weight.
                *weight *= 1.0 + (sentence_count / f64::from(sentence_counts[*term as usize])).ln();
            }
            let norm = row.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
            row.iter_mut().for_each(|(_, weight)| *weight /= norm);
        }
        Ok(Self { rows, term_count: sentence_counts.len() })
    }

    /// The stationary distribution of the walk; sentences without words score what jumps give them.
    fn centrality(&self, cancel: &CancelHandle) -> Result<Vec<f64>, TaskError> {
        let count = self.rows.len();
        let degrees = self.times_cosines(&vec![1.0; count]);
        let mut scores = vec![1.0 / count.max(1) as f64; count];
        for _step in 0..STEPS_MAX {
            cancel.check()?;
            let shares: Vec<f64> =
                scores.iter().zip(&degrees).map(|(score, degree)| if *degree > 0.0 { score / degree } else { 0.0 }).collect();
            // What sentences without any neighbour hold is spread over all.
            let stranded: f64 = scores.iter().zip(&degrees).filter(|(_, degree)| **degree <= 0.0).map(|(score, _)| score).sum();
            let base = (JUMP + (1.0 - JUMP) * stranded) / count as f64;
            let next: Vec<f64> = self.times_cosines(&shares).into_iter().map(|flow| base + (1.0 - JUMP) * flow).collect();
            let change: f64 = next.iter().zip(&scores).map(|(a, b)| (a - b).abs()).sum();
            scores = next;
            if change < CHANGE_MIN {
                break;
            }
        }
        Ok(scores)
    }

    /// `X * (Xt * v)`.
    fn times_cosines(&self, vector: &[f64]) -> Vec<f64> {
        let mut by_term = vec![0.0; self.term_count];
        for (row, value) in self.rows.iter().zip(vector) {
            for &(term, weight) in row {
                by_term[term as usize] += weight * value;
            }
        }
        self.rows.iter().map(|row| row.iter().map(|&(term, weight)| weight * by_term[term as usize]).sum()).collect()
    }

    fn cosine(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (&self.rows[a], &self.rows[b]);
        let (mut i, mut j, mut dot) = (0, 0, 0.0);
        while let (Some(&(left, x)), Some(&(right, y))) = (a.get(i), b.get(j)) {
            match left.cmp(&right) {
                std::cmp::Ordering::Less => i += 1,
                std::cmp::Ordering::Greater => j += 1,
                std::cmp::Ordering::Equal => {
                    dot += x * y;
                    (i, j) = (i + 1, j + 1);
                }
            }
        }
        dot
    }
}
