//! From the records of a journal to entries in the table.

use std::sync::Arc;

use super::super::idempotency::Fingerprint;
use super::super::state::Life;
use super::super::table::Entry;
use super::Core;
use super::accept::Needs;
use super::end::{end_of, outcome_bytes};
use crate::journal::{OutcomeKind, Replayed};
use crate::task::TaskError;

/// A task from a journal, checked and prepared again.
pub(in super::super) struct Replay {
    pub replayed: Replayed,
    pub needs: Result<Needs, TaskError>,
    pub fingerprint: Option<Fingerprint>,
}

impl Core {
    /// Takes over what a journal kept of an earlier manager, in the order of acceptance. Open tasks wait again with their attempts counted; a task
    /// whose last allowed attempt was under way fails, because nobody knows how often it would take the worker down with it.
    pub(in super::super) fn replay(&mut self, tasks: Vec<Replay>) {
        let now_ns = self.clock.now_ns();
        let mut open = Vec::new();
        for Replay { replayed, needs, fingerprint } in tasks {
            if self.table.contains(&replayed.accepted.id()) {
                continue;
            }
            let submitter = self.submitters.enter(&replayed.accepted.submitter);
            let retries_max = replayed.accepted.retries_max;
            let (needs, refused) = match needs {
                Ok(needs) => (needs, None),
                Err(error) => (Needs::default(), Some(error)),
            };
            let mut entry = self.entry_of(replayed.accepted, submitter, needs, now_ns);
            if let Some(outcome) = replayed.outcome {
                entry.life = Life::ended(end_of(&outcome.kind), replayed.attempt);
                if let OutcomeKind::Completed { result, parts } = &outcome.kind {
                    entry.outcome_bytes = outcome_bytes(result, parts);
                }
                entry.outcome = Some(outcome);
                self.keep_ended(entry, fingerprint, now_ns);
                continue;
            }
            entry.life = entry.life.with_attempt(replayed.attempt);
            let exhausted = replayed.attempt > retries_max;
            let lost = || TaskError::internal("the worker stopped during the task's last attempt", format!("attempt {}", replayed.attempt));
            open.push((self.insert(entry, fingerprint), refused.or_else(|| exhausted.then(lost))));
        }
        for (slot, error) in open {
            match error {
                // An open task can always be stopped.
                Some(error) => drop(self.stop(slot, OutcomeKind::Failed(Arc::new(error)))),
                None => self.link(slot, now_ns),
            }
        }
        self.settle();
    }

    fn keep_ended(&mut self, entry: Entry, fingerprint: Option<Fingerprint>, now_ns: u64) {
        let bytes = entry.bytes.saturating_add(entry.outcome_bytes);
        if let (Some(key), Some(fingerprint)) = (&entry.body.idempotency_key, fingerprint) {
            self.keys.insert(entry.submitter, key, (entry.body.id(), fingerprint));
        }
        let slot = self.table.insert(entry);
        self.retention.add(slot, bytes, now_ns);
    }
}
