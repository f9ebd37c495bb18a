//! Sizes in bytes as people write them, and the worker's memory limit made from one. Pure.

use std::fmt;
use std::str::FromStr;

use super::HostMemory;

/// Binary and decimal units, by their lower-case names.
const UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("ki", 1 << 10),
    ("mib", 1 << 20),
    ("mi", 1 << 20),
    ("gib", 1 << 30),
    ("gi", 1 << 30),
    ("tib", 1 << 40),
    ("ti", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// With less than this a worker cannot hold a model and a task.
pub const LIMIT_BYTES_MIN: u64 = 64 << 20;
/// Share of the usable memory that the worker plans with when nobody says otherwise; the rest is for code, stacks, caches and fragmentation.
const AUTO_PERCENT: u64 = 80;
/// Longer texts are not sizes.
const TEXT_LEN_MAX: usize = 40;

/// A text that is not a size, or a limit that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}`: {reason}")]
pub struct ByteSizeError {
    /// The text, cut at 40 characters.
    pub found: String,
    /// What is wrong and what is allowed.
    pub reason: String,
}

fn error(text: &str, reason: impl Into<String>) -> ByteSizeError {
    ByteSizeError { found: text.chars().take(TEXT_LEN_MAX).collect(), reason: reason.into() }
}

/// Reads a size: `8GiB`, `512MiB`, `1.5 GiB`, `500MB` (decimal), `4Gi` (as Kubernetes writes it) or plain bytes.
///
/// Case does not matter. A fraction is rounded down to whole bytes. Errors: an unknown or ambiguous unit (`8G`), no number, a sign, more than 2^64.
pub fn parse_bytes(text: &str) -> Result<u64, ByteSizeError> {
    let trimmed = text.trim();
    if trimmed.len() > TEXT_LEN_MAX {
        return Err(error(text, "too long for a size"));
    }
    let unit_at = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(unit_at);
    let unit = unit.trim().to_ascii_lowercase();
    if matches!(unit.as_str(), "k" | "m" | "g" | "t") {
        let upper = unit.to_ascii_uppercase();
        return Err(error(text, format!("ambiguous unit: write {number}{upper}iB (binary) or {number}{upper}B (decimal)")));
    }
    let Some((_, unit_bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(error(text, "unknown unit; allowed are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB"));
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return Err(error(text, "expected a number such as 8GiB, 1.5GiB or 536870912"));
    }
    let too_large = || error(text, "more than 2^64 bytes");
    let whole: u64 = whole.parse().map_err(|_overflow| too_large())?;
    let numerator: u128 = fraction.parse::<u128>().map_err(|_overflow| too_large())? * u128::from(*unit_bytes);
    let denominator = 10u128.pow(u32::try_from(fraction.len()).map_err(|_overflow| too_large())?);
    let total = u128::from(whole) * u128::from(*unit_bytes) + numerator / denominator;
    u64::try_from(total).map_err(|_overflow| too_large())
}

/// A size for people, such as `1.5 GiB` or `512 B`: binary units, one decimal, rounded down so that it never claims more than there is.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit_bytes, unit)) = units.iter().find(|(unit_bytes, _)| bytes >= *unit_bytes) else {
        return format!("{bytes} B");
    };
    let tenths = u128::from(bytes) * 10 / u128::from(*unit_bytes);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// How much host memory the worker may hold, as it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryLimit {
    /// 80 % of what this process may use, and not more than is free now.
    #[default]
    Auto,
    /// So many percent of what this process may use, 1 to 100.
    Percent(u8),
    /// So many bytes.
    Bytes(u64),
}

impl FromStr for MemoryLimit {
    type Err = ByteSizeError;

    /// Reads `auto`, `75%` or a size as in [`parse_bytes`].
    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        if let Some(percent) = trimmed.strip_suffix('%') {
            let parsed = percent.trim().parse::<u8>().ok().filter(|percent| (1..=100).contains(percent));
            return parsed.map(Self::Percent).ok_or_else(|| error(text, "a percentage is a whole number from 1% to 100%"));
        }
        parse_bytes(trimmed).map(Self::Bytes)
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => write!(f, "{bytes}"),
        }
    }
}

/// A memory limit in bytes, with the sentence that explains it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ResolvedMemoryLimit {
    /// Host bytes that the worker may hold.
    pub bytes: u64,
    /// Where the number comes from.
    pub reason: String,
}

impl MemoryLimit {
    /// The limit on this host. Errors: when it is above what this process may use, below 64 MiB, or unknowable as the host tells nothing.
    pub fn resolve(self, memory: &HostMemory) -> Result<ResolvedMemoryLimit, ByteSizeError> {
        let usable = memory.usable_bytes;
        if usable == 0 {
            return self.resolve_blindly();
        }
        let share = |percent: u64| u64::try_from(u128::from(usable) * u128::from(percent) / 100).unwrap_or(u64::MAX);
        let usable_text = format!("{} that {}", format_bytes(usable), memory.limited_by);
        let (bytes, reason) = match self {
            Self::Auto if memory.available_bytes < share(AUTO_PERCENT) => {
                (memory.available_bytes, format!("what is free now of the {usable_text}"))
            }
            Self::Auto => (share(AUTO_PERCENT), format!("{AUTO_PERCENT} % of the {usable_text}")),
            Self::Percent(percent) => (share(u64::from(percent)), format!("{percent} % of the {usable_text}, as asked for")),
            Self::Bytes(bytes) => (bytes, format!("as asked for, out of the {usable_text}")),
        };
        if bytes > usable {
            return Err(error(&self.to_string(), format!("more than the {usable_text}")));
        }
        self.large_enough(bytes, reason)
    }

    /// A host that does not tell its memory takes the operator's word, and only that.
    fn resolve_blindly(self) -> Result<ResolvedMemoryLimit, ByteSizeError> {
        match self {
            Self::Bytes(bytes) => self.large_enough(bytes, "as asked for; this host does not tell its memory".into()),
            Self::Auto | Self::Percent(_) => {
                Err(error(&self.to_string(), "this host does not tell its memory; give the limit as a size, such as 4GiB"))
            }
        }
    }

    fn large_enough(self, bytes: u64, reason: String) -> Result<ResolvedMemoryLimit, ByteSizeError> {
        if bytes < LIMIT_BYTES_MIN {
            let least = format_bytes(LIMIT_BYTES_MIN);
            return Err(error(&self.to_string(), format!("makes {}; a worker needs at least {least}", format_bytes(bytes))));
        }
        Ok(ResolvedMemoryLimit { bytes, reason })
    }
}
