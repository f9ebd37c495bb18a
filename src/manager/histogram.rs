//! Seconds in buckets: enough for a 99th percentile, small enough to keep one per task type. Pure.

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

/// Upper bounds of the buckets, in seconds; a last bucket takes the rest.
pub const BOUNDS_S: [f64; 18] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Counts of durations by bucket, with their sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    counts: [u64; BOUNDS_S.len() + 1],
    sum_s: f64,
}

impl Histogram {
    /// Counts a duration. Negative and NaN durations count as 0.
    pub fn record(&mut self, seconds: f64) {
        let seconds = if seconds > 0.0 { seconds } else { 0.0 };
        let bucket = BOUNDS_S.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum_s += seconds;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum, in seconds.
    #[must_use]
    pub fn sum_s(&self) -> f64 {
        self.sum_s
    }

    /// `(upper bound in seconds, durations up to it)` for every bucket; the last bound is infinite. What a Prometheus histogram wants.
    #[must_use]
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_S.iter().copied().chain(std::iter::once(f64::INFINITY));
        bounds
            .zip(&self.counts)
            .scan(0, |sum, (bound, count)| {
                *sum += count;
                Some((bound, *sum))
            })
            .collect()
    }

    /// The upper bound of the bucket in which the quantile `q` (0.0 to 1.0) lies; `None` when nothing was counted, infinite beyond the last bound.
    #[must_use]
    pub fn quantile_s(&self, q: f64) -> Option<f64> {
        let count = self.count();
        let rank = (q.clamp(0.0, 1.0) * count as f64).ceil().max(1.0) as u64;
        self.cumulative().into_iter().find(|(_, sum)| count > 0 && *sum >= rank).map(|(bound, _)| bound)
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Histogram", 4)?;
        fields.serialize_field("count", &self.count())?;
        fields.serialize_field("sum_s", &self.sum_s)?;
        fields.serialize_field("p50_s", &self.quantile_s(0.5).filter(|bound| bound.is_finite()))?;
        fields.serialize_field("p99_s", &self.quantile_s(0.99).filter(|bound| bound.is_finite()))?;
        fields.end()
    }
}
