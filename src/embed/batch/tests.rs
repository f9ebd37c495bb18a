//! Batches over any order of arrivals: nothing is lost, doubled, mixed or starved, and nobody waits behind the length of another's list.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const LIMITS: BatchLimits = BatchLimits { tokens_max: 256, tokens_min: 64, rows_max: 64, age_step_ns: 1_000, urgent_ns: 100 };

fn entry(submitter: u64, task: u64, tokens: u32) -> Waiting {
    Waiting { kind: 0, tokens, rank: 1, submitter, task, deadline_ns: None, arrived_ns: 0 }
}

fn queue_of(entries: impl IntoIterator<Item = Waiting>) -> BatchQueue {
    let mut queue = BatchQueue::new(LIMITS);
    for entry in entries {
        queue.push(entry);
    }
    queue
}

/// Batches until nothing waits.
fn drain(queue: &mut BatchQueue) -> Vec<Formed> {
    let formed: Vec<Formed> = std::iter::from_fn(|| Some(queue.form(0, 1)).filter(|formed| !formed.batch.is_empty())).collect();
    assert!(queue.is_empty() && queue.tokens() == 0);
    formed
}

#[test]
fn a_single_text_begins_the_next_batch_and_keeps_it_short() {
    for submitter in [1, 2] {
        let mut queue = queue_of((0..10_000).map(|_| entry(1, 1, 128)));
        for _ in 0..100 {
            queue.form(0, 1);
        }
        let query = queue.push(entry(submitter, 2, 16));
        let formed = queue.form(0, 1);
        assert_eq!(formed.batch[0].0, query, "its submitter has {submitter} lists");
        assert!(formed.tokens() <= u64::from(LIMITS.tokens_min), "{formed:?}");
    }
}

#[test]
fn a_single_text_of_a_higher_rank_waits_for_no_other_rank() {
    let mut queue = queue_of((0..1000).map(|n| entry(n, n, 128)));
    let query = queue.push(Waiting { rank: 3, ..entry(5, 5_000, 300) });
    let formed = queue.form(0, 1);
    assert_eq!((formed.batch[0].0, formed.batch.len()), (query, 1));
}

#[test]
fn many_short_tasks_fill_a_batch_together() {
    let mut queue = queue_of((0..64).map(|task| entry(task % 5, task, 16)));
    assert_eq!(queue.form(0, 1).tokens(), 256);
}

#[test]
fn what_waits_is_divided_among_free_threads() {
    let mut queue = queue_of((0..16).map(|_| entry(1, 1, 16)));
    assert_eq!(queue.form(0, 2).tokens(), 128);
    assert_eq!(queue.form(0, 1).tokens(), 128);
    let mut queue = queue_of((0..3).map(|_| entry(1, 1, 16)));
    assert_eq!(queue.form(0, 8).tokens(), 48, "too little to be worth dividing");
}

#[test]
fn lengths_that_are_alike_go_together_and_short_ones_fill_the_room() {
    let lengths = [10, 200, 11, 190, 12, 180, 40, 50];
    let mut queue = queue_of(lengths.map(|tokens| entry(1, 1, tokens)));
    let batches: Vec<Vec<u32>> =
        drain(&mut queue).iter().map(|formed| formed.batch.iter().map(|(_, entry)| entry.tokens).collect()).collect();
    assert_eq!(batches, [vec![200, 50], vec![190, 40, 12, 11], vec![180, 10]]);
}

#[test]
fn an_entry_beyond_the_bound_is_computed_alone() {
    let mut queue = queue_of([entry(1, 1, 5000), entry(1, 1, 3)]);
    assert_eq!(queue.form(0, 1).batch.len(), 1);
    assert_eq!(queue.form(0, 1).tokens(), 3);
}

#[test]
fn removed_and_expired_entries_cost_nothing() {
    let mut queue = queue_of((0..4).map(|_| entry(1, 1, 100)));
    let late = queue.push(Waiting { deadline_ns: Some(10), ..entry(1, 2, 100) });
    assert!(queue.remove(0) && !queue.remove(0));
    let formed = queue.form(10, 1);
    assert_eq!(formed.expired, [late]);
    assert!(formed.batch.iter().all(|(id, _)| ![0, late].contains(id)));
    assert_eq!(formed.batch.len() + queue.len(), 3);
}

#[test]
fn a_near_deadline_begins_every_other_batch_at_most() {
    let mut queue = queue_of((0..1000).map(|_| entry(1, 1, 256)));
    for _ in 0..1000 {
        queue.push(Waiting { deadline_ns: Some(50), ..entry(2, 2, 256) });
    }
    let heads: Vec<u64> = (0..100).map(|_| queue.form(0, 1).batch[0].1.submitter).collect();
    let urgent = heads.iter().filter(|&&submitter| submitter == 2).count();
    assert!((45..=55).contains(&urgent), "{urgent} of 100");
    let mut queue = queue_of((0..10).map(|n| Waiting { deadline_ns: Some(90 - n), ..entry(n, n, 256) }));
    assert_eq!(queue.form(0, 1).batch[0].1.submitter, 9, "the nearest deadline first");
}

#[test]
fn no_rank_starves_behind_an_endless_flood() {
    let mut queue = queue_of((0..10).map(|_| Waiting { rank: 0, ..entry(9, 9, 256) }));
    let mut low = Vec::new();
    for now_ns in 0..20_000 {
        queue.push(Waiting { rank: 3, arrived_ns: now_ns, ..entry(1, 1, 256) });
        if queue.form(now_ns, 1).batch[0].1.rank == 0 {
            low.push(now_ns);
        }
    }
    assert_eq!(low.len(), 10, "{low:?}");
    assert!(low[0] >= 3 * LIMITS.age_step_ns, "rank holds until it has waited long enough: {low:?}");
    assert!(low.windows(2).all(|pair| pair[1] - pair[0] <= u64::from(AGED_EVERY) + 1), "{low:?}");
}

#[test]
fn submitters_share_by_tokens_however_many_tasks_they_have() {
    let crowd = (0..4000).map(|n| entry(1, n % 100, 64));
    let alone = (0..1000).map(|_| entry(2, 7, 128));
    let mut queue = queue_of(crowd.chain(alone));
    let mut served: BTreeMap<u64, u64> = BTreeMap::new();
    for _ in 0..400 {
        for (_, entry) in queue.form(0, 1).batch {
            *served.entry(entry.submitter).or_default() += u64::from(entry.tokens);
        }
    }
    let share = served[&1] as f64 / (served[&1] + served[&2]) as f64;
    assert!((0.45..=0.55).contains(&share), "{served:?}");
}

/// One move of the simulation.
#[derive(Clone, Debug)]
enum Move {
    Push(Waiting),
    Remove(usize),
    Form(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let entry = (0u64..3, 0u32..400, 0u8..5, 0u64..4, 0u64..6, prop::option::of(0u64..300)).prop_map(
        |(kind, tokens, rank, submitter, task, deadline_ns)| {
            Move::Push(Waiting { kind, tokens, rank, submitter, task, deadline_ns, arrived_ns: 0 })
        },
    );
    let one = prop_oneof![4 => entry, 1 => (0usize..200).prop_map(Move::Remove), 1 => (1usize..5).prop_map(Move::Form)];
    prop::collection::vec(one, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_entry_ends_once_in_a_batch_within_bounds(moves in moves()) {
        let mut queue = BatchQueue::new(LIMITS);
        let mut waiting: BTreeMap<u64, Waiting> = BTreeMap::new();
        let mut ended = BTreeSet::new();
        let mut now_ns = 0;
        for step in moves.into_iter().chain(std::iter::repeat_n(Move::Form(1), 400)) {
            now_ns += 1;
            match step {
                Move::Push(mut entry) => {
                    entry.arrived_ns = now_ns;
                    prop_assert!(waiting.insert(queue.push(entry), entry).is_none());
                }
                Move::Remove(place) => {
                    if let Some(id) = waiting.keys().nth(place).copied() {
                        waiting.remove(&id);
                        prop_assert!(queue.remove(id) && ended.insert(id));
                    }
                }
                Move::Form(seats) => {
                    let formed = queue.form(now_ns, seats);
                    for id in &formed.expired {
                        let entry = waiting.remove(id).unwrap();
                        prop_assert!(ended.insert(*id) && entry.deadline_ns.is_some_and(|at_ns| at_ns <= now_ns));
                    }
                    prop_assert!(formed.batch.is_empty() == waiting.is_empty(), "nothing is held back");
                    prop_assert!(formed.batch.len() <= LIMITS.rows_max);
                    prop_assert!(formed.tokens() <= u64::from(LIMITS.tokens_max) || formed.batch.len() == 1);
                    for (id, entry) in &formed.batch {
                        prop_assert_eq!(waiting.remove(id), Some(*entry));
                        prop_assert!(ended.insert(*id) && entry.kind == formed.batch[0].1.kind);
                        prop_assert!(entry.deadline_ns.is_none_or(|at_ns| at_ns > now_ns), "what has expired is not computed");
                    }
                }
            }
            prop_assert_eq!(queue.len(), waiting.len());
            prop_assert_eq!(queue.tokens(), waiting.values().map(|entry| u64::from(entry.tokens)).sum::<u64>());
        }
        prop_assert!(waiting.is_empty());
    }
}
