//! `.npy` files, in and out: whole arrays, and arrays written row by row.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use half::bf16;
use ndarray_npy::npy::header::{Header, Layout};

use super::draft::Draft;
use super::exit::{CliError, Exit};
use crate::executor::vector::npy::{parse_npy, write_npy};
use crate::task::{Dtype, Part};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 30;

/// Reads an array of any supported dtype, byte order and layout; the part is little-endian and row-major.
///
/// Errors: absent (exit 3), no `.npy` file, an unsupported dtype (objects are never unpickled), fewer or more bytes than the shape needs.
pub(crate) fn read(path: &Path) -> Result<Part, CliError> {
    let file = File::open(path).map_err(|error| CliError::file(path, &error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| CliError::file(path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(CliError::new(Exit::DoesNotFit, format!("{}: more than {FILE_BYTES_MAX} bytes", path.display())));
    }
    parse_npy(&bytes).map_err(|error| CliError::from(error).at(path.display()))
}

/// The header of a row-major little-endian file.
fn header_bytes(descriptor: &str, shape: &[usize]) -> Result<Vec<u8>, CliError> {
    let fault = |reason: String| CliError::new(Exit::Runtime, format!("could not write a .npy header: {reason}"));
    let type_descriptor = format!("'{descriptor}'").parse().map_err(|error| fault(format!("{error}")))?;
    Header { type_descriptor, layout: Layout::Standard, shape: shape.to_vec() }.to_bytes().map_err(|error| fault(error.to_string()))
}

/// Writes a part. bf16, which NumPy has no name for, is widened to float32 without loss. Writes beside the file, then renames.
pub(crate) fn write(path: &Path, part: &Part) -> Result<(), CliError> {
    let mut writer = RowWriter::create(path)?;
    if part.dtype() == Dtype::Bf16 {
        let values: Vec<f32> = part.bytes().chunks_exact(2).map(|pair| bf16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect();
        writer.append(&write_npy(&Part::from_f32(part.shape().to_vec(), &values)?)?)?;
    } else {
        writer.append(&write_npy(part)?)?;
    }
    writer.finish()
}

/// Writes an array row by row into a draft: a reader never sees half of it.
pub(crate) struct RowWriter {
    draft: Draft,
    begun: bool,
}

impl RowWriter {
    /// Opens the draft. Errors: the folder is absent or may not be written.
    pub(crate) fn create(path: &Path) -> Result<Self, CliError> {
        Ok(Self { draft: Draft::create(path)?, begun: false })
    }

    /// True once the header is written.
    #[must_use]
    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    /// Writes the header. `descriptor` as NumPy writes it, such as `<f4`.
    pub(crate) fn begin(&mut self, descriptor: &str, shape: &[usize]) -> Result<(), CliError> {
        self.begun = true;
        let header = header_bytes(descriptor, shape)?;
        self.append(&header)
    }

    /// Writes little-endian values.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.draft.append(bytes)
    }

    /// Puts the file in its place.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        self.draft.finish()
    }
}
