//! Which of the texts that wait are computed together next. Pure.
//!
//! A text is an *entry*: so many tokens for one *kind* of question (one model, one head), of a task, of a submitter, at a rank. A batch holds entries of one
//! kind. It is formed the moment a thread is free, from whatever waits then: nothing is ever held back so that a batch may fill.
//!
//! *Order.* The highest rank goes first; one that is passed over for [`AGED_EVERY`] batches in a row, and whose oldest entry has waited for `age_step_ns`
//! for each rank between them, gets the next, so nothing starves. Within a rank submitters share by tokens, then the kinds of a submitter, then its tasks:
//! ten thousand texts of one task stand behind another task's one. An entry whose deadline is near may begin every other batch of its rank.
//!
//! *Size.* A batch has at most `tokens_max` tokens, unless its one entry is longer: so whoever comes waits for no more than that on each thread. While
//! several threads are free, what waits is divided among them. A batch that begins with a short task stays at `tokens_min`, beyond which only other short
//! tasks join it: who asks for little does not wait for the texts of who asks for much. Of a task the longest entry that fits goes first, so lengths that
//! are alike go together and the last ones fill what room is left.

mod level;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use level::Level;

/// Ranks, lowest first; a higher one counts as the highest.
pub const RANKS: usize = 4;
/// Batches in a row that may pass over a rank whose entries have waited long enough.
pub const AGED_EVERY: u32 = 8;

/// Bounds of a batch and of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most tokens of a batch of more than one entry.
    pub tokens_max: u32,
    /// A batch this small is not divided further, and a task with no more tokens is a short one.
    pub tokens_min: u32,
    /// Most entries of a batch.
    pub rows_max: usize,
    /// After this long for each rank between them an entry is due before those of a higher rank, now and then.
    pub age_step_ns: u64,
    /// A deadline within this time is near.
    pub urgent_ns: u64,
}

/// An entry that waits. Times are on one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What is asked of which model.
    pub kind: u64,
    /// Its length.
    pub tokens: u32,
    /// 0 to 3; a higher one goes first.
    pub rank: u8,
    /// Who shares with others.
    pub submitter: u64,
    /// The task among those of its submitter.
    pub task: u64,
    /// When it stops being wanted.
    pub deadline_ns: Option<u64>,
    /// When it came.
    pub arrived_ns: u64,
}

/// What becomes of entries at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formed {
    /// The next batch; empty when nothing waits.
    pub batch: Vec<(u64, Waiting)>,
    /// Entries whose deadline has passed: they are gone and cost nothing.
    pub expired: Vec<u64>,
}

impl Formed {
    /// Tokens of the batch.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.batch.iter().map(|(_, entry)| u64::from(entry.tokens)).sum()
    }
}

/// The entries that wait.
pub struct BatchQueue {
    limits: BatchLimits,
    levels: [Level; RANKS],
    entries: BTreeMap<u64, Waiting>,
    next: u64,
    tokens: u64,
}

impl BatchQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: BatchLimits) -> Self {
        Self { limits, levels: Default::default(), entries: BTreeMap::new(), next: 0, tokens: 0 }
    }

    /// Takes an entry in and gives it a number; numbers grow by one.
    pub fn push(&mut self, entry: Waiting) -> u64 {
        let id = self.next;
        self.next += 1;
        self.tokens += u64::from(entry.tokens);
        self.levels[rank(&entry)].insert(id, &entry);
        self.entries.insert(id, entry);
        id
    }

    /// Takes an entry out that is no longer wanted; false when it does not wait any more.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(entry) = self.entries.remove(&id) else { return false };
        self.tokens -= u64::from(entry.tokens);
        self.levels[rank(&entry)].remove(id, &entry);
        true
    }

    /// Entries that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tokens that wait.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Forms the next batch for one of `seats` free threads.
    pub fn form(&mut self, now_ns: u64, seats: usize) -> Formed {
        let mut formed = Formed { expired: self.take_expired(now_ns), ..Formed::default() };
        let Some((chosen, head)) = self.head(now_ns) else { return formed };
        let (kind, short) =
            (self.entries[&head].kind, self.levels[chosen].task_tokens(&self.entries[&head]) <= u64::from(self.limits.tokens_min));
        let shared = self.tokens.div_ceil(seats.max(1) as u64);
        let target = if short { self.limits.tokens_min } else { u32::try_from(shared).unwrap_or(u32::MAX) };
        let target = target.clamp(self.limits.tokens_min, self.limits.tokens_max.max(self.limits.tokens_min));
        self.take(head, &mut formed);
        // Its own rank first, then the others from above.
        let order = std::iter::once(chosen).chain((0..RANKS).rev().filter(|&level| level != chosen));
        for level in order.clone() {
            self.fill(level, (kind, target, None), &mut formed);
        }
        if short {
            for level in order {
                self.fill(level, (kind, self.limits.tokens_max, Some(self.limits.tokens_min)), &mut formed);
            }
        }
        formed
    }

    /// Adds entries of `kind` up to `target` tokens, of tasks with at most `short` waiting tokens if that is given.
    fn fill(&mut self, level: usize, (kind, target, short): (u64, u32, Option<u32>), formed: &mut Formed) {
        let mut room = u64::from(target).saturating_sub(formed.tokens());
        while room > 0 && formed.batch.len() < self.limits.rows_max {
            let Some(id) = self.levels[level].first_of(kind, room, short.map(u64::from)) else { return };
            room = room.saturating_sub(u64::from(self.entries[&id].tokens));
            self.take(id, formed);
        }
    }

    /// Moves an entry into the batch and charges it to everybody it belongs to.
    fn take(&mut self, id: u64, formed: &mut Formed) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.tokens -= u64::from(entry.tokens);
        self.levels[rank(&entry)].serve(id, &entry);
        formed.batch.push((id, entry));
    }

    fn take_expired(&mut self, now_ns: u64) -> Vec<u64> {
        let expired: Vec<u64> = self.levels.iter().flat_map(|level| level.due_before(now_ns)).collect();
        expired.into_iter().filter(|&id| self.remove(id)).collect()
    }

    /// The rank that is served next and the entry that begins its batch.
    fn head(&mut self, now_ns: u64) -> Option<(usize, u64)> {
        let highest = (0..RANKS).rev().find(|&level| !self.levels[level].is_empty())?;
        let overdue = |level: usize| {
            let waited_ns = self.levels[level].oldest().map_or(0, |id| now_ns.saturating_sub(self.entries[&id].arrived_ns));
            let step_ns = self.limits.age_step_ns.saturating_mul((highest - level) as u64);
            self.levels[level].passed >= AGED_EVERY && waited_ns >= step_ns
        };
        let chosen = (0..highest).rev().filter(|&level| !self.levels[level].is_empty()).find(|&level| overdue(level)).unwrap_or(highest);
        for (index, level) in self.levels.iter_mut().enumerate() {
            let passes = index < highest && index != chosen && !level.is_empty();
            level.passed = if passes { level.passed.saturating_add(1) } else { 0 };
        }
        let urgent_until = now_ns.saturating_add(self.limits.urgent_ns);
        self.levels[chosen].head(urgent_until).map(|id| (chosen, id))
    }
}

fn rank(entry: &Waiting) -> usize {
    usize::from(entry.rank).min(RANKS - 1)
}
