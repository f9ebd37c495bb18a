//! From texts to vectors with an embedder: prompts, long-input policy, shortening, normalisation. Speaks texts, sequences and rows; knows no task.

mod error;
mod pairs;
#[cfg(test)]
mod tests;

use rayon::prelude::*;
use tallow_models::pooling::normalize_rows;
use tallow_models::{Embedder, ModelError, Sequence, StopCheck};

pub use error::EmbedError;
pub use pairs::{PairPlan, PairsDone, each_slice};

/// Texts that are tokenised and computed together: bounds what is held between the steps.
const SLICE_TEXTS: usize = 512;

/// What happens to a text with more tokens than the model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongText {
    /// It is an error that names both numbers.
    Refuse,
    /// Its end is dropped.
    Truncate,
    /// It is embedded in windows; the vector is their mean, weighted by tokens.
    Chunk,
}

/// How texts are embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedPlan {
    /// Put before every text.
    pub prompt: String,
    /// For texts that are too long.
    pub long_text: LongText,
    /// Numbers kept of each vector; all of them with `None`.
    pub dimensions: Option<usize>,
    /// True scales every vector to length 1. A model that normalises does so in any case, also after shortening.
    pub normalize: bool,
}

/// Vectors and what was done to get them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedded {
    /// Row-major `[texts, dimensions]` f32.
    pub vectors: Vec<f32>,
    /// Numbers per vector.
    pub dimensions: usize,
    /// Tokens of each text before any cut, special ones and prompt included.
    pub token_counts: Vec<usize>,
    /// Tokens that were computed, all texts together.
    pub computed_tokens: usize,
    /// Indices of texts whose end was dropped.
    pub truncated: Vec<usize>,
    /// Indices of texts that were embedded in windows, with the number of windows.
    pub chunked: Vec<(usize, usize)>,
    /// True when every vector has length 1 (a zero vector stays zero).
    pub normalized: bool,
}

/// Embeds `texts`. Blocks; splits over the pool it is called on. `progress` hears the share of texts that are done.
///
/// Errors: `TooLong` and `Text` with the text's index; `Model` for everything else, a stop among it.
pub fn embed_texts(
    embedder: &dyn Embedder,
    texts: &[String],
    plan: &EmbedPlan,
    (stop, progress): (StopCheck<'_>, &dyn Fn(f32)),
) -> Result<Embedded, EmbedError> {
    let full = embedder.info().dimensions;
    let dimensions = plan.dimensions.unwrap_or(full);
    if dimensions == 0 || dimensions > full {
        return Err(ModelError::input(format!("dimensions {dimensions}; the model gives 1 to {full}")).into());
    }
    let normalized = plan.normalize || embedder.info().normalizes;
    let mut done = Embedded { dimensions, normalized, vectors: Vec::with_capacity(texts.len() * dimensions), ..Embedded::default() };
    for (slice_idx, slice) in texts.chunks(SLICE_TEXTS).enumerate() {
        embed_slice(embedder, (slice_idx * SLICE_TEXTS, slice), plan, (stop, &mut done))?;
        progress(done.token_counts.len() as f32 / texts.len() as f32);
    }
    Ok(done)
}

fn embed_slice(
    embedder: &dyn Embedder,
    (first, texts): (usize, &[String]),
    plan: &EmbedPlan,
    (stop, done): (StopCheck<'_>, &mut Embedded),
) -> Result<(), EmbedError> {
    let sequences = tokenize_texts(embedder, (first, texts), &plan.prompt, stop)?;
    let limit = embedder.info().max_tokens.unwrap_or(usize::MAX);
    let mut windows: Vec<Sequence> = Vec::with_capacity(sequences.len());
    let mut windows_of = Vec::with_capacity(sequences.len());
    for (offset, sequence) in sequences.into_iter().enumerate() {
        let index = first + offset;
        let from = windows.len();
        done.token_counts.push(sequence.len());
        if sequence.len() <= limit {
            windows.push(sequence);
        } else {
            match plan.long_text {
                LongText::Refuse => return Err(EmbedError::TooLong { index, found: sequence.len(), limit }),
                LongText::Truncate => {
                    windows.push(sequence.truncated(limit).map_err(at(index))?);
                    done.truncated.push(index);
                }
                LongText::Chunk => {
                    windows.extend(sequence.windows(limit).map_err(at(index))?);
                    done.chunked.push((index, windows.len() - from));
                }
            }
        }
        windows_of.push(from..windows.len());
    }
    let rows = embedder.embed(&windows, stop)?;
    let full = embedder.info().dimensions;
    done.computed_tokens += windows.iter().map(Sequence::len).sum::<usize>();
    for range in windows_of {
        let weights: Vec<usize> = windows[range.clone()].iter().map(Sequence::text_tokens).collect();
        let mut row = joined_row(&rows[range.start * full..range.end * full], &weights, full);
        row.truncate(done.dimensions);
        if done.normalized {
            normalize_rows(&mut row, done.dimensions);
        }
        done.vectors.extend_from_slice(&row);
    }
    Ok(())
}

/// Sequences of `texts` (uncut), in order. Errors: `Text` with the text's index counted from `first`, `Model` for a stop.
pub fn tokenize_texts(
    embedder: &dyn Embedder,
    (first, texts): (usize, &[String]),
    prompt: &str,
    stop: StopCheck<'_>,
) -> Result<Vec<Sequence>, EmbedError> {
    texts
        .par_iter()
        .enumerate()
        .map(|(offset, text)| {
            if stop() {
                return Err(ModelError::Stopped.into());
            }
            embedder.tokenize(prompt, text).map_err(at(first + offset))
        })
        .collect()
}

/// What is wrong with the text at `index`, told as its fault where it is one.
fn at(index: usize) -> impl Fn(ModelError) -> EmbedError {
    move |error| match error {
        ModelError::Input { reason } => EmbedError::Text { index, reason },
        other => other.into(),
    }
}

/// The one row as it is; of several their mean weighted by `weights` (equal weights when all are zero), summed in f64.
fn joined_row(rows: &[f32], weights: &[usize], dim: usize) -> Vec<f32> {
    if weights.len() == 1 {
        return rows.to_vec();
    }
    let total: usize = weights.iter().sum();
    let share = |weight: usize| if total == 0 { 1.0 / weights.len() as f64 } else { weight as f64 / total as f64 };
    let mut sums = vec![0f64; dim];
    for (row, &weight) in rows.chunks_exact(dim).zip(weights) {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) * share(weight));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}
