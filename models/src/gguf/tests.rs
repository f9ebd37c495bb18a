//! Files made by `fixtures/make_gguf.py` against the goldens of the models they were made of, the values of the `gguf` package, and the ids of the
//! original tokenizers; and files that lie.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use candle_core::Device;
use serde_json::Value;

use super::*;
use crate::arch::{self, EncoderConfig, TokenBatch};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join(name)).unwrap()).unwrap()
}

fn values(packed: &Value) -> Vec<f32> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed["f32"].as_str().unwrap()).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn every_family_agrees_with_its_reference() {
    for name in ["nomic", "jina", "modernbert", "qwen3", "gemma3"] {
        let model = GgufModel::open(&fixtures().join(format!("gguf/{name}.gguf"))).unwrap();
        let config = EncoderConfig::from_json(model.config().unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut weights = model.weights(&Device::Cpu).unwrap();
        let encoder = arch::build(&config, &mut weights, &Device::Cpu).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden = golden(&format!("families/{name}/golden.json"));
        let ids: Vec<Vec<u32>> = serde_json::from_value(golden["ids"].clone()).unwrap();
        let segments: Vec<Vec<u32>> = serde_json::from_value(golden["segments"].clone()).unwrap_or_default();
        let ends = ids.iter().scan(0, |end, row| {
            *end += row.len();
            Some(*end)
        });
        let offsets = std::iter::once(0).chain(ends).collect();
        let batch = TokenBatch { ids: ids.concat(), segments: segments.concat(), offsets };
        let found: Vec<f32> = encoder.forward(&batch, &|| false).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let expected = values(&golden["hidden"]);
        let bound = 1.5e-4 * expected.iter().fold(1f32, |largest, value| largest.max(value.abs()));
        let largest = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(found.len() == expected.len() && largest <= bound, "{name}: differs by {largest}, bound {bound}");
        model.tokenizer(config.vocab).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(model.pooling().is_ok(), "{name}");
    }
}

#[test]
fn blocks_of_every_type_have_the_values_that_the_package_gives_them() {
    let path = fixtures().join("gguf/blocks.gguf");
    let mut weights = Weights::read_gguf(&path, crate::weights::TensorNames::SAME, &Device::Cpu).unwrap();
    let golden = golden("gguf/golden.json");
    let blocks = golden["blocks"].as_object().unwrap();
    assert_eq!(blocks.len(), 12);
    for (kind, expected) in blocks {
        let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
        let found: Vec<f32> = weights.take(&format!("{kind}.weight"), &shape).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (at, (a, b)) in found.iter().zip(values(expected)).enumerate() {
            assert!((a - b).abs() <= 2e-6 * b.abs().max(1e-3), "{kind}, value {at}: {a} for {b}");
        }
    }
}

#[test]
fn ids_are_those_of_the_original_tokenizers() {
    let golden = golden("gguf/golden.json");
    let texts: Vec<String> = serde_json::from_value(golden["texts"].clone()).unwrap();
    let mut wrong = Vec::new();
    for (name, rows) in golden["ids"].as_object().unwrap() {
        let header = read_gguf_header(&fixtures().join(format!("gguf/vocabulary-{name}.gguf"))).unwrap();
        let tokenizer = vocabulary::build(&Metadata::new(&header, name.clone()), 100_000).unwrap();
        for (text, expected) in texts.iter().zip(rows.as_array().unwrap()) {
            let Ok(expected) = serde_json::from_value::<Vec<u32>>(expected.clone()) else { continue };
            let found = tokenizer.tokenize("", text).unwrap().ids;
            if found != expected {
                wrong.push(format!("{name}, {text:?}:\n  {found:?}\n  {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The folder of a variable, or a word that the test was skipped.
fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable);
    if folder.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    folder.map(PathBuf::from)
}

/// Texts and ids as the tests of llama.cpp hold them, special tokens left out.
#[test]
fn ids_are_those_that_llama_cpp_gives() {
    let Some(data) = folder("TALLOW_TEST_DATA") else { return };
    for (name, around) in [("bert-bge", 2), ("llama-spm", 1)] {
        let path = data.join(format!("gguf-vocabs/ggml-vocab-{name}.gguf"));
        let header = read_gguf_header(&path).unwrap();
        let tokenizer = vocabulary::build(&Metadata::new(&header, name.into()), 100_000).unwrap();
        let read = |ending: &str| std::fs::read_to_string(path.with_extension(format!("gguf.{ending}"))).unwrap();
        let (texts, ids) = (read("inp"), read("out"));
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let mut wrong = Vec::new();
        for (text, ids) in texts.iter().zip(ids.lines()) {
            let expected: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
            let found = tokenizer.tokenize("", text).unwrap();
            if found.ids[found.content.clone()] != expected || found.ids.len() != expected.len() + around {
                wrong.push(format!("{name}, {text:?}:\n  {:?}\n  {expected:?}", found.ids));
            }
        }
        assert!(texts.len() > 40 && wrong.is_empty(), "{} texts\n{}", texts.len(), wrong.join("\n"));
    }
}
