//! The batcher with a model that computes when it is told to: who is computed with whom, what leaves, what fails, and what is the same as alone.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tallow_models::text::PairTokens;
use tallow_models::{ModelError, Sequence};

use super::super::*;
use super::*;

/// A text that no model can compute, and one that makes it panic.
const POISON: u32 = 666;
const PANIC: u32 = 667;
/// Only met when something waits that should not.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells of each batch the first token of every text, then waits for leave to compute it.
struct Gated {
    begun: SyncSender<Vec<u32>>,
    leave: Mutex<Receiver<()>>,
}

/// The other side of a [`Gated`] model.
struct Gate {
    begun: Receiver<Vec<u32>>,
    leave: SyncSender<()>,
}

fn gated() -> (Arc<dyn Computes>, Gate) {
    // As many as any test here has batches.
    let (begun, begins) = sync_channel(4096);
    let (leave, leaves) = sync_channel(4096);
    (Arc::new(Gated { begun, leave: Mutex::new(leaves) }), Gate { begun: begins, leave })
}

impl Gate {
    fn next(&self) -> Vec<u32> {
        self.begun.recv_timeout(PATIENCE).expect("a batch begins")
    }
    fn let_through(&self, batches: usize) {
        (0..batches).for_each(|_| self.leave.send(()).unwrap());
    }
}

impl Computes for Gated {
    fn vectors(&self, sequences: &[Sequence], stop: StopCheck<'_>) -> Result<Vec<Answer>, ModelError> {
        self.begun.send(sequences.iter().map(|sequence| sequence.ids[0]).collect()).unwrap();
        self.leave.lock().unwrap().recv_timeout(PATIENCE).expect("leave to compute");
        if stop() {
            return Err(ModelError::Stopped);
        }
        assert!(sequences.iter().all(|sequence| sequence.ids[0] != PANIC), "this text is not for this model");
        if sequences.iter().any(|sequence| sequence.ids[0] == POISON) {
            return Err(ModelError::NonFinite);
        }
        Ok(sequences.iter().map(|sequence| Answer::Row(vec![sequence.ids[0] as f32, sequence.len() as f32])).collect())
    }
    fn answers(&self, _: Ask, _: &[PairTokens], _: StopCheck<'_>) -> Result<Vec<Answer>, ModelError> {
        Err(ModelError::Internal { reason: "no head here".into() })
    }
}

fn batcher(threads: usize, cache_bytes: u64) -> Arc<Batcher> {
    let limits = BatchLimits { tokens_max: 256, tokens_min: 64, rows_max: 64, age_step_ns: 1_000_000_000, urgent_ns: 1_000_000 };
    Arc::new(Batcher::new(BatcherOptions { threads, limits, long_tokens: 1024, cache_bytes }).unwrap())
}

fn caller(submitter: u64, task: u64) -> Caller {
    Caller { rank: 1, submitter, task, deadline: None, stop: Arc::new(|| false) }
}

fn text(id: u32, tokens: usize) -> Sequence {
    Sequence { ids: vec![id; tokens], offsets: vec![0..0; tokens], content: 0..tokens, ..Sequence::default() }
}

static INFO: std::sync::LazyLock<Letters> = std::sync::LazyLock::new(letters);

fn desk(batcher: &Arc<Batcher>, model: &Arc<dyn Computes>, caller: Caller) -> Desk<'static> {
    Desk::batched(&*INFO, Seat::new(batcher, (Arc::clone(model), INFO.info(), 0), caller))
}

async fn rows(coming: Coming) -> Result<Vec<Vec<f32>>, EmbedError> {
    let answers = tokio::time::timeout(PATIENCE, coming.wait()).await.expect("an answer")?;
    answers.into_iter().map(|answered| answered.answer.row().map_err(EmbedError::from)).collect()
}

#[tokio::test]
async fn a_short_query_waits_for_one_batch_however_much_stands_before_it() {
    for (threads, submitter) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let (model, gate) = gated();
        let batcher = batcher(threads, 0);
        let bulk = desk(&batcher, &model, caller(1, 1)).vectors((0..2000).map(|n| text(1000 + n, 100)).collect());
        // Every thread has a batch of the long list.
        for _ in 0..threads {
            assert_eq!(gate.next().len(), 2);
        }
        let query = desk(&batcher, &model, caller(submitter, 2)).vectors(vec![text(7, 16)]);
        gate.let_through(1);
        assert_eq!(gate.next(), [7], "the first batch after the query came is the query's, and none of the list is added to it");
        gate.let_through(threads);
        assert_eq!(rows(query).await, Ok(vec![vec![7.0, 16.0]]));
        drop(bulk);
        gate.let_through(2 * threads);
    }
}

#[tokio::test]
async fn texts_of_many_callers_are_one_batch_and_answers_come_back_in_order() {
    let (model, gate) = gated();
    let batcher = batcher(1, 0);
    let first = desk(&batcher, &model, caller(9, 9)).vectors(vec![text(9, 1)]);
    assert_eq!(gate.next(), [9]);
    let coming: Vec<Coming> = (0..10u32)
        .map(|n| desk(&batcher, &model, caller(u64::from(n % 3), u64::from(n))).vectors(vec![text(n, 5), text(100 + n, 3)]))
        .collect();
    gate.let_through(2);
    assert_eq!(gate.next().len(), 20, "whatever waits is computed together");
    for (n, coming) in coming.into_iter().enumerate() {
        assert_eq!(rows(coming).await, Ok(vec![vec![n as f32, 5.0], vec![100.0 + n as f32, 3.0]]));
    }
    assert_eq!(rows(first).await.unwrap().len(), 1);
    let stats = batcher.stats();
    assert_eq!((stats.texts, stats.tokens, stats.batch_tokens.count(), stats.waiting, stats.left), (21, 81, 2, 0, 0));
    assert_eq!(stats.wait_us.count(), 21);
}

#[tokio::test]
async fn a_text_that_cannot_be_computed_fails_its_own_caller_alone() {
    for guilty in [POISON, PANIC] {
        let (model, gate) = gated();
        let batcher = batcher(1, 0);
        let first = desk(&batcher, &model, caller(9, 9)).vectors(vec![text(9, 1)]);
        assert_eq!(gate.next(), [9]);
        let good: Vec<Coming> = (0..5).map(|n| desk(&batcher, &model, caller(1, n)).vectors(vec![text(n as u32, 2)])).collect();
        let bad = desk(&batcher, &model, caller(1, 50)).vectors(vec![text(8, 2), text(guilty, 2)]);
        gate.let_through(50);
        let failed = rows(bad).await.unwrap_err();
        assert!(matches!(failed, EmbedError::Model(ModelError::NonFinite | ModelError::Internal { .. })), "{failed:?}");
        for (n, good) in good.into_iter().enumerate() {
            assert_eq!(rows(good).await, Ok(vec![vec![n as f32, 2.0]]));
        }
        assert!(rows(first).await.is_ok());
    }
}

#[tokio::test]
async fn what_is_given_up_leaves_before_it_is_computed() {
    let (model, gate) = gated();
    let batcher = batcher(1, 0);
    let held = Arc::new(());
    let keeps = Arc::clone(&held);
    let unwanted = Caller { stop: Arc::new(move || Arc::strong_count(&keeps) == 0), ..caller(1, 1) };
    let bulk = desk(&batcher, &model, unwanted).vectors((0..500).map(|n| text(1000 + n, 128)).collect());
    assert_eq!(gate.next().len(), 2);
    let other = desk(&batcher, &model, caller(2, 2)).vectors((0..3).map(|n| text(n, 200)).collect());
    drop(bulk);
    assert_eq!((batcher.stats().waiting, batcher.stats().left), (3, 498), "only the other caller's texts wait");
    gate.let_through(4);
    assert_eq!(rows(other).await.unwrap().len(), 3);
    assert_eq!(batcher.stats().texts, 5);
    // The batch that ran let go of what its caller held.
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test]
async fn a_stopped_caller_ends_within_its_batch() {
    let (model, gate) = gated();
    let batcher = batcher(1, 0);
    let stopped = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::clone(&stopped);
    let stop: Stop = Arc::new(move || asked.load(Ordering::Relaxed));
    let coming = desk(&batcher, &model, Caller { stop, ..caller(1, 1) }).vectors((0..10).map(|n| text(n, 200)).collect());
    assert_eq!(gate.next().len(), 1);
    stopped.store(true, Ordering::Relaxed);
    gate.let_through(1);
    assert_eq!(rows(coming).await, Err(EmbedError::Model(ModelError::Stopped)), "nothing further was let through");
}

#[tokio::test]
async fn a_deadline_that_passed_is_told_and_costs_nothing() {
    let (model, gate) = gated();
    let batcher = batcher(1, 0);
    let first = desk(&batcher, &model, caller(9, 9)).vectors(vec![text(9, 1)]);
    assert_eq!(gate.next(), [9]);
    let late = desk(&batcher, &model, Caller { deadline: Some(Instant::now()), ..caller(1, 1) }).vectors(vec![text(1, 1)]);
    gate.let_through(1);
    assert_eq!(rows(late).await, Err(EmbedError::Expired));
    assert!(rows(first).await.is_ok());
    assert_eq!((batcher.stats().texts, batcher.stats().left), (1, 1));
}

#[tokio::test]
async fn the_end_of_the_batcher_ends_all_waits_and_its_threads() {
    let (model, gate) = gated();
    let batcher = batcher(2, 0);
    let coming = desk(&batcher, &model, caller(1, 1)).vectors((0..100).map(|n| text(n, 200)).collect());
    let later = desk(&batcher, &model, caller(2, 2));
    gate.next();
    gate.next();
    // Whoever has a desk keeps the threads; the last one ends them.
    assert_eq!(Arc::strong_count(&batcher), 2);
    drop(batcher);
    drop(coming);
    gate.let_through(2);
    assert_eq!(rows(later.vectors(Vec::new())).await, Ok(Vec::new()));
    drop(later);
    assert_eq!(Arc::strong_count(&model), 1, "no batch is left behind");
}

#[tokio::test]
async fn kept_rows_answer_texts_that_come_again_and_no_others() {
    let (model, gate) = gated();
    let batcher = batcher(1, 1 << 20);
    gate.let_through(10);
    let first = desk(&batcher, &model, caller(1, 1));
    assert_eq!(rows(first.vectors(vec![text(1, 3), text(2, 3)])).await.unwrap().len(), 2);
    assert_eq!(first.cached(), 0);
    let again = desk(&batcher, &model, caller(2, 2));
    assert_eq!(
        rows(again.vectors(vec![text(2, 3), text(2, 4), text(1, 3)])).await,
        Ok(vec![vec![2.0, 3.0], vec![2.0, 4.0], vec![1.0, 3.0]])
    );
    assert_eq!((again.cached(), batcher.stats().cached, batcher.stats().texts), (2, 2, 3));
    let reloaded = Desk::batched(&*INFO, Seat::new(&batcher, (Arc::clone(&model), INFO.info(), 1), caller(1, 1)));
    assert!(rows(reloaded.vectors(vec![text(1, 3)])).await.is_ok());
    assert_eq!((reloaded.cached(), batcher.stats().texts), (0, 4), "another load is another model");
    assert!(batcher.stats().cache_bytes > 0);
}

#[tokio::test]
async fn a_long_text_waits_for_all_threads_and_has_them_to_itself() {
    let (model, gate) = gated();
    let batcher = batcher(2, 0);
    let bulk = desk(&batcher, &model, caller(1, 1)).vectors((0..4).map(|n| text(n, 250)).collect());
    let running = [gate.next(), gate.next()];
    assert!(running.iter().all(|batch| batch.len() == 1), "{running:?}");
    let long = desk(&batcher, &model, caller(2, 2)).vectors(vec![text(77, 5000)]);
    gate.let_through(2);
    assert_eq!(gate.next(), [77], "its turn comes first, and it begins when both threads are free");
    let query = desk(&batcher, &model, caller(3, 3)).vectors(vec![text(7, 16)]);
    gate.let_through(1);
    assert_eq!(rows(long).await, Ok(vec![vec![77.0, 5000.0]]));
    assert!([gate.next(), gate.next()].contains(&vec![7]), "who came meanwhile is next");
    gate.let_through(3);
    assert!(rows(query).await.is_ok() && rows(bulk).await.is_ok());
}

/// A tiny encoder from the fixtures.
fn tiny(name: &str) -> (Arc<dyn Computes>, Arc<tallow_models::Model>) {
    struct Held(Arc<tallow_models::Model>);
    impl AsRef<tallow_models::Model> for Held {
        fn as_ref(&self) -> &tallow_models::Model {
            &self.0
        }
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fixtures").join(name);
    let device = tallow_models::device::open(tallow_models::device::DeviceKind::Cpu).unwrap();
    let encoder = tallow_models::Encoder::load(&folder, name, &device).unwrap();
    let model = Arc::new(tallow_models::Model::Encoder(Box::new(encoder)));
    (Arc::new(Held(Arc::clone(&model))), model)
}

#[tokio::test]
async fn mixed_with_others_a_text_has_the_vector_it_has_alone() {
    let (computes, model) = tiny("tiny-bert");
    let batcher = batcher(2, 0);
    let words = ["the", "cat", "sits", "outside", "why", "is", "sky", "blue", "playing", "x"];
    let texts: Vec<String> =
        (0..120usize).map(|n| (0..1 + n * 7 % 23).map(|w| words[(n + w * w) % words.len()]).collect::<Vec<_>>().join(" ")).collect();
    let plan = plan(LongText::Chunk);
    let embed = |slice: Vec<String>, task: u64| {
        let seat = Seat::new(&batcher, (Arc::clone(&computes), model.info(), 0), caller(task % 3, task));
        let (model, plan) = (Arc::clone(&model), plan.clone());
        async move { embed_texts(&Desk::batched(model.embedder(), seat), &slice, &plan, &|_| {}).await.unwrap().vectors }
    };
    let mut alone = Vec::new();
    for text in &texts {
        alone.push(embed(vec![text.clone()], 0).await);
    }
    let callers = texts.chunks(7).zip(1..).map(|(slice, task)| embed(slice.to_vec(), task));
    let mixed: Vec<f32> = futures_util::future::join_all(callers).await.concat();
    let far = alone.concat().iter().zip(&mixed).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(far <= 1e-6, "{far}");
    assert!(batcher.stats().batch_tokens.count() < 120 + 100, "callers shared batches: {:?}", batcher.stats());
}
