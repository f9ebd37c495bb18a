//! Sets against a plain model, against their budget, and against files that lie.

mod budget;
mod filters;
mod model;
mod readers;
mod saved;

use std::collections::BTreeMap;
use std::sync::Arc;

use tallow_kernels::Rows;
use tallow_kernels::distance::Metric;
use tallow_kernels::search::Certainty;

use super::*;
use crate::resource::{BudgetLimits, HostAccount, Ledger};

/// A ledger with so many bytes, and an account in it.
fn ledger(bytes: u64) -> (Ledger, HostAccount) {
    let ledger = Ledger::new(&BudgetLimits { host_bytes: bytes, threads: 2, devices: BTreeMap::new() });
    (ledger.clone(), HostAccount::new(ledger, None))
}

/// A store without a folder and without a bound.
fn store() -> SetStore {
    SetStore::open(ledger(u64::MAX).1, None)
}

/// Nobody wants to stop and nobody listens.
fn watch() -> Watch<'static> {
    Watch { stop: &|| false, progress: &|_| {} }
}

fn spec(dim: usize) -> SetSpec {
    SetSpec { dim, metric: Metric::Dot, dtype: RowDtype::F32, ids: IdKind::Integer, sketch: SketchKind::None, persistent: false }
}

fn integers(ids: impl IntoIterator<Item = i64>) -> Vec<RowId> {
    ids.into_iter().map(RowId::Integer).collect()
}

/// Adds rows with names and without metadata.
fn append(set: &VectorSet, values: &[f32], ids: &[RowId]) -> Result<Written, SetError> {
    let metadata = MetaColumns::new();
    set.write(NewRows { values: &RowsIn::Values(values), ids: Some(ids), metadata: &metadata }, OnConflict::Refuse, watch())
}

/// Names and scores of the closest rows of one query.
fn nearest(set: &VectorSet, query: &[f32], k: usize) -> Vec<(RowId, f64)> {
    let version = set.version();
    let queries = Rows::new(query, query.len()).unwrap();
    let query = SetQuery { queries, k: Some(k), threshold: None, hits_max: 0, filter: None, certainty: Certainty::Exact };
    let answer = search_version(&version, set.spec(), &query, watch()).unwrap();
    assert_eq!((answer.hits.len(), answer.rows), (1, version.len()));
    answer.hits[0].iter().map(|hit| (version.id(hit.place), hit.score)).collect()
}

fn names(set: &VectorSet) -> Vec<RowId> {
    let version = set.version();
    version.places().map(|place| version.id(place)).collect()
}

#[test]
fn a_write_is_there_as_a_whole_or_not_at_all() {
    let set = store().create("a", spec(2), watch()).unwrap();
    append(&set, &[1.0, 0.0, 0.0, 1.0], &integers([5, 7])).unwrap();
    let before = set.version();
    let no_metadata = MetaColumns::new();
    let mixed: MetaColumns = [("n".to_owned(), vec![Some(MetaValue::Number(1.0)), Some(MetaValue::Flag(true))])].into();
    let four = [1.0, 2.0, 3.0, 4.0];
    let text = |text: &str| RowId::Text(text.into());
    let too_wide = [1.0; 3];
    for (values, ids, metadata, field) in [
        (&four[..], integers([8, 7]), &no_metadata, "ids[1]"),
        (&four[..], integers([8, 8]), &no_metadata, "ids[1]"),
        (&four[..], vec![RowId::Integer(8), text("x")], &no_metadata, "ids[1]"),
        (&four[..], integers([8]), &no_metadata, "ids"),
        (&too_wide[..], integers([8]), &no_metadata, "vectors"),
        (&four[..], integers([8, 9]), &mixed, "metadata[1].n"),
    ] {
        let refused = set.write(NewRows { values: &RowsIn::Values(values), ids: Some(&ids), metadata }, OnConflict::Refuse, watch());
        assert!(matches!(&refused, Err(SetError::Invalid { field: found, .. }) if found == field), "{field}: {refused:?}");
    }
    let stopped = Watch { stop: &|| true, ..watch() };
    let rows = NewRows { values: &RowsIn::Values(&four), ids: None, metadata: &no_metadata };
    assert_eq!(set.write(rows, OnConflict::Refuse, stopped), Err(SetError::Stopped));
    assert_eq!(set.delete(Doomed::Ids(&integers([5])), stopped), Err(SetError::Stopped));
    assert!(Arc::ptr_eq(&before, &set.version()), "nothing was changed");
    let written = set.write(rows, OnConflict::Refuse, watch()).unwrap();
    assert_eq!(written, Written { version: 2, added: 2, removed: 0, first_id: Some(8), len: 4 });
    assert_eq!(names(&set), integers([5, 7, 8, 9]));
}

#[test]
fn rows_are_numbered_until_the_integers_end() {
    let set = store().create("a", spec(1), watch()).unwrap();
    append(&set, &[1.0], &integers([i64::MAX])).unwrap();
    let metadata = MetaColumns::new();
    let rows = NewRows { values: &RowsIn::Values(&[1.0]), ids: None, metadata: &metadata };
    assert!(matches!(set.write(rows, OnConflict::Refuse, watch()), Err(SetError::Invalid { field, .. }) if field == "ids"));
    append(&set, &[2.0], &integers([i64::MIN])).unwrap();
    assert_eq!(nearest(&set, &[1.0], 5), [(RowId::Integer(i64::MIN), 2.0), (RowId::Integer(i64::MAX), 1.0)]);
}

#[test]
fn every_dtype_keeps_rows_as_it_can_and_finds_them() {
    let rows: Vec<f32> = (0..40 * 24).map(|at| ((at * 37 % 101) as f32 - 50.0) / 32.0).collect();
    for (dtype, metric, allowed) in [
        (RowDtype::F32, Metric::Cosine, 0.0),
        (RowDtype::F16, Metric::L2, 1e-3),
        (RowDtype::Bf16, Metric::L1, 1e-2),
        (RowDtype::Int8, Metric::Dot, 1e-2),
        (RowDtype::Binary, Metric::Hamming, 0.0),
    ] {
        for sketch in [SketchKind::None, SketchKind::auto(dtype, metric)] {
            let set = store().create("a", SetSpec { dtype, metric, sketch, ..spec(24) }, watch()).unwrap();
            append(&set, &rows, &integers(0..40)).unwrap();
            let version = set.version();
            let mut out = vec![0.0; 24];
            for (row, place) in rows.chunks_exact(24).zip(version.places()) {
                version.widen(place, &mut out);
                let kept = |value: f32| if dtype == RowDtype::Binary { f32::from(value > 0.0) } else { value };
                assert!(row.iter().zip(&out).all(|(value, out)| (kept(*value) - out).abs() <= allowed), "{dtype:?} {row:?} {out:?}");
            }
            let hits = nearest(&set, &rows[7 * 24..8 * 24], 40);
            assert_eq!(hits.len(), 40);
            if metric != Metric::Dot {
                assert_eq!(hits[0].0, RowId::Integer(7), "{dtype:?}");
            }
        }
    }
}

#[test]
fn values_that_a_dtype_cannot_hold_are_refused_at_their_place() {
    for (dtype, value) in [(RowDtype::F16, 1e6), (RowDtype::Int8, f32::NAN), (RowDtype::Bf16, f32::INFINITY), (RowDtype::Binary, f32::NAN)]
    {
        let metric = if dtype == RowDtype::Binary { Metric::Jaccard } else { Metric::L2 };
        let set = store().create("a", SetSpec { dtype, metric, ..spec(3) }, watch()).unwrap();
        let mut rows = vec![0.5f32; 3 * 300];
        rows[3 * 290 + 1] = value;
        let refused = append(&set, &rows, &integers(0..300));
        assert!(matches!(&refused, Err(SetError::Invalid { field, .. }) if field == "vectors[290][1]"), "{dtype:?}: {refused:?}");
        assert!(set.version().is_empty());
    }
    // An f32 set keeps what it is given; NaN ranks last.
    let set = store().create("a", SetSpec { metric: Metric::L2, ..spec(1) }, watch()).unwrap();
    append(&set, &[f32::NAN, 3.0, f32::INFINITY, 1.0], &integers(0..4)).unwrap();
    let order: Vec<RowId> = nearest(&set, &[0.0], 4).into_iter().map(|(id, _)| id).collect();
    assert_eq!(order, integers([3, 1, 2, 0]));
}

#[test]
fn names_and_shapes_beyond_the_bounds_are_refused() {
    let store = store();
    for name in ["", "A", "a/b", "../a", ".a", "a b", &"a".repeat(65)] {
        assert!(matches!(store.create(name, spec(1), watch()), Err(SetError::Invalid { field, .. }) if field == "set"), "{name}");
        assert!(matches!(store.get(name, watch()), Err(SetError::Invalid { .. })), "{name}");
    }
    for (wrong, field) in [
        (SetSpec { dim: 0, ..spec(1) }, "dim"),
        (SetSpec { dim: SET_DIM_MAX + 1, ..spec(1) }, "dim"),
        (SetSpec { dtype: RowDtype::Binary, ..spec(1) }, "metric"),
        (SetSpec { sketch: SketchKind::Int8, metric: Metric::L1, ..spec(1) }, "sketch"),
        (SetSpec { sketch: SketchKind::Int8, dtype: RowDtype::Int8, ..spec(1) }, "sketch"),
        (SetSpec { persistent: true, ..spec(1) }, "persistent"),
    ] {
        assert!(matches!(store.create("a", wrong, watch()), Err(SetError::Invalid { field: found, .. }) if found == field), "{field}");
    }
    store.create("a", spec(1), watch()).unwrap();
    assert!(matches!(store.create("a", spec(1), watch()), Err(SetError::Invalid { field, .. }) if field == "set"));
    let missing = store.get("b", watch()).map(drop).unwrap_err();
    assert_eq!(missing.to_string(), "no set is named `b`; there are: a");
    let many = self::store();
    for at in 0..SETS_MAX {
        many.create(&format!("s{at}"), spec(1), watch()).unwrap();
    }
    assert!(matches!(many.create("one-more", spec(1), watch()), Err(SetError::Invalid { field, .. }) if field == "set"));
}
