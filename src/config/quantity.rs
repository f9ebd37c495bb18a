//! Quantities as people write them: `8GiB`, `30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::resource::{ByteSizeError, format_bytes, parse_bytes};

/// A number of bytes: `1048576`, `512MiB`, `8GiB`, `1.5GB`. Units are powers of 1024 with an `i`, of 1000 without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    /// Errors: as [`parse_bytes`].
    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        parse_bytes(text).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_bytes(self.0))
    }
}

/// Splits `12.5ms` into the number and what one unit of it is worth.
fn split_unit(text: &str, units: &[(&str, u64)]) -> Option<(f64, u64)> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = units
        .iter()
        .find_map(|&(suffix, unit)| lower.strip_suffix(suffix).map(|number| (number.trim_end().to_owned(), unit)))
        .unwrap_or((lower, 1));
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some((number, unit))
}

/// A length of time: `30s`, `500ms`, `2m`, `1h`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    /// Errors: the text is no length of time, or more than 366 days.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a length of time of at most 366 days; expected such as 500ms, 30s, 2m or 1h");
        let text_lower = text.trim().to_ascii_lowercase();
        let (number, unit_ms) = split_unit(&text_lower, &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)])
            .map(|(number, unit)| if text_lower.ends_with(|c: char| c.is_ascii_digit()) { (number, 1_000) } else { (number, unit) })
            .ok_or_else(refuse)?;
        let milliseconds = number * unit_ms as f64;
        if milliseconds > 366.0 * 86_400_000.0 {
            return Err(refuse());
        }
        Ok(Self(Duration::from_millis(milliseconds as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            ms if ms < 1_000 => write!(f, "{ms} ms"),
            ms if ms < 120_000 => write!(f, "{:.1} s", ms as f64 / 1e3),
            ms => write!(f, "{:.1} min", ms as f64 / 6e4),
        }
    }
}
