//! Headers of safetensors and GGUF files: what is accepted describes the file exactly, and what it says of a model is used or refused.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;
use tallow_models::encoder::EncoderPlan;
use tallow_models::weights::gguf::{GgufFault, gguf_block, parse_gguf};
use tallow_models::weights::header::{RANK_MAX, header_length, parse_header};

use crate::bytes::mutated;
use crate::harness::fuzz;
use crate::json::mutate;

/// A file's header as JSON, the bytes of data it describes, and how much is cut off or added.
fn header(random: &mut StdRng, mutations: usize) -> (Vec<u8>, u64) {
    let (rows, columns) = (random.random_range(0..4u64), random.random_range(1..5u64));
    let first = rows * columns * 4;
    let mut table = json!({
        "__metadata__": { "format": "pt" },
        "a.weight": { "dtype": "F32", "shape": [rows, columns], "data_offsets": [0, first] },
        "b.bias": { "dtype": "BF16", "shape": [columns], "data_offsets": [first, first + 2 * columns] },
        "scalar": { "dtype": "U8", "shape": [], "data_offsets": [first + 2 * columns, first + 2 * columns + 1] },
    });
    let data_bytes = first + 2 * columns + 1;
    for _ in 0..mutations / 2 {
        mutate(&mut table, random);
    }
    let json = mutated(&[table.to_string().into_bytes()], mutations / 2, random);
    (json, data_bytes)
}

#[test]
fn safetensors_headers_describe_their_file_or_are_refused() {
    fuzz("safetensors header", header, |(json, data_bytes)| {
        let file_bytes = 8 + json.len() as u64 + data_bytes;
        let table = match parse_header(json, file_bytes) {
            Err(fault) if fault.field.len() + fault.reason.len() < 4000 => return Ok(()),
            Err(fault) => return Err(format!("a fault of {} bytes", fault.field.len() + fault.reason.len())),
            Ok(table) => table,
        };
        let mut end = 8 + json.len() as u64;
        for tensor in &table.tensors {
            if tensor.bytes.start != end || tensor.bytes.end < end || tensor.shape.len() > RANK_MAX {
                return Err(format!("{tensor:?} where byte {end} is expected"));
            }
            end = tensor.bytes.end;
        }
        if end == file_bytes { Ok(()) } else { Err(format!("the tensors end at {end}, the file at {file_bytes}")) }
    });
}

#[test]
fn the_length_of_a_header_stays_within_the_file() {
    let corpus = vec![vec![8, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'], vec![0xff; 8], vec![0; 7], Vec::new()];
    let make = |random: &mut StdRng, mutations| (mutated(&corpus, mutations, random), random.random_range(0..64u64));
    fuzz("safetensors length", make, |(head, file_bytes)| match header_length(head, *file_bytes) {
        Ok(length) if length.checked_add(8).is_none_or(|end| end > *file_bytes) => {
            Err(format!("a header of {length} bytes in {file_bytes}"))
        }
        _ => Ok(()),
    });
}

/// Small files of every kind: blocks of all types, vocabularies of all kinds, a whole model.
const GGUF_FILES: [&[u8]; 6] = [
    include_bytes!("../models/fixtures/gguf/blocks.gguf"),
    include_bytes!("../models/fixtures/gguf/vocabulary-unigram.gguf"),
    include_bytes!("../models/fixtures/gguf/vocabulary-merged.gguf"),
    include_bytes!("../models/fixtures/gguf/vocabulary-qwen2.gguf"),
    include_bytes!("../models/fixtures/gguf/vocabulary-modern-bert.gguf"),
    include_bytes!("../models/fixtures/gguf/bert.gguf"),
];

fn gguf(random: &mut StdRng, mutations: usize) -> Vec<u8> {
    mutated(&GGUF_FILES.map(<[u8]>::to_vec), mutations, random)
}

#[test]
fn gguf_headers_describe_their_file_or_are_refused() {
    fuzz("GGUF header", gguf, |bytes| {
        let file_bytes = bytes.len() as u64;
        let header = match parse_gguf(bytes, file_bytes) {
            Ok(Some(header)) => header,
            Ok(None) => return Err("a header that goes on behind the file".into()),
            Err(GgufFault::Damaged(fault)) if fault.field.len() + fault.reason.len() < 4000 => return Ok(()),
            Err(GgufFault::Unsupported(reason)) if reason.len() < 4000 => return Ok(()),
            Err(fault) => return Err(format!("a fault of {} bytes", format!("{fault:?}").len())),
        };
        let mut end = header.data_start;
        for tensor in &header.tensors {
            let (block, block_bytes) = gguf_block(&tensor.dtype).ok_or("an element type without blocks")?;
            let elements = tensor.shape.iter().product::<usize>() as u64;
            let length = tensor.bytes.end - tensor.bytes.start;
            if tensor.bytes.start < end || tensor.bytes.end > file_bytes || elements / block * block_bytes != length {
                return Err(format!("{tensor:?} behind byte {end} of {file_bytes}"));
            }
            end = tensor.bytes.end;
        }
        Ok(())
    });
}

#[test]
fn what_a_gguf_file_says_of_a_model_is_used_or_refused() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("m.gguf");
    fuzz("GGUF model", gguf, |bytes| {
        std::fs::write(&path, bytes).map_err(|error| error.to_string())?;
        let told = EncoderPlan::read(&path).and_then(|plan| plan.tokenizer().map(|tokenizer| tokenizer.tokenize("", "hello, world")));
        match told {
            Err(error) if error.to_string().len() > 8000 => Err(format!("an error of {} bytes", error.to_string().len())),
            _ => Ok(()),
        }
    });
}
