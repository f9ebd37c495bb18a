//! Files of sets and files of rows: what they claim is held against what they are, whatever they claim.

use std::collections::BTreeMap;
use std::path::Path;

use rand::Rng as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};
use tallow::executor::vector::rows_file::{RowsFormat, layout};
use tallow::resource::{BudgetLimits, HostAccount, Ledger};
use tallow::vectors::{
    IdKind, MetaColumns, MetaValue, NewRows, OnConflict, RowDtype, RowId, RowsIn, SetError, SetSpec, SetStore, SketchKind, Watch,
};
use tallow::{Part, TaskError};
use tallow_kernels::distance::Metric;

use crate::bytes::mutated;
use crate::harness::fuzz;

const WATCH: Watch<'static> = Watch { stop: &|| false, progress: &|_| {} };

fn open(folder: &Path) -> SetStore {
    let limits = BudgetLimits { host_bytes: 16 << 20, threads: 1, devices: BTreeMap::new() };
    SetStore::open(HostAccount::new(Ledger::new(&limits), None), Some(folder.to_owned()))
}

/// A saved set with something in every section of its files.
fn save(folder: &Path) {
    let spec = SetSpec { dim: 3, metric: Metric::Dot, dtype: RowDtype::F16, ids: IdKind::Text, sketch: SketchKind::Int8, persistent: true };
    let set = open(folder).create("set", spec, WATCH).expect("a free name");
    let ids: Vec<RowId> = (0..5).map(|at| RowId::Text(format!("row {at}"))).collect();
    let column = |value: &dyn Fn(usize) -> MetaValue| (0..5).map(|at| (at != 2).then(|| value(at))).collect();
    let metadata: MetaColumns = [
        ("flag".to_owned(), column(&|at| MetaValue::Flag(at % 2 == 0))),
        ("number".to_owned(), column(&|at| MetaValue::Number(at as f64))),
        ("text".to_owned(), column(&|at| MetaValue::Text(format!("t{at}")))),
        ("texts".to_owned(), column(&|at| MetaValue::Texts(vec![format!("t{at}"), "t".into()]))),
    ]
    .into();
    let rows = NewRows { values: &RowsIn::Values(&[0.5; 15]), ids: Some(&ids), metadata: &metadata };
    set.write(rows, OnConflict::Refuse, WATCH).expect("room");
    set.delete(tallow::vectors::Doomed::Ids(&ids[..1]), WATCH).expect("it is there");
}

/// What a forger would write: changed bytes under a checksum that is right.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(32));
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

#[test]
fn files_of_sets_are_read_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    save(folder.path());
    let home = folder.path().join("sets").join("set");
    let mut files: Vec<_> = std::fs::read_dir(&home).expect("saved").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let whole: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("readable")).collect();
    assert_eq!(whole.len(), 2, "a manifest and a segment");
    let make = |random: &mut StdRng, mutations: usize| {
        let file = random.random_range(0..files.len());
        (file, sealed(mutated(&whole[file..=file], mutations, random)))
    };
    fuzz("set files", make, |(file, bytes)| {
        std::fs::write(&files[*file], bytes).map_err(|error| error.to_string())?;
        let store = open(folder.path());
        let listed = store.list();
        let got = store.get("set", WATCH).map(|set| {
            let version = set.version();
            // Whatever was believed can be read to its last row.
            let mut row = vec![0.0; set.spec().dim];
            for place in version.places() {
                version.widen(place, &mut row);
                let (_id, _metadata) = (version.id(place), version.metadata(place));
            }
            version.bytes(set.spec()).total() <= version.held_bytes()
        });
        std::fs::write(&files[*file], &whole[*file]).map_err(|error| error.to_string())?;
        match got {
            Ok(true) | Err(SetError::Damaged { .. } | SetError::DoesNotFit { .. } | SetError::Busy { .. }) => Ok(()),
            Ok(false) => Err("more is held than was booked".into()),
            Err(error) => Err(format!("not an answer: {error:?} for {listed:?}")),
        }
    });
}

#[test]
fn files_of_rows_say_where_their_rows_are_or_are_refused() {
    let npy = tallow::executor::vector::npy::write_npy(&Part::from_f32(vec![2, 3], &[1.0; 6]).expect("six values")).expect("f32");
    let header =
        r#"{"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"vectors":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}}"#;
    let tensors = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 16]].concat();
    let lengths = [2i32.to_le_bytes(), [0; 4], [0; 4], 2i32.to_le_bytes(), [0; 4], [0; 4]].concat();
    let formats = [RowsFormat::Npy, RowsFormat::Safetensors, RowsFormat::Fvecs, RowsFormat::Ivecs];
    let corpus = [npy, tensors, lengths.clone(), lengths];
    let make = |random: &mut StdRng, mutations: usize| {
        let at = random.random_range(0..formats.len());
        (formats[at], mutated(&corpus[at..=at], mutations, random), random.random_range(0..8u64))
    };
    fuzz("rows files", make, |(format, bytes, more)| match layout(*format, (bytes, bytes.len() as u64 + more), "vectors") {
        Err(TaskError::InvalidPayload { field, reason }) if field == "file" && reason.len() < 3000 => Ok(()),
        Err(other) => Err(format!("not the error of the contract: {other:?}")),
        Ok((rows, ids)) => {
            let end = |rows: &tallow::executor::vector::rows_file::RowsLayout| {
                (rows.rows as u64).checked_mul(rows.stride() as u64).and_then(|bytes| bytes.checked_add(rows.start))
            };
            let inside = |rows: &_| end(rows).is_some_and(|end| end <= bytes.len() as u64 + more);
            if inside(&rows) && ids.as_ref().is_none_or(inside) { Ok(()) } else { Err(format!("beyond the file: {rows:?} {ids:?}")) }
        }
    });
}
