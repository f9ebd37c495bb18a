//! Claims about the pure files, one by one and by random cases.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::task;
use crate::manager::admission::{DrainRate, Full, Load, Room, admit, retry_after};
use crate::manager::histogram::Histogram;
use crate::manager::idempotency::{Siblings, fingerprint};
use crate::manager::retry::{Failure, MAX_RETRY_COUNT, RetryPolicy, next_delay};
use crate::manager::ring::{Read, Ring, RingPolicy};
use crate::manager::state::{Command, End, Life, Phase, Refusal};
use crate::manager::throughput::{OPERATION_COUNT_MAX, OTHER, Throughput, Work};
use crate::task::{Submission, TaskError};

fn command() -> impl Strategy<Value = Command> {
    let end = prop_oneof![Just(End::Completed), Just(End::Failed), Just(End::Cancelled)];
    prop_oneof![
        any::<bool>().prop_map(|resolve| Command::Unblock { resolve }),
        Just(Command::Resolved),
        Just(Command::Start),
        (0u32..4).prop_map(|attempt| Command::Commit { attempt }),
        end.clone().prop_map(|end| Command::Finish { end }),
        (0u32..4).prop_map(|attempt| Command::Retry { attempt }),
        Just(Command::RetryDue),
        end.prop_map(|end| Command::Stop { end }),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_commands_breaks_a_life(blocked in any::<bool>(), commands in prop::collection::vec(command(), 0..60)) {
        let mut life = Life::accepted(blocked, false);
        let mut ends = 0;
        for command in commands {
            let before = life;
            match life.apply(command) {
                Err(refusal) => {
                    prop_assert_eq!(before, life, "a refused command changes nothing");
                    if before.phase().is_terminal() {
                        prop_assert_eq!(refusal, Refusal::Ended(before.phase()));
                    }
                }
                Ok(effects) => {
                    prop_assert!(!before.phase().is_terminal(), "a terminal phase never changes");
                    prop_assert_eq!(effects.run, life.attempt() == before.attempt() + 1);
                    prop_assert_eq!(effects.enqueue, life.phase() == Phase::Queued);
                    prop_assert_eq!(effects.dequeue, before.phase() == Phase::Queued);
                    prop_assert_eq!(effects.ended, life.phase().is_terminal());
                    prop_assert_eq!(effects.stop_run, before.phase() == Phase::Running && life.phase().is_terminal());
                    ends += u32::from(effects.ended);
                }
            }
        }
        prop_assert!(ends <= 1);
    }

    #[test]
    fn what_was_admitted_never_exceeds_the_room(loads in prop::collection::vec((0usize..4, 1u64..30, 0u64..500), 1..200)) {
        let room = Room { tasks_max: 100, bytes_max: 2_000 };
        let (mut all, mut own) = (Load::default(), [Load::default(); 4]);
        for (who, tasks, bytes) in loads {
            let more = Load { tasks, bytes };
            if admit(room, all, own[who], more).is_ok() {
                all.add(more);
                own[who].add(more);
            }
            prop_assert!(all.tasks <= room.tasks_max && all.bytes <= room.bytes_max);
        }
    }

    #[test]
    fn the_ring_numbers_without_gaps(sizes in prop::collection::vec(0u64..100, 1..300), count_max in 1usize..20, from in 1u64..300) {
        let mut ring = Ring::new(RingPolicy { count_max, bytes_max: 500 });
        for (at, size) in sizes.iter().enumerate() {
            prop_assert_eq!(ring.push(at as u64 + 1, *size), at as u64 + 1);
        }
        match ring.read(from, 7) {
            Read::Missed { count, next } => {
                prop_assert_eq!(from + count, next);
                prop_assert_eq!(next, ring.oldest());
            }
            Read::Events(events) => {
                for (at, event) in events.iter().enumerate() {
                    prop_assert_eq!(*event, from + at as u64);
                }
                prop_assert!(!events.is_empty() || from >= ring.next());
            }
        }
    }

    #[test]
    fn delays_double_within_their_bounds(attempt in 0u32..40, jitter in -1.0f64..2.0) {
        let policy = RetryPolicy { base: Duration::from_millis(100), max: Duration::from_secs(10) };
        let error = TaskError::internal("x", "");
        let delay = next_delay(&policy, Failure { error: &error, panicked: false, attempt, retries_max: u32::MAX }, jitter);
        prop_assert_eq!(delay.is_some(), attempt <= MAX_RETRY_COUNT, "never more than the maximum, whatever a task asks for");
        if let Some(delay) = delay {
            let full = Duration::from_millis(100 << attempt.saturating_sub(1));
            prop_assert!(delay >= full / 2 && delay <= full);
        }
    }
}

#[test]
fn only_retryable_errors_are_tried_again_and_an_overloaded_executor_is_obeyed() {
    let policy = RetryPolicy::default();
    let delay = |error: &TaskError| next_delay(&policy, Failure { error, panicked: false, attempt: 1, retries_max: 3 }, f64::NAN);
    assert_eq!(delay(&TaskError::UnsupportedTaskType), None);
    assert_eq!(delay(&TaskError::invalid("a", "b")), None);
    assert_eq!(delay(&TaskError::Cancelled { reason: String::new() }), None);
    let overloaded = |s| TaskError::Overloaded { retry_after: Duration::from_secs(s), reason: String::new() };
    assert_eq!(delay(&overloaded(3)), Some(Duration::from_secs(3)));
    assert_eq!(delay(&overloaded(3000)), Some(policy.max));
    assert_eq!(delay(&overloaded(0)), Some(Duration::from_millis(50)));
}

#[test]
fn an_outcome_of_an_earlier_attempt_does_not_count() {
    let mut life = Life::accepted(false, false);
    life.apply(Command::Start).expect("queued");
    life.apply(Command::Retry { attempt: 1 }).expect("running");
    assert_eq!(life.apply(Command::Commit { attempt: 1 }), Err(Refusal::StaleAttempt));
    life.apply(Command::RetryDue).expect("backing off");
    life.apply(Command::Start).expect("queued");
    assert_eq!(life.apply(Command::Commit { attempt: 1 }), Err(Refusal::StaleAttempt));
    life.apply(Command::Commit { attempt: 2 }).expect("running");
    assert_eq!(life.apply(Command::Stop { end: End::Cancelled }), Err(Refusal::Ended(Phase::Committing)), "it is too late to cancel");
    life.apply(Command::Finish { end: End::Completed }).expect("committing");
}

#[test]
fn two_floods_leave_room_for_a_third_submitter() {
    let room = Room { tasks_max: 1700, bytes_max: u64::MAX };
    let one = Load { tasks: 1, bytes: 1 };
    let (mut all, mut own) = (Load::default(), [Load::default(); 2]);
    for at in 0..10_000 {
        if admit(room, all, own[at % 2], one).is_ok() {
            all.add(one);
            own[at % 2].add(one);
        }
    }
    assert_eq!(all.tasks, 1600, "eight seventeenths each");
    assert_eq!(admit(room, all, own[0], one), Err(Full::Share));
    assert_eq!(admit(room, all, Load::default(), Load { tasks: 80, bytes: 1 }), Ok(()));
    assert_eq!(admit(room, all, Load::default(), Load { tasks: 101, bytes: 1 }), Err(Full::Tasks));
    assert_eq!(admit(room, all, Load::default(), Load { tasks: 1701, bytes: 1 }), Err(Full::Never));
}

#[test]
fn the_advised_wait_follows_the_measured_drain() {
    let mut rate = DrainRate::default();
    assert_eq!(retry_after(1, rate.per_s(0)), Duration::from_secs(1), "nothing is known yet");
    for at in 1..=10_000u64 {
        rate.count(at * 1_000_000);
    }
    let per_s = rate.per_s(10_000_000_000);
    assert!((990.0..=1010.0).contains(&per_s), "{per_s}");
    assert_eq!(retry_after(1, per_s), Duration::from_millis(100));
    assert!((9..=11).contains(&retry_after(10_000, per_s).as_secs()));
    assert_eq!(retry_after(u64::MAX, per_s), Duration::from_secs(60));
}

#[test]
fn fingerprints_tell_payloads_apart_and_ignore_the_order_of_keys() {
    let of = |data| fingerprint(&Submission::new(task(data)), &Siblings::default());
    assert_eq!(of(json!({"a": 1, "b": [1, 2]})), of(json!({"b": [1, 2], "a": 1})));
    let different =
        [json!(null), json!(0), json!(false), json!(""), json!([]), json!({}), json!([[]]), json!(["ab"]), json!(["a", "b"]), json!("0")];
    for (at, one) in different.iter().enumerate() {
        for other in &different[at + 1..] {
            assert_ne!(of(one.clone()), of(other.clone()), "{one} {other}");
        }
    }
}

#[test]
fn rates_are_those_of_the_last_minute_and_sums_those_since_the_start() {
    const S: u64 = 1_000_000_000;
    let mut throughput = Throughput::default();
    let work = Work { tasks: 1, documents: 3, prompt_tokens: 40, completion_tokens: 10 };
    throughput.count("text", "chunk", work, 100 * S);
    let one = &throughput.stats(100 * S)[0];
    assert_eq!((one.tasks_per_s, one.documents_per_s, one.tokens_per_s), (1.0, 3.0, 50.0), "less than a second counts as one");
    for second in 101..400 {
        throughput.count("text", "chunk", work, second * S);
    }
    let steady = &throughput.stats(400 * S - 1)[0];
    assert!((0.95..=1.05).contains(&steady.tasks_per_s) && (47.0..=53.0).contains(&steady.tokens_per_s), "{steady:?}");
    assert_eq!((steady.tasks, steady.documents, steady.prompt_tokens, steady.completion_tokens), (300, 900, 12_000, 3_000));
    let over = &throughput.stats(461 * S)[0];
    assert_eq!((over.tasks, over.tasks_per_s), (300, 0.0), "a minute later nothing of it is recent");
    for at in 0..2 * OPERATION_COUNT_MAX {
        throughput.count("foreign", &at.to_string(), work, 500 * S);
    }
    let all = throughput.stats(500 * S);
    assert_eq!(all.len(), OPERATION_COUNT_MAX + 1);
    let other = all.iter().find(|operation| operation.executor == OTHER).expect("the rest is counted");
    assert_eq!(other.tasks as usize, OPERATION_COUNT_MAX + 1);
}

#[test]
fn histograms_count_everything_once() {
    let mut histogram = Histogram::default();
    assert_eq!(histogram.quantile_s(0.5), None);
    for seconds in [0.0, -1.0, f64::NAN, 0.00005, 0.02, 0.02, 7.0, 1e9] {
        histogram.record(seconds);
    }
    assert_eq!(histogram.count(), 8);
    assert_eq!(histogram.quantile_s(0.5), Some(0.0001));
    assert_eq!(histogram.quantile_s(1.0), Some(f64::INFINITY));
    assert_eq!(histogram.cumulative().last().map(|(_, count)| *count), Some(8));
}
