//! Texts that one caller handed in together, and their answers as they come.

use std::sync::Arc;

use parking_lot::Mutex;
use tallow_models::ModelError;
use tokio::sync::oneshot;

use super::cache::Key;
use super::{Answered, Ask, Computes, EmbedError};

/// Asked whether a caller still wants its answers: true when not. Whoever holds it holds what the caller has claimed.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

pub(super) type Outcome = Result<Vec<Answered>, EmbedError>;

/// What all entries of one hand-in share.
pub(super) struct Ticket {
    pub(super) ask: Ask,
    pub(super) model: Arc<dyn Computes>,
    stop: Stop,
    /// Keys of the inputs, where rows are kept.
    pub(super) keys: Vec<Key>,
    state: Mutex<State>,
}

struct State {
    answers: Vec<Option<Answered>>,
    missing: usize,
    sender: Option<oneshot::Sender<Outcome>>,
}

impl Ticket {
    /// A ticket over `answers`, of which some may be there already, and where its outcome will come.
    pub(super) fn new(
        (ask, model, stop): (Ask, Arc<dyn Computes>, Stop),
        keys: Vec<Key>,
        answers: Vec<Option<Answered>>,
    ) -> (Self, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        let missing = answers.iter().filter(|answer| answer.is_none()).count();
        let ticket = Self { ask, model, stop, keys, state: Mutex::new(State { answers, missing, sender: Some(sender) }) };
        if missing == 0 {
            ticket.send();
        }
        (ticket, receiver)
    }

    /// True when nobody waits for the answers any more.
    pub(super) fn is_over(&self) -> bool {
        (self.stop)() || self.state.lock().sender.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Takes an answer; the last one ends the wait.
    pub(super) fn answer(&self, place: usize, answered: Answered) {
        let complete = {
            let mut state = self.state.lock();
            let Some(slot) = state.answers.get_mut(place).filter(|slot| slot.is_none()) else { return };
            *slot = Some(answered);
            state.missing -= 1;
            state.missing == 0
        };
        if complete {
            self.send();
        }
    }

    /// Ends the wait with an error; the first one counts.
    pub(super) fn fail(&self, error: EmbedError) {
        if let Some(sender) = self.state.lock().sender.take() {
            // The receiver is gone when nobody waits any more.
            let _unwanted = sender.send(Err(error));
        }
    }

    fn send(&self) {
        let mut state = self.state.lock();
        if let Some(sender) = state.sender.take() {
            let answers: Option<Vec<Answered>> = std::mem::take(&mut state.answers).into_iter().collect();
            let missing = || ModelError::Internal { reason: "an answer is missing".into() }.into();
            let _unwanted = sender.send(answers.ok_or_else(missing));
        }
    }
}
