//! A noisy submitter does not bury a quiet one, and low priority is served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tallow::manager::{METADATA_COMPUTE_MS, StatusKind};
use tallow::{ExecutorRegistry, ManagerOptions, Part, Submission, Task, TaskManager, TaskPriority};

use crate::support::{alone, median, registry, rows, runtime, soon, vector_task};

type Manager = TaskManager<ExecutorRegistry>;

const SAMPLES: usize = 60;

/// Rounds of a task of the quiet submitter.
const ROUNDS: usize = 20;

/// Some milliseconds of one compute thread.
fn work(numbers: &Part, rounds: usize) -> Task {
    let data = json!({"operation": "kmeans", "vectors": {"$part": "rows"}, "k": 80, "iterations_max": rounds, "tolerance": 0.0});
    vector_task(data, numbers)
}

/// Medians over tasks of a quiet submitter, which come one at a time.
#[derive(Debug)]
struct Medians {
    latency: Duration,
    compute: Duration,
    /// Tasks of others that ended meanwhile.
    others: u64,
}

async fn medians(manager: &Manager, numbers: &Part) -> Medians {
    let (mut latencies, mut computes, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let before = manager.stats().totals.completed;
        let began = Instant::now();
        let id = manager.submit(Submission::new(work(numbers, ROUNDS)).submitter("quiet")).await.expect("accepted");
        let result = soon("the task completes", manager.wait(&id)).await.expect("completes");
        latencies.push(began.elapsed());
        others.push((manager.stats().totals.completed - before).saturating_sub(1));
        let compute_ms = result.metadata[METADATA_COMPUTE_MS].as_f64().expect("a number");
        computes.push(Duration::from_secs_f64(compute_ms / 1e3));
    }
    others.sort_unstable();
    Medians { latency: median(latencies), compute: median(computes), others: others[SAMPLES / 2] }
}

/// A quiet submitter alone and beside 10,000 tasks of a noisy one.
async fn solo_and_beside_noise(manager: &Manager, wait_for_age: Duration) -> (Medians, Medians) {
    let numbers = rows(700, 32);
    // The first ones warm up.
    medians(manager, &numbers).await;
    let solo = medians(manager, &numbers).await;
    // As long on average, each of another length: tasks of one length fall into step with those of the quiet submitter, which then come every time just after
    // all threads have taken one.
    let noise = (0..10_000).map(|at| Submission::new(work(&numbers, ROUNDS / 2 + at % (ROUNDS + 1))).submitter("noisy")).collect();
    let accepted = manager.submit_batch(noise).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(accepted, 10_000);
    let began = Instant::now();
    while began.elapsed() < wait_for_age {
        medians(manager, &numbers).await;
    }
    let beside = medians(manager, &numbers).await;
    let queued: u64 = manager.stats().queued.values().sum();
    assert!(queued > 100, "the noise must last as long as the measurement, {queued} left");
    (solo, beside)
}

/// Two things count: the tasks of others that came before, which no other program on the machine changes, and the time. Where other programs keep
/// the machine busy, a task alone waits as well or two at once compute much longer, and times say nothing; else the promise has to hold in one of three measurements.
fn check_noise(name: &str, options: impl Fn() -> ManagerOptions, wait_for_age: Duration) {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (solo, beside) = runtime().block_on(async {
            let manager = TaskManager::with_options(registry(), options());
            solo_and_beside_noise(&manager, wait_for_age).await
        });
        let times = beside.latency.as_secs_f64() / solo.latency.as_secs_f64();
        println!(
            "{name}: {:?} alone, {:?} beside 10,000 tasks of another: {times:.2} times; {solo:?} {beside:?}",
            solo.latency, beside.latency
        );
        // One that was under way on each thread, and one more on the thread it does not get.
        assert!(beside.others <= 3, "{name}: {} tasks of another came before", beside.others);
        if solo.latency > solo.compute * 5 / 4 || beside.compute > solo.compute * 8 / 5 {
            println!("{name}: other programs keep this machine busy, so only the order was judged");
            return;
        }
        if beside.latency <= solo.latency * 2 {
            return;
        }
        seen.push((solo, beside));
    }
    panic!("{name}: more than twice the latency alone: {seen:?}");
}

#[test]
fn ten_thousand_tasks_of_another_at_most_double_the_latency() {
    let _alone = alone();
    check_noise("default settings", ManagerOptions::default, Duration::ZERO);
}

#[test]
fn a_backlog_that_has_grown_old_comes_before_nobody() {
    let _alone = alone();
    // All of the backlog is overdue to every level before the measurement begins.
    let options = || ManagerOptions { age_step: Duration::from_millis(50), ..ManagerOptions::default() };
    check_noise("an aged backlog", options, Duration::from_millis(300));
}

#[test]
fn low_priority_is_served_beside_a_steady_flood_of_higher_ones() {
    let _alone = alone();
    runtime().block_on(async {
        let options = ManagerOptions { age_step: Duration::from_millis(100), ..ManagerOptions::default() };
        let manager = Arc::new(TaskManager::with_options(registry(), options));
        let numbers = rows(700, 32);
        let mut low = work(&numbers, ROUNDS);
        low.priority = TaskPriority::Low;
        let flood = |count: usize| {
            (0..count).map(|_| {
                let mut high = work(&numbers, ROUNDS);
                high.priority = TaskPriority::High;
                Submission::new(high).submitter("high")
            })
        };
        manager.submit_batch(flood(200).collect()).await;
        let began = Instant::now();
        let low = manager.submit(Submission::new(low).submitter("low")).await.expect("accepted");
        while !manager.status(&low).expect("known").status.is_terminal() {
            assert!(began.elapsed() < Duration::from_secs(10), "low priority starves");
            let queued: u64 = manager.stats().queued.values().sum();
            manager.submit_batch(flood(200_usize.saturating_sub(queued as usize)).collect()).await;
            tokio::task::yield_now().await;
        }
        println!("low priority waited {:?} beside a queue that never emptied", began.elapsed());
        soon("its answer", manager.wait(&low)).await.expect("completes");
        assert_eq!(manager.status(&low).expect("known").status, StatusKind::Completed);
    });
}
