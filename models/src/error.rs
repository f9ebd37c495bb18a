//! The one error of this crate: what is wrong with a model, its files or its input, in words that name the file and the field.

/// Why a model could not be found, loaded or run. The messages do not repeat the model's name; the caller knows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Nothing of that name is on this host.
    #[error("{reason}")]
    Missing {
        /// Where it was looked for and what to do.
        reason: String,
    },
    /// The model is here but cannot be run.
    #[error("{reason}")]
    Unsupported {
        /// What is unsupported and what is supported.
        reason: String,
    },
    /// A file of the model is damaged or lies about itself.
    #[error("{file}, {field}: {reason}")]
    Corrupt {
        /// The file's name inside the model's folder.
        file: String,
        /// The field, tensor or position.
        field: String,
        /// What was found and what is allowed.
        reason: String,
    },
    /// A text, a name or an option cannot be used with this model.
    #[error("{reason}")]
    Input {
        /// What was found and what is allowed.
        reason: String,
    },
    /// The work was no longer wanted; nothing was produced.
    #[error("stopped before the end")]
    Stopped,
    /// The device is not there.
    #[error("device {device}: {reason}")]
    Device {
        /// The device as it was asked for.
        device: String,
        /// Why, and what there is.
        reason: String,
    },
    /// The weights gave values that are not numbers.
    #[error("the model produced values that are not finite")]
    NonFinite,
    /// The hub or the way to it failed.
    #[error("{url}: {reason}")]
    Network {
        /// What was asked for, without credentials.
        url: String,
        /// What came back.
        reason: String,
    },
    /// The file system refused.
    #[error("{path}: {reason}")]
    Io {
        /// The file or folder.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// A fault of this crate or of the library below it.
    #[error("internal fault: {reason}")]
    Internal {
        /// The inside detail.
        reason: String,
    },
}

impl ModelError {
    /// A [`ModelError::Corrupt`] at `field` of `file`.
    pub fn corrupt(file: impl Into<String>, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { file: file.into(), field: shortened(field.into()), reason: shortened(reason.into()) }
    }

    /// A [`ModelError::Io`] at `path`.
    pub fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Io { path: path.display().to_string(), reason: error.to_string() }
    }

    /// A [`ModelError::Unsupported`].
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported { reason: reason.into() }
    }

    /// A [`ModelError::Input`].
    pub fn input(reason: impl Into<String>) -> Self {
        Self::Input { reason: reason.into() }
    }
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Internal { reason: error.to_string() }
    }
}

/// The text, or its beginning and end around ` ... ` when it is longer than a kibibyte: messages repeat what stands in files, and a file may hold
/// megabytes of one word.
pub(crate) fn shortened(text: String) -> String {
    const BYTES_MAX: usize = 1024;
    if text.len() <= BYTES_MAX {
        return text;
    }
    let (head, tail) = (text.floor_char_boundary(BYTES_MAX / 2), text.ceil_char_boundary(text.len() - BYTES_MAX / 2));
    format!("{} ... {}", &text[..head], &text[tail..])
}
