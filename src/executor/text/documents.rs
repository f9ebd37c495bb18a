//! What operations on documents have in common: one text or many, in parallel, with the same answer either way.

use std::marker::PhantomData;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Operation, TextScope, TextState};
use crate::executor::operation::Cost;
use crate::task::text::{TextAnswer, TextInput, TextRequest};
use crate::task::{Parts, TaskError, WorkUnit};

/// Inputs from this size on are split over all compute threads.
pub(super) const PARALLEL_BYTES_MIN: u64 = 256 * 1024;

/// An operation that looks at one document at a time.
pub(super) trait DocumentOperation: 'static {
    /// Its request, with `text` and `texts`.
    type Request: TextRequest + DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// Its answer for one document.
    type Output: Serialize + JsonSchema + Send;
    /// The value of `operation`.
    const NAME: &'static str;
    /// One sentence.
    const SUMMARY: &'static str;
    /// Bytes held at the peak per byte of text, beside the payload: parsed request (1), work space, answer and the answer's JSON form.
    const BYTES_PER_BYTE: u64;

    /// The same for one request, where its options change it.
    fn bytes_per_byte(_request: &Self::Request) -> u64 {
        Self::BYTES_PER_BYTE
    }

    /// Bytes that depend on more than a text's length, such as one entry per word.
    fn answer_bytes(text: &str, request: &Self::Request) -> u64 {
        let (_, _) = (text, request);
        0
    }

    /// Checks the fields beside the texts.
    fn check(_request: &Self::Request, _state: &TextState) -> Result<(), TaskError> {
        Ok(())
    }

    /// The answer for one document.
    fn run(text: &str, request: &Self::Request, scope: &TextScope<'_>) -> Result<Self::Output, TaskError>;
}

/// Makes a task operation of an operation on documents.
pub(super) struct PerDocument<O>(PhantomData<O>);

impl<O: DocumentOperation> Operation<TextState> for PerDocument<O> {
    type Request = O::Request;
    type Output = TextAnswer<O::Output>;
    const NAME: &'static str = O::NAME;
    const SUMMARY: &'static str = O::SUMMARY;

    fn check(request: &O::Request, state: &TextState, _parts: &Parts) -> Result<Cost, TaskError> {
        let input = request.input()?;
        O::check(request, state)?;
        let mut cost = cost_of(input, O::bytes_per_byte(request));
        let answer_bytes: u64 = match input {
            TextInput::One(text) => O::answer_bytes(text, request),
            TextInput::Many(texts) => texts.iter().map(|text| O::answer_bytes(text, request)).sum(),
        };
        cost.host_bytes = cost.host_bytes.saturating_add(answer_bytes);
        Ok(cost)
    }

    fn run(request: &O::Request, scope: &TextScope<'_>) -> Result<TextAnswer<O::Output>, TaskError> {
        answer(request, scope, |text| O::run(text, request, scope))
    }
}

/// The answer of `work` for the one text or for each of the many.
pub(super) fn answer<R, T, F>(request: &R, scope: &TextScope<'_>, work: F) -> Result<TextAnswer<T>, TaskError>
where
    R: TextRequest,
    T: Send,
    F: Fn(&str) -> Result<T, TaskError> + Sync,
{
    let (answer, document_count) = match request.input()? {
        TextInput::One(text) => (TextAnswer::One(work(text)?), 1),
        TextInput::Many(texts) => {
            let results = map_texts(texts, |_idx, text| {
                scope.cancel.check()?;
                work(text)
            })?;
            (TextAnswer::Many { count: results.len(), results }, texts.len())
        }
    };
    scope.sink.worked(WorkUnit::Documents, document_count as u64);
    Ok(answer)
}

/// The cost of an operation that holds `bytes_per_byte` for every byte of text.
pub(super) fn cost_of(input: TextInput<'_>, bytes_per_byte: u64) -> Cost {
    let documents = if let TextInput::Many(texts) = input { texts.len() as u64 } else { 1 };
    let bytes = input.bytes();
    Cost { host_bytes: bytes.saturating_mul(bytes_per_byte).saturating_add(documents * 1024), parallel: bytes >= PARALLEL_BYTES_MIN }
}

/// What up to `matches_max` matches per text take in the answer and in its JSON form; a match has at least one byte, or is empty between two bytes.
pub(super) fn matches_bytes(input: TextInput<'_>, matches_max: usize) -> u64 {
    const MATCH_BYTES: u64 = 640;
    let most = |text: &str| (text.len() as u64 + 1).min(matches_max as u64);
    let count: u64 = match input {
        TextInput::One(text) => most(text),
        TextInput::Many(texts) => texts.iter().map(|text| most(text)).sum(),
    };
    count.saturating_mul(MATCH_BYTES)
}

/// Applies `work` to every text in parallel and keeps the order. Errors: the first by index, its field renamed from `text` to `texts[i]`.
pub(super) fn map_texts<T, F>(texts: &[String], work: F) -> Result<Vec<T>, TaskError>
where
    T: Send,
    F: Fn(usize, &str) -> Result<T, TaskError> + Sync,
{
    let outcomes: Vec<Result<T, TaskError>> =
        texts.par_iter().enumerate().map(|(idx, text)| work(idx, text).map_err(|error| at_index(error, idx))).collect();
    outcomes.into_iter().collect()
}

fn at_index(error: TaskError, idx: usize) -> TaskError {
    match error {
        TaskError::InvalidPayload { field, reason } if field == "text" => {
            TaskError::InvalidPayload { field: format!("texts[{idx}]"), reason }
        }
        other => other,
    }
}
