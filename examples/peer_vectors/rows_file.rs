//! `.npy` files of f32 rows, read piece by piece: rows that go into a set need not be in memory twice.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;
use tallow::{Dtype, Part};

use super::Failure;

/// An open file.
pub(super) struct RowsFile {
    file: File,
    start: u64,
    pub(super) rows: usize,
    pub(super) dim: usize,
}

impl RowsFile {
    /// Errors: for anything but version 1 of the format with `[rows, dim]` little-endian f32 in rows.
    pub(super) fn open(path: &str) -> Result<Self, Failure> {
        let mut file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
        let mut lead = [0; 10];
        file.read_exact(&mut lead)?;
        if &lead[..8] != b"\x93NUMPY\x01\x00" {
            return Err(format!("{path}: no `.npy` file of version 1").into());
        }
        let mut header = vec![0; u16::from_le_bytes([lead[8], lead[9]]).into()];
        file.read_exact(&mut header)?;
        let header = String::from_utf8(header)?;
        if !header.contains("'descr': '<f4'") || !header.contains("'fortran_order': False") {
            return Err(format!("{path}: expected little-endian f32 in rows, found {header}").into());
        }
        let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).ok_or("the header has no shape")?.0;
        let sizes = shape.split(',').map(|size| size.trim().parse()).collect::<Result<Vec<usize>, _>>()?;
        let &[rows, dim] = sizes.as_slice() else { return Err(format!("{path}: expected two dimensions, found {shape}").into()) };
        Ok(Self { file, start: (lead.len() + header.len()) as u64, rows, dim })
    }

    /// At most `count` rows from the row `from` on.
    pub(super) fn read(&mut self, from: usize, count: usize) -> Result<Part, Failure> {
        let count = count.min(self.rows - from);
        let mut values = vec![0f32; count * self.dim];
        self.file.seek(SeekFrom::Start(self.start + (from * self.dim * 4) as u64))?;
        self.file.read_exact(bytemuck::cast_slice_mut(&mut values))?;
        Ok(Part::new(Dtype::F32, vec![count, self.dim], Bytes::from_owner(Values(values)))?)
    }

    /// All of them.
    pub(super) fn all(path: &str) -> Result<Part, Failure> {
        let mut file = Self::open(path)?;
        file.read(0, file.rows)
    }
}

/// Numbers as the bytes of a part, without a copy.
struct Values(Vec<f32>);

impl AsRef<[u8]> for Values {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}
