//! How many threads an operation is split over, and the sizes of candle's own pools, which it takes from the environment at first use and from nowhere
//! else.

use std::cell::Cell;

thread_local! {
    static IS_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with every operation of this crate on the calling thread: for callers that keep the other threads busy with work of the same kind, which
/// then need not wait for each other inside every operation.
pub fn alone<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            IS_ALONE.set(self.0);
        }
    }
    let _restore = Restore(IS_ALONE.replace(true));
    work()
}

/// Threads that an operation may use: one inside [`alone`], else those of the calling thread's rayon pool.
pub(crate) fn count() -> usize {
    if IS_ALONE.get() { 1 } else { rayon::current_num_threads() }
}

/// Why candle's pools could not be sized.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CandleThreadsError {
    /// Other threads run already and may be reading the environment.
    #[error("{count} threads run already; candle's pools are sized first thing in `main`, or set {ENVIRONMENT} yourself")]
    TooLate {
        /// Threads of this process.
        count: usize,
    },
    /// This system does not tell how many threads the process has.
    #[error("this system does not tell how many threads run; set {ENVIRONMENT} yourself: {reason}")]
    Unknown {
        /// The system's words.
        reason: String,
    },
}

const ENVIRONMENT: &str = "CANDLE_NUM_THREADS and RAYON_NUM_THREADS";

/// Sizes candle's pools, and rayon's global one, by setting the two variables that they read at first use. `count` is at least 1.
///
/// To be called first thing in `main`, before any thread is started. Errors: `TooLate` when this is not the only thread, `Unknown` where the
/// system does not tell (anything but Linux); nothing is changed then.
pub fn set_candle_threads(count: usize) -> Result<(), CandleThreadsError> {
    let running = thread_count()?;
    if running != 1 {
        return Err(CandleThreadsError::TooLate { count: running });
    }
    let text = count.max(1).to_string();
    // SAFETY: the environment may be changed while no other thread reads it; that this is the only thread was counted above, and it starts
    // none in between.
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", &text);
        std::env::set_var("RAYON_NUM_THREADS", &text);
    }
    Ok(())
}

fn thread_count() -> Result<usize, CandleThreadsError> {
    let unknown = |error: std::io::Error| CandleThreadsError::Unknown { reason: error.to_string() };
    Ok(std::fs::read_dir("/proc/self/task").map_err(unknown)?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_means_one_thread_and_ends_with_the_work() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
        pool.install(|| {
            assert_eq!(count(), 3);
            assert_eq!(alone(|| alone(count)), 1);
            let thrown = std::panic::catch_unwind(|| alone(|| std::panic::resume_unwind(Box::new(()))));
            assert!(thrown.is_err());
            assert_eq!(count(), 3);
        });
    }

    #[test]
    fn pools_are_not_resized_beside_other_threads() {
        // The test runner's own thread and this one are two at least.
        if cfg!(target_os = "linux") {
            let refused = set_candle_threads(3);
            assert!(matches!(refused, Err(CandleThreadsError::TooLate { count }) if count >= 2), "{refused:?}");
        } else {
            assert!(matches!(set_candle_threads(3), Err(CandleThreadsError::Unknown { .. })));
        }
    }
}
