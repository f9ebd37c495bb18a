//! Readers beside writers: every answer is of one state of the set.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Rows of one append.
const BATCH: usize = 10;
/// Appends.
const BATCHES: usize = 300;

#[test]
fn every_answer_beside_appends_is_of_a_prefix() {
    let set = store().create("a", spec(4), watch()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut lens = Vec::new();
                while !done.load(Ordering::Acquire) {
                    let hits = nearest(&set, &[1.0, 0.0, 0.0, 0.0], BATCH * BATCHES);
                    let mut found: Vec<i64> = hits.into_iter().map(|(id, _)| if let RowId::Integer(id) = id { id } else { -1 }).collect();
                    found.sort_unstable();
                    assert_eq!(found.len() % BATCH, 0, "half an append was seen");
                    assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>(), "no prefix");
                    lens.push(found.len());
                }
                assert!(lens.is_sorted(), "a later answer is of a later state");
            });
        }
        for batch in 0..BATCHES {
            let ids = integers((batch * BATCH) as i64..((batch + 1) * BATCH) as i64);
            append(&set, &[batch as f32; 4 * BATCH], &ids).unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(set.version().len(), BATCH * BATCHES);
}

#[test]
fn a_row_that_is_replaced_is_there_once_at_every_moment() {
    let set = store().create("a", spec(1), watch()).unwrap();
    append(&set, &[0.0; 50], &integers(0..50)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let mut ids: Vec<RowId> = nearest(&set, &[1.0], 1000).into_iter().map(|(id, _)| id).collect();
                ids.sort_unstable();
                assert_eq!(ids, integers(0..50));
            }
        });
        let metadata = MetaColumns::new();
        for round in 0..300i64 {
            let ids = integers((0..5).map(|at| (round * 11 + at * 7) % 50).collect::<std::collections::BTreeSet<_>>());
            let values = vec![round as f32; ids.len()];
            let rows = NewRows { values: &RowsIn::Values(&values), ids: Some(&ids), metadata: &metadata };
            set.write(rows, OnConflict::Replace, watch()).unwrap();
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn writers_beside_each_other_lose_nothing() {
    let set = store().create("a", spec(1), watch()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4i64 {
            let set = &set;
            scope.spawn(move || {
                for round in 0..50 {
                    append(set, &[1.0, 2.0], &integers([writer * 1000 + round * 2, writer * 1000 + round * 2 + 1])).unwrap();
                }
            });
        }
    });
    let mut found = names(&set);
    found.sort_unstable();
    assert_eq!(found, integers((0..4).flat_map(|writer| writer * 1000..writer * 1000 + 100)));
    assert_eq!(set.version().number(), 200);
}
