//! The rows of a set as a file for other programs: written under another name, then renamed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::RowsFormat;
use super::safetensors::{DTYPES, IDS};
use crate::executor::vector::npy::npy_head;
use crate::task::{Dtype, TaskError};
use crate::vectors::{IdKind, RowDtype, RowId, SetSpec, Version};

/// Rows between two questions whether to stop.
const PIECE_ROWS: usize = 1024;

/// Writes the live rows of a version, oldest first, with their names where the format has a place for them. Gives how many.
///
/// f16 and bf16 stay as they are where the format knows them, bits are packed, everything else is f32. Errors: `InvalidPayload` at `file` for a format that
/// cannot hold the rows or a place that cannot be written; `Ok(None)` when it was stopped.
pub(in crate::executor::vector) fn write_rows(
    path: &Path,
    (version, spec): (&Version, &SetSpec),
    stop: &dyn Fn() -> bool,
) -> Result<Option<usize>, TaskError> {
    let format = RowsFormat::of(path, "file")?;
    let dtype = match (format, spec.dtype) {
        (RowsFormat::Ivecs, _) => return Err(TaskError::invalid("file", ".ivecs holds integers; write .fvecs, .npy or .safetensors")),
        (RowsFormat::Fvecs, RowDtype::Binary) => {
            return Err(TaskError::invalid("file", ".fvecs holds values, not bits; write .npy or .safetensors"));
        }
        (_, RowDtype::Binary) => Dtype::U8,
        (RowsFormat::Npy | RowsFormat::Safetensors, RowDtype::F16) => Dtype::F16,
        (RowsFormat::Safetensors, RowDtype::Bf16) => Dtype::Bf16,
        _ => Dtype::F32,
    };
    let (rows, width) = (version.len(), if dtype == Dtype::U8 { spec.dim.div_ceil(8) } else { spec.dim });
    let head = match format {
        RowsFormat::Npy => npy_head(dtype, &[rows, width])?,
        RowsFormat::Safetensors => safetensors_head(dtype, [rows, width], spec.ids)?,
        RowsFormat::Fvecs | RowsFormat::Ivecs => Vec::new(),
    };
    let lead = i32::try_from(spec.dim).map_err(|_wide| TaskError::invalid("file", "too many dimensions"))?;
    unfinished("file", path, |file| {
        file.write_all(&head)?;
        if format == RowsFormat::Safetensors && spec.ids == IdKind::Integer {
            for place in version.places() {
                file.write_all(&integer(&version.id(place)).to_le_bytes())?;
            }
        }
        let mut values = vec![0f32; spec.dim];
        for (at, place) in version.places().enumerate() {
            if at % PIECE_ROWS == 0 && stop() {
                return Ok(None);
            }
            if format == RowsFormat::Fvecs {
                file.write_all(&lead.to_le_bytes())?;
            }
            if dtype == Dtype::F32 {
                version.widen(place, &mut values);
                file.write_all(bytemuck::cast_slice(&values))?;
            } else {
                file.write_all(&version.stored(place).0[..width * dtype.size_bytes()])?;
            }
        }
        Ok(Some(rows))
    })
}

/// Writes the names of the live rows, oldest first. Errors: `InvalidPayload` at `ids_file` for names that are no integers, or too large for the format;
/// `Ok(None)` when it was stopped.
pub(in crate::executor::vector) fn write_ids(
    path: &Path,
    (version, spec): (&Version, &SetSpec),
    stop: &dyn Fn() -> bool,
) -> Result<Option<usize>, TaskError> {
    let format = RowsFormat::of(path, "ids_file")?;
    if spec.ids == IdKind::Text {
        return Err(TaskError::invalid("ids_file", "the rows of this set are named by strings; such files hold integers"));
    }
    let rows = version.len();
    let head = match format {
        RowsFormat::Npy => npy_head(Dtype::I64, &[rows])?,
        RowsFormat::Ivecs => Vec::new(),
        _ => return Err(TaskError::invalid("ids_file", "names are written as .npy or .ivecs")),
    };
    let too_large = version.places().map(|place| integer(&version.id(place))).find(|id| i32::try_from(*id).is_err());
    if let (RowsFormat::Ivecs, Some(id)) = (format, too_large) {
        return Err(TaskError::invalid("ids_file", format!(".ivecs holds integers of 32 bits, found {id}; write .npy")));
    }
    unfinished("ids_file", path, |file| {
        file.write_all(&head)?;
        for (at, place) in version.places().enumerate() {
            if at % PIECE_ROWS == 0 && stop() {
                return Ok(None);
            }
            let id = integer(&version.id(place));
            if format == RowsFormat::Npy {
                file.write_all(&id.to_le_bytes())?;
            } else {
                file.write_all(&1i32.to_le_bytes())?;
                file.write_all(&(id as i32).to_le_bytes())?;
            }
        }
        Ok(Some(rows))
    })
}

fn integer(id: &RowId) -> i64 {
    if let RowId::Integer(id) = id { *id } else { 0 }
}

fn safetensors_head(dtype: Dtype, shape: [usize; 2], ids: IdKind) -> Result<Vec<u8>, TaskError> {
    let name = DTYPES.iter().find(|(known, _)| *known == dtype).map_or("F32", |(_, name)| name);
    let id_bytes = if ids == IdKind::Integer { shape[0] * 8 } else { 0 };
    let end = id_bytes + shape[0] * shape[1] * dtype.size_bytes();
    let mut header = json!({ "vectors": { "dtype": name, "shape": shape, "data_offsets": [id_bytes, end] } });
    if ids == IdKind::Integer {
        header[IDS] = json!({ "dtype": "I64", "shape": [shape[0]], "data_offsets": [0, id_bytes] });
    }
    let mut text = serde_json::to_vec(&header).map_err(|error| TaskError::internal("the header cannot be written", error.to_string()))?;
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes(), text.as_slice()].concat())
}

/// Writes a file whole or not at all.
fn unfinished<T>(
    field: &str,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<Option<T>>,
) -> Result<Option<T>, TaskError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    let beside = PathBuf::from(name);
    let written = (|| {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = BufWriter::new(File::create(&beside)?);
        let Some(written) = write(&mut file)? else { return Ok(None) };
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&beside, path)?;
        Ok(Some(written))
    })();
    if !matches!(written, Ok(Some(_))) {
        // Gone already, or in the way of nobody.
        let _removed = std::fs::remove_file(&beside);
    }
    written.map_err(|error: std::io::Error| TaskError::invalid(field, format!("cannot be written: {error}")))
}
