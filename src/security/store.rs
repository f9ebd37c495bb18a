//! The files that keep tokens: one for the worker's own, one for each further identity, all in the data directory.
//!
//! A file is written whole or not at all, never over another, readable by its owner alone; a file that others can read or that is not what it
//! seems is refused, not mended: its token must be taken as known.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::access::check_name;
use super::{Identity, Keyring, SecurityError, Token};

/// The file of the worker's own token, in the data directory.
pub const TOKEN_FILE: &str = "token";

/// The identity of the worker's own token: the operator on this host.
const OWN_NAME: &str = "local";
/// The folder of further identities, a file each.
const IDENTITIES_DIR: &str = "tokens";
/// A token and a line end, with room to tell "too long" from "cut off".
const TOKEN_FILE_BYTES_MAX: u64 = Token::LEN as u64 + 2;

/// The token files of one data directory. Making the value touches nothing.
#[derive(Clone, Debug)]
pub struct TokenStore {
    data_dir: PathBuf,
}

/// A token with where it lies.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The token.
    pub token: Token,
    /// Its file.
    pub path: PathBuf,
    /// True when this call made it.
    pub is_new: bool,
}

impl TokenStore {
    /// The store of a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into() }
    }

    /// The file of the worker's own token.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.data_dir.join(TOKEN_FILE)
    }

    /// The worker's own token, made now if there is none. Two workers that start at once end with the same token. Blocks on the file system.
    ///
    /// Errors: `KeyFileInvalid` for a file that must not be used, `Io`, `Random`.
    pub fn load_or_create(&self) -> Result<Stored, SecurityError> {
        self.named_or_new(&self.path(), &self.data_dir)
    }

    /// The worker's own token. Errors: `KeyFileMissing`, `KeyFileInvalid`, `Io`. Blocks on the file system.
    pub fn load(&self) -> Result<Token, SecurityError> {
        read_token(&self.path())
    }

    /// Makes a token for another identity, whose name is the submitter of its tasks. Blocks on the file system.
    ///
    /// Errors: `IdentityInvalid` for a bad or taken name, and those of [`TokenStore::load_or_create`].
    pub fn create_identity(&self, name: &str) -> Result<Stored, SecurityError> {
        check_name(name)?;
        let folder = self.data_dir.join(IDENTITIES_DIR);
        let taken = || SecurityError::IdentityInvalid { name: name.into(), reason: "the name is taken".into() };
        if name == OWN_NAME {
            return Err(taken());
        }
        let stored = self.named_or_new(&folder.join(name), &folder)?;
        if stored.is_new { Ok(stored) } else { Err(taken()) }
    }

    /// Removes another identity's token; a running worker forgets it at its next start. Errors: `KeyFileMissing`, `IdentityInvalid`, `Io`.
    pub fn remove_identity(&self, name: &str) -> Result<(), SecurityError> {
        check_name(name)?;
        let path = self.data_dir.join(IDENTITIES_DIR).join(name);
        fs::remove_file(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => SecurityError::KeyFileMissing { path: path.clone() },
            _ => SecurityError::io("remove", &path, &error),
        })
    }

    /// Every identity of this data directory: `local` for the worker's own token, then the others by name. The own token must exist.
    ///
    /// Errors: the first file that must not be used; a worker does not start on half of its identities. Blocks on the file system.
    pub fn keyring(&self) -> Result<Keyring, SecurityError> {
        let mut keyring = Keyring::default();
        keyring.add(Identity::new(OWN_NAME, self.load()?.digest())?)?;
        let folder = self.data_dir.join(IDENTITIES_DIR);
        for name in names_in(&folder)? {
            keyring.add(Identity::new(&name, read_token(&folder.join(&name))?.digest())?)?;
        }
        Ok(keyring)
    }

    fn named_or_new(&self, path: &Path, folder: &Path) -> Result<Stored, SecurityError> {
        make_private_dir(&self.data_dir)?;
        make_private_dir(folder)?;
        match read_token(path) {
            Err(SecurityError::KeyFileMissing { .. }) => {}
            Err(other) => return Err(other),
            Ok(token) => return Ok(Stored { token, path: path.to_path_buf(), is_new: false }),
        }
        let token = Token::generate()?;
        if write_new(path, folder, &token)? {
            return Ok(Stored { token, path: path.to_path_buf(), is_new: true });
        }
        // Another worker was first: its token counts.
        Ok(Stored { token: read_token(path)?, path: path.to_path_buf(), is_new: false })
    }
}

/// Writes the token to a file of its own and links it to `path`, which fails when something is there. Returns whether this call made it.
fn write_new(path: &Path, folder: &Path, token: &Token) -> Result<bool, SecurityError> {
    let draft = folder.join(format!(".token-{}", uuid::Uuid::now_v7()));
    let written = write_private(&draft, format!("{}\n", token.reveal()).as_bytes());
    let linked = match written {
        Ok(()) => fs::hard_link(&draft, path),
        Err(error) => Err(error),
    };
    let removed = fs::remove_file(&draft);
    match linked {
        Ok(()) => {
            removed.map_err(|error| SecurityError::io("remove", &draft, &error))?;
            sync_dir(folder).map_err(|error| SecurityError::io("sync", folder, &error))?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(SecurityError::io("create", path, &error)),
    }
}

/// Reads and checks one token file. The checks before opening keep a link, a folder or a pipe from being opened at all; those after make sure
/// that what was opened is what was checked.
fn read_token(path: &Path) -> Result<Token, SecurityError> {
    let named = fs::symlink_metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => SecurityError::KeyFileMissing { path: path.to_path_buf() },
        _ => SecurityError::io("read", path, &error),
    })?;
    check_file(path, &named)?;
    let file = File::open(path).map_err(|error| SecurityError::io("open", path, &error))?;
    let opened = file.metadata().map_err(|error| SecurityError::io("read", path, &error))?;
    check_file(path, &opened)?;
    if !same_file(&named, &opened) {
        return Err(SecurityError::invalid(path, "it was exchanged while it was being read"));
    }
    let mut text = String::new();
    file.take(TOKEN_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => SecurityError::invalid(path, format!("it is not text; {REPLACE}")),
        _ => SecurityError::io("read", path, &error),
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    line.parse().map_err(|error: SecurityError| SecurityError::invalid(path, format!("{error}; {REPLACE}")))
}

const REPLACE: &str = "remove the file and start the worker again to get a new token";

fn check_file(path: &Path, metadata: &Metadata) -> Result<(), SecurityError> {
    if metadata.is_symlink() {
        return Err(SecurityError::invalid(path, "it is a symbolic link; put the file itself there"));
    }
    if !metadata.is_file() {
        return Err(SecurityError::invalid(path, "it is not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(SecurityError::invalid(path, format!("it is empty; {REPLACE}")));
    }
    if metadata.len() > TOKEN_FILE_BYTES_MAX {
        return Err(SecurityError::invalid(path, format!("it holds {} bytes, a token has {}; {REPLACE}", metadata.len(), Token::LEN)));
    }
    check_private(path, metadata)
}

/// Names of the identity files, sorted; drafts of an interrupted write are passed over.
fn names_in(folder: &Path) -> Result<Vec<String>, SecurityError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SecurityError::io("list", folder, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| SecurityError::io("list", folder, &error))?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn make_private_dir(folder: &Path) -> Result<(), SecurityError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| SecurityError::io("create", folder, &error))?;
    let metadata = fs::metadata(folder).map_err(|error| SecurityError::io("read", folder, &error))?;
    check_unwritable_by_others(folder, &metadata)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn check_private(path: &Path, metadata: &Metadata) -> Result<(), SecurityError> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let reason =
        format!("others may read or write it (mode {mode:04o}); its token may be known: remove the file and start the worker again");
    Err(SecurityError::invalid(path, reason))
}

#[cfg(unix)]
fn check_unwritable_by_others(folder: &Path, metadata: &Metadata) -> Result<(), SecurityError> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = metadata.mode() & 0o777;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let reason = format!("others may write to the folder (mode {mode:04o}) and so exchange its token; run `chmod go-w` on it");
    Err(SecurityError::invalid(folder, reason))
}

#[cfg(unix)]
fn same_file(named: &Metadata, opened: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (named.dev(), named.ino()) == (opened.dev(), opened.ino())
}

#[cfg(unix)]
fn sync_dir(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

// Where files have no mode bits, the user's profile folder is what keeps others out.
#[cfg(not(unix))]
fn check_private(_path: &Path, _metadata: &Metadata) -> Result<(), SecurityError> {
    Ok(())
}

#[cfg(not(unix))]
fn check_unwritable_by_others(_folder: &Path, _metadata: &Metadata) -> Result<(), SecurityError> {
    Ok(())
}

#[cfg(not(unix))]
fn same_file(named: &Metadata, opened: &Metadata) -> bool {
    named.len() == opened.len()
}

#[cfg(not(unix))]
fn sync_dir(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}
