//! What operations on texts share: which texts are refused and how that is said, texts through a head, prices, and what was done in the metadata.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tallow_models::text::{LIBRARY_BYTES, PIECE_BYTES, PairCut, PairTokens, TextPair};
use tallow_models::{EmbedderInfo, Encoder};

use super::InferenceScope;
use crate::embed::{Answer, Ask, EmbedError, PairPlan, PairsDone, each_slice};
use crate::shelf::ModelSketch;
use crate::task::inference::{LONG_INPUT_REMEDY, LongText, PairTruncation, Texts, Usage};
use crate::task::{TaskError, WorkUnit};

/// Texts that are tokenised and computed together when each leaves one small answer.
pub(super) const SLICE_TEXTS: usize = 512;
/// The same when each token leaves one.
pub(super) const SLICE_TOKEN_TEXTS: usize = 64;

/// A label's name and score, or a span, as JSON values while the answer is written.
pub(super) const ENTRY_BYTES: u64 = 256;

pub(super) fn cut(long_input: LongText, truncation: PairTruncation) -> PairCut {
    match (long_input, truncation) {
        (LongText::Error, _) => PairCut::Refuse,
        (LongText::Truncate, PairTruncation::LongestFirst) => PairCut::LongestFirst,
        (LongText::Truncate, PairTruncation::OnlyFirst) => PairCut::OnlyFirst,
        (LongText::Truncate, PairTruncation::OnlySecond) => PairCut::OnlySecond,
    }
}

pub(super) fn singles(texts: &Texts) -> Vec<TextPair<'_>> {
    texts.0.iter().map(|first| TextPair { first, second: None }).collect()
}

/// What a compute thread holds while it tokenises one of `texts`: the library's share of a piece, or of the longest stretch that has no blank to be cut at.
pub(super) fn library_bytes(texts: &[String]) -> u64 {
    let stretch = |text: &String| match text.len() {
        short if short <= PIECE_BYTES => short,
        _ => text.split(char::is_whitespace).map(str::len).max().unwrap_or(0).max(PIECE_BYTES),
    };
    let longest = texts.iter().map(stretch).max().unwrap_or(0);
    (longest as u64).saturating_mul(LIBRARY_BYTES)
}

/// Bytes of the sequences of a slice of `texts`: for every byte at most one id with its place, in lists that may have twice the room, and the text itself.
pub(super) fn sequence_bytes(texts: &[String], slice_texts: usize) -> u64 {
    let longest = texts.iter().map(String::len).max().unwrap_or(0) as u64;
    let all: u64 = texts.iter().map(|text| text.len() as u64).sum();
    all.min(longest.saturating_mul(slice_texts as u64)).saturating_mul(42)
}

/// Bytes of the tokens of a slice, and of the list of texts.
pub(super) fn token_bytes(texts: &Texts, model: &ModelSketch, slice_texts: usize) -> u64 {
    let longest = texts.0.iter().map(|text| model.tokens_max(text.len())).max().unwrap_or(0);
    // An id, a segment and a place per token, in lists that may have twice the room.
    let slice = longest.saturating_mul(slice_texts.min(texts.0.len()) as u64).saturating_mul(96);
    slice.saturating_add(texts.0.len() as u64 * 96).saturating_add(texts.bytes())
}

/// Errors: as [`Texts::check`], and `InvalidPayload` at a text that says nothing: a model has no meaning for it, only some vector.
pub(super) fn check_spoken(field: &str, texts: &Texts) -> Result<(), TaskError> {
    texts.check(field)?;
    match texts.0.iter().position(|text| text.trim().is_empty()) {
        Some(idx) => {
            let found = if texts.0[idx].is_empty() { "is empty" } else { "is blank" };
            Err(TaskError::invalid(format!("{field}[{idx}]"), format!("the text {found}; leave it out")))
        }
        None => Ok(()),
    }
}

/// Errors: `InvalidPayload` at `field` for a number outside 1 to `most`.
pub(super) fn check_count(field: &str, found: Option<usize>, most: usize) -> Result<(), TaskError> {
    match found.filter(|found| !(1..=most).contains(found)) {
        Some(found) => Err(TaskError::invalid(field, format!("found {found}, allowed are 1 to {most}"))),
        None => Ok(()),
    }
}

/// An embedding's error as the task's; `place` gives the field of a text by its index.
pub(super) fn text_error(scope: &InferenceScope<'_>, error: EmbedError, place: impl Fn(usize) -> String) -> TaskError {
    match error {
        EmbedError::TooLong { index, found, limit } => {
            TaskError::invalid(place(index), format!("the text has {found} tokens, the model takes at most {limit}; {LONG_INPUT_REMEDY}"))
        }
        EmbedError::Text { index, reason } => TaskError::invalid(place(index), reason),
        EmbedError::Expired => TaskError::DeadlineExceeded { deadline: wall_clock(scope.deadline) },
        EmbedError::Closed => TaskError::Cancelled { reason: "the worker is stopping".into() },
        EmbedError::Model(error) => scope.error(error),
    }
}

/// When a deadline was or will be.
fn wall_clock(deadline: Option<Instant>) -> DateTime<Utc> {
    let ago = deadline.map_or(Duration::ZERO, |deadline| deadline.elapsed());
    Utc::now() - TimeDelta::from_std(ago).unwrap_or_default()
}

/// The prompt that a model wants before a text when the request names none, and its name. Errors: `ModelCorrupt` for a name without a prompt.
pub(super) fn default_prompt(info: &EmbedderInfo) -> Result<(String, Option<String>), TaskError> {
    let Some(name) = &info.default_prompt_name else { return Ok((String::new(), None)) };
    match info.prompts.get(name) {
        Some(prompt) => Ok((prompt.clone(), Some(name.clone()))),
        None => {
            let shown: String = name.chars().take(80).collect();
            let reason = format!("its default prompt `{shown}` is none of its prompts; a `prompt` of the request is used in its place");
            Err(TaskError::ModelCorrupt { model: info.name.clone(), reason })
        }
    }
}

/// One run of texts through a head.
pub(super) struct HeadRun<'a> {
    pub(super) encoder: &'a Encoder,
    pub(super) ask: Ask,
    pub(super) cut: PairCut,
    /// Texts that are held in tokens at once.
    pub(super) held_texts: usize,
    /// Pairs that each text was made into.
    pub(super) pairs_per_text: usize,
    /// Where the texts stand in the request.
    pub(super) field: &'static str,
    /// What progress says.
    pub(super) what: &'static str,
}

impl<'a> HeadRun<'a> {
    /// The texts of the field `texts`, each alone, of whose tokens each leaves an answer.
    pub(super) fn over_texts((encoder, ask): (&'a Encoder, Ask), long_input: LongText, what: &'static str) -> Self {
        let cut = cut(long_input, PairTruncation::LongestFirst);
        Self { encoder, ask, cut, held_texts: SLICE_TOKEN_TEXTS, pairs_per_text: 1, field: "texts", what }
    }

    /// Hands every one of `pairs` with its tokens and its answer to `take`, and writes into the metadata what was done.
    ///
    /// Errors: those of tokenising, of the model and of `take`; a cancel's cause.
    pub(super) async fn each(
        &self,
        pairs: &[TextPair<'_>],
        scope: &mut InferenceScope<'_>,
        take: impl FnMut(usize, PairTokens, Answer) -> Result<(), EmbedError> + Send,
    ) -> Result<Usage, TaskError> {
        let sink = scope.sink;
        let progress = |share: f32| sink.progress(share, self.what);
        let (encoder, ask, cut) = (self.encoder, self.ask, self.cut);
        let plan = PairPlan { encoder, ask, cut, held_texts: self.held_texts, pairs_per_text: self.pairs_per_text };
        let done = each_slice((&scope.desk, plan), pairs, &progress, take).await;
        let done = done.map_err(|error| text_error(scope, error, |idx| format!("{}[{idx}]", self.field)))?;
        describe(scope, &done);
        sink.worked(WorkUnit::Documents, (pairs.len() / self.pairs_per_text.max(1)) as u64);
        Ok(Usage { prompt_tokens: done.computed_tokens, total_tokens: done.computed_tokens })
    }
}

/// What was done goes into the metadata: nothing is silent.
fn describe(scope: &mut InferenceScope<'_>, done: &PairsDone) {
    let info = scope.model.info();
    let facts = [
        ("architecture", json!(info.architecture)),
        ("max_tokens", json!(info.max_tokens)),
        ("token_counts", json!(done.token_counts)),
        ("truncated", json!(done.truncated)),
        ("notes", json!(info.notes)),
    ];
    scope.metadata.extend(facts.map(|(key, value)| (key.to_owned(), value)));
}
