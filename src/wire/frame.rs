//! One message as bytes: four bytes of length (big-endian), then `{"version", "attempt", "message"}` as JSON.

use std::io::{self, Write};

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::error::cut;
use super::{TaskProtocol, WireError};

/// The version of messages and frame that this worker speaks.
pub const WIRE_VERSION: u32 = 1;
/// The longest body of a frame unless a transport allows another length.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the length before the body.
pub const PREFIX_BYTES: usize = 4;

/// A message with the version it is written in and the attempt it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Frame {
    /// Always [`WIRE_VERSION`] in what this worker writes and accepts.
    pub version: u32,
    /// Which attempt at the task the message is about; 1 for the first. A message of an earlier attempt is told from a late one by it.
    pub attempt: u32,
    /// The message.
    pub message: TaskProtocol,
}

/// Enough of a frame to say why the rest cannot be read.
#[derive(Deserialize)]
struct Peek {
    version: u32,
    #[serde(default)]
    message: Option<Kind>,
}

/// The kind of a message: the one key of its object.
struct Kind(Option<String>);

impl Frame {
    /// A frame of this worker's version.
    #[must_use]
    pub fn new(attempt: u32, message: TaskProtocol) -> Self {
        Self { version: WIRE_VERSION, attempt, message }
    }

    /// The frame as bytes, length included. Errors: `TooLarge` when the body would pass `bytes_max`; `Malformed` for a field outside its bounds,
    /// such as a progress that is not a number.
    pub fn encode(&self, bytes_max: usize) -> Result<Vec<u8>, WireError> {
        self.check()?;
        let bytes_max = bytes_max.min(u32::MAX as usize);
        let mut body = Bounded { bytes: vec![0; PREFIX_BYTES], bytes_max: bytes_max + PREFIX_BYTES, wanted: None };
        let written = serde_json::to_writer(&mut body, self);
        if let Some(wanted) = body.wanted {
            return Err(WireError::TooLarge { found_bytes: (wanted - PREFIX_BYTES) as u64, limit_bytes: bytes_max as u64 });
        }
        written.map_err(|error| WireError::malformed(".", &error.to_string()))?;
        let mut bytes = body.bytes;
        let length = u32::try_from(bytes.len() - PREFIX_BYTES).expect("the body is bounded by u32::MAX above");
        bytes[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(bytes)
    }

    /// Bytes of the body that follows these four. Errors: `TooLarge`, before a reader allocates anything.
    pub fn body_bytes(prefix: [u8; PREFIX_BYTES], bytes_max: usize) -> Result<usize, WireError> {
        let length = u32::from_be_bytes(prefix);
        match usize::try_from(length) {
            Ok(length) if length <= bytes_max => Ok(length),
            _ => Err(WireError::TooLarge { found_bytes: length.into(), limit_bytes: bytes_max as u64 }),
        }
    }

    /// Exactly one frame, length included. Errors: `Incomplete`, `TrailingBytes`, `TooLarge`, and those of [`Frame::decode_body`].
    pub fn decode(bytes: &[u8], bytes_max: usize) -> Result<Self, WireError> {
        let incomplete = |needed: usize| WireError::Incomplete { needed_bytes: needed as u64, found_bytes: bytes.len() as u64 };
        let (prefix, body) = bytes.split_first_chunk::<PREFIX_BYTES>().ok_or_else(|| incomplete(PREFIX_BYTES))?;
        let needed = Self::body_bytes(*prefix, bytes_max)?;
        if body.len() < needed {
            return Err(incomplete(needed + PREFIX_BYTES));
        }
        if body.len() > needed {
            return Err(WireError::TrailingBytes { count: (body.len() - needed) as u64 });
        }
        Self::decode_body(body)
    }

    /// The body of a frame. Errors: `UnsupportedVersion` and `UnknownMessage` before anything else is looked at, then `Malformed`.
    pub fn decode_body(body: &[u8]) -> Result<Self, WireError> {
        let peek: Peek = from_json(body)?;
        if peek.version != WIRE_VERSION {
            return Err(WireError::UnsupportedVersion { found: peek.version, supported: WIRE_VERSION });
        }
        if let Some(Kind(Some(kind))) =
            peek.message.filter(|Kind(kind)| kind.as_ref().is_some_and(|kind| !TaskProtocol::KINDS.contains(&kind.as_str())))
        {
            return Err(WireError::UnknownMessage { kind: cut(&kind, 64) });
        }
        let frame: Self = from_json(body)?;
        frame.check()?;
        Ok(frame)
    }

    fn check(&self) -> Result<(), WireError> {
        if self.attempt == 0 {
            return Err(WireError::malformed("attempt", "found 0; the first attempt is 1"));
        }
        self.message.check()
    }
}

/// Whether a message may come from this peer: its sender is the peer itself. Messages that name no sender pass.
///
/// `peer` is the name that the connection's key stands for. Errors: `SenderMismatch`.
pub fn check_sender(message: &TaskProtocol, peer: &str) -> Result<(), WireError> {
    match message {
        TaskProtocol::TaskRequest(request) if request.from != peer => Err(WireError::SenderMismatch { claimed: cut(&request.from, 64) }),
        _ => Ok(()),
    }
}

fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, WireError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| WireError::malformed(cut(&error.path().to_string(), 200), &error.inner().to_string()))?;
    json.end().map_err(|error| WireError::malformed(".", &error.to_string()))?;
    Ok(value)
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FirstKey;
        impl<'de> Visitor<'de> for FirstKey {
            type Value = Kind;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with the kind of message as its one key")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
                let mut first = None;
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    first.get_or_insert(key);
                }
                Ok(Kind(first))
            }
        }
        deserializer.deserialize_map(FirstKey)
    }
}

/// Takes bytes up to a bound and then refuses, so that an oversized message is not built to its end.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// The length that was asked for when the bound was met.
    wanted: Option<usize>,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let wanted = self.bytes.len().saturating_add(more.len());
        if wanted > self.bytes_max {
            self.wanted = Some(wanted);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
