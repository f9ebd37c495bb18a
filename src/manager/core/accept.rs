//! From a checked submission to an entry in the table.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::admission::{self, Full, Load};
use super::super::dependencies;
use super::super::events::EventKind;
use super::super::idempotency::Fingerprint;
use super::super::queue::Slot;
use super::super::references::{self, Reference};
use super::super::state::{Command, Life, Phase};
use super::super::table::{Entry, Rare};
use super::super::timers::Timer;
use super::end::dependency_failed;
use super::{Core, Mode};
use crate::journal::{Accepted, OutcomeKind, Record};
use crate::task::{Prepared, Submission, TaskError, TaskId};

/// A submission that passed every check which needs no lock.
pub(in super::super) struct Ready {
    pub submission: Submission,
    pub bytes: u64,
    pub references: Vec<Reference>,
    pub prepared: Prepared,
    pub fingerprint: Option<Fingerprint>,
    pub deadline_ns: Option<u64>,
    pub retries_default: u32,
}

impl Ready {
    fn id(&self) -> TaskId {
        self.submission.task.id
    }

    /// What it holds while it is open: its payload and what is parsed of it.
    fn load(&self) -> Load {
        Load { tasks: 1, bytes: self.bytes.saturating_add(self.prepared.request_bytes) }
    }
}

/// What an entry needs beside its body.
#[derive(Default)]
pub(in super::super) struct Needs {
    pub references: Vec<Reference>,
    pub prepared: Prepared,
    pub bytes: u64,
    pub deadline_ns: Option<u64>,
}

enum Verdict {
    New,
    Existing(TaskId),
}

impl Core {
    /// Accepts one task, or returns the id of the one that holds its idempotency key. The slot is `Some` for a new task.
    pub(in super::super) fn accept(&mut self, ready: Ready) -> Result<(TaskId, Option<Slot>), TaskError> {
        if let Verdict::Existing(task_id) = self.check(&ready, None)? {
            return Ok((task_id, None));
        }
        self.admit(&ready.submission.submitter, ready.load())?;
        let task_id = ready.id();
        Ok((task_id, Some(self.add_one(ready)?)))
    }

    /// Accepts all tasks or none. Returns their ids in order: existing ones for repeated idempotency keys.
    pub(in super::super) fn accept_all(&mut self, batch: Vec<Ready>) -> Result<(Vec<TaskId>, Vec<Slot>), TaskError> {
        let edges: Vec<_> = batch.iter().map(|ready| (ready.id(), ready.submission.depends_on.as_slice())).collect();
        dependencies::check_acyclic(&edges)?;
        let siblings: HashSet<TaskId> = batch.iter().map(Ready::id).collect();
        if siblings.len() < batch.len() {
            return Err(TaskError::invalid("tasks", "two tasks of the batch have the same id"));
        }
        check_batch_keys(&batch)?;
        let mut existing = HashMap::new();
        let mut loads: HashMap<&str, Load> = HashMap::new();
        for (at, ready) in batch.iter().enumerate() {
            let verdict = self.check(ready, Some(&siblings)).map_err(|error| at_position(error, at))?;
            match verdict {
                Verdict::Existing(task_id) => {
                    existing.insert(ready.id(), task_id);
                }
                Verdict::New => loads.entry(&ready.submission.submitter).or_default().add(ready.load()),
            }
        }
        let mut pending = Load::default();
        for (submitter, load) in loads {
            self.admit_beside(submitter, load, pending)?;
            pending.add(load);
        }
        let ids = batch.iter().map(|ready| existing.get(&ready.id()).copied().unwrap_or(ready.id())).collect();
        let new = batch.into_iter().filter(|ready| !existing.contains_key(&ready.id())).map(|ready| renamed(ready, &existing)).collect();
        Ok((ids, self.add(new)?))
    }

    fn check(&self, ready: &Ready, siblings: Option<&HashSet<TaskId>>) -> Result<Verdict, TaskError> {
        if self.mode != Mode::Open {
            return Err(TaskError::ShuttingDown);
        }
        if self.journal_failed {
            return Err(TaskError::internal("the journal failed; no new tasks are taken", ""));
        }
        let submission = &ready.submission;
        let submitter = self.submitters.find(&submission.submitter);
        if let (Some(key), Some(fingerprint), Some(submitter)) = (&submission.idempotency_key, &ready.fingerprint, submitter)
            && let Some(task_id) = self.keys.find(submitter, key, fingerprint)?
        {
            return Ok(Verdict::Existing(task_id));
        }
        if self.table.contains(&submission.task.id) {
            return Err(TaskError::invalid("id", format!("task {} has been submitted already", submission.task.id)));
        }
        if submission.deadline.is_some_and(|_| ready.deadline_ns.is_some_and(|at_ns| at_ns <= self.clock.now_ns())) {
            let deadline = submission.deadline.unwrap_or_default();
            return Err(TaskError::DeadlineExceeded { deadline });
        }
        for dependency in &submission.depends_on {
            if siblings.is_some_and(|siblings| siblings.contains(dependency)) {
                continue;
            }
            // A foreign task looks exactly like one that does not exist.
            let known = self.table.find(dependency).ok().and_then(|slot| self.table.get(slot));
            if known.is_none_or(|entry| Some(entry.submitter) != submitter) {
                return Err(TaskError::NotFound { task_id: *dependency });
            }
        }
        Ok(Verdict::New)
    }

    /// Counts large submissions as open while they are checked. Errors: `DoesNotFit`, `Overloaded` when there is no room for them now.
    pub(in super::super) fn begin_check(&mut self, bytes: u64) -> Result<(), TaskError> {
        self.admit_beside("", Load { tasks: 0, bytes }, Load::default())?;
        self.checking_bytes += bytes;
        Ok(())
    }

    /// What of `bytes` there is room for now.
    pub(in super::super) fn room_of(&self, bytes: u64) -> u64 {
        let held = self.open.bytes.saturating_add(self.checking_bytes);
        self.limits.room.bytes_max.saturating_sub(held).min(bytes)
    }

    /// The submission is checked, or was given up.
    pub(in super::super) fn end_check(&mut self, bytes: u64) {
        self.checking_bytes = self.checking_bytes.saturating_sub(bytes);
    }

    fn admit(&mut self, submitter: &str, more: Load) -> Result<(), TaskError> {
        self.admit_beside(submitter, more, Load::default())
    }

    fn admit_beside(&mut self, submitter: &str, more: Load, pending: Load) -> Result<(), TaskError> {
        let own = self.submitters.find(submitter).map(|idx| self.submitters.get(idx).open).unwrap_or_default();
        let room = self.limits.room;
        let mut all = self.open;
        all.add(pending);
        all.bytes = all.bytes.saturating_add(self.checking_bytes);
        let reason = match admission::admit(room, all, own, more) {
            Ok(()) => return Ok(()),
            Err(Full::Tasks) => format!("{} tasks are open, at most {} may be", all.tasks, room.tasks_max),
            Err(Full::Bytes) => format!("open tasks hold {} bytes, at most {} may be held", all.bytes, room.bytes_max),
            Err(Full::Share) => format!("this submitter has {} of {} open tasks, which is its share of the queue", own.tasks, all.tasks),
            Err(Full::Never) if more.tasks > room.tasks_max => {
                return Err(TaskError::invalid("tasks", format!("{} tasks at once, at most {} may be open", more.tasks, room.tasks_max)));
            }
            Err(Full::Never) => {
                return Err(TaskError::DoesNotFit {
                    resource: "queue bytes".into(),
                    needed_bytes: more.bytes,
                    available_bytes: room.bytes_max,
                });
            }
        };
        let now_ns = self.clock.now_ns();
        let retry_after = admission::retry_after(more.tasks, self.drain_rate.per_s(now_ns));
        Err(TaskError::Overloaded { retry_after, reason })
    }

    /// Journals and inserts one admitted task: what a submission costs, so it allocates nothing but the task's own body.
    fn add_one(&mut self, ready: Ready) -> Result<Slot, TaskError> {
        let now_ns = self.clock.now_ns();
        let (entry, fingerprint) = self.admitted(ready, now_ns);
        if let Err(error) = self.journal.append(&[Record::Accepted(entry.body.clone())]) {
            self.submitters.leave(entry.submitter);
            return Err(error);
        }
        let slot = self.insert(entry, fingerprint);
        self.link(slot, now_ns);
        self.settle();
        Ok(slot)
    }

    fn admitted(&mut self, ready: Ready, now_ns: u64) -> (Entry, Option<Fingerprint>) {
        let submitter = self.submitters.enter(&ready.submission.submitter);
        let name = self.submitters.get(submitter).name.clone();
        let fingerprint = ready.fingerprint.map(|digests| Box::from(digests.as_slice()));
        let body = Arc::new(Accepted { fingerprint, ..Accepted::new(ready.submission, name, ready.retries_default) });
        let needs = Needs { references: ready.references, prepared: ready.prepared, bytes: ready.bytes, deadline_ns: ready.deadline_ns };
        (self.entry_of(body, submitter, needs, now_ns), ready.fingerprint)
    }

    /// Journals and inserts admitted tasks, which may depend on each other.
    fn add(&mut self, batch: Vec<Ready>) -> Result<Vec<Slot>, TaskError> {
        let now_ns = self.clock.now_ns();
        let mut records = Vec::with_capacity(batch.len());
        let mut entries = Vec::with_capacity(batch.len());
        for ready in batch {
            let (entry, fingerprint) = self.admitted(ready, now_ns);
            records.push(Record::Accepted(entry.body.clone()));
            entries.push((entry, fingerprint));
        }
        if let Err(error) = self.journal.append(&records) {
            for (entry, _) in entries {
                self.submitters.leave(entry.submitter);
            }
            return Err(error);
        }
        let slots: Vec<Slot> = entries.into_iter().map(|(entry, fingerprint)| self.insert(entry, fingerprint)).collect();
        for &slot in &slots {
            self.link(slot, now_ns);
        }
        self.settle();
        Ok(slots)
    }

    pub(super) fn entry_of(&mut self, body: Arc<Accepted>, submitter: u32, needs: Needs, now_ns: u64) -> Entry {
        let blocked = !body.depends_on.is_empty();
        let rare = (blocked || needs.deadline_ns.is_some())
            .then(|| Box::new(Rare { references: needs.references.into(), deadline_ns: needs.deadline_ns, ..Rare::default() }));
        Entry {
            life: Life::accepted(blocked, false),
            submitter,
            type_idx: self.types.enter(&body.task.payload.task_type),
            class: 0,
            bytes: needs.bytes,
            outcome_bytes: 0,
            accepted_ns: now_ns,
            started_ns: 0,
            prepared: needs.prepared,
            priority: body.task.priority,
            cancel: None,
            outcome: None,
            rare,
            body,
        }
    }

    pub(super) fn insert(&mut self, entry: Entry, fingerprint: Option<Fingerprint>) -> Slot {
        let (task_id, submitter) = (entry.body.id(), entry.submitter);
        let load = entry.load();
        if self.open.tasks == 0 {
            self.drain_rate.resume(entry.accepted_ns);
        }
        self.open.add(load);
        self.submitters.get_mut(submitter).open.add(load);
        self.totals.submitted += 1;
        if let (Some(key), Some(fingerprint)) = (&entry.body.idempotency_key, fingerprint) {
            self.keys.insert(submitter, key, (task_id, fingerprint));
        }
        let own_type = &entry.body.task.payload.task_type;
        let known_type = &self.types.all[usize::from(entry.type_idx)].task_type;
        // Types beyond the register's bound share a number, not a name.
        let task_type = if **known_type == *own_type { known_type.clone() } else { Arc::new(own_type.clone()) };
        let kind = EventKind::Submitted { task_type, priority: entry.priority };
        self.hub.publish(entry.accepted_ns, (task_id, &entry.body.submitter), kind, 0);
        let deadline_ns = entry.rare.as_ref().and_then(|rare| rare.deadline_ns);
        if entry.life.phase() == Phase::Blocked {
            self.blocked += 1;
        }
        let slot = self.table.insert(entry);
        if let Some(at_ns) = deadline_ns {
            self.timers.arm(at_ns, slot, Timer::Deadline);
        }
        slot
    }

    /// Ties a new task to those it depends on, or puts it into the queue.
    pub(super) fn link(&mut self, slot: Slot, now_ns: u64) {
        let Some(entry) = self.table.get(slot) else { return };
        if entry.life.phase() == Phase::Queued {
            self.enqueue(slot, now_ns);
            return;
        }
        let body = entry.body.clone();
        let references = entry.rare.as_ref().map(|rare| rare.references.clone()).unwrap_or_default();
        let mut open_count = 0;
        let mut failed = None;
        for dependency in &body.depends_on {
            let Ok(dependency_slot) = self.table.find(dependency) else {
                failed = Some(TaskError::DependencyFailed { dependency: *dependency, reason: "it is no longer known".into() });
                continue;
            };
            let Some(other) = self.table.get(dependency_slot) else { continue };
            match other.life.phase() {
                Phase::Completed => {}
                Phase::Failed | Phase::Cancelled => {
                    failed = other.outcome.as_ref().and_then(|outcome| outcome.error()).map(|error| dependency_failed(*dependency, &error));
                    continue;
                }
                _ => {
                    open_count += 1;
                    self.add_dependent(dependency_slot, (slot, body.id()));
                }
            }
            if references.iter().any(|reference| reference.from == *dependency) {
                if let Some(other) = self.table.get_mut(dependency_slot) {
                    other.rare().held_by += 1;
                }
                if let Some(entry) = self.table.get_mut(slot) {
                    entry.rare().holds.push(*dependency);
                }
            }
        }
        if let Some(entry) = self.table.get_mut(slot) {
            entry.rare().open_dependencies = open_count;
        }
        if let Some(error) = failed {
            // A blocked task can always be stopped.
            let _stopped = self.stop(slot, OutcomeKind::Failed(Arc::new(error)));
        } else if open_count == 0 {
            self.unblock(slot, now_ns);
        }
    }

    /// Notes who waits for a task. Those that have ended meanwhile make room, so that the list grows with open tasks only.
    fn add_dependent(&mut self, of: Slot, dependent: (Slot, TaskId)) {
        let Some(entry) = self.table.get_mut(of) else { return };
        let mut dependents = std::mem::take(&mut entry.rare().dependents);
        if dependents.len() == dependents.capacity() {
            dependents.retain(|(slot, id)| self.table.get_same(*slot, *id).is_some_and(|entry| entry.life.phase() == Phase::Blocked));
            // Room for as many again, so that the next look is as far away as this one was dear.
            dependents.reserve(dependents.len().max(4));
        }
        dependents.push(dependent);
        if let Some(entry) = self.table.get_mut(of) {
            entry.rare().dependents = dependents;
        }
    }

    /// The last dependency has completed.
    pub(super) fn unblock(&mut self, slot: Slot, now_ns: u64) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        let task_id = entry.body.id();
        let resolve = entry.rare.as_ref().is_some_and(|rare| !rare.references.is_empty());
        let Ok(effects) = entry.life.apply(Command::Unblock { resolve }) else { return };
        self.blocked = self.blocked.saturating_sub(1);
        if effects.resolve {
            self.to_resolve.push_back((slot, task_id));
        }
        if effects.enqueue {
            self.enqueue(slot, now_ns);
        }
    }
}

fn check_batch_keys(batch: &[Ready]) -> Result<(), TaskError> {
    let mut seen = HashSet::new();
    for (at, ready) in batch.iter().enumerate() {
        if let Some(key) = &ready.submission.idempotency_key
            && !seen.insert((&ready.submission.submitter, key))
        {
            return Err(TaskError::invalid(format!("tasks[{at}].idempotency_key"), "the batch uses this key twice"));
        }
    }
    Ok(())
}

/// The same submission with dependencies on repeated siblings pointed at the tasks that exist already.
fn renamed(mut ready: Ready, existing: &HashMap<TaskId, TaskId>) -> Ready {
    if existing.is_empty() {
        return ready;
    }
    for dependency in &mut ready.submission.depends_on {
        *dependency = existing.get(dependency).copied().unwrap_or(*dependency);
    }
    for reference in &mut ready.references {
        let Some(known) = existing.get(&reference.from) else { continue };
        reference.from = *known;
        // The journal keeps the payload: what reads it later has to find the task that exists, too.
        references::point_at(&mut ready.submission.task.payload.data, reference);
    }
    ready
}

/// Says which task of a batch an error is about.
pub(in super::super) fn at_position(error: TaskError, at: usize) -> TaskError {
    match error {
        TaskError::InvalidPayload { field, reason } => TaskError::InvalidPayload { field: format!("tasks[{at}].{field}"), reason },
        other => other,
    }
}
