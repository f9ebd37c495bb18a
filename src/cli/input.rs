//! Where text comes from: arguments, a file, or standard input; bounded, and named in errors.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::exit::{CliError, Exit};

/// Most bytes of one text or one line.
pub(crate) const TEXT_BYTES_MAX: u64 = 256 << 20;

/// Opens a file, or standard input for `-`.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, CliError> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::with_capacity(64 * 1024, io::stdin())));
    }
    let file = File::open(path).map_err(|error| CliError::file(path, &error))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(CliError::usage(format!("{}: is a directory; expected a file", path.display())));
    }
    Ok(Box::new(BufReader::with_capacity(64 * 1024, file)))
}

/// True when both paths lead to the same file, however they are spelled.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// All of a file or of standard input (`-`) as text. Errors: absent, not UTF-8, larger than 256 MiB.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    open(path)?.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| CliError::file(path, &error))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(CliError::new(Exit::DoesNotFit, format!("{}: more than {TEXT_BYTES_MAX} bytes in one text", path.display())));
    }
    String::from_utf8(bytes)
        .map_err(|error| CliError::usage(format!("{}: not UTF-8 at byte {}", path.display(), error.utf8_error().valid_up_to())))
}

/// Lines of a file with their numbers, one at a time, without the line break.
pub(crate) struct Lines {
    reader: Box<dyn BufRead + Send>,
    place: String,
    number: u64,
}

/// One line and its number, from 1.
pub(crate) struct Line {
    /// Its number.
    pub(crate) number: u64,
    /// Its text, or why it is none (not UTF-8, or longer than 256 MiB).
    pub(crate) text: Result<String, String>,
}

impl Lines {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        Ok(Self { reader: open(path)?, place: path.display().to_string(), number: 0 })
    }

    /// The next line that is not blank. A leading byte order mark is dropped. Errors: the file cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, CliError> {
        loop {
            let mut bytes = Vec::new();
            let taken = (&mut self.reader).take(TEXT_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
            let count = taken.map_err(|error| CliError::new(Exit::Runtime, format!("{}: {error}", self.place)))?;
            if count == 0 {
                return Ok(None);
            }
            self.number += 1;
            if bytes.last() != Some(&b'\n') && count as u64 > TEXT_BYTES_MAX {
                self.skip_rest()?;
                return Ok(Some(Line { number: self.number, text: Err(format!("longer than {TEXT_BYTES_MAX} bytes")) }));
            }
            let start = if self.number == 1 && bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            let text = match std::str::from_utf8(&bytes[start..]) {
                Ok(text) => text.trim_end_matches(['\n', '\r']),
                Err(error) => {
                    return Ok(Some(Line { number: self.number, text: Err(format!("not UTF-8 at byte {}", error.valid_up_to())) }));
                }
            };
            if !text.trim().is_empty() {
                return Ok(Some(Line { number: self.number, text: Ok(text.to_owned()) }));
            }
        }
    }

    fn skip_rest(&mut self) -> Result<(), CliError> {
        loop {
            let buffer = self.reader.fill_buf().map_err(|error| CliError::new(Exit::Runtime, format!("{}: {error}", self.place)))?;
            let (used, ended) = match buffer.iter().position(|&b| b == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.reader.consume(used);
            if ended {
                return Ok(());
            }
        }
    }
}

/// The text of one record: a plain line, or with `jsonl` a JSON string or an object whose `text` field is taken.
pub(crate) fn record_text(line: &str, jsonl: bool) -> Result<String, String> {
    if !jsonl {
        return Ok(line.to_owned());
    }
    match serde_json::from_str::<Value>(line).map_err(|error| format!("not JSON: {error}"))? {
        Value::String(text) => Ok(text),
        Value::Object(mut fields) => match fields.remove("text") {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("field `text` is {}, expected a string", kind(&other))),
            None => Err("no field `text`; expected a JSON string or an object with a `text` field".into()),
        },
        other => Err(format!("found {}, expected a JSON string or an object with a `text` field", kind(&other))),
    }
}

/// What a JSON value is, in words.
#[must_use]
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// True for names that end in `.jsonl` or `.ndjson`.
#[must_use]
pub(crate) fn is_jsonl(path: &Path) -> bool {
    has_extension(path, &["jsonl", "ndjson"])
}

/// True for names that end in `.npy`.
#[must_use]
pub(crate) fn is_npy(path: &Path) -> bool {
    has_extension(path, &["npy"])
}

fn has_extension(path: &Path, wanted: &[&str]) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| wanted.iter().any(|name| extension.eq_ignore_ascii_case(name)))
}
