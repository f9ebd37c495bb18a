//! The journal of a worker without a data directory: open tasks, and the last ended ones, in memory.

use std::collections::VecDeque;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Journal, Record, Replayed};
use crate::task::{IdMap, TaskError, TaskId};

/// Ended tasks that are kept for tasks which may still refer to them; older ones are forgotten.
pub const ENDED_KEPT_MAX: usize = 1024;

/// Survives a manager, not the process. Holds open tasks (shared with the manager, not copied) and the last [`ENDED_KEPT_MAX`] ended ones.
#[derive(Default)]
pub struct MemoryJournal {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    tasks: IdMap<(u64, Replayed)>,
    accepted_count: u64,
    ended: VecDeque<TaskId>,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Kept {
    fn take(&mut self, record: &Record) {
        match record {
            Record::Accepted(accepted) => {
                self.accepted_count += 1;
                let replayed = Replayed { accepted: accepted.clone(), attempt: 0, outcome: None };
                self.tasks.insert(&accepted.id(), (self.accepted_count, replayed));
            }
            Record::Started { task_id, attempt } => {
                if let Some((_, task)) = self.tasks.get_mut(task_id) {
                    task.attempt = (*attempt).max(task.attempt);
                }
            }
            Record::Ended { task_id, outcome } => {
                let Some((_, task)) = self.tasks.get_mut(task_id) else { return };
                if task.outcome.is_some() {
                    return;
                }
                task.outcome = Some(outcome.clone());
                self.ended.push_back(*task_id);
                if self.ended.len() > ENDED_KEPT_MAX
                    && let Some(oldest) = self.ended.pop_front()
                {
                    self.tasks.remove(&oldest);
                }
            }
            Record::Forgotten { task_id } => {
                if self.tasks.get_mut(task_id).is_some_and(|(_, task)| task.outcome.is_some()) {
                    self.tasks.remove(task_id);
                }
            }
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    fn append(&self, records: &[Record]) -> Result<(), TaskError> {
        let mut kept = self.kept.lock();
        for record in records {
            kept.take(record);
        }
        Ok(())
    }

    fn load(&self) -> Result<Vec<Replayed>, TaskError> {
        let kept = self.kept.lock();
        let mut tasks: Vec<_> = kept.tasks.values().cloned().collect();
        tasks.sort_unstable_by_key(|(order, _)| *order);
        Ok(tasks.into_iter().map(|(_, task)| task).collect())
    }
}
