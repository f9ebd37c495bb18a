//! How much work each operation of each executor does: sums since the start, and rates over the last minute. Pure.

use serde::Serialize;

/// Operations counted apart; further ones are counted together as [`OTHER`].
pub const OPERATION_COUNT_MAX: usize = 256;
/// The executor and operation of what is counted together.
pub const OTHER: &str = "other";

/// The window of a rate, in periods.
const PERIODS: usize = 12;
const PERIOD_NS: u64 = 5_000_000_000;

/// An amount of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Completed tasks.
    pub tasks: u64,
    /// Texts and other documents in them, as far as executors count them.
    pub documents: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens made.
    pub completion_tokens: u64,
}

impl Work {
    fn add(&mut self, other: Self) {
        self.tasks = self.tasks.saturating_add(other.tasks);
        self.documents = self.documents.saturating_add(other.documents);
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(other.completion_tokens);
    }
}

/// One operation of one executor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationStats {
    /// Who does it.
    pub executor: String,
    /// What is done; the task type where an executor names no operation.
    pub operation: String,
    /// Completed tasks since the start.
    pub tasks: u64,
    /// Documents in them, as far as the executor counts them.
    pub documents: u64,
    /// Tokens read, as far as the executor counts them.
    pub prompt_tokens: u64,
    /// Tokens made, as far as the executor counts them.
    pub completion_tokens: u64,
    /// Completed tasks per second over the last minute.
    pub tasks_per_s: f64,
    /// Documents per second over the last minute.
    pub documents_per_s: f64,
    /// Tokens read and made per second over the last minute.
    pub tokens_per_s: f64,
}

struct Operation {
    executor: String,
    operation: String,
    total: Work,
    /// Work by period, each with its number; the oldest is written over.
    recent: [(u64, Work); PERIODS],
    since_ns: u64,
}

/// Every operation's counts.
#[derive(Default)]
pub struct Throughput {
    all: Vec<Operation>,
}

impl Throughput {
    /// Counts work that was completed now.
    pub fn count(&mut self, executor: &str, operation: &str, work: Work, now_ns: u64) {
        let at = self.position(executor, operation, now_ns);
        let counted = &mut self.all[at];
        counted.total.add(work);
        let period = now_ns / PERIOD_NS;
        let slot = &mut counted.recent[period as usize % PERIODS];
        if slot.0 != period {
            *slot = (period, Work::default());
        }
        slot.1.add(work);
    }

    fn position(&mut self, executor: &str, operation: &str, now_ns: u64) -> usize {
        let find = |all: &[Operation], executor: &str, operation: &str| {
            all.iter().position(|known| known.executor == executor && known.operation == operation)
        };
        if let Some(known) = find(&self.all, executor, operation) {
            return known;
        }
        let is_full = self.all.len() >= OPERATION_COUNT_MAX;
        let (executor, operation) = if is_full { (OTHER, OTHER) } else { (executor, operation) };
        find(&self.all, executor, operation).unwrap_or_else(|| {
            let (executor, operation) = (executor.to_owned(), operation.to_owned());
            self.all.push(Operation { executor, operation, total: Work::default(), recent: Default::default(), since_ns: now_ns });
            self.all.len() - 1
        })
    }

    /// Every operation by executor and name, with its rates as of now.
    #[must_use]
    pub fn stats(&self, now_ns: u64) -> Vec<OperationStats> {
        let mut stats: Vec<_> = self.all.iter().map(|operation| operation.stats(now_ns)).collect();
        stats.sort_unstable_by(|a, b| (&a.executor, &a.operation).cmp(&(&b.executor, &b.operation)));
        stats
    }
}

impl Operation {
    fn stats(&self, now_ns: u64) -> OperationStats {
        let first = (now_ns / PERIOD_NS).saturating_sub(PERIODS as u64 - 1);
        let mut recent = Work::default();
        self.recent.iter().filter(|(period, _)| *period >= first).for_each(|(_, work)| recent.add(*work));
        // What has been counted for a moment only says nothing about a rate before a second has passed.
        let from_ns = self.since_ns.max(first * PERIOD_NS);
        let covered_s = (now_ns.saturating_sub(from_ns) as f64 / 1e9).max(1.0);
        let per_s = |amount: u64| amount as f64 / covered_s;
        OperationStats {
            executor: self.executor.clone(),
            operation: self.operation.clone(),
            tasks: self.total.tasks,
            documents: self.total.documents,
            prompt_tokens: self.total.prompt_tokens,
            completion_tokens: self.total.completion_tokens,
            tasks_per_s: per_s(recent.tasks),
            documents_per_s: per_s(recent.documents),
            tokens_per_s: per_s(recent.prompt_tokens.saturating_add(recent.completion_tokens)),
        }
    }
}
