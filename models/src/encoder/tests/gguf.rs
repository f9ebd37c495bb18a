//! Models in a single GGUF file against the same models in folders, and files that are damaged.

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};

use super::*;
use crate::PrecisionChoice;
use crate::encoder::{EncoderPlan, estimate_bytes};
use crate::pooling::normalize_rows;
use crate::source::{ModelFolder, Origin};

fn tiny() -> PathBuf {
    fixtures().join("gguf/bert.gguf")
}

#[test]
fn a_gguf_file_gives_the_vectors_of_its_folder() {
    let folder = Encoder::load(&fixtures().join("tiny-bert"), "folder", &Device::Cpu).unwrap();
    let file = Encoder::load(&tiny(), "file", &Device::Cpu).unwrap();
    let info = file.info();
    assert_eq!((info.architecture.as_str(), info.pooling.as_str(), info.normalizes, info.max_tokens), ("bert", "mean", true, Some(64)));
    assert!(info.pooling_source.contains("bert.gguf") && info.notes.iter().any(|note| note.contains("length 1")), "{info:?}");
    let texts: Vec<String> = texts(&golden("tiny_golden.json"));
    let fits = |text: &&String| folder.tokenize("", text).unwrap().len() <= 40;
    let texts: Vec<String> = texts.iter().filter(fits).cloned().collect();
    assert!(texts.len() > 5);
    for text in &texts {
        assert_eq!(file.tokenize("", text).unwrap(), folder.tokenize("", text).unwrap());
    }
    let mut expected = embed(&folder, "", &texts);
    normalize_rows(&mut expected, info.dimensions);
    check("file", &embed(&file, "", &texts), &expected, info.dimensions);
}

#[test]
fn digest_estimate_and_listing_are_those_of_the_file() {
    let file = Encoder::load(&tiny(), "file", &Device::Cpu).unwrap();
    let plan = EncoderPlan::read(&tiny()).unwrap();
    let exact = PrecisionChoice::Fixed(crate::Precision::Exact);
    assert_eq!(estimate_bytes(&plan, exact).unwrap(), file.info().memory_bytes);
    let (bytes, sha256) = crate::source::hash_file(&tiny()).unwrap();
    assert_eq!(file.info().digest, sha256);
    let model = ModelFolder { name: "file".into(), folder: tiny(), revision: None, origin: Origin::Folder };
    let shown = crate::source::show(&model, &crate::PrecisionPolicy::default()).unwrap();
    assert_eq!((shown.files.len(), shown.files[0].bytes, &shown.files[0].sha256), (1, bytes, &sha256));
    let folder = crate::source::show(&ModelFolder { folder: fixtures().join("tiny-bert"), ..model.clone() }, &Default::default()).unwrap();
    assert!(shown.parameter_count > 0 && shown.parameter_count <= folder.parameter_count, "the pooler is left out");
    let verified = crate::source::verify(&model, &BTreeMap::from([("bert.gguf".into(), sha256)])).unwrap();
    assert!(verified.failed.is_empty() && verified.passed.iter().any(|line| line.starts_with("sha256")), "{verified:?}");
}

/// The tiny file with the first `from` replaced.
fn edited(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = std::fs::read(tiny()).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap_or_else(|| panic!("{from:?} is in the fixture"));
    bytes.splice(at..at + from.len(), to.iter().copied());
    bytes
}

/// A key of the metadata with a u32 value behind it.
fn number(key: &str, value: u32) -> Vec<u8> {
    [key.as_bytes(), &4u32.to_le_bytes(), &value.to_le_bytes()].concat()
}

fn load(bytes: &[u8]) -> Result<Encoder, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, bytes).unwrap();
    Encoder::load(&path, "m", &Device::Cpu)
}

#[test]
fn damaged_gguf_files_are_refused_with_file_and_key() {
    let whole = std::fs::read(tiny()).unwrap();
    let key = |name: &str, from: u32, to: u32| edited(&number(name, from), &number(name, to));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("truncated", whole[..whole.len() - 33].to_vec(), "m.gguf, tensor"),
        ("truncated header", whole[..3000].to_vec(), "truncated"),
        ("empty", Vec::new(), "truncated"),
        ("trailing bytes", [&whole[..], &[0; 64]].concat(), "trailing"),
        ("a pickle", b"\x80\x02}q\x00(X\x05\x00\x00\x00".to_vec(), "pickle"),
        ("an LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n".to_vec(), "LFS"),
        ("a missing tensor", edited(b"blk.0.attn_q.weight", b"blk.9.attn_q.weight"), "m.gguf, tensor `blk.0.attn_q.weight`: missing"),
        ("a stray tensor", edited(b"blk.0.attn_q.weight", b"blk.0.attn_x.weight"), "attn_x.weight` is none"),
        ("another shape", key("bert.embedding_length", 16, 32), "shape"),
        ("no blocks", key("bert.block_count", 2, 0), "`bert.block_count` as num_hidden_layers"),
        ("heads that do not divide", key("bert.attention.head_count", 2, 3), "`bert.attention.head_count`"),
        ("a missing key", edited(b"bert.block_count", b"bert.block_cound"), "`bert.block_count`: missing"),
        (
            "a key of another kind",
            edited(&number("bert.block_count", 2), &[b"bert.block_count", &6u32.to_le_bytes()[..], &2f32.to_le_bytes()].concat()),
            "whole number",
        ),
        (
            "another architecture",
            edited(b"\x04\0\0\0\0\0\0\0bert", b"\x04\0\0\0\0\0\0\0mamb"),
            "architecture `mamb` cannot be run; supported: bert, nomic-bert",
        ),
        ("a reranker", key("bert.pooling_type", 1, 4), "ranks pairs"),
        ("another pooling", key("bert.pooling_type", 1, 9), "supported: 1 (mean)"),
        (
            "another vocabulary",
            edited(b"ggml.model\x08\0\0\0\x04\0\0\0\0\0\0\0bert", b"ggml.model\x08\0\0\0\x04\0\0\0\0\0\0\0rwkv"),
            "supported: bert, t5",
        ),
        ("a special that is no token", key("ggml.bos_token_id", 2, 38), "the vocabulary has 38 tokens"),
    ];
    for (what, bytes, expected) in cases {
        let error = load(&bytes).err().unwrap_or_else(|| panic!("{what} was loaded"));
        assert!(error.to_string().contains(expected), "{what}: {error}");
    }
}

#[test]
fn gguf_weights_that_are_not_numbers_are_an_error_and_no_answer() {
    let mut bytes = std::fs::read(tiny()).unwrap();
    let end = bytes.len();
    bytes[end - 64..].copy_from_slice(&f32::NAN.to_le_bytes().repeat(16));
    let model = load(&bytes).unwrap();
    let sequence = model.tokenize("", "the cat").unwrap();
    assert_eq!(model.embed(&[sequence], &|| false), Err(ModelError::NonFinite));
}

/// MiniLM's folder as a GGUF file, its matrices of `dtype`, written by the library's own writer.
fn convert(folder: &Path, dtype: GgmlDType, path: &Path) {
    let vocabulary: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
    let mut tokens: Vec<(u64, String)> =
        vocabulary["model"]["vocab"].as_object().unwrap().iter().map(|(token, id)| (id.as_u64().unwrap(), token.clone())).collect();
    tokens.sort();
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let is_special = |token: &str| special.contains(&token);
    let phantom = |token: &str| match token.strip_prefix("##") {
        _ if is_special(token) => token.to_owned(),
        Some(rest) => rest.to_owned(),
        None => format!("\u{2581}{token}"),
    };
    let id = |token: &str| Value::U32(tokens.iter().find(|(_, known)| known == token).unwrap().0 as u32);
    let text = |value: &str| Value::String(value.into());
    let pairs = [
        ("general.architecture", text("bert")),
        ("bert.embedding_length", Value::U32(384)),
        ("bert.block_count", Value::U32(6)),
        ("bert.attention.head_count", Value::U32(12)),
        ("bert.feed_forward_length", Value::U32(1536)),
        ("bert.context_length", Value::U32(256)),
        ("bert.attention.layer_norm_epsilon", Value::F32(1e-12)),
        ("bert.pooling_type", Value::U32(1)),
        ("tokenizer.ggml.model", text("bert")),
        ("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|(_, token)| Value::String(phantom(token))).collect())),
        (
            "tokenizer.ggml.token_type",
            Value::Array(tokens.iter().map(|(_, token)| Value::I32(if is_special(token) { 3 } else { 1 })).collect()),
        ),
        ("tokenizer.ggml.cls_token_id", id("[CLS]")),
        ("tokenizer.ggml.seperator_token_id", id("[SEP]")),
        ("tokenizer.ggml.unknown_token_id", id("[UNK]")),
        ("tokenizer.ggml.padding_token_id", id("[PAD]")),
        ("tokenizer.ggml.mask_token_id", id("[MASK]")),
    ];
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let rename = [
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.position_embeddings", "position_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
        ("encoder.layer.", "blk."),
        ("attention.self.query", "attn_q"),
        ("attention.self.key", "attn_k"),
        ("attention.self.value", "attn_v"),
        ("attention.output.dense", "attn_output"),
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("intermediate.dense", "ffn_up"),
        ("output.dense", "ffn_down"),
        ("output.LayerNorm", "layer_output_norm"),
    ];
    let wanted = tensors.iter().filter(|(name, _)| !name.starts_with("pooler") && !name.ends_with("position_ids"));
    let stored: Vec<(String, QTensor)> = wanted
        .map(|(name, tensor): (&String, &Tensor)| {
            let dtype =
                if tensor.rank() == 2 && !name.contains("position") && !name.contains("token_type") { dtype } else { GgmlDType::F32 };
            (rename.iter().fold(name.clone(), |name, (from, to)| name.replace(from, to)), QTensor::quantize(tensor, dtype).unwrap())
        })
        .collect();
    let pairs: Vec<(&str, &Value)> = pairs.iter().map(|(key, value)| (*key, value)).collect();
    let stored: Vec<(&str, &QTensor)> = stored.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut std::fs::File::create(path).unwrap(), &pairs, &stored).unwrap();
}

/// The texts of the benchmark sentences at hand, each once.
fn sentences() -> Vec<String> {
    let Some(data) = std::env::var_os("TALLOW_TEST_DATA") else {
        eprintln!("skipped in part: TALLOW_TEST_DATA is not set");
        return Vec::new();
    };
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(Path::new(&data).join("stsbenchmark")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        texts.extend(String::from_utf8_lossy(&text).lines().take(1000).map(str::to_owned));
    }
    texts
}

#[test]
fn minilm_as_gguf_agrees_with_sentence_transformers() {
    let Ok(root) = std::env::var("TALLOW_TEST_MODELS") else {
        eprintln!("skipped: TALLOW_TEST_MODELS is not set");
        return;
    };
    let folder = Path::new(&root).join("all-MiniLM-L6-v2");
    let original = Encoder::load(&folder, "minilm", &Device::Cpu).expect("the folder holds the model");
    let golden = golden("minilm_golden.json");
    let (expected, dim) = vectors(&golden["embeddings"]);
    let place = tempfile::tempdir().unwrap();
    // Cosine of the farthest text: rounding of 16 bits, then of 8, then of 5 and 4.
    for (dtype, least) in
        [(GgmlDType::F32, 0.999_99), (GgmlDType::F16, 0.999_99), (GgmlDType::Q8_0, 0.999), (GgmlDType::Q5_1, 0.96), (GgmlDType::Q4_0, 0.75)]
    {
        let path = place.path().join(format!("{dtype:?}.gguf"));
        convert(&folder, dtype, &path);
        let model = Encoder::load(&path, "minilm", &Device::Cpu).unwrap();
        let texts = texts(&golden);
        if dtype == GgmlDType::F32 {
            for text in texts.iter().chain(&sentences()) {
                assert_eq!(model.tokenize("", text).unwrap().ids, original.tokenize("", text).unwrap().ids, "{text:?}");
            }
        }
        let found = embed(&model, "", &texts);
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
        let cosines = found.chunks(dim).zip(expected.chunks(dim)).map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
        let worst = cosines.fold(1.0, f64::min);
        println!("{dtype:?}: cosine of the farthest of {} texts {worst:.7}", texts.len());
        assert!(worst >= least, "{dtype:?}: cosine {worst}");
        std::fs::remove_file(&path).unwrap();
    }
}
