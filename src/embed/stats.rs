//! Figures of the batcher, for operators. Pure.

use serde::Serialize;

/// Upper bounds of the buckets of tokens per batch; a last bucket takes the rest.
pub const TOKEN_BOUNDS: [u64; 9] = [16, 32, 64, 128, 256, 512, 1024, 2048, 8192];
/// Upper bounds of the buckets of waiting times, in microseconds; a last bucket takes the rest.
pub const WAIT_BOUNDS_US: [u64; 12] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// Counts by bucket, with their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Buckets {
    counts: Vec<u64>,
    sum: u64,
}

impl Buckets {
    fn record(&mut self, bounds: &[u64], value: u64) {
        self.counts.resize(bounds.len() + 1, 0);
        self.counts[bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Values that were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// `(upper bound, values up to it)` for every bound of `bounds`, which are those that the values were counted by, then `None` with all of them.
    #[must_use]
    pub fn cumulative(&self, bounds: &[u64]) -> Vec<(Option<u64>, u64)> {
        let mut sum = 0;
        let bounds = bounds.iter().copied().map(Some).chain([None]);
        bounds
            .enumerate()
            .map(|(bucket, bound)| {
                sum += self.counts.get(bucket).copied().unwrap_or(0);
                (bound, sum)
            })
            .collect()
    }
}

/// What the batcher has done and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchStats {
    /// Texts that were computed.
    pub texts: u64,
    /// Tokens that were computed, special ones included.
    pub tokens: u64,
    /// Tokens of each batch; their count is that of the batches.
    pub batch_tokens: Buckets,
    /// How long texts waited for their batch, in microseconds.
    pub wait_us: Buckets,
    /// Texts whose row was kept from before.
    pub cached: u64,
    /// Texts that left before they were computed: cancelled, or past their deadline.
    pub left: u64,
    /// Texts that wait.
    pub waiting: u64,
    /// Tokens that wait.
    pub waiting_tokens: u64,
    /// Bytes of the rows that are kept.
    pub cache_bytes: u64,
}

impl BatchStats {
    /// Counts a batch of `texts` with `tokens`, and how long each of them waited.
    pub(super) fn record(&mut self, tokens: u64, waits_us: impl Iterator<Item = u64>) {
        self.tokens += tokens;
        self.batch_tokens.record(&TOKEN_BOUNDS, tokens);
        for wait_us in waits_us {
            self.texts += 1;
            self.wait_us.record(&WAIT_BOUNDS_US, wait_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let mut stats = BatchStats::default();
        stats.record(64, [100, 101].into_iter());
        stats.record(9000, [u64::MAX].into_iter());
        assert_eq!((stats.texts, stats.tokens, stats.batch_tokens.count(), stats.wait_us.count()), (3, 9064, 2, 3));
        let tokens = stats.batch_tokens.cumulative(&TOKEN_BOUNDS);
        assert_eq!((tokens[1], tokens[2], tokens[9]), ((Some(32), 0), (Some(64), 1), (None, 2)));
        let waits = stats.wait_us.cumulative(&WAIT_BOUNDS_US);
        assert_eq!((waits[0].1, waits[1].1, waits[11].1, waits[12].1), (1, 2, 2, 3));
        assert_eq!(BatchStats::default().wait_us.cumulative(&WAIT_BOUNDS_US).last(), Some(&(None, 0)));
    }
}
