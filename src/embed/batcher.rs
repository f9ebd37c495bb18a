//! The threads that compute, and what waits for them: thin machinery around [`BatchQueue`].
//!
//! Each thread takes a batch of its own and the next one when it is through, so that no thread waits for another at the end of a batch, and whoever comes
//! waits for one batch of one thread. A batch that comes alone to an idle host is computed by all threads together, and so is a text of many times a
//! batch's tokens, whose memory is then needed once and whose end is the sooner for everybody who waits. A thread has a pool of its own: what a model
//! splits while others are busy stays on it, and no thread that waits for a piece of one batch begins another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::oneshot;

use super::batch::{BatchLimits, BatchQueue, Waiting};
use super::cache::RowCache;
use super::run::{Job, run};
use super::stats::BatchStats;
use super::ticket::{Outcome, Ticket};
use super::{Answer, Answered, EmbedError, Input, Seat, cache};

/// How batches are formed and computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatcherOptions {
    /// Batches that are computed at once, each on a thread of its own; 1 for a device that takes one after the other.
    pub threads: usize,
    /// Bounds of a batch.
    pub limits: BatchLimits,
    /// A text with more tokens is computed by all threads together.
    pub long_tokens: u32,
    /// Bytes of rows that are kept for texts that come again; 0 keeps none.
    pub cache_bytes: u64,
}

/// Computes what many callers ask of models, in batches. Dropping it ends what waits, stops what runs, and returns when its threads have ended.
pub struct Batcher {
    shared: Arc<Shared>,
    options: BatcherOptions,
}

pub(super) struct Shared {
    state: Mutex<State>,
    idle: Condvar,
    cache: Mutex<RowCache>,
    caches: bool,
    closed: AtomicBool,
    epoch: Instant,
    ends: Arc<Ends>,
}

struct State {
    queue: BatchQueue,
    jobs: BTreeMap<u64, Job>,
    /// `None` once the batcher is closed.
    pools: Option<Pools>,
    /// Lanes that compute nothing.
    free: Vec<usize>,
    lane_count: usize,
    /// True while all threads compute one batch.
    wide: bool,
    /// A long text that waits until all threads are free; nothing else begins meanwhile.
    reserved: Option<Vec<Job>>,
    long_tokens: u64,
    stats: BatchStats,
}

struct Pools {
    lanes: Vec<ThreadPool>,
    /// All threads together; `None` where there is one.
    wide: Option<ThreadPool>,
}

/// Threads that have not ended.
#[derive(Default)]
struct Ends {
    alive: Mutex<usize>,
    ended: Condvar,
}

/// Where a batch is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Lane(usize),
    Wide,
}

/// What is to be done after the lock is let go.
#[derive(Default)]
struct Next {
    /// The batch for the thread that asked.
    own: Option<Vec<Job>>,
    /// Texts whose deadline has passed.
    expired: Vec<Job>,
}

impl Batcher {
    /// Starts the threads. Errors: the system gives none.
    pub fn new(options: BatcherOptions) -> Result<Self, ThreadPoolBuildError> {
        let threads = options.threads.max(1);
        let ends = Arc::new(Ends::default());
        let lanes = (0..threads).map(|lane| start(&ends, 1, format!("tallow-batch-{lane}"))).collect::<Result<Vec<_>, _>>()?;
        let wide = (threads > 1).then(|| start(&ends, threads, "tallow-batch-all".into())).transpose()?;
        let state = State {
            queue: BatchQueue::new(options.limits),
            jobs: BTreeMap::new(),
            pools: Some(Pools { lanes, wide }),
            free: (0..threads).rev().collect(),
            lane_count: threads,
            wide: false,
            reserved: None,
            long_tokens: u64::from(options.long_tokens),
            stats: BatchStats::default(),
        };
        let shared = Shared {
            state: Mutex::new(state),
            idle: Condvar::new(),
            cache: Mutex::new(RowCache::new(options.cache_bytes)),
            caches: options.cache_bytes > 0,
            closed: AtomicBool::new(false),
            epoch: Instant::now(),
            ends,
        };
        Ok(Self { shared: Arc::new(shared), options: BatcherOptions { threads, ..options } })
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> BatcherOptions {
        self.options
    }

    /// What it has done and what it holds.
    #[must_use]
    pub fn stats(&self) -> BatchStats {
        let cache_bytes = self.shared.cache.lock().bytes();
        let state = self.shared.state.lock();
        let (waiting, waiting_tokens) = (state.queue.len() as u64, state.queue.tokens());
        BatchStats { waiting, waiting_tokens, cache_bytes, ..state.stats.clone() }
    }

    /// Hands texts in. Their answers come together, in order; dropping what this returns withdraws those that still wait.
    pub(super) fn submit(&self, seat: &Seat, ask: super::Ask, inputs: Vec<Input>) -> Pending {
        let shared = &self.shared;
        let caches = shared.caches && ask.may_be_cached();
        let keys: Vec<cache::Key> =
            if caches { inputs.iter().map(|input| cache::row_key(&seat.model_key, ask, input)).collect() } else { Vec::new() };
        let mut places = Vec::with_capacity(inputs.len());
        let mut answers: Vec<Option<Answered>> = Vec::with_capacity(inputs.len());
        for (place, input) in inputs.into_iter().enumerate() {
            let kept = keys.get(place).and_then(|key| shared.cache.lock().get(key));
            match kept {
                Some(row) => answers.push(Some(Answered { input, answer: Answer::Row(row) })),
                None => {
                    places.push((place, input));
                    answers.push(None);
                }
            }
        }
        let cached = answers.len() - places.len();
        let (ticket, receiver) = Ticket::new((ask, Arc::clone(&seat.model), Arc::clone(&seat.caller.stop)), keys, answers);
        let entries = shared.enqueue(seat, &Arc::new(ticket), (places, cached));
        Pending { receiver, cached, entries, shared: Arc::clone(shared) }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.closed.store(true, Ordering::Release);
        let mut state = shared.state.lock();
        let waiting = std::mem::take(&mut state.jobs);
        let reserved = state.reserved.take();
        waiting.values().chain(reserved.iter().flatten()).for_each(|job| job.ticket.fail(EmbedError::Closed));
        while state.free.len() < state.lane_count || state.wide {
            shared.idle.wait(&mut state);
        }
        let pools = state.pools.take();
        drop(state);
        drop(waiting);
        drop(pools);
        let mut alive = shared.ends.alive.lock();
        while *alive > 0 {
            shared.ends.ended.wait(&mut alive);
        }
    }
}

/// A pool whose threads are counted until they end.
fn start(ends: &Arc<Ends>, threads: usize, name: String) -> Result<ThreadPool, ThreadPoolBuildError> {
    let ended = Arc::clone(ends);
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |index| if threads == 1 { name.clone() } else { format!("{name}-{index}") })
        .exit_handler(move |_| {
            *ended.alive.lock() -= 1;
            ended.ended.notify_all();
        })
        .build()?;
    *ends.alive.lock() += threads;
    Ok(pool)
}

impl Shared {
    /// Puts entries into the queue and starts what can start; gives their numbers.
    fn enqueue(
        self: &Arc<Self>,
        seat: &Seat,
        ticket: &Arc<Ticket>,
        (places, cached): (Vec<(usize, Input)>, usize),
    ) -> std::ops::Range<u64> {
        let arrived_ns = self.now_ns();
        let deadline_ns = seat.caller.deadline.map(|at| ns(at.saturating_duration_since(self.epoch)));
        let kind = seat.load.wrapping_mul(super::Ask::CODES).wrapping_add(ticket.ask.code());
        let mut state = self.state.lock();
        state.stats.cached += cached as u64;
        if state.pools.is_none() || self.closed.load(Ordering::Acquire) {
            ticket.fail(EmbedError::Closed);
            return 0..0;
        }
        let mut entries = 0..0;
        for (place, input) in places {
            let tokens = u32::try_from(input.len()).unwrap_or(u32::MAX);
            let (rank, submitter, task) = (seat.caller.rank, seat.caller.submitter, seat.caller.task);
            let id = state.queue.push(Waiting { kind, tokens, rank, submitter, task, deadline_ns, arrived_ns });
            state.jobs.insert(id, Job { input, place, ticket: Arc::clone(ticket) });
            entries = if entries.is_empty() { id..id + 1 } else { entries.start..id + 1 };
        }
        let next = self.start_all(&mut state, None);
        drop(state);
        self.expire(next.expired);
        entries
    }

    /// Takes entries out that still wait.
    fn withdraw(&self, entries: std::ops::Range<u64>) {
        let mut gone = Vec::new();
        {
            let mut state = self.state.lock();
            for id in entries {
                if state.queue.remove(id) {
                    gone.extend(state.jobs.remove(&id));
                }
            }
            state.stats.left += gone.len() as u64;
        }
        // What they hold is freed outside the lock.
        drop(gone);
    }

    /// Begins batches as long as there are threads for them; the one for the thread `own` is handed back to it.
    fn start_all(self: &Arc<Self>, state: &mut State, own: Option<Place>) -> Next {
        let mut next = Next::default();
        while !self.closed.load(Ordering::Acquire) && !state.wide && !state.free.is_empty() {
            let all_free = state.lane_count > 1 && state.free.len() == state.lane_count;
            let (jobs, wide) = match state.reserved.take() {
                Some(jobs) if all_free => (jobs, true),
                Some(jobs) => {
                    state.reserved = Some(jobs);
                    break;
                }
                None => {
                    let Some((jobs, tokens)) = self.form(state, &mut next.expired) else { break };
                    if tokens > state.long_tokens && state.lane_count > 1 && !all_free {
                        state.reserved = Some(jobs);
                        break;
                    }
                    (jobs, all_free && (tokens > state.long_tokens || state.queue.is_empty()))
                }
            };
            let place = if wide { Some(Place::Wide) } else { state.free.pop().map(Place::Lane) };
            state.wide = wide;
            match place {
                Some(place) if Some(place) == own => next.own = Some(jobs),
                Some(place) => self.spawn(state, place, jobs),
                None => {}
            }
        }
        state.stats.left += next.expired.len() as u64;
        next
    }

    /// The next batch and its tokens; `None` when nothing waits.
    fn form(&self, state: &mut State, expired: &mut Vec<Job>) -> Option<(Vec<Job>, u64)> {
        let now_ns = self.now_ns();
        let formed = state.queue.form(now_ns, state.free.len());
        expired.extend(formed.expired.iter().filter_map(|id| state.jobs.remove(id)));
        if formed.batch.is_empty() {
            return None;
        }
        let waits_us = formed.batch.iter().map(|(_, entry)| now_ns.saturating_sub(entry.arrived_ns) / 1000);
        state.stats.record(formed.tokens(), waits_us);
        Some((formed.batch.iter().filter_map(|(id, _)| state.jobs.remove(id)).collect(), formed.tokens()))
    }

    fn spawn(self: &Arc<Self>, state: &State, place: Place, jobs: Vec<Job>) {
        let pool = state.pools.as_ref().and_then(|pools| match place {
            Place::Lane(lane) => pools.lanes.get(lane),
            Place::Wide => pools.wide.as_ref(),
        });
        if let Some(pool) = pool {
            let shared = Arc::clone(self);
            pool.spawn(move || shared.work(place, jobs));
        }
    }

    /// Computes a batch and whatever this thread is given after it.
    fn work(self: &Arc<Self>, place: Place, jobs: Vec<Job>) {
        let mut batch = Some(jobs);
        while let Some(jobs) = batch.take() {
            let keep = |ticket: &Ticket, at: usize, answer: &Answer| {
                if let (Some(key), Answer::Row(row)) = (ticket.keys.get(at), answer) {
                    self.cache.lock().insert(*key, row);
                }
            };
            run(jobs, &|| self.closed.load(Ordering::Acquire), keep);
            let mut state = self.state.lock();
            match place {
                Place::Lane(lane) => state.free.push(lane),
                Place::Wide => state.wide = false,
            }
            let next = self.start_all(&mut state, Some(place));
            drop(state);
            self.idle.notify_all();
            self.expire(next.expired);
            batch = next.own;
        }
    }

    fn expire(&self, expired: Vec<Job>) {
        expired.iter().for_each(|job| job.ticket.fail(EmbedError::Expired));
    }

    fn now_ns(&self) -> u64 {
        ns(self.epoch.elapsed())
    }
}

fn ns(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Texts that were handed in.
pub(super) struct Pending {
    receiver: oneshot::Receiver<Outcome>,
    /// How many of them were answered from before.
    pub(super) cached: usize,
    entries: std::ops::Range<u64>,
    shared: Arc<Shared>,
}

impl Pending {
    /// Waits for the answers. Errors: `Expired`, `Closed`, and what the model said of one of the texts.
    pub(super) async fn answers(mut self) -> Outcome {
        (&mut self.receiver).await.unwrap_or(Err(EmbedError::Closed))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.receiver.close();
        if !self.entries.is_empty() {
            self.shared.withdraw(self.entries.clone());
        }
    }
}
