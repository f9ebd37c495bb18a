//! The header of an `.npy` document: a Python dictionary of exactly three entries, read without evaluating anything.

use super::{DIMENSIONS_MAX, invalid};
use crate::task::{Dtype, TaskError};

/// What the header says.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) dtype: Dtype,
    pub(super) big_endian: bool,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
}

/// Reads the header's text. Errors: `InvalidPayload` at `npy` naming what was expected and what was found.
pub(super) fn parse(text: &str) -> Result<Header, TaskError> {
    let mut scanner = Scanner { rest: text };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    scanner.expect('{')?;
    while !scanner.accept('}') {
        let key = scanner.string()?;
        scanner.expect(':')?;
        let repeated = match key {
            "descr" => descr.replace(scanner.string()?).is_some(),
            "fortran_order" => fortran_order.replace(scanner.boolean()?).is_some(),
            "shape" => shape.replace(scanner.shape()?).is_some(),
            _ => return Err(invalid(format!("unknown header entry `{}`", shorten(key)))),
        };
        if repeated {
            return Err(invalid(format!("header entry `{key}` appears twice")));
        }
        if !scanner.accept(',') {
            scanner.expect('}')?;
            break;
        }
    }
    if !scanner.rest.trim().is_empty() {
        return Err(scanner.unexpected("the end of the header"));
    }
    let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran_order, shape) else {
        return Err(invalid("the header needs the entries `descr`, `fortran_order` and `shape`"));
    };
    let (dtype, big_endian) = element(descr)?;
    Ok(Header { dtype, big_endian, fortran_order, shape })
}

/// Element type and byte order of a `descr`.
fn element(descr: &str) -> Result<(Dtype, bool), TaskError> {
    let dtype = match descr.get(1..) {
        Some("f2") => Dtype::F16,
        Some("f4") => Dtype::F32,
        Some("f8") => Dtype::F64,
        Some("i1") => Dtype::I8,
        Some("u1") => Dtype::U8,
        Some("i4") => Dtype::I32,
        Some("u4") => Dtype::U32,
        Some("i8") => Dtype::I64,
        _ => return Err(unknown(descr)),
    };
    match descr.as_bytes()[0] {
        b'<' => Ok((dtype, false)),
        b'>' => Ok((dtype, true)),
        b'|' if dtype.size_bytes() == 1 => Ok((dtype, false)),
        _ => Err(unknown(descr)),
    }
}

fn unknown(descr: &str) -> TaskError {
    invalid(format!("element type `{}` is not read; allowed: f2, f4, f8, i1, u1, i4, u4, i8 (no objects, no pickles)", shorten(descr)))
}

fn shorten(text: &str) -> String {
    text.chars().take(32).collect()
}

/// Reads the few kinds of Python literals a header is made of.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn accept(&mut self, wanted: char) -> bool {
        match self.rest.trim_start().strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), TaskError> {
        if self.accept(wanted) { Ok(()) } else { Err(self.unexpected(&format!("`{wanted}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> TaskError {
        invalid(format!("expected {wanted} in the header, found `{}`", shorten(self.rest.trim_start())))
    }

    /// A string in either quotes, without escapes.
    fn string(&mut self) -> Result<&'a str, TaskError> {
        let quote = if self.accept('\'') {
            '\''
        } else if self.accept('"') {
            '"'
        } else {
            return Err(self.unexpected("a string"));
        };
        let (text, rest) = self.rest.split_once(quote).ok_or_else(|| invalid("a string of the header does not end"))?;
        if text.contains('\\') {
            return Err(invalid("a string of the header has an escape"));
        }
        self.rest = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, TaskError> {
        let text = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = text.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.unexpected("True or False"))
    }

    /// A tuple of lengths.
    fn shape(&mut self) -> Result<Vec<usize>, TaskError> {
        self.expect('(')?;
        let mut shape = Vec::new();
        while !self.accept(')') {
            if shape.len() == DIMENSIONS_MAX {
                return Err(invalid(format!("more than {DIMENSIONS_MAX} dimensions")));
            }
            shape.push(self.length()?);
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn length(&mut self) -> Result<usize, TaskError> {
        let text = self.rest.trim_start();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let length = text[..digits].parse().map_err(|_no_length| self.unexpected("a length"))?;
        // Python 2 wrote long integers with an L.
        self.rest = text[digits..].strip_prefix('L').unwrap_or(&text[digits..]);
        Ok(length)
    }
}
