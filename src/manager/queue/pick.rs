//! The choice of the next task to start.

use super::forest::NONE;
use super::{AGED_EVERY, LEVELS, Queue, Reserved, Short, Slot};

/// The first task of a level: the order is by what its submitter has been served, then by arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct First {
    pass: u64,
    order: u64,
    slot: Slot,
}

impl Queue {
    /// Finds the next task that may start, takes it out and charges its submitter. `fits` claims what the task needs, or says what is short.
    ///
    /// Cost: logarithmic in what waits for each class, and at most three refusals of `fits` for each class between two calls of [`Queue::unblock`] that
    /// nothing was started between.
    pub fn pick(&mut self, now_ns: u64, fits: &mut dyn FnMut(Slot) -> Result<(), Short>) -> Option<Slot> {
        loop {
            let next = self.candidate(now_ns);
            let is_first = |reserved: &Reserved| !reserved.tried && next.is_none_or(|slot| self.nodes[slot].level <= reserved.level);
            if let Some(reserved) = self.reserved.filter(is_first) {
                if self.starts_reserved(reserved, now_ns, fits) {
                    return Some(reserved.slot);
                }
                continue;
            }
            let slot = next?;
            match fits(slot) {
                Ok(()) => {
                    self.note_passed(slot, now_ns);
                    self.take(slot, now_ns);
                    return Some(slot);
                }
                Err(short) => self.hold_back(slot, short),
            }
        }
    }

    fn starts_reserved(&mut self, reserved: Reserved, now_ns: u64, fits: &mut dyn FnMut(Slot) -> Result<(), Short>) -> bool {
        match fits(reserved.slot) {
            Ok(()) => {
                self.take(reserved.slot, now_ns);
                return true;
            }
            Err(short) if (reserved.asks || short == Short::Submitter) && self.running_against(short) == 0 => {
                // Nothing that runs could make room: it gives way and is passed for another while.
                self.passed_ns.insert(reserved.slot, now_ns);
                self.reserved = None;
            }
            Err(short) => {
                let asks = self.running_against(short) == 0;
                self.reserved = Some(Reserved { short, tried: true, asks, ..reserved });
            }
        }
        false
    }

    /// The first task in order that is not known to be stuck.
    fn candidate(&self, now_ns: u64) -> Option<Slot> {
        let (level, first) = (0..LEVELS).rev().find_map(|level| Some((level, self.first(level)?)))?;
        if self.streaks[level] < AGED_EVERY {
            return Some(first);
        }
        let overdue = (0..level).filter(|&lower| self.is_overdue(lower, level, now_ns));
        let longest = overdue.filter_map(|lower| Some((self.nodes[self.ages[lower].head].entered_ns, self.first(lower)?))).min();
        Some(longest.map_or(first, |(_, slot)| slot))
    }

    /// True when the oldest task of a level has waited so long that a higher level has to share with it.
    fn is_overdue(&self, lower: usize, level: usize, now_ns: u64) -> bool {
        let oldest = self.ages[lower].head;
        oldest != NONE && self.due_ns(oldest, level) <= now_ns
    }

    /// When a task is overdue to a level at or above its own.
    fn due_ns(&self, slot: Slot, level: usize) -> u64 {
        let node = &self.nodes[slot];
        let levels = level.saturating_sub(usize::from(node.level)) as u64;
        node.entered_ns.saturating_add(self.policy.age_step_ns.saturating_mul(levels))
    }

    fn first(&self, level: usize) -> Option<Slot> {
        let held_up = |class: usize| {
            self.reserved.is_some_and(|reserved| level <= usize::from(reserved.level) && reserved.short.concerns(&self.facts[class]))
        };
        let classes = (0..self.facts.len()).filter(|&class| self.ready[level][class] != NONE && !self.blocked[class] && !held_up(class));
        classes.filter_map(|class| self.first_of_class(level, class)).min().map(|first| first.slot)
    }

    fn first_of_class(&self, level: usize, class: usize) -> Option<First> {
        let free = &self.free[class];
        let mut found = None;
        let flow = self.order_of_flows.first(self.ready[level][class], free, &mut |flow| {
            let flow = &self.flows[flow as usize];
            if !self.blocked_submitters.contains(&flow.submitter) {
                found = self.tasks.first(flow.tasks, free, &mut |_| true);
            }
            found.is_some()
        })?;
        let slot = found?;
        Some(First { pass: self.order_of_flows.key(flow), order: self.tasks.key(slot), slot })
    }

    /// Remembers why a task cannot start, so that nothing is asked again which cannot start for the same reason.
    fn hold_back(&mut self, slot: Slot, short: Short) {
        let (class, submitter) = (usize::from(self.nodes[slot].class), self.nodes[slot].submitter);
        let free = &mut self.free[class];
        match short {
            Short::Submitter => {
                self.blocked_submitters.insert(submitter);
                return;
            }
            Short::Threads => self.blocked[class] = true,
            Short::Host(bytes) => free.host = free.host.min(bytes),
            Short::Share(_, bytes) => free.both = free.both.min(bytes),
            Short::Device(_, bytes) => free.device = free.device.min(bytes),
        }
        // A shortage that is not about the task's size concerns its whole class.
        self.blocked[class] |= self.tasks.own(slot).within(free);
        self.held_back.push((slot, short));
    }

    /// Remembers which held-back tasks the starting one has passed, and makes the longest passed one reserve.
    fn note_passed(&mut self, starting: Slot, now_ns: u64) {
        let (level, facts) = (self.nodes[starting].level, self.facts[usize::from(self.nodes[starting].class)]);
        if let Some(reserved) = self.reserved
            && level > reserved.level
            && reserved.short.concerns(&facts)
            && self.may_hold_up(reserved.slot, level, now_ns)
        {
            self.reserved = Some(Reserved { level, ..reserved });
            self.holds_up_next_ns = now_ns.saturating_add(self.policy.age_step_ns);
        }
        for at in 0..self.held_back.len() {
            let (held, short) = self.held_back[at];
            let own = self.nodes[held].level;
            if !short.concerns(&facts) || level > own && !self.may_hold_up(held, level, now_ns) {
                continue;
            }
            let since = *self.passed_ns.entry(held).or_insert(now_ns);
            if self.reserved.is_none() && now_ns.saturating_sub(since) >= self.policy.reserve_after_ns {
                self.reserved = Some(Reserved { slot: held, short, level: own.max(level), tried: true, asks: false });
                if level > own {
                    self.holds_up_next_ns = now_ns.saturating_add(self.policy.age_step_ns);
                }
            }
        }
    }

    /// Whether a task may hold up a level above its own: once it is overdue to it, and only so often.
    fn may_hold_up(&self, slot: Slot, level: u8, now_ns: u64) -> bool {
        now_ns >= self.holds_up_next_ns && self.due_ns(slot, usize::from(level)) <= now_ns
    }

    /// Takes a chosen task out and charges its submitter.
    fn take(&mut self, slot: Slot, now_ns: u64) {
        let node = self.nodes[slot];
        let level = usize::from(node.level);
        for above in level + 1..LEVELS {
            if self.is_overdue(level, above, now_ns) {
                self.streaks[above] = 0;
            }
        }
        let passes = (0..level).any(|lower| self.is_overdue(lower, level, now_ns));
        self.streaks[level] = if passes { self.streaks[level].saturating_add(1) } else { 0 };
        self.remove(slot);
        self.started(node.class);
        let pass = self.accounts[node.submitter as usize].pass;
        if pass > self.virtual_time {
            (self.virtual_time, self.served) = (pass, 0);
        }
        self.charge(node.submitter, u64::from(node.cost));
    }
}
