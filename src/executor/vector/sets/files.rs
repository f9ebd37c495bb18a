//! `set.save` and `set.load`: the worker's store, and files of other programs.

use std::path::{Component, Path, PathBuf};

use super::watched;
use super::write::{check_set, check_shape};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::executor::vector::VectorState;
use crate::executor::vector::output::cost;
use crate::executor::vector::rows_file::{RowsFormat, open_ids, open_rows, write_ids, write_rows};
use crate::task::vector::set::{SetFileOutput, SetLoadRequest, SetSaveRequest};
use crate::task::{Parts, TaskError};
use crate::vectors::{MetaColumns, NewRows, OnConflict, SEGMENT_ROWS, SET_DIM_MAX, Version};

/// The folder of the store in which files of other programs lie.
const FILES: &str = "files";
/// What reading or writing a file holds at least.
const FILE_HELD_MIN: u64 = 16 << 20;
/// Bytes of a value of a segment while it is read: as it lies in the file and as `f32`.
const VALUE_BYTES: u64 = 12;
/// Bytes of a name while it is on its way into a set, by byte of a file of names.
const ID_BYTES: u64 = 30;

/// A set on its way to disk.
pub(in crate::executor::vector) struct Save;

impl Operation<VectorState> for Save {
    type Request = SetSaveRequest;
    type Output = SetFileOutput;
    const NAME: &'static str = "set.save";
    const SUMMARY: &'static str = "Saves a resident set in the worker's store, or its rows as .npy, .safetensors or .fvecs.";

    fn check(request: &Self::Request, state: &VectorState, _parts: &Parts) -> Result<Cost, TaskError> {
        check_set(&request.set)?;
        place_of(state, "file", request.file.as_deref())?;
        place_of(state, "ids_file", request.ids_file.as_deref())?;
        Ok(cost(FILE_HELD_MIN, 0))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let (file, ids_file) =
            (place_of(scope.state, "file", request.file.as_deref())?, place_of(scope.state, "ids_file", request.ids_file.as_deref())?);
        if file.is_none() && ids_file.is_none() {
            let set = watched(scope, "saving the set", |watch| scope.state.sets.save(&request.set, watch))?;
            let version = set.version();
            return Ok(stored(&request.set, &version));
        }
        let set = watched(scope, "reading the set", |watch| scope.state.sets.get(&request.set, watch))?;
        let (version, stop) = (set.version(), || scope.cancel.is_cancelled());
        let whole = |written: Option<usize>| written.ok_or_else(|| scope.cancel.cause());
        let mut file_rows = None;
        if let Some(path) = &file {
            file_rows = Some(whole(write_rows(path, (&version, set.spec()), &stop)?)?);
        }
        if let Some(path) = &ids_file {
            file_rows = Some(whole(write_ids(path, (&version, set.spec()), &stop)?)?);
        }
        let (set, rows, file) = (request.set.clone(), version.len(), request.file.clone());
        Ok(SetFileOutput { set, version: version.number(), rows, file, file_rows })
    }
}

/// A set on its way from disk.
pub(in crate::executor::vector) struct Load;

impl Operation<VectorState> for Load {
    type Request = SetLoadRequest;
    type Output = SetFileOutput;
    const NAME: &'static str = "set.load";
    const SUMMARY: &'static str = "Reads a saved set into memory, or adds the rows of an .npy, .safetensors or .fvecs file to a set.";

    fn check(request: &Self::Request, state: &VectorState, _parts: &Parts) -> Result<Cost, TaskError> {
        check_set(&request.set)?;
        let (file, ids_file) =
            (place_of(state, "file", request.file.as_deref())?, place_of(state, "ids_file", request.ids_file.as_deref())?);
        if file.is_none() && (ids_file.is_some() || request.upsert) {
            return Err(TaskError::invalid("file", "missing; `ids_file` and `upsert` are about the rows of a file"));
        }
        // A file that another task writes first has no length yet.
        let length = |path: &Option<PathBuf>| path.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |file| file.len());
        let (bytes, id_bytes) = (length(&file), length(&ids_file));
        // Of a set that another task makes first only the file says how wide it is.
        let dim = state.spec_of(&request.set).map_or(SET_DIM_MAX, |spec| spec.dim);
        let segment = SEGMENT_ROWS as u64 * dim as u64 * VALUE_BYTES;
        let held = bytes.saturating_mul(3).min(segment).max(FILE_HELD_MIN);
        Ok(cost(held.saturating_add(id_bytes.saturating_mul(ID_BYTES)), bytes))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let set = watched(scope, "reading the set", |watch| scope.state.sets.get(&request.set, watch))?;
        let Some(path) = place_of(scope.state, "file", request.file.as_deref())? else {
            let version = set.version();
            return Ok(stored(&request.set, &version));
        };
        let stop = || scope.cancel.is_cancelled();
        let rows = open_rows(&path, &request.tensor)?;
        check_shape("file", (rows.layout().dim, rows.layout().dtype), (set.spec().dim, set.spec().dtype))?;
        let ids = match place_of(scope.state, "ids_file", request.ids_file.as_deref())? {
            Some(path) => Some(open_ids(&path, &stop)?),
            None => rows.ids(&stop)?,
        };
        scope.cancel.check()?;
        let metadata = MetaColumns::new();
        let new = NewRows { values: &rows, ids: ids.as_deref(), metadata: &metadata };
        let on_conflict = if request.upsert { OnConflict::Replace } else { OnConflict::Refuse };
        let written = watched(scope, "adding rows", |watch| set.write(new, on_conflict, watch))?;
        let (name, file) = (request.set.clone(), request.file.clone());
        Ok(SetFileOutput { set: name, version: written.version, rows: written.len, file, file_rows: Some(written.added) })
    }
}

/// What is said of a set that lies in the store itself.
fn stored(set: &str, version: &Version) -> SetFileOutput {
    SetFileOutput { set: set.to_owned(), version: version.number(), rows: version.len(), file: None, file_rows: None }
}

/// Where a file that a task names lies: where it says, if tasks may name paths of this host, else below the folder `files` of the store.
///
/// Errors: `InvalidPayload` at `field` for a name that leads elsewhere or has another ending, and without a store to look in.
fn place_of(state: &VectorState, field: &str, name: Option<&str>) -> Result<Option<PathBuf>, TaskError> {
    let Some(name) = name else { return Ok(None) };
    let path = Path::new(name);
    RowsFormat::of(path, field)?;
    if state.allow_paths {
        return Ok(Some(path.to_owned()));
    }
    let plain = |part: Component<'_>| matches!(part, Component::Normal(part) if !part.to_string_lossy().starts_with('.'));
    if name.len() > 255 || name.contains(['\\', '\0', ':']) || !path.components().all(plain) {
        return Err(TaskError::invalid(
            field,
            "expected a name such as `base.npy` or `wiki/base.npy` below the folder `files` of the worker's store",
        ));
    }
    let folder = state.sets.folder().ok_or_else(|| TaskError::invalid(field, "this worker has no folder for files (`--vectors-dir`)"))?;
    Ok(Some(folder.join(FILES).join(path)))
}
