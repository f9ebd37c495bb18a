//! Files that appear whole or not at all: written beside their place, moved there at the end.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::exit::CliError;

/// A file under its place's name with `.part` behind it. Dropped unfinished, it is removed and what stood in its place stays.
pub(crate) struct Draft {
    path: PathBuf,
    draft: PathBuf,
    writer: BufWriter<File>,
    finished: bool,
}

impl Draft {
    /// Opens the draft. Errors: the place is a folder; its folder is absent or may not be written.
    pub(crate) fn create(path: &Path) -> Result<Self, CliError> {
        if path.is_dir() {
            return Err(CliError::usage(format!("{}: is a directory; expected a file", path.display())));
        }
        let mut name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
        name.push(".part");
        let draft = path.with_file_name(name);
        let file = File::create(&draft).map_err(|error| CliError::file(&draft, &error))?;
        Ok(Self { path: path.to_owned(), draft, writer: BufWriter::new(file), finished: false })
    }

    /// Writes all of `bytes`. Errors: the disk is full or gone.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.writer.write_all(bytes).map_err(|error| CliError::file(&self.draft, &error))
    }

    /// Puts the file in its place. Errors: what is buffered cannot be written, or the place cannot be taken; nothing is left then.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        self.writer.flush().and_then(|()| std::fs::rename(&self.draft, &self.path)).map_err(|error| CliError::file(&self.path, &error))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // The draft is worthless; that it cannot be removed changes nothing.
            let _already_gone: io::Result<()> = std::fs::remove_file(&self.draft);
        }
    }
}
