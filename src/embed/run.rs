//! One batch on its way through a model: computed, divided where it fails until the guilty text is found, handed back.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tallow_models::text::PairTokens;
use tallow_models::{ModelError, Sequence, StopCheck};

use super::ticket::Ticket;
use super::{Answer, Answered, Ask, Computes, Input};

/// A text in a batch.
pub(super) struct Job {
    pub(super) input: Input,
    pub(super) place: usize,
    pub(super) ticket: Arc<Ticket>,
}

/// A batch with its texts side by side, as models take them.
struct Batch {
    ask: Ask,
    model: Arc<dyn Computes>,
    sequences: Vec<Sequence>,
    pairs: Vec<PairTokens>,
    owners: Vec<(Arc<Ticket>, usize)>,
}

/// Computes what `jobs` ask for and tells `take` every answer; each failure ends its own ticket alone.
///
/// Blocks. `closed` stops it as soon as the model asks; so does the end of every ticket.
pub(super) fn run(jobs: Vec<Job>, closed: StopCheck<'_>, mut take: impl FnMut(&Ticket, usize, &Answer)) {
    let (unwanted, wanted): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.ticket.is_over());
    unwanted.iter().for_each(|job| job.ticket.fail(ModelError::Stopped.into()));
    drop(unwanted);
    let Some(batch) = Batch::of(wanted) else { return };
    let mut answers: Vec<Option<Answer>> = std::iter::repeat_with(|| None).take(batch.owners.len()).collect();
    batch.compute(0..batch.owners.len(), closed, &mut answers);
    let Batch { sequences, pairs, owners, .. } = batch;
    let inputs = sequences.into_iter().map(Input::Text).chain(pairs.into_iter().map(Input::Pair));
    for (((ticket, place), input), answer) in owners.into_iter().zip(inputs).zip(answers) {
        if let Some(answer) = answer {
            take(&ticket, place, &answer);
            ticket.answer(place, Answered { input, answer });
        }
    }
}

impl Batch {
    fn of(jobs: Vec<Job>) -> Option<Self> {
        let first = &jobs.first()?.ticket;
        let mut batch =
            Self { ask: first.ask, model: Arc::clone(&first.model), sequences: Vec::new(), pairs: Vec::new(), owners: Vec::new() };
        for Job { input, place, ticket } in jobs {
            match input {
                Input::Text(sequence) => batch.sequences.push(sequence),
                Input::Pair(pair) => batch.pairs.push(pair),
            }
            batch.owners.push((ticket, place));
        }
        Some(batch)
    }

    /// Answers for `range`. A part that fails is halved and tried again, so that a text that makes a batch fail fails alone.
    fn compute(&self, range: Range<usize>, closed: StopCheck<'_>, answers: &mut [Option<Answer>]) {
        let owners = &self.owners[range.clone()];
        let unwanted = || closed() || owners.iter().all(|(ticket, _)| ticket.is_over());
        let error = match self.try_compute(range.clone(), &unwanted) {
            Ok(found) => {
                for (slot, answer) in answers[range].iter_mut().zip(found) {
                    *slot = Some(answer);
                }
                return;
            }
            Err(error) => error,
        };
        if range.len() == 1 || error == ModelError::Stopped {
            owners.iter().for_each(|(ticket, _)| ticket.fail(error.clone().into()));
            return;
        }
        let middle = range.start + range.len() / 2;
        for half in [range.start..middle, middle..range.end] {
            // A text whose caller has failed already is not worth another try.
            if !self.owners[half.clone()].iter().all(|(ticket, _)| ticket.is_over()) {
                self.compute(half, closed, answers);
            }
        }
    }

    fn try_compute(&self, range: Range<usize>, stop: StopCheck<'_>) -> Result<Vec<Answer>, ModelError> {
        if stop() {
            return Err(ModelError::Stopped);
        }
        let count = range.len();
        let computed = catch_unwind(AssertUnwindSafe(|| match self.ask {
            Ask::Vector => self.model.vectors(&self.sequences[range], stop),
            ask => self.model.answers(ask, &self.pairs[range], stop),
        }));
        let answers = computed.unwrap_or_else(|_panic| Err(ModelError::Internal { reason: "the model panicked".into() }))?;
        if answers.len() != count {
            return Err(ModelError::Internal { reason: format!("{} answers to {count} texts", answers.len()) });
        }
        Ok(answers)
    }
}
