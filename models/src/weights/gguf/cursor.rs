//! The primitives of the format: numbers, strings, values and lists, each checked against the bytes at hand before anything of its size is allocated.

use super::super::header::{HeaderFault, clip, fault};
use super::{GGUF_HEADER_BYTES_MAX, GgufFault, MetaValue};

/// A longer key or tensor name is refused.
const NAME_BYTES_MAX: u64 = 512;
/// A longer string is refused; the longest are tokenizers.
const TEXT_BYTES_MAX: u64 = 64 << 20;
/// More elements of a list than this are refused.
const LIST_COUNT_MAX: u64 = 4 << 20;

/// Why reading stopped.
pub(super) enum Stop {
    /// The header goes on behind the bytes at hand.
    Short,
    /// It cannot be used.
    Fault(GgufFault),
}

impl From<HeaderFault> for Stop {
    fn from(fault: HeaderFault) -> Self {
        Self::Fault(fault.into())
    }
}

/// A place in the first bytes of a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    file_bytes: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], file_bytes: u64) -> Self {
        Self { bytes, at: 0, file_bytes }
    }

    pub(super) fn at(&self) -> u64 {
        self.at as u64
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The next `count` bytes. Stops where they are not at hand, with a fault where the file or the bound on headers ends before them.
    pub(super) fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], Stop> {
        let end = self.at().saturating_add(count);
        if end > self.file_bytes {
            fault::<()>(what, format!("ends at byte {end}, the file at {}: the file is truncated", self.file_bytes))?;
        }
        if end > GGUF_HEADER_BYTES_MAX {
            fault::<()>(what, format!("the header goes on beyond {GGUF_HEADER_BYTES_MAX} bytes, which is all that is read"))?;
        }
        let taken = usize::try_from(end).ok().and_then(|end| self.bytes.get(self.at..end)).ok_or(Stop::Short)?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Stop> {
        self.take(N as u64, what)?.try_into().map_err(|_| Stop::Short)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Stop> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A number of things, at most `most`.
    pub(super) fn count(&mut self, what: &str, most: u64) -> Result<u64, Stop> {
        let count = self.u64(what)?;
        if count > most {
            fault::<()>(what, format!("found {count}, at most {most} are read"))?;
        }
        Ok(count)
    }

    fn text_bytes(&mut self, what: &str, most: u64) -> Result<&'a [u8], Stop> {
        let length = self.count(what, most)?;
        self.take(length, what)
    }

    /// A key, or the name of a tensor.
    pub(super) fn name(&mut self, what: &str) -> Result<String, Stop> {
        let bytes = self.text_bytes(what, NAME_BYTES_MAX)?;
        match std::str::from_utf8(bytes) {
            Ok(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => Ok(fault(what, format!("`{}` is empty or not UTF-8", clip(&String::from_utf8_lossy(bytes))))?),
        }
    }

    /// The value behind a key.
    pub(super) fn value(&mut self, key: &str) -> Result<MetaValue, Stop> {
        let what = format!("`{}`", clip(key));
        let kind = self.u32(&what)?;
        match kind {
            LIST => self.list(&what),
            TEXT => Ok(MetaValue::Text(String::from_utf8_lossy(self.text_bytes(&what, TEXT_BYTES_MAX)?).into_owned())),
            _ => {
                let bytes = self.take(element_bytes(kind, &what)?, &what)?;
                match scalar(kind, bytes, &what)? {
                    Scalar::Whole(value) => Ok(MetaValue::Whole(value)),
                    Scalar::Real(value) => Ok(MetaValue::Real(value)),
                    Scalar::Flag(value) => Ok(MetaValue::Flag(value)),
                }
            }
        }
    }

    fn list(&mut self, what: &str) -> Result<MetaValue, Stop> {
        let kind = self.u32(what)?;
        if kind == LIST {
            return Ok(fault(what, "a list of lists, which no model that can be run has")?);
        }
        let count = self.count(what, LIST_COUNT_MAX)?;
        if kind == TEXT {
            return self.texts(count, what);
        }
        let size = element_bytes(kind, what)?;
        let elements = self.take(count * size, what)?.chunks_exact(size as usize).map(|bytes| scalar(kind, bytes, what));
        let scalars: Vec<Scalar> = elements.collect::<Result<_, _>>()?;
        Ok(match scalars.first() {
            Some(Scalar::Real(_)) => MetaValue::Reals(scalars.into_iter().map(|value| value.real() as f32).collect()),
            Some(Scalar::Flag(_)) => MetaValue::Flags(scalars.into_iter().map(|value| value.whole() != 0).collect()),
            _ => MetaValue::Wholes(scalars.into_iter().map(Scalar::whole).collect()),
        })
    }

    fn texts(&mut self, count: u64, what: &str) -> Result<MetaValue, Stop> {
        let mut texts = Vec::new();
        for index in 0..count {
            let bytes = self.text_bytes(what, TEXT_BYTES_MAX)?;
            match std::str::from_utf8(bytes) {
                Ok(text) => texts.push(text.to_owned()),
                Err(_) => fault::<()>(what, format!("element {index}, `{}`, is not UTF-8", clip(&String::from_utf8_lossy(bytes))))?,
            }
        }
        Ok(MetaValue::Texts(texts))
    }
}

const TEXT: u32 = 8;
const LIST: u32 = 9;

#[derive(Clone, Copy)]
enum Scalar {
    Whole(i64),
    Real(f64),
    Flag(bool),
}

impl Scalar {
    fn whole(self) -> i64 {
        match self {
            Self::Whole(value) => value,
            Self::Flag(value) => i64::from(value),
            Self::Real(value) => value as i64,
        }
    }

    fn real(self) -> f64 {
        match self {
            Self::Real(value) => value,
            other => other.whole() as f64,
        }
    }
}

/// Bytes of a value of a kind that is neither text nor list.
fn element_bytes(kind: u32, what: &str) -> Result<u64, HeaderFault> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => fault(what, format!("a value of the unknown kind {kind}")),
    }
}

/// The value of little-endian `bytes`, as many as [`element_bytes`] says.
fn scalar(kind: u32, bytes: &[u8], what: &str) -> Result<Scalar, HeaderFault> {
    let mut wide = [0u8; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let value = u64::from_le_bytes(wide);
    Ok(match kind {
        1 => Scalar::Whole(i64::from(value as u8 as i8)),
        3 => Scalar::Whole(i64::from(value as u16 as i16)),
        5 => Scalar::Whole(i64::from(value as u32 as i32)),
        11 => Scalar::Whole(value as i64),
        6 => Scalar::Real(f64::from(f32::from_bits(value as u32))),
        12 => Scalar::Real(f64::from_bits(value)),
        7 if value > 1 => return fault(what, format!("a flag of {value}, 0 and 1 are allowed")),
        7 => Scalar::Flag(value == 1),
        _ => match i64::try_from(value) {
            Ok(value) => Scalar::Whole(value),
            Err(_) => return fault(what, format!("{value} is beyond the whole numbers that are read")),
        },
    })
}
