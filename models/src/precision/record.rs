//! What was measured, kept for the next load: one small file per model and instructions. A file appears whole or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tallow_kernels::gemm::Precision;

use super::{Agreement, Measured, texts};
use crate::source::files::read_bounded;
use crate::weights::hex;

/// The form of the file and the meaning of what is in it; others are measured again.
const VERSION: u32 = 1;
/// Larger files are no records.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// What a measurement is about. Other weights, instructions, way of pooling, check or version of this crate give another measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordKey {
    /// Hex sha256 of the weights.
    pub digest: String,
    /// The instructions in use.
    pub isa: String,
    /// How token vectors become one.
    pub pooling: String,
    /// Hex sha256 of the texts.
    texts: String,
    /// Version of this crate, whose arithmetic was measured.
    engine: String,
}

impl RecordKey {
    /// The key of this build's check.
    #[must_use]
    pub fn new(digest: &str, isa: tallow_kernels::Isa, pooling: &str) -> Self {
        Self {
            digest: digest.into(),
            isa: isa.name().into(),
            pooling: pooling.into(),
            texts: texts::digest(),
            engine: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// The file of a folder that keeps the record.
    #[must_use]
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.{}.json", self.digest, self.isa))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    key: RecordKey,
    measured: Vec<Line>,
}

/// JSON has no NaN, which no precision is taken for.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    precision: String,
    cosine: Option<f64>,
    score_difference: Option<f64>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// What was measured for `key`; none when nothing was yet.
///
/// Errors: a sentence about a file that is there and cannot be used: unreadable, damaged, or of another version, texts or pooling.
pub fn read(folder: &Path, key: &RecordKey) -> Result<Option<Vec<Measured>>, String> {
    let path = key.path(folder);
    let bytes = match read_bounded(&path, RECORD_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(crate::ModelError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let said = |reason: String| format!("{}: {reason}", path.display());
    let version: Version = serde_json::from_slice(&bytes).map_err(|error| said(format!("no record: {error}")))?;
    if version.version != VERSION {
        return Err(said(format!("a record of version {}, this build reads {VERSION}", version.version)));
    }
    let file: File = serde_json::from_slice(&bytes).map_err(|error| said(format!("a damaged record: {error}")))?;
    if file.key != *key {
        return Err(said("a record of another build, another check or another way of pooling".into()));
    }
    let lines = file.measured.into_iter().map(|line| {
        let precision = Precision::ALL.into_iter().find(|known| known.name() == line.precision);
        let precision = precision.ok_or_else(|| said(format!("an unknown precision `{}`", line.precision.escape_debug())))?;
        let cosine = line.cosine.unwrap_or(f64::NAN);
        Ok(Measured { precision, agreement: Agreement { cosine, score_difference: line.score_difference } })
    });
    lines.collect::<Result<_, String>>().map(Some)
}

/// Keeps what was measured; the folder is made where it is missing, for its owner alone. Errors: the system's words with the path.
pub fn write(folder: &Path, key: &RecordKey, measured: &[Measured]) -> Result<(), String> {
    let path = key.path(folder);
    let line = |one: &Measured| Line {
        precision: one.precision.name().into(),
        cosine: Some(one.agreement.cosine).filter(|cosine| cosine.is_finite()),
        score_difference: one.agreement.score_difference.filter(|difference| difference.is_finite()),
    };
    let file = File { version: VERSION, key: key.clone(), measured: measured.iter().map(line).collect() };
    let text = serde_json::to_vec_pretty(&file).map_err(|error| error.to_string())?;
    // A name of its own for every process and write, so that two that measure the same model do not write into one file.
    let scratch = folder.join(format!(".{}.{}.{}", key.digest.get(..16).unwrap_or("record"), std::process::id(), unique()));
    let kept = make_folder(folder).and_then(|()| write_whole(&scratch, &path, &text));
    kept.map_err(|error| {
        // What is left of a failed write is of no use; whether it can be removed changes nothing.
        let _gone = std::fs::remove_file(&scratch);
        format!("{}: {error}", path.display())
    })
}

fn write_whole(scratch: &Path, path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(scratch)?;
    file.write_all(text)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(scratch, path)
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn unique() -> u64 {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Hex sha256 of texts, one after the other with their lengths.
pub(super) fn digest_of(texts: &[&str]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hex(&hash.finalize())
}
