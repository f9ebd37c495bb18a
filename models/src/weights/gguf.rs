//! The pre-flight of a GGUF file: its header is read within bounds and must describe the data exactly. Pure: bytes in, table out.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian: magic, version, counts, key-value pairs,
//! tensor infos, then the tensors' bytes, each aligned.

mod cursor;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use cursor::{Cursor, Stop};
pub use read::{known, read_gguf_header};

use super::header::{HeaderFault, TENSOR_COUNT_MAX, TensorEntry, clip, fault, tensor_field};

/// The four bytes that such a file begins with.
pub const GGUF_MAGIC: &[u8; 4] = b"GGUF";
/// A header beyond this is refused; vocabularies are in it.
pub const GGUF_HEADER_BYTES_MAX: u64 = 128 << 20;
/// More key-value pairs than this are refused.
const PAIR_COUNT_MAX: u64 = 65_536;
/// More dimensions than this are refused.
const GGUF_RANK_MAX: u32 = 4;
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MAX: u64 = 1 << 16;

/// Element types that can be read: the code in the file, the name, the elements of a block and its bytes.
const TYPES: &[(u32, &str, u64, u64)] = &[
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (30, "BF16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
];

/// The names of the element types that can be read, for messages.
#[must_use]
pub fn gguf_types() -> String {
    TYPES.iter().map(|(_, name, ..)| *name).collect::<Vec<_>>().join(", ")
}

/// Elements and bytes of a block of an element type that can be read.
#[must_use]
pub fn gguf_block(dtype: &str) -> Option<(u64, u64)> {
    TYPES.iter().find(|(_, name, ..)| *name == dtype).map(|&(_, _, elements, bytes)| (elements, bytes))
}

/// A value of the metadata. Lists of lists are not read.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// Any kind of whole number.
    Whole(i64),
    /// Any kind of real number.
    Real(f64),
    /// True or false.
    Flag(bool),
    /// Text; what is not UTF-8 is replaced.
    Text(String),
    /// Whole numbers.
    Wholes(Vec<i64>),
    /// Real numbers.
    Reals(Vec<f32>),
    /// True and false.
    Flags(Vec<bool>),
    /// Texts, all of them UTF-8.
    Texts(Vec<String>),
}

/// What stands before the data of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufHeader {
    /// The key-value pairs.
    pub metadata: BTreeMap<String, MetaValue>,
    /// Tensors by position; their shapes outermost first, as everywhere else.
    pub tensors: Vec<TensorEntry>,
    /// Where the data begins.
    pub data_start: u64,
}

/// Why a header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GgufFault {
    /// It is damaged or lies.
    Damaged(HeaderFault),
    /// It says something that cannot be read, in a sentence that lists what can.
    Unsupported(String),
}

impl From<HeaderFault> for GgufFault {
    fn from(fault: HeaderFault) -> Self {
        Self::Damaged(fault)
    }
}

/// Reads a header from the first bytes of a file of `file_bytes` bytes; `None` when it goes on behind them.
///
/// Errors: the first thing that does not hold. What is allocated is bounded by the length of `bytes`, some bytes for each of them.
pub fn parse_gguf(bytes: &[u8], file_bytes: u64) -> Result<Option<GgufHeader>, GgufFault> {
    match read(&mut Cursor::new(bytes, file_bytes)) {
        Ok(header) => Ok(Some(header)),
        Err(Stop::Short) => Ok(None),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

fn read(cursor: &mut Cursor<'_>) -> Result<GgufHeader, Stop> {
    if cursor.take(4, "magic")? != GGUF_MAGIC {
        return Ok(fault("magic", "the file does not begin with GGUF")?);
    }
    match cursor.u32("version")? {
        2 | 3 => {}
        other if matches!(other.swap_bytes(), 1..=3) => {
            return Err(Stop::Fault(GgufFault::Unsupported("a GGUF file of big-endian numbers; little-endian ones are read".into())));
        }
        other => return Err(Stop::Fault(GgufFault::Unsupported(format!("GGUF version {other}; versions 2 and 3 are read")))),
    }
    let tensor_count = cursor.count("tensor count", TENSOR_COUNT_MAX as u64)?;
    let pair_count = cursor.count("pair count", PAIR_COUNT_MAX)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..pair_count {
        let key = cursor.name("a key")?;
        let value = cursor.value(&key)?;
        if metadata.insert(key.clone(), value).is_some() {
            fault::<()>(format!("`{}`", clip(&key)), "the key occurs twice")?;
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT_DEFAULT,
        Some(&MetaValue::Whole(n)) if (1..=ALIGNMENT_MAX as i64).contains(&n) && (n as u64).is_power_of_two() => n as u64,
        Some(_) => fault("general.alignment", format!("a power of two up to {ALIGNMENT_MAX} is expected"))?,
    };
    let mut infos = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..tensor_count {
        let info = Info::read(cursor)?;
        if !seen.insert(info.entry.name.clone()) {
            fault::<()>(tensor_field(&info.entry.name), "the name occurs twice")?;
        }
        infos.push(info);
    }
    let data_start = cursor.at().next_multiple_of(alignment);
    let tensors = placed(infos, (data_start, alignment), cursor.file_bytes())?;
    Ok(GgufHeader { metadata, tensors, data_start })
}

/// Puts the tensors in the order of their data, which must follow each other with no more than padding between them and end where the file does.
fn placed(mut infos: Vec<Info>, (data_start, alignment): (u64, u64), file_bytes: u64) -> Result<Vec<TensorEntry>, HeaderFault> {
    infos.sort_by_key(|info| info.offset);
    let mut end = data_start;
    let mut expected = data_start;
    for info in &mut infos {
        let field = tensor_field(&info.entry.name);
        let Some(start) = data_start.checked_add(info.offset) else { return fault(field, "its offset overflows") };
        if start != expected {
            return fault(field, format!("starts at byte {start} where {expected} is expected"));
        }
        let Some(stop) = start.checked_add(info.bytes) else { return fault(field, "its end overflows") };
        if stop > file_bytes {
            return fault(field, format!("ends at byte {stop}, the file at {file_bytes}: the file is truncated"));
        }
        info.entry.bytes = start..stop;
        end = stop;
        expected = stop.next_multiple_of(alignment);
    }
    if file_bytes > expected && !infos.is_empty() {
        return fault("size", format!("the tensors end at byte {end}, the file at {file_bytes}: there are trailing bytes"));
    }
    Ok(infos.into_iter().map(|info| info.entry).collect())
}

/// A tensor before its place is checked.
struct Info {
    entry: TensorEntry,
    offset: u64,
    bytes: u64,
}

impl Info {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let name = cursor.name("a tensor's name")?;
        let field = tensor_field(&name);
        let rank = cursor.u32(&field)?;
        if rank > GGUF_RANK_MAX {
            fault::<()>(field.clone(), format!("{rank} dimensions, at most {GGUF_RANK_MAX} are read"))?;
        }
        let mut sizes = Vec::new();
        for _ in 0..rank {
            sizes.push(cursor.u64(&field)?);
        }
        let code = cursor.u32(&field)?;
        let offset = cursor.u64(&field)?;
        let Some(&(_, dtype, block, block_bytes)) = TYPES.iter().find(|(known, ..)| *known == code) else {
            let reason = format!("{field} has elements of type {code}; supported: {}", gguf_types());
            return Err(Stop::Fault(GgufFault::Unsupported(reason)));
        };
        let row = sizes.first().copied().unwrap_or(1);
        if !row.is_multiple_of(block) {
            fault::<()>(field.clone(), format!("rows of {row} elements in blocks of {block}"))?;
        }
        let elements = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size)).filter(|&count| count > 0);
        let bytes = elements.and_then(|elements| (elements / block).checked_mul(block_bytes));
        let shape: Option<Vec<usize>> = sizes.iter().rev().map(|&size| usize::try_from(size).ok()).collect();
        let (Some(bytes), Some(shape)) = (bytes, shape) else {
            return Ok(fault(field, format!("the shape {sizes:?} is empty or overflows"))?);
        };
        Ok(Self { entry: TensorEntry { name, dtype: dtype.to_owned(), shape, bytes: 0..0 }, offset, bytes })
    }
}
