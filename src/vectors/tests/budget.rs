//! What sets hold is booked before it is allocated, and comes back.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::task::ResourceDemand;

const MIB: u64 = 1 << 20;

#[test]
fn a_set_beyond_the_budget_is_refused_with_what_it_needs_and_what_is_free() {
    let (ledger, account) = ledger(MIB);
    let store = SetStore::open(account, None);
    let set = store.create("a", spec(256), watch()).unwrap();
    let rows = vec![0.5f32; 256 * 2048];
    let refused = append(&set, &rows, &integers(0..2048)).unwrap_err();
    let SetError::DoesNotFit { needed_bytes, free_bytes, .. } = refused else { panic!("{refused}") };
    assert!(needed_bytes > 2 * MIB && needed_bytes < 2 * MIB + 64 * 1024 && free_bytes == MIB, "{needed_bytes} of {free_bytes}");
    assert_eq!((ledger.snapshot().host.used, ledger.snapshot().host.peak), (0, 0), "nothing was booked");
    append(&set, &rows[..256 * 512], &integers(0..512)).unwrap();
    let used = ledger.snapshot().host.used;
    assert_eq!(used, set.version().held_bytes());
    assert_eq!(ledger.snapshot().host.lasting, used);
    let refused = append(&set, &rows[..256 * 600], &integers(600..1200)).unwrap_err();
    assert!(matches!(refused, SetError::DoesNotFit { free_bytes, .. } if free_bytes == MIB - used), "{refused}");
    // A reader keeps what it reads; then all comes back.
    let reader = set.version();
    assert_eq!(store.drop_set("a", false, watch()), Ok(used));
    drop(set);
    assert_eq!(ledger.snapshot().host.used, used);
    drop(reader);
    assert_eq!((ledger.snapshot().host.used, ledger.snapshot().host.lasting), (0, 0));
}

#[test]
fn memory_that_tasks_hold_is_asked_for_and_else_a_reason_to_come_back() {
    let (ledger, account) = ledger(MIB);
    let claim = std::sync::Arc::new(parking_lot::Mutex::new(None));
    let asked = std::sync::Arc::new(AtomicU64::new(0));
    let (held, counted) = (claim.clone(), asked.clone());
    let account = account.with_relief(move |bytes| {
        // The second time whoever holds the memory gives it back.
        if counted.fetch_add(bytes, Ordering::SeqCst) > 0 {
            drop(held.lock().take());
        }
    });
    let store = SetStore::open(account, None);
    let set = store.create("a", spec(64), watch()).unwrap();
    *claim.lock() = Some(ledger.try_claim(&ResourceDemand { host_bytes: MIB - 1000, ..ResourceDemand::default() }).unwrap());
    let refused = append(&set, &[0.5; 6400], &integers(0..100)).unwrap_err();
    assert!(matches!(refused, SetError::Busy { free_bytes: 1000, needed_bytes, .. } if needed_bytes > 25_600), "{refused}");
    append(&set, &[0.5; 6400], &integers(0..100)).unwrap();
    assert_eq!(ledger.snapshot().host.used, set.version().held_bytes());
}

#[test]
fn whatever_happens_the_books_agree() {
    let (ledger, account) = ledger(64 * MIB);
    let store = SetStore::open(account, None);
    let set = store.create("a", SetSpec { sketch: SketchKind::Int8, ..spec(16) }, watch()).unwrap();
    for round in 0..200i64 {
        let ids = integers(round * 3..round * 3 + 5);
        let metadata: MetaColumns = [("word".to_owned(), (0..5).map(|at| Some(MetaValue::Text(format!("{round} {at}")))).collect())].into();
        let rows = NewRows { values: &RowsIn::Values(&[1.5; 80]), ids: Some(&ids), metadata: &metadata };
        set.write(rows, OnConflict::Replace, watch()).unwrap();
        if round % 7 == 0 {
            set.delete(Doomed::Ids(&integers(round..round * 2)), watch()).unwrap();
        }
        let version = set.version();
        assert_eq!(ledger.snapshot().host.used, version.held_bytes());
        assert!(version.bytes(set.spec()).total() <= version.held_bytes(), "round {round}");
        assert!(version.segment_count() <= 20, "{} segments", version.segment_count());
    }
    store.drop_set("a", false, watch()).unwrap();
    drop(set);
    assert_eq!(ledger.snapshot().host.used, 0);
}

#[test]
fn a_saved_set_that_does_not_fit_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let open = |bytes| SetStore::open(ledger(bytes).1, Some(folder.path().to_owned()));
    let large = open(64 * MIB);
    let set = large.create("a", spec(256), watch()).unwrap();
    append(&set, &vec![0.5f32; 256 * 2048], &integers(0..2048)).unwrap();
    large.save("a", watch()).unwrap();
    let small = open(MIB);
    assert!(
        matches!(small.get("a", watch()).map(drop), Err(SetError::DoesNotFit { needed_bytes, free_bytes: MIB, .. }) if needed_bytes > 2 * MIB)
    );
    assert_eq!(small.list()[0].rows, 2048, "it is listed nevertheless");
}

#[test]
fn a_column_that_few_of_the_joined_segments_have_is_booked_for_all_their_rows() {
    let (ledger, account) = ledger(64 * MIB);
    let set = SetStore::open(account, None).create("a", spec(1), watch()).unwrap();
    for at in 0..40 {
        let ids = integers(at * 8..at * 8 + 8);
        let kind = match at % 3 {
            0 => MetaValue::Flag(true),
            1 => MetaValue::Text("x".into()),
            _ => MetaValue::Texts(vec!["x".into()]),
        };
        let mut column = vec![None; 8];
        column[0] = Some(kind);
        let metadata = MetaColumns::from([(format!("field {at}"), column)]);
        set.write(NewRows { values: &RowsIn::Values(&[0.5; 8]), ids: Some(&ids), metadata: &metadata }, OnConflict::Refuse, watch())
            .unwrap();
        let version = set.version();
        let (holds, booked) = (version.bytes(&spec(1)).total(), version.held_bytes());
        assert!(holds <= booked && booked == ledger.snapshot().host.used, "{holds} of {booked} after {at}");
    }
}
