//! Every known task by id and by slot. Owns the entries; decides nothing.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::admission::Load;
use super::chunked::Chunked;
use super::queue::Slot;
use super::references::Reference;
use super::state::Life;
use crate::journal::{Accepted, Outcome};
use crate::task::{CancelHandle, IdMap, Prepared, Task, TaskError, TaskId, TaskPriority};

/// One known task. What only few tasks have is behind `rare`.
pub(super) struct Entry {
    pub body: Arc<Accepted>,
    pub life: Life,
    pub priority: TaskPriority,
    pub submitter: u32,
    pub type_idx: u16,
    pub class: u16,
    /// Bytes of the payload.
    pub bytes: u64,
    /// Bytes of the result and its parts.
    pub outcome_bytes: u64,
    pub accepted_ns: u64,
    pub started_ns: u64,
    pub prepared: Prepared,
    pub cancel: Option<CancelHandle>,
    pub outcome: Option<Arc<Outcome>>,
    pub rare: Option<Box<Rare>>,
}

impl Entry {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What it holds while it is open: its payload and what is parsed of it.
    pub(super) fn load(&self) -> Load {
        Load { tasks: 1, bytes: self.bytes.saturating_add(self.prepared.request_bytes) }
    }

    /// True while another task still needs this one's result.
    pub(super) fn is_held(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.held_by > 0)
    }
}

/// What only few tasks have.
#[derive(Default)]
pub(super) struct Rare {
    /// References in the payload, until they are resolved.
    pub references: Arc<[Reference]>,
    /// The task with its references resolved.
    pub resolved: Option<Arc<Task>>,
    /// Bytes of the values it took by reference; an upper bound while they are being taken.
    pub copied_bytes: u64,
    /// Tasks it still waits for.
    pub open_dependencies: usize,
    /// Tasks that wait for it.
    pub dependents: Vec<(Slot, TaskId)>,
    /// Tasks that will read its result.
    pub held_by: usize,
    /// The tasks it holds (mirror of their `held_by`).
    pub holds: Vec<TaskId>,
    /// Callers who wait for its end.
    pub waiters: Vec<oneshot::Sender<Arc<Outcome>>>,
    /// Keys of its timers.
    pub deadline_ns: Option<u64>,
    pub retry_ns: Option<u64>,
    /// True when it has ended but is kept for those that hold it.
    pub is_parked: bool,
    /// True when someone asked to start it ahead of its turn.
    pub is_expedited: bool,
}

/// Tasks by id and slot.
pub(super) struct Table {
    index: IdMap<Slot>,
    entries: Chunked<Option<Entry>>,
    free: Vec<Slot>,
    end: Slot,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { index: IdMap::new(), entries: Chunked::default(), free: Vec::new(), end: 0 }
    }

    /// The slot of a task. Errors: `NotFound`.
    pub(super) fn find(&self, task_id: &TaskId) -> Result<Slot, TaskError> {
        self.index.get(task_id).copied().ok_or(TaskError::NotFound { task_id: *task_id })
    }

    pub(super) fn contains(&self, task_id: &TaskId) -> bool {
        self.index.contains(task_id)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Entry> {
        if self.entries.contains(slot) { self.entries[slot].as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        if self.entries.contains(slot) { self.entries[slot].as_mut() } else { None }
    }

    /// The entry of a slot if it still is that task: slots are used again.
    pub(super) fn get_same(&mut self, slot: Slot, task_id: TaskId) -> Option<&mut Entry> {
        self.get_mut(slot).filter(|entry| entry.body.id() == task_id)
    }

    pub(super) fn insert(&mut self, entry: Entry) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.end += 1;
            self.end - 1
        });
        self.entries.ensure(slot);
        self.index.insert(&entry.body.id(), slot);
        self.entries[slot] = Some(entry);
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Entry> {
        let entry = if self.entries.contains(slot) { self.entries[slot].take() } else { None }?;
        self.index.remove(&entry.body.id());
        self.free.push(slot);
        Some(entry)
    }

    /// Entries of the slots `from..from + count`, and the slot after them or `None` at the end: listings hold the lock only for one stretch.
    pub(super) fn stretch(&self, from: Slot, count: Slot) -> (impl Iterator<Item = &Entry>, Option<Slot>) {
        let to = from.saturating_add(count).min(self.end);
        ((from..to).filter_map(|slot| self.get(slot)), (to < self.end).then_some(to))
    }

    /// Every slot in use.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.end).filter(|&slot| self.get(slot).is_some())
    }
}
