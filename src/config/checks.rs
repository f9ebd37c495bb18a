//! What single values must be: one function per setting, for the flag, its variable and the file alike.
//!
//! A function takes the text of a value and answers with what is allowed. clap puts the flag's name in front of that, the file's reader the key's.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tallow_kernels::isa::{Isa, IsaError};
use tallow_models::PrecisionChoice;
use tracing_subscriber::EnvFilter;

use super::ByteSize;
use crate::resource::{ByteSizeError, DeviceChoice, LIMIT_BYTES_MIN, MemoryLimit, POOL_THREADS_MAX, format_bytes};
use crate::task::TaskError;

/// Tasks that may be allowed to wait.
const QUEUE_MAX: RangeInclusive<u64> = 1..=100_000_000;
/// Tokens that one batch may be allowed to have.
const BATCH_TOKENS: RangeInclusive<u64> = 16..=1 << 20;
/// Bytes that kept results may be allowed to have.
const CACHE_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;
/// Bytes that one body may be allowed to have.
const BODY_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 30;
/// Bytes of a host's name.
const HOST_BYTES_MAX: usize = 253;

/// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`; whether it is there is seen at the start.
pub(super) fn device(text: &str) -> Result<String, String> {
    match text.parse::<DeviceChoice>() {
        Ok(_) => Ok(text.to_owned()),
        Err(TaskError::InvalidPayload { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

/// `auto`, `exact`, `bf16` or `int8`; whether the device computes so is seen at the start.
pub(super) fn precision(text: &str) -> Result<PrecisionChoice, String> {
    text.parse()
}

/// A level of instructions; whether the processor has it is seen at the start.
pub(super) fn isa(text: &str) -> Result<String, String> {
    match Isa::named(text) {
        Err(error @ IsaError::Unknown { .. }) => Err(error.to_string()),
        _ => Ok(text.to_owned()),
    }
}

/// A size, a percentage or `auto`; whether the host has that much is seen at the start.
pub(super) fn memory_limit(text: &str) -> Result<MemoryLimit, String> {
    let limit: MemoryLimit = text.parse().map_err(|error: ByteSizeError| error.reason)?;
    match limit {
        MemoryLimit::Bytes(bytes) if bytes < LIMIT_BYTES_MIN => {
            Err(format!("allowed: {} or more, 1% to 100%, auto", format_bytes(LIMIT_BYTES_MIN)))
        }
        limit => Ok(limit),
    }
}

/// Compute threads.
pub(super) fn threads(text: &str) -> Result<u32, String> {
    let count = whole(text, 1..=POOL_THREADS_MAX as u64)?;
    u32::try_from(count).map_err(|error| error.to_string())
}

/// Tasks that may wait.
pub(super) fn queue_max(text: &str) -> Result<u64, String> {
    whole(text, QUEUE_MAX)
}

/// Tokens of a batch.
pub(super) fn batch_tokens(text: &str) -> Result<u32, String> {
    let count = whole(text, BATCH_TOKENS)?;
    u32::try_from(count).map_err(|error| error.to_string())
}

/// Bytes of kept results; whether the memory limit leaves room for them is seen at the start.
pub(super) fn result_cache(text: &str) -> Result<ByteSize, String> {
    let allowed = format!("allowed: 0, or {} to {}", format_bytes(*CACHE_BYTES.start()), format_bytes(*CACHE_BYTES.end()));
    let size: ByteSize = text.parse().map_err(|error: ByteSizeError| format!("{}; {allowed}", error.reason))?;
    if size.0 == 0 || CACHE_BYTES.contains(&size.0) { Ok(size) } else { Err(allowed) }
}

/// A model's name; whether it is there is seen when it is loaded.
pub(super) fn model(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("allowed: a model's name, org/name[@revision] or a directory".into()) } else { Ok(text.to_owned()) }
}

/// An address of this machine with a port.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.trim()
        .parse()
        .map_err(|_no_address| "allowed: an IP address and a port, such as 127.0.0.1:8117, 0.0.0.0:8117 or [::1]:0".to_owned())
}

/// A host's name without a port.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let numbers = |name: &str| {
        name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
    };
    if (1..=HOST_BYTES_MAX).contains(&name.len()) && (plain(name) || numbers(name)) {
        return Ok(name.to_ascii_lowercase());
    }
    Err("allowed: a host's name without scheme and port, such as worker.example or [fd00::1]".into())
}

/// Largest body.
pub(super) fn body_max(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|error: ByteSizeError| error.reason)?;
    if BODY_BYTES.contains(&size.0) {
        return Ok(size);
    }
    Err(format!("allowed: {} to {}", format_bytes(*BODY_BYTES.start()), format_bytes(*BODY_BYTES.end())))
}

/// Which events are logged.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let parsed = text.parse::<EnvFilter>();
    parsed
        .map(|_| text.to_owned())
        .map_err(|error| format!("allowed: a level (error, warn, info, debug, trace) or target=level, separated by commas ({error})"))
}

/// Where a worker answers.
pub(super) fn url(text: &str) -> Result<String, String> {
    let host = text.trim().strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => Ok(text.trim().to_owned()),
        _ => Err("allowed: http://host:port; for https put a proxy in front".into()),
    }
}

fn whole(text: &str, allowed: RangeInclusive<u64>) -> Result<u64, String> {
    let found = text.trim().parse::<u64>().ok().filter(|found| allowed.contains(found));
    found.ok_or_else(|| format!("allowed: {} to {}", allowed.start(), allowed.end()))
}

/// The text of a value of the file: as it stands in quotes, or a number as it would stand behind a flag.
struct Plain(String);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl Visitor<'_> for TextOrNumber {
            type Value = Plain;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }
            fn visit_str<E>(self, text: &str) -> Result<Plain, E> {
                Ok(Plain(text.to_owned()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Plain, E> {
                Ok(Plain(number.to_string()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Plain, E> {
                Ok(Plain(number.to_string()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Plain, E> {
                Ok(Plain(number.to_string()))
            }
        }
        deserializer.deserialize_any(TextOrNumber)
    }
}

/// What `check` makes of a value of the file. The error goes behind the key's name.
fn checked<'de, T, D: Deserializer<'de>>(deserializer: D, check: fn(&str) -> Result<T, String>) -> Result<Option<T>, D::Error> {
    let Plain(text) = Plain::deserialize(deserializer)?;
    check(&text).map(Some).map_err(|reason| D::Error::custom(refused(&text, &reason)))
}

fn refused(text: &str, reason: &str) -> String {
    let shown: String = text.chars().take(80).collect();
    let shown = if shown.is_empty() { "empty" } else { &shown };
    format!("is {shown}; {reason}")
}

/// Gives each check the form that a field of a layer needs.
macro_rules! of_the_file {
    ($($name:ident: $check:expr => $type:ty),* $(,)?) => {$(
        pub(in crate::config) fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<$type>, D::Error> {
            checked(deserializer, $check)
        }
    )*};
}

/// The same checks for values of the file.
pub(super) mod file {
    use super::super::Span;
    use super::{ByteSize, Deserializer, MemoryLimit, PrecisionChoice, SocketAddr, checked};

    of_the_file! {
        device: super::device => String,
        precision: super::precision => PrecisionChoice,
        isa: super::isa => String,
        memory_limit: super::memory_limit => MemoryLimit,
        threads: super::threads => u32,
        queue_max: super::queue_max => u64,
        batch_tokens: super::batch_tokens => u32,
        result_cache: super::result_cache => ByteSize,
        model: super::model => String,
        listen: super::listen => SocketAddr,
        body_max: super::body_max => ByteSize,
        drain_timeout: |text| text.parse() => Span,
        log: super::log_filter => String,
        url: super::url => String,
    }

    pub(in crate::config) fn allowed_host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
        deserializer.deserialize_any(super::HostNames).map(Some)
    }
}

/// One name or an array of names.
struct HostNames;

impl<'de> Visitor<'de> for HostNames {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of host names")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
        host_name(text).map(|name| vec![name]).map_err(|reason| E::custom(refused(text, &reason)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<String>, A::Error> {
        let mut names = Vec::new();
        while let Some(text) = items.next_element::<String>()? {
            names.push(host_name(&text).map_err(|reason| A::Error::custom(refused(&text, &reason)))?);
        }
        Ok(names)
    }
}
