//! Why bytes are not a frame, or a message cannot be one.

/// A fault of a frame. Everything that a peer sent is cut to a bounded length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The frame is longer than allowed; told before anything of that length is allocated.
    #[error("frame of {found_bytes} bytes; at most {limit_bytes} are allowed")]
    TooLarge {
        /// Bytes of the frame's body; for a message being encoded, the least it would take.
        found_bytes: u64,
        /// The bound.
        limit_bytes: u64,
    },
    /// The bytes end before the frame does.
    #[error("frame is cut off: {needed_bytes} bytes expected, {found_bytes} found")]
    Incomplete {
        /// Bytes that the frame needs in all.
        needed_bytes: u64,
        /// Bytes there are.
        found_bytes: u64,
    },
    /// Something follows the frame.
    #[error("{count} bytes follow the frame")]
    TrailingBytes {
        /// How many.
        count: u64,
    },
    /// The peer speaks another version.
    #[error("wire version {found} is not spoken here; this worker speaks {supported}")]
    UnsupportedVersion {
        /// The frame's version.
        found: u32,
        /// This worker's.
        supported: u32,
    },
    /// The version is known but the kind of message is not.
    #[error("unknown message `{kind}`")]
    UnknownMessage {
        /// The kind, cut at 64 characters.
        kind: String,
    },
    /// The JSON is broken, or a field of it is.
    #[error("malformed frame at `{path}`: {reason}")]
    Malformed {
        /// JSON path of the field; `.` for the whole.
        path: String,
        /// What was found and what is allowed, cut at 200 characters.
        reason: String,
    },
    /// A message names a sender that is not the peer who sent it.
    #[error("the message says it is from `{claimed}`, which is not the peer that sent it")]
    SenderMismatch {
        /// The name in the message, cut at 64 characters.
        claimed: String,
    },
}

impl WireError {
    /// The stable, machine-readable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "frame_too_large",
            Self::Incomplete { .. } => "frame_incomplete",
            Self::TrailingBytes { .. } => "frame_trailing_bytes",
            Self::UnsupportedVersion { .. } => "wire_version_unsupported",
            Self::UnknownMessage { .. } => "message_unknown",
            Self::Malformed { .. } => "frame_malformed",
            Self::SenderMismatch { .. } => "sender_mismatch",
        }
    }

    pub(super) fn malformed(path: impl Into<String>, reason: &str) -> Self {
        Self::Malformed { path: path.into(), reason: cut(reason, 200) }
    }
}

/// The first characters of a text that a peer chose.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}
