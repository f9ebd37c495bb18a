//! From the blocks of quantised tensors to f32, by the library's own arithmetic, a piece at a time: what is held beside the result is the piece.

use std::borrow::Cow;
use std::io::{Error, ErrorKind, Read};

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Shape};

use super::gguf::gguf_block;

/// Elements that are expanded at once; whole blocks of every type.
const PIECE_ELEMENTS: usize = 1 << 18;

/// The library's name of an element type.
fn library_type(dtype: &str) -> Option<GgmlDType> {
    Some(match dtype {
        "Q4_0" => GgmlDType::Q4_0,
        "Q4_1" => GgmlDType::Q4_1,
        "Q5_0" => GgmlDType::Q5_0,
        "Q5_1" => GgmlDType::Q5_1,
        "Q8_0" => GgmlDType::Q8_0,
        "Q2_K" => GgmlDType::Q2K,
        "Q3_K" => GgmlDType::Q3K,
        "Q4_K" => GgmlDType::Q4K,
        "Q5_K" => GgmlDType::Q5K,
        "Q6_K" => GgmlDType::Q6K,
        _ => return None,
    })
}

/// Reads `length` bytes of whole blocks as f32; `None` (nothing is read) for a type that is not one of blocks.
///
/// Errors: the reader's; `InvalidData` for a length that is not one of whole blocks, or where the library refuses.
pub(super) fn read_blocks(reader: &mut impl Read, dtype: &str, length: usize) -> std::io::Result<Option<Vec<f32>>> {
    let (Some(library), Some((elements, bytes))) = (library_type(dtype), gguf_block(dtype)) else { return Ok(None) };
    let (elements, bytes) = (elements as usize, bytes as usize);
    if !length.is_multiple_of(bytes) || (library.block_size(), library.type_size()) != (elements, bytes) {
        return Err(Error::new(ErrorKind::InvalidData, format!("{length} bytes are no whole blocks of {dtype}")));
    }
    let total = length / bytes * elements;
    let mut values = Vec::with_capacity(total);
    // Words, because the library takes bytes only where the blocks' halves are aligned.
    let mut words = vec![0u32; (PIECE_ELEMENTS / elements * bytes).div_ceil(4).min(length.div_ceil(4))];
    while values.len() < total {
        let count = (total - values.len()).min(PIECE_ELEMENTS);
        let piece = &mut bytemuck::cast_slice_mut::<u32, u8>(&mut words)[..count / elements * bytes];
        reader.read_exact(piece)?;
        let expanded = expand(piece, library, count).map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))?;
        values.extend_from_slice(&expanded);
    }
    Ok(Some(values))
}

fn expand(piece: &[u8], dtype: GgmlDType, count: usize) -> candle_core::Result<Vec<f32>> {
    let storage = QStorage::from_data(Cow::Borrowed(piece), &Device::Cpu, dtype)?;
    QTensor::new(storage, Shape::from(count))?.dequantize(&Device::Cpu)?.to_vec1()
}
