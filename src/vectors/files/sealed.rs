//! A file of the store: kind, version and a JSON header in front, data behind it, a SHA-256 of all at the end. Written under another name, then renamed.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::{FileError, broken};
use crate::vectors::set::Watch;

/// The ending of files that are being written.
pub(super) const UNFINISHED: &str = ".unfinished";
/// The version of the format.
const VERSION: u32 = 1;
const DIGEST_BYTES: u64 = 32;
/// Bytes between two questions whether to stop.
const PIECE: usize = 1 << 20;

/// A file that is being written.
pub(super) struct Sealing {
    file: BufWriter<File>,
    digest: Sha256,
}

/// Writes a file as a whole or not at all: kind, header, and what `data` writes. It is on the disk when this returns.
pub(super) fn write<H: Serialize>(
    path: &Path,
    (kind, header): (&[u8; 8], &H),
    data: impl FnOnce(&mut Sealing) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let unfinished = Path::new(&unfinished);
    let written = (|| {
        let mut sealing = Sealing { file: BufWriter::new(File::create(unfinished)?), digest: Sha256::new() };
        let header = serde_json::to_vec(header).map_err(|error| broken(error.to_string()))?;
        let length = u32::try_from(header.len()).map_err(|_long| broken("the header is too long"))?;
        for bytes in [kind.as_slice(), &VERSION.to_le_bytes(), &length.to_le_bytes(), &header] {
            sealing.put(bytes)?;
        }
        data(&mut sealing)?;
        let digest = sealing.digest.finalize();
        sealing.file.write_all(&digest)?;
        let file = sealing.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(unfinished, path)?;
        // The name is on the disk when the folder is.
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    })();
    if written.is_err() {
        // Gone already, or in the way of nobody.
        let _removed = std::fs::remove_file(unfinished);
    }
    written
}

impl Sealing {
    fn put(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.digest.update(bytes);
        self.file.write_all(bytes)?;
        Ok(())
    }

    /// Writes data, asking whether to stop now and then.
    pub(super) fn data(&mut self, bytes: &[u8], watch: Watch<'_>) -> Result<(), FileError> {
        for piece in bytes.chunks(PIECE) {
            watch.check()?;
            self.put(piece)?;
        }
        Ok(())
    }
}

/// A file that is being read.
pub(super) struct Sealed {
    file: BufReader<File>,
    digest: Sha256,
    /// Bytes of data that are left before the digest.
    left: u64,
}

/// Opens a file of this kind; gives its header.
pub(super) fn open<H: DeserializeOwned>(path: &Path, (kind, header_max): (&[u8; 8], u32)) -> Result<(H, Sealed), FileError> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut sealed = Sealed { file: BufReader::new(file), digest: Sha256::new(), left: bytes.saturating_sub(DIGEST_BYTES) };
    let mut front = [0; 16];
    sealed.take(&mut front)?;
    if &front[..8] != kind {
        return Err(broken("its first bytes are not those of such a file"));
    }
    let number = |at: usize| u32::from_le_bytes([front[at], front[at + 1], front[at + 2], front[at + 3]]);
    let (version, length) = (number(8), number(12));
    if version != VERSION {
        return Err(broken(format!("it has version {version} of the format; this worker reads {VERSION}")));
    }
    if length > header_max || u64::from(length) > sealed.left {
        return Err(broken(format!("its header claims {length} bytes; {} follow, and at most {header_max} are read", sealed.left)));
    }
    let mut header = vec![0; length as usize];
    sealed.take(&mut header)?;
    let header = serde_json::from_slice(&header).map_err(|error| broken(format!("its header: {error}")))?;
    Ok((header, sealed))
}

impl Sealed {
    /// Errors: `Broken` when other than so many bytes of data are left.
    pub(super) fn expect(&self, bytes: u64) -> Result<(), FileError> {
        if self.left == bytes { Ok(()) } else { Err(broken(format!("{bytes} bytes of data are expected, found {}", self.left))) }
    }

    fn take(&mut self, out: &mut [u8]) -> Result<(), FileError> {
        let left = self.left.checked_sub(out.len() as u64).ok_or_else(|| broken("ends early"))?;
        self.file.read_exact(out)?;
        self.digest.update(&*out);
        self.left = left;
        Ok(())
    }

    /// Reads data, asking whether to stop now and then.
    pub(super) fn data(&mut self, out: &mut [u8], watch: Watch<'_>) -> Result<(), FileError> {
        for piece in out.chunks_mut(PIECE) {
            watch.check()?;
            self.take(piece)?;
        }
        Ok(())
    }

    /// So many bytes; that they are there was checked.
    pub(super) fn bytes(&mut self, len: usize, watch: Watch<'_>) -> Result<Vec<u8>, FileError> {
        let mut bytes = vec![0; len];
        self.data(&mut bytes, watch)?;
        Ok(bytes)
    }

    /// Errors: `Broken` when data is left or the bytes are not those that were written.
    pub(super) fn finish(mut self) -> Result<(), FileError> {
        self.expect(0)?;
        let mut digest = [0; DIGEST_BYTES as usize];
        self.file.read_exact(&mut digest)?;
        if digest[..] == self.digest.finalize()[..] { Ok(()) } else { Err(broken("its checksum is another than its bytes have")) }
    }
}
