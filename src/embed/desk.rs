//! Where an operation has its texts computed: in batches with those of others, or at once where a batch would gain nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tallow_models::{Embedder, EmbedderInfo, Sequence};

use super::batcher::{Batcher, Pending};
use super::cache::{Key, model_key};
use super::ticket::{Outcome, Stop};
use super::{Answer, Answered, Ask, Computes, EmbedError, Input};

/// Who asks, as far as the order of batches depends on it.
#[derive(Clone)]
pub struct Caller {
    /// 0 to 3; a higher one goes first.
    pub rank: u8,
    /// Who shares with others, as a number.
    pub submitter: u64,
    /// The task among those of its submitter, as a number.
    pub task: u64,
    /// When the answers stop being wanted.
    pub deadline: Option<Instant>,
    /// Says when they are not wanted any more.
    pub stop: Stop,
}

/// A caller's place at the batcher, for one model.
pub struct Seat {
    batcher: Arc<Batcher>,
    pub(super) model: Arc<dyn Computes>,
    pub(super) model_key: Key,
    pub(super) load: u64,
    pub(super) caller: Caller,
}

impl Seat {
    /// A place for questions to `model`. `load` is a number that no other load of any model has.
    #[must_use]
    pub fn new(batcher: &Arc<Batcher>, (model, info, load): (Arc<dyn Computes>, &EmbedderInfo, u64), caller: Caller) -> Self {
        Self { batcher: Arc::clone(batcher), model, model_key: model_key(info, load), load, caller }
    }
}

/// Where texts are tokenised and computed for one caller.
pub struct Desk<'a> {
    embedder: &'a dyn Embedder,
    stop: Stop,
    seat: Option<Seat>,
    cached: AtomicUsize,
}

/// Answers that are on their way, or there already.
pub struct Coming(Way);

enum Way {
    There(Outcome),
    Pending(Pending),
}

impl<'a> Desk<'a> {
    /// A desk whose texts are computed in batches.
    #[must_use]
    pub fn batched(embedder: &'a dyn Embedder, seat: Seat) -> Self {
        Self { embedder, stop: Arc::clone(&seat.caller.stop), seat: Some(seat), cached: AtomicUsize::new(0) }
    }

    /// A desk whose vectors are computed at once on the calling thread and its pool; heads cannot be asked.
    #[must_use]
    pub fn direct(embedder: &'a dyn Embedder, stop: Stop) -> Self {
        Self { embedder, stop, seat: None, cached: AtomicUsize::new(0) }
    }

    /// The model's tokenizer and description.
    #[must_use]
    pub fn embedder(&self) -> &'a dyn Embedder {
        self.embedder
    }

    /// True once the caller wants nothing more.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        (self.stop)()
    }

    /// Texts that were answered from before.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.cached.load(Ordering::Relaxed)
    }

    /// Asks for the vectors of sequences.
    pub fn vectors(&self, sequences: Vec<Sequence>) -> Coming {
        match &self.seat {
            Some(seat) => self.submit(seat, Ask::Vector, sequences.into_iter().map(Input::Text).collect()),
            None => Coming(Way::There(self.vectors_at_once(sequences))),
        }
    }

    /// Asks a head about texts and pairs. Errors: `Model` at a desk without batches.
    pub fn answers(&self, ask: Ask, pairs: Vec<tallow_models::text::PairTokens>) -> Coming {
        match &self.seat {
            Some(seat) => self.submit(seat, ask, pairs.into_iter().map(Input::Pair).collect()),
            None => Coming(Way::There(Err(super::work::no_head().into()))),
        }
    }

    fn submit(&self, seat: &Seat, ask: Ask, inputs: Vec<Input>) -> Coming {
        let pending = seat.batcher.submit(seat, ask, inputs);
        self.cached.fetch_add(pending.cached, Ordering::Relaxed);
        Coming(Way::Pending(pending))
    }

    fn vectors_at_once(&self, sequences: Vec<Sequence>) -> Outcome {
        let rows = self.embedder.embed(&sequences, &|| self.is_stopped())?;
        let rows = rows.chunks_exact(self.embedder.info().dimensions.max(1));
        Ok(sequences
            .into_iter()
            .zip(rows)
            .map(|(input, row)| Answered { input: Input::Text(input), answer: Answer::Row(row.to_vec()) })
            .collect())
    }
}

impl Coming {
    /// Waits for the answers, in the order of the texts. Dropping the future withdraws texts that still wait.
    ///
    /// Errors: `Expired`, `Closed`, and what the model said of one of the texts.
    pub async fn wait(self) -> Result<Vec<Answered>, EmbedError> {
        match self.0 {
            Way::There(outcome) => outcome,
            Way::Pending(pending) => pending.answers().await,
        }
    }
}
