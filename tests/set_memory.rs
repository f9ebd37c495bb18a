//! What a resident set holds beside its rows and their names, counted by the allocator: at most 12 bytes a row, 24 with a sketch, however it was filled.

mod counting;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tallow::resource::{BudgetLimits, HostAccount, Ledger};
use tallow::vectors::{IdKind, MetaColumns, NewRows, OnConflict, RowDtype, RowId, RowsIn, SetSpec, SetStore, SketchKind, Watch};
use tallow_kernels::distance::Metric;

use counting::HELD;

const DIM: usize = 64;
const ROWS: usize = 100_000;
/// What is no set's: the store's table, and at the first call thread pools.
const SLACK_BYTES: u64 = 64 * 1024;

/// Bytes a row beside values, scales, the values of a sketch and the names themselves.
fn beside_rows(spec: SetSpec, batch: usize, id_bytes: usize) -> f64 {
    let limits = BudgetLimits { host_bytes: u64::MAX, threads: 1, devices: BTreeMap::new() };
    let ledger = Ledger::new(&limits);
    let store = SetStore::open(HostAccount::new(ledger.clone(), None), None);
    let watch = Watch { stop: &|| false, progress: &|_| {} };
    let values: Vec<f32> = (0..batch * DIM).map(|at| (at % 17) as f32 - 8.0).collect();
    let metadata = MetaColumns::new();
    let before = HELD.load(Ordering::Relaxed);
    let set = store.create("set", spec.clone(), watch).expect("a free name");
    for from in (0..ROWS).step_by(batch) {
        let id = |at: usize| if spec.ids == IdKind::Text { RowId::Text(format!("{at:08}")) } else { RowId::Integer(at as i64) };
        let ids: Vec<RowId> = (from..from + batch).map(id).collect();
        let rows = NewRows { values: &RowsIn::Values(&values), ids: Some(&ids), metadata: &metadata };
        set.write(rows, OnConflict::Refuse, watch).expect("room");
    }
    let held = (HELD.load(Ordering::Relaxed) - before) as f64;
    let booked = ledger.snapshot().host.used;
    assert!(held <= (booked + SLACK_BYTES) as f64, "{held} bytes are held, {booked} are booked");
    let row_bytes = spec.dtype.row_bytes(DIM) + if spec.sketch == SketchKind::Int8 { DIM } else { 0 };
    held / ROWS as f64 - (row_bytes + id_bytes) as f64
}

#[test]
fn a_set_holds_little_beside_its_rows_and_names() {
    let spec = |dtype, ids, sketch| SetSpec { dim: DIM, metric: Metric::Dot, dtype, ids, sketch, persistent: false };
    // Once for what is made at the first call: thread pools, tables of instructions.
    beside_rows(spec(RowDtype::F32, IdKind::Integer, SketchKind::Int8), ROWS, 8);
    for (spec, batch, id_bytes, allowed) in [
        (spec(RowDtype::F32, IdKind::Integer, SketchKind::None), ROWS, 8, 12.0),
        (spec(RowDtype::F32, IdKind::Integer, SketchKind::None), 1000, 8, 12.0),
        (spec(RowDtype::Bf16, IdKind::Integer, SketchKind::None), 100, 8, 12.0),
        (spec(RowDtype::Int8, IdKind::Integer, SketchKind::None), 10_000, 8, 12.0),
        // A text's own bytes; where each begins counts as overhead.
        (spec(RowDtype::F16, IdKind::Text, SketchKind::None), 1000, 8, 12.0),
        (spec(RowDtype::F32, IdKind::Integer, SketchKind::Int8), 1000, 8, 24.0),
    ] {
        let bytes = beside_rows(spec.clone(), batch, id_bytes);
        println!("{} rows by {batch}, {:?} names, sketch {:?}: {bytes:.2} bytes a row", spec.dtype.name(), spec.ids, spec.sketch);
        assert!(bytes > 2.0, "the allocator counts: {bytes:.2}");
        assert!(bytes <= allowed, "{bytes:.2} bytes a row, {allowed} allowed");
    }
}
