//! Whether and when a failed attempt is made again. Pure: chance comes in as a number.

use std::time::Duration;

use crate::task::TaskError;

/// The most retries a task can have, and the number it gets when its submission names none.
pub const MAX_RETRY_COUNT: u32 = 3;

/// A panic is tried again at most this often: a payload that makes an executor panic usually does so every time.
pub const PANIC_RETRY_COUNT: u32 = 1;

/// The pace of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait before the first retry; each further one waits twice as long.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for RetryPolicy {
    /// 100 ms, doubling, at most 10 s.
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

/// A failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Its error.
    pub error: &'a TaskError,
    /// True when the executor panicked.
    pub panicked: bool,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Retries this task may have.
    pub retries_max: u32,
}

/// The wait before the next attempt, or `None` when there is none.
///
/// The wait is `base * 2^(attempt - 1)` up to `max`, of which the upper half is scaled by `jitter` (0.0 to 1.0; outside values are clamped, NaN is 0),
/// and never shorter than what an overloaded executor asks for, up to `max`.
#[must_use]
pub fn next_delay(policy: &RetryPolicy, failure: Failure<'_>, jitter: f64) -> Option<Duration> {
    let allowed = if failure.panicked { failure.retries_max.min(PANIC_RETRY_COUNT) } else { failure.retries_max }.min(MAX_RETRY_COUNT);
    if !failure.error.retryable() || failure.attempt > allowed {
        return None;
    }
    let doublings = failure.attempt.saturating_sub(1).min(31);
    let full = policy.base.saturating_mul(1 << doublings).min(policy.max);
    let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
    let scaled = full.mul_f64(0.5 + jitter / 2.0);
    let asked = match failure.error {
        TaskError::Overloaded { retry_after, .. } => (*retry_after).min(policy.max),
        _ => Duration::ZERO,
    };
    Some(scaled.max(asked))
}
