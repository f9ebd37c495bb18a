//! Why a token or its file cannot be used. Paths and reasons, never contents.

use std::path::{Path, PathBuf};

/// A fault of tokens, their files or their names. Messages name the file, what is wrong with it and what to do; never what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// The token file exists but must not be used.
    #[error("token file {}: {reason}", .path.display())]
    KeyFileInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// There is no token file.
    #[error("token file {} does not exist; start the worker once on this data directory, or pass the token itself", .path.display())]
    KeyFileMissing {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The file or its folder could not be read or written.
    #[error("{operation} {}: {reason}", .path.display())]
    Io {
        /// What was tried, such as `create`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A text is not a token.
    #[error("not a token: {reason}")]
    TokenMalformed {
        /// What is expected, without the text.
        reason: String,
    },
    /// A name of an identity is bad, taken, or one too many.
    #[error("identity `{name}`: {reason}")]
    IdentityInvalid {
        /// The name.
        name: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The system gave no random bytes.
    #[error("the system's random source failed: {reason}")]
    Random {
        /// The system's words.
        reason: String,
    },
    /// Without authentication the worker listens on loopback only.
    #[error("without authentication the worker listens on loopback addresses only, not on {address}; drop --no-auth or bind 127.0.0.1")]
    ExposedWithoutAuth {
        /// The address that was asked for.
        address: std::net::SocketAddr,
    },
}

impl SecurityError {
    /// The stable, machine-readable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyFileInvalid { .. } => "key_file_invalid",
            Self::KeyFileMissing { .. } => "key_file_missing",
            Self::Io { .. } => "key_file_io",
            Self::TokenMalformed { .. } => "token_malformed",
            Self::IdentityInvalid { .. } => "identity_invalid",
            Self::Random { .. } => "random_source_failed",
            Self::ExposedWithoutAuth { .. } => "exposed_without_auth",
        }
    }

    pub(super) fn invalid(path: &Path, reason: impl Into<String>) -> Self {
        Self::KeyFileInvalid { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(super) fn io(operation: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::Io { operation, path: path.to_path_buf(), reason: error.to_string() }
    }
}
