//! Threads that poll futures whose every poll computes: work that alternates between computing here and waiting for others, and holds no thread meanwhile.
//!
//! The runtime's threads serve every call and must not compute for long; the compute threads must not wait. What prepares a batch and then waits for it
//! is polled here: between two polls it costs what its future holds, so thousands may wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::compute::{panic_error, start};
use crate::task::TaskError;

/// Threads for the steps of futures. Cloning shares them.
#[derive(Clone)]
pub struct StepPool {
    pool: Arc<rayon::ThreadPool>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future on its way. It is polled by one thread at a time, and again whenever it was woken since the last poll began.
struct Stepping {
    work: Mutex<Option<Work>>,
    state: AtomicU8,
    pool: Arc<rayon::ThreadPool>,
}

/// Nothing to do before it is woken.
const WAITING: u8 = 0;
/// A thread will poll it.
const QUEUED: u8 = 1;
/// A thread polls it.
const POLLED: u8 = 2;
/// A thread polls it, and it was woken meanwhile.
const WOKEN: u8 = 3;

impl StepPool {
    /// Starts `thread_count` threads, at least one, whose names begin with `name`. Errors: `Internal` when the system gives no threads.
    pub fn new(thread_count: usize, name: &'static str) -> Result<Self, TaskError> {
        Ok(Self { pool: Arc::new(start(thread_count.max(1), name)?) })
    }

    /// How many threads there are.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Polls `work` here until it is ready; rayon calls inside are split over these threads.
    ///
    /// Errors: those of `work`; a panic becomes `Internal`. Dropping the future does not stop the work: it has to notice a cancel itself.
    pub async fn run<T, F>(&self, work: F) -> Result<T, TaskError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, TaskError>> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let mut work = Box::pin(work);
        let caught = std::future::poll_fn(move |context| {
            catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)))
                .unwrap_or_else(|panic| Poll::Ready(Err(panic_error(panic.as_ref()))))
        });
        let work: Work = Box::pin(async move {
            // The receiver is gone when the caller gave up; the outcome is then unwanted.
            let _unwanted = sender.send(caught.await);
        });
        let stepping = Stepping { work: Mutex::new(Some(work)), state: AtomicU8::new(WAITING), pool: Arc::clone(&self.pool) };
        Arc::new(stepping).wake();
        receiver.await.unwrap_or_else(|_closed| Err(TaskError::internal("the threads that prepare work have stopped", "")))
    }
}

impl Wake for Stepping {
    fn wake(self: Arc<Self>) {
        let next = |state| match state {
            WAITING => Some(QUEUED),
            POLLED => Some(WOKEN),
            _ => None,
        };
        if self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) == Ok(WAITING) {
            let pool = Arc::clone(&self.pool);
            pool.spawn_fifo(move || self.step());
        }
    }
}

impl Stepping {
    fn step(self: Arc<Self>) {
        self.state.store(POLLED, Ordering::Release);
        let is_over = {
            let mut work = self.work.lock();
            let waker = Waker::from(Arc::clone(&self));
            let is_over = work.as_mut().is_none_or(|work| work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
            if is_over {
                *work = None;
            }
            is_over
        };
        if !is_over && self.state.compare_exchange(POLLED, WAITING, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.state.store(QUEUED, Ordering::Release);
            let pool = Arc::clone(&self.pool);
            pool.spawn_fifo(move || self.step());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn thousands_wait_on_one_thread_and_all_are_woken() {
        let pool = StepPool::new(1, "test-steps").unwrap();
        let (sender, _keep) = tokio::sync::broadcast::channel::<u32>(1);
        let waiting: Vec<_> = (0..3000u32)
            .map(|n| {
                let (pool, mut receiver) = (pool.clone(), sender.subscribe());
                tokio::spawn(async move { pool.run(async move { Ok(receiver.recv().await.unwrap() + n) }).await })
            })
            .collect();
        pool.run(async { Ok(()) }).await.unwrap();
        sender.send(7).unwrap();
        for (n, answer) in waiting.into_iter().enumerate() {
            let answer = tokio::time::timeout(Duration::from_secs(60), answer).await.expect("it is woken").unwrap();
            assert_eq!(answer, Ok(7 + n as u32));
        }
    }

    #[tokio::test]
    async fn a_wake_during_a_poll_is_not_lost() {
        let pool = StepPool::new(2, "test-steps").unwrap();
        let mut polls = 0;
        let work = std::future::poll_fn(move |context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 1000 { Poll::Ready(Ok(polls)) } else { Poll::Pending }
        });
        assert_eq!(tokio::time::timeout(Duration::from_secs(60), pool.run(work)).await.expect("it ends"), Ok(1000));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_threads_live_on() {
        let pool = StepPool::new(1, "test-steps").unwrap();
        let panics = async {
            tokio::task::yield_now().await;
            std::panic::resume_unwind(Box::new("oh"));
            #[allow(unreachable_code)]
            Ok(())
        };
        assert_eq!(pool.run(panics).await.unwrap_err().code(), "internal");
        assert_eq!(pool.run(async { Ok(1) }).await, Ok(1));
    }
}
