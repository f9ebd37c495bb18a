//! Time as the manager sees it: a monotonic count of nanoseconds and a way to wait. Tests bring a clock that moves when they say so.
//!
//! Whatever is waited for is counted in nanoseconds of this clock. The wall clock is looked at where times come in (an absolute deadline) and go out (a
//! time to show), so that its steps, and the sleep of the machine, move nothing that is under way.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A monotonic clock.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since the clock was made; never goes back.
    fn now_ns(&self) -> u64;

    /// Waits until `now_ns` has reached `at_ns`.
    fn sleep_until(&self, at_ns: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// What the wall clock shows now.
    fn wall_now(&self) -> DateTime<Utc>;

    /// The wall time of a moment of this clock, as the wall clock stands now.
    fn wall(&self, at_ns: u64) -> DateTime<Utc> {
        let now_ns = self.now_ns();
        let away = TimeDelta::nanoseconds(i64::try_from(at_ns.abs_diff(now_ns)).unwrap_or(i64::MAX));
        if at_ns < now_ns {
            self.wall_now().checked_sub_signed(away).unwrap_or(DateTime::<Utc>::MIN_UTC)
        } else {
            self.wall_now().checked_add_signed(away).unwrap_or(DateTime::<Utc>::MAX_UTC)
        }
    }

    /// The moment of this clock at which the wall will show `at`, if nobody sets it meanwhile; now for the past.
    fn moment(&self, at: DateTime<Utc>) -> u64 {
        let left = at.signed_duration_since(self.wall_now());
        let left_ns = left.num_nanoseconds().map_or(if left.num_seconds() > 0 { u64::MAX } else { 0 }, |ns| u64::try_from(ns).unwrap_or(0));
        self.now_ns().saturating_add(left_ns)
    }
}

/// The system's monotonic clock.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at_ns: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let wait = Duration::from_nanos(at_ns.saturating_sub(self.now_ns()));
        Box::pin(tokio::time::sleep(wait))
    }

    fn wall_now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// A clock for tests: stands still until it is moved.
pub struct ManualClock {
    now_ns: Mutex<u64>,
    moved: Notify,
    /// What the wall shows at nanosecond 0.
    wall_start: Mutex<DateTime<Utc>>,
}

impl ManualClock {
    /// A clock at nanosecond 0, which is now on the wall.
    #[must_use]
    pub fn new() -> Self {
        Self { now_ns: Mutex::new(0), moved: Notify::new(), wall_start: Mutex::new(Utc::now()) }
    }

    /// Sets the wall clock forward or back and moves nothing else.
    pub fn step_wall(&self, by: TimeDelta) {
        *self.wall_start.lock() += by;
    }

    /// Moves the clock forward and wakes whoever waits.
    pub fn advance(&self, by: Duration) {
        let by_ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        {
            let mut now_ns = self.now_ns.lock();
            *now_ns = now_ns.saturating_add(by_ns);
        }
        self.moved.notify_waiters();
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> u64 {
        *self.now_ns.lock()
    }

    fn sleep_until(&self, at_ns: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let moved = self.moved.notified();
                if self.now_ns() >= at_ns {
                    return;
                }
                moved.await;
            }
        })
    }

    fn wall_now(&self) -> DateTime<Utc> {
        let since = TimeDelta::nanoseconds(i64::try_from(self.now_ns()).unwrap_or(i64::MAX));
        self.wall_start.lock().checked_add_signed(since).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}
