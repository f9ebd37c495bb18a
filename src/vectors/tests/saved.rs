//! Sets on disk: what is read back is what was saved, and what was not saved is an error, never a panic and never another set.

use std::path::{Path, PathBuf};

use super::*;

fn open(folder: &Path) -> SetStore {
    SetStore::open(ledger(1 << 30).1, Some(folder.to_owned()))
}

/// A set of every kind of section, saved.
fn saved(folder: &Path, name: &str) -> Vec<RowId> {
    let store = open(folder);
    let spec = SetSpec { ids: IdKind::Text, dtype: RowDtype::F16, sketch: SketchKind::Int8, ..spec(3) };
    let set = store.create(name, spec, watch()).unwrap();
    let ids: Vec<RowId> = (0..20).map(|at| RowId::Text(format!("ä{at}"))).collect();
    let metadata: MetaColumns = [("n".to_owned(), (0..20).map(|at| Some(MetaValue::Number(f64::from(at)))).collect())].into();
    let values: Vec<f32> = (0..60).map(|at| at as f32).collect();
    set.write(NewRows { values: &RowsIn::Values(&values), ids: Some(&ids), metadata: &metadata }, OnConflict::Refuse, watch()).unwrap();
    set.delete(Doomed::Ids(&ids[..3]), watch()).unwrap();
    store.save(name, watch()).unwrap();
    ids[3..].to_vec()
}

fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("sets").join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_saved_set_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ids = saved(folder.path(), "a");
    let store = open(folder.path());
    let listed = store.list();
    assert!(matches!((&listed[0].state, listed[0].rows, listed[0].version), (SetState::Saved, 17, 2)), "{listed:?}");
    let set = store.get("a", watch()).unwrap();
    assert_eq!(names(&set), ids);
    assert!(matches!(store.list()[0].state, SetState::Resident { saved_version: Some(2) }));
    // What is in memory alone is not there after the next one.
    set.delete(Doomed::Ids(&ids[..5]), watch()).unwrap();
    assert!(matches!(store.drop_set("a", true, watch()), Err(SetError::Invalid { field, .. }) if field == "keep_saved"));
    assert_eq!(names(&open(folder.path()).get("a", watch()).unwrap()), ids);
    store.save("a", watch()).unwrap();
    store.drop_set("a", true, watch()).unwrap();
    assert_eq!(names(&store.get("a", watch()).unwrap()), ids[5..]);
    store.drop_set("a", false, watch()).unwrap();
    assert!(open(folder.path()).list().is_empty());
    assert!(matches!(store.get("a", watch()).map(drop), Err(SetError::Missing { .. })));
}

#[test]
fn a_set_that_is_dropped_takes_no_more_rows() {
    let store = store();
    let set = store.create("a", spec(1), watch()).unwrap();
    store.drop_set("a", false, watch()).unwrap();
    assert!(matches!(append(&set, &[1.0], &integers([1])), Err(SetError::Missing { .. })));
}

#[test]
fn every_changed_byte_of_every_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), "a");
    saved(folder.path(), "whole");
    let files = files(folder.path(), "a");
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(file, &changed).unwrap();
            let store = open(folder.path());
            let refused = store.get("a", watch()).map(drop).unwrap_err();
            assert!(matches!(&refused, SetError::Damaged { name, .. } if name == "a"), "byte {at} of {file:?}: {refused}");
            if at % 97 == 0 {
                assert!(matches!(store.list()[0].state, SetState::Damaged(_)), "it is listed as what it is");
                assert!(store.get("whole", watch()).is_ok(), "one damaged set is one damaged set");
            }
        }
        for len in (0..bytes.len()).step_by(13) {
            std::fs::write(file, &bytes[..len]).unwrap();
            assert!(matches!(open(folder.path()).get("a", watch()).map(drop), Err(SetError::Damaged { .. })), "{len} bytes of {file:?}");
        }
        std::fs::write(file, [&bytes[..], &[0]].concat()).unwrap();
        assert!(matches!(open(folder.path()).get("a", watch()).map(drop), Err(SetError::Damaged { .. })));
        std::fs::write(file, &bytes).unwrap();
    }
    assert!(open(folder.path()).get("a", watch()).is_ok());
    // Rows of another set are not those of the manifest.
    std::fs::remove_file(&files[0]).unwrap();
    let store = open(folder.path());
    let refused = store.get("a", watch()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("it is not there"), "{refused}");
    store.drop_set("a", false, watch()).unwrap();
    assert_eq!(open(folder.path()).list().len(), 1);
}

#[test]
fn what_a_broken_save_leaves_is_no_set_and_goes_with_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let ids = saved(folder.path(), "a");
    let home = folder.path().join("sets").join("a");
    std::fs::write(home.join("manifest.unfinished"), b"half").unwrap();
    std::fs::write(home.join("00000000000000ff.rows"), b"of a save that never ended").unwrap();
    std::fs::create_dir_all(folder.path().join("sets").join("b")).unwrap();
    let store = open(folder.path());
    assert_eq!(store.list().len(), 1);
    let set = store.get("a", watch()).unwrap();
    assert_eq!(names(&set), ids);
    set.delete(Doomed::Ids(&ids[..1]), watch()).unwrap();
    store.save("a", watch()).unwrap();
    let left = files(folder.path(), "a");
    assert_eq!(left.len(), 2, "{left:?}");
    store.create("b", spec(1), watch()).unwrap();
}

#[test]
fn a_persistent_set_saves_what_is_new_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let set = store.create("a", SetSpec { persistent: true, ..spec(1) }, watch()).unwrap();
    let many: Vec<f32> = (0..1000).map(|at| at as f32).collect();
    append(&set, &many, &integers(0..1000)).unwrap();
    let large = files(folder.path(), "a");
    append(&set, &[1.0], &integers([1000])).unwrap();
    let both = files(folder.path(), "a");
    assert!(both.len() == 3 && large.iter().all(|file| both.contains(file)), "{large:?} {both:?}");
    assert_eq!(open(folder.path()).get("a", watch()).unwrap().version().len(), 1001);
}

#[test]
fn a_store_that_cannot_be_written_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let set = store.create("a", SetSpec { persistent: true, ..spec(1) }, watch()).unwrap();
    append(&set, &[1.0], &integers([1])).unwrap();
    // A file in the place of the folder: nothing can be written below it.
    std::fs::remove_dir_all(folder.path().join("sets")).unwrap();
    std::fs::write(folder.path().join("sets"), b"").unwrap();
    assert!(matches!(append(&set, &[2.0], &integers([2])), Err(SetError::Store { .. })));
    assert_eq!(names(&set), integers([1]), "what was not saved was not done");
}
