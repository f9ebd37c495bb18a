//! From texts to answers of encoder models: prompts, long-input policy, batches over many callers, shortening, normalisation. Speaks texts, sequences and
//! rows; knows no task.

mod batch;
mod batcher;
mod cache;
mod desk;
mod error;
mod pairs;
mod run;
mod shares;
mod slices;
mod stats;
#[cfg(test)]
mod tests;
mod ticket;
mod work;

use std::collections::VecDeque;
use std::ops::Range;

use tallow_models::pooling::normalize_rows;
use tallow_models::{ModelError, Sequence};

pub use batch::{AGED_EVERY, BatchLimits, BatchQueue, Formed, RANKS, Waiting};
pub use batcher::{Batcher, BatcherOptions};
pub use desk::{Caller, Coming, Desk, Seat};
pub use error::EmbedError;
pub use pairs::{PairPlan, PairsDone, each_slice};
use slices::slices;
pub use slices::{SLICES_HELD, each_of};
pub use stats::{BatchStats, Buckets, TOKEN_BOUNDS, WAIT_BOUNDS_US};
pub use ticket::Stop;
pub use work::{Answer, Answered, Ask, Computes, Input};

/// Texts of one call that are held in tokens at once.
const HELD_TEXTS: usize = 512;

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

/// Embeds `texts`; slices are tokenised on the calling thread and the pool it belongs to while those before are computed. `progress` hears the share of
/// texts that are done.
///
/// Errors: `TooLong` and `Text` with the text's index; `Expired`, `Closed`; `Model` for everything else, a stop among it.
pub async fn embed_texts(
    desk: &Desk<'_>,
    texts: &[String],
    plan: &EmbedPlan,
    progress: &(dyn Fn(f32) + Sync),
) -> Result<Embedded, EmbedError> {
    let full = desk.embedder().info().dimensions;
    let dimensions = plan.dimensions.unwrap_or(full);
    if dimensions == 0 || dimensions > full {
        return Err(ModelError::input(format!("dimensions {dimensions}; the model gives 1 to {full}")).into());
    }
    let normalized = plan.normalize || desk.embedder().info().normalizes;
    let mut done = Embedded { dimensions, normalized, vectors: Vec::with_capacity(texts.len() * dimensions), ..Embedded::default() };
    let mut under_way: VecDeque<(Vec<Range<usize>>, Coming)> = VecDeque::with_capacity(SLICES_HELD);
    let mut finished = 0;
    for slice in slices(&texts.iter().map(String::len).collect::<Vec<_>>(), HELD_TEXTS) {
        if under_way.len() + 1 >= SLICES_HELD
            && let Some(slice) = under_way.pop_front()
        {
            finished += finish(desk, slice, &mut done).await?;
            progress(finished as f32 / texts.len() as f32);
        }
        let (windows, windows_of) = windows(desk, (slice.start, &texts[slice]), plan, &mut done)?;
        under_way.push_back((windows_of, desk.vectors(windows)));
    }
    while let Some(slice) = under_way.pop_front() {
        finished += finish(desk, slice, &mut done).await?;
        progress(finished as f32 / texts.len() as f32);
    }
    Ok(done)
}

/// Sequences within the model's limit, and which of them belong to each text.
fn windows(
    desk: &Desk<'_>,
    (first, texts): (usize, &[String]),
    plan: &EmbedPlan,
    done: &mut Embedded,
) -> Result<(Vec<Sequence>, Vec<Range<usize>>), EmbedError> {
    let limit = desk.embedder().info().max_tokens.unwrap_or(usize::MAX);
    let sequences = tokenize_texts(desk, (first, texts), &plan.prompt)?;
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
    done.computed_tokens += windows.iter().map(Sequence::len).sum::<usize>();
    Ok((windows, windows_of))
}

/// Waits for a slice and puts its vectors behind the others; gives the number of its texts.
async fn finish(desk: &Desk<'_>, (windows_of, coming): (Vec<Range<usize>>, Coming), done: &mut Embedded) -> Result<usize, EmbedError> {
    let mut weights = Vec::new();
    let mut rows: Vec<f32> = Vec::new();
    for answered in coming.wait().await? {
        weights.push(match &answered.input {
            Input::Text(sequence) => sequence.text_tokens(),
            Input::Pair(pair) => pair.len(),
        });
        rows.extend(answered.answer.row()?);
    }
    let full = desk.embedder().info().dimensions;
    for range in &windows_of {
        let mut row = joined_row(&rows[range.start * full..range.end * full], &weights[range.clone()], full);
        row.truncate(done.dimensions);
        if done.normalized {
            normalize_rows(&mut row, done.dimensions);
        }
        done.vectors.extend_from_slice(&row);
    }
    Ok(windows_of.len())
}

/// Sequences of `texts` (uncut), in order. Errors: `Text` with the text's index counted from `first`, `Model` for a stop.
pub fn tokenize_texts(desk: &Desk<'_>, (first, texts): (usize, &[String]), prompt: &str) -> Result<Vec<Sequence>, EmbedError> {
    each_of(texts, |offset, text| {
        if desk.is_stopped() {
            return Err(ModelError::Stopped.into());
        }
        desk.embedder().tokenize(prompt, text).map_err(at(first + offset))
    })
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
