//! Encoders against what sentence-transformers answers (`fixtures/make_goldens.py` makes the values).

mod gguf;
mod heads;

use std::path::{Path, PathBuf};

use crate::{Embedder, Encoder, ModelError, Sequence};
use base64::Engine as _;
use candle_core::Device;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn golden(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixtures().join(name)).unwrap()).unwrap()
}

fn vectors(value: &serde_json::Value) -> (Vec<f32>, usize) {
    let bytes = base64::engine::general_purpose::STANDARD.decode(value["f32"].as_str().unwrap()).unwrap();
    let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (values, value["shape"][1].as_u64().unwrap() as usize)
}

fn texts(value: &serde_json::Value) -> Vec<String> {
    value["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn sequences(model: &Encoder, prompt: &str, texts: &[String]) -> Vec<Sequence> {
    let limit = model.info().max_tokens.unwrap();
    texts.iter().map(|text| model.tokenize(prompt, text).unwrap().truncated(limit).unwrap()).collect()
}

fn embed(model: &Encoder, prompt: &str, texts: &[String]) -> Vec<f32> {
    model.embed(&sequences(model, prompt, texts), &|| false).unwrap()
}

fn check(what: &str, found: &[f32], expected: &[f32], dim: usize) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    for (row, (a, b)) in found.chunks(dim).zip(expected.chunks(dim)).enumerate() {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
        let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        let largest = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(cosine >= 0.999_99, "{what}, row {row}: cosine {cosine}");
        assert!(largest <= 1e-4, "{what}, row {row}: differs by {largest}");
    }
}

/// A copy of a fixture folder with some files replaced or removed.
fn changed(folder: &str, changes: &[(&str, Option<&[u8]>)]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    for (name, bytes) in changes {
        let path = copy.path().join(name);
        match bytes {
            Some(bytes) => {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            None => std::fs::remove_file(path).unwrap(),
        }
    }
    copy
}

#[test]
fn every_family_agrees_with_sentence_transformers() {
    let golden = golden("tiny_golden.json");
    for (family, expected) in golden["families"].as_object().unwrap() {
        let model = Encoder::load(&fixtures().join(format!("tiny-{family}")), family, &Device::Cpu).unwrap();
        assert_eq!(model.info().max_tokens, expected["max_seq_length"].as_u64().map(|n| n as usize), "{family}: limit");
        let (values, dim) = vectors(&expected["embeddings"]);
        check(family, &embed(&model, "", &texts(&golden)), &values, dim);
    }
}

#[test]
fn every_pooling_mode_agrees_with_sentence_transformers() {
    let golden = golden("tiny_golden.json");
    let modules = br#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
        {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]"#;
    for (mode, expected) in golden["poolings"].as_object().unwrap() {
        let old_key = match mode.as_str() {
            "cls" => "pooling_mode_cls_token",
            "mean" => "pooling_mode_mean_tokens",
            "max" => "pooling_mode_max_tokens",
            "weightedmean" => "pooling_mode_weightedmean_tokens",
            "lasttoken" => "pooling_mode_lasttoken",
            _ => "pooling_mode_mean_sqrt_len_tokens",
        };
        for config in [format!(r#"{{"{old_key}": true}}"#), format!(r#"{{"pooling_mode": "{mode}"}}"#)] {
            let folder = changed("tiny-bert", &[("modules.json", Some(modules)), ("1_Pooling/config.json", Some(config.as_bytes()))]);
            let model = Encoder::load(folder.path(), mode, &Device::Cpu).unwrap();
            assert_eq!(&model.info().pooling, mode);
            let (values, dim) = vectors(expected);
            check(mode, &embed(&model, "", &texts(&golden)), &values, dim);
        }
    }
}

#[test]
fn prompts_dense_layer_and_normalisation_agree_with_sentence_transformers() {
    let golden = golden("tiny_golden.json");
    let model = Encoder::load(&fixtures().join("tiny-stack"), "stack", &Device::Cpu).unwrap();
    let prompt = model.info().prompts["query"].clone();
    assert!(model.info().normalizes);
    for (key, prompt) in [("stack", prompt.as_str()), ("stack_no_prompt", "")] {
        let (values, dim) = vectors(&golden[key]);
        check(key, &embed(&model, prompt, &texts(&golden)), &values, dim);
    }
}

#[test]
fn blanks_at_the_ends_of_texts_count_as_sentence_transformers_has_it() {
    let edges = &golden("token_golden.json")["edges"];
    for (name, expected) in edges["embeddings"].as_object().unwrap() {
        let model = Encoder::load(&fixtures().join("heads").join(name), name, &Device::Cpu).unwrap();
        let expected: Vec<Vec<f32>> = serde_json::from_value(expected.clone()).unwrap();
        assert_ne!(expected[0], expected[1], "blanks count here");
        check(name, &embed(&model, "", &texts(edges)), &expected.concat(), expected[0].len());
    }
}

#[test]
fn a_row_does_not_depend_on_its_neighbours() {
    let golden = golden("tiny_golden.json");
    let model = Encoder::load(&fixtures().join("tiny-mpnet"), "m", &Device::Cpu).unwrap();
    let texts: Vec<String> = texts(&golden).into_iter().cycle().take(100).collect();
    let together = embed(&model, "", &texts);
    let dim = model.info().dimensions;
    for (text, row) in texts.iter().zip(together.chunks(dim)) {
        let alone = embed(&model, "", std::slice::from_ref(text));
        assert!(alone.iter().zip(row).all(|(a, b)| (a - b).abs() <= 1e-6), "{text:?} alone differs from {text:?} in a batch");
    }
}

#[test]
fn a_stop_ends_the_work_without_a_result() {
    let model = Encoder::load(&fixtures().join("tiny-bert"), "m", &Device::Cpu).unwrap();
    let sequence = model.tokenize("", "the cat").unwrap();
    assert_eq!(model.embed(&[sequence], &|| true), Err(ModelError::Stopped));
}

#[test]
fn a_sequence_beyond_the_limit_is_an_error_and_no_cut() {
    let model = Encoder::load(&fixtures().join("tiny-bert"), "m", &Device::Cpu).unwrap();
    let long = model.tokenize("", &"cat ".repeat(100)).unwrap();
    let error = model.embed(&[long], &|| false).unwrap_err().to_string();
    assert!(error.contains("102 tokens") && error.contains("at most 40"), "{error}");
}

#[test]
fn damaged_files_are_refused_with_file_and_field() {
    let config = std::fs::read_to_string(fixtures().join("tiny-bert/config.json")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from), "{from} is in the fixture");
        config.replace(from, to).into_bytes()
    };
    let weights = std::fs::read(fixtures().join("tiny-bert/model.safetensors")).unwrap();
    let mut longer = weights.clone();
    longer.push(0);
    let tokenizer = std::fs::read_to_string(fixtures().join("tiny-bert/tokenizer.json")).unwrap();
    let stray_id = tokenizer.replacen("\"##known\": 37", "\"##known\": 3700", 1);
    assert_ne!(stray_id, tokenizer, "the id is in the fixture");
    let cases: Vec<(&str, &str, Vec<u8>, &str)> = vec![
        ("unknown family", "config.json", with("\"model_type\": \"bert\"", "\"model_type\": \"gpt2\""), "supported: bert"),
        ("no hidden size", "config.json", with("\"hidden_size\": 16", "\"hidden_size\": 0"), "hidden_size"),
        ("heads do not divide", "config.json", with("\"num_attention_heads\": 2", "\"num_attention_heads\": 3"), "do not divide"),
        ("too many layers", "config.json", with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000000"), "num_hidden_layers"),
        ("text for a number", "config.json", with("\"hidden_size\": 16", "\"hidden_size\": \"16\""), "config.json"),
        (
            "giant positions",
            "config.json",
            with("\"max_position_embeddings\": 64", "\"max_position_embeddings\": 1099511627776"),
            "max_position",
        ),
        ("other shape", "config.json", with("\"hidden_size\": 16", "\"hidden_size\": 32"), "shape"),
        ("truncated", "model.safetensors", weights[..weights.len() - 1].to_vec(), "truncated"),
        ("trailing byte", "model.safetensors", longer, "trailing"),
        ("dummy", "model.safetensors", b"dummy model content".to_vec(), "placeholder"),
        ("LFS pointer", "model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n".to_vec(), "LFS"),
        ("pickle", "model.safetensors", b"\x80\x02}q\x00(X\x05\x00\x00\x00".to_vec(), "pickle"),
        ("zip", "model.safetensors", b"PK\x03\x04aaaaaaaaaaaa".to_vec(), "zip"),
        ("empty", "model.safetensors", Vec::new(), "header length"),
        ("tokenizer is not one", "tokenizer.json", b"{}".to_vec(), "tokenizer.json"),
        ("stray token id", "tokenizer.json", stray_id.into_bytes(), "no embedding"),
    ];
    for (what, file, bytes, expected) in cases {
        let folder = changed("tiny-bert", &[(file, Some(&bytes))]);
        let error = Encoder::load(folder.path(), "m", &Device::Cpu).err().unwrap_or_else(|| panic!("{what} was loaded"));
        assert!(error.to_string().contains(expected), "{what}: {error}");
    }
}

#[test]
fn a_pickle_beside_no_safetensors_is_named_and_refused() {
    let folder = changed("tiny-bert", &[("model.safetensors", None), ("pytorch_model.bin", Some(b"\x80\x02"))]);
    let error = Encoder::load(folder.path(), "m", &Device::Cpu).err().unwrap();
    assert!(matches!(error, ModelError::Unsupported { .. }) && error.to_string().contains("pytorch_model.bin"), "{error}");
}

#[test]
fn code_of_a_repository_is_ignored_and_said() {
    let config = std::fs::read_to_string(fixtures().join("tiny-bert/config.json")).unwrap();
    let config = config.replacen('{', r#"{"auto_map": {"AutoModel": "evil.Model"},"#, 1);
    let folder = changed("tiny-bert", &[("config.json", Some(config.as_bytes()))]);
    let model = Encoder::load(folder.path(), "m", &Device::Cpu).unwrap();
    assert!(model.info().notes.iter().any(|note| note.contains("auto_map")));
}

#[test]
fn weights_that_are_not_numbers_are_an_error_and_no_answer() {
    let mut weights = std::fs::read(fixtures().join("tiny-bert/model.safetensors")).unwrap();
    let end = weights.len();
    weights[end - 64..].copy_from_slice(&f32::NAN.to_le_bytes().repeat(16));
    let folder = changed("tiny-bert", &[("model.safetensors", Some(&weights))]);
    let model = Encoder::load(folder.path(), "m", &Device::Cpu).unwrap();
    let sequence = model.tokenize("", "the cat").unwrap();
    assert_eq!(model.embed(&[sequence], &|| false), Err(ModelError::NonFinite));
}

#[test]
fn minilm_agrees_with_sentence_transformers() {
    let Ok(root) = std::env::var("TALLOW_TEST_MODELS") else {
        eprintln!("skipped: TALLOW_TEST_MODELS is not set");
        return;
    };
    let golden = golden("minilm_golden.json");
    let model = Encoder::load(&Path::new(&root).join("all-MiniLM-L6-v2"), "minilm", &Device::Cpu).expect("the folder holds the model");
    assert_eq!(model.info().max_tokens, Some(256));
    assert!(model.info().digest.starts_with("53aa5117"));
    let texts = texts(&golden);
    assert!(texts.len() >= 64, "texts of every kind are compared");
    let counts: Vec<u64> = texts.iter().map(|text| model.tokenize("", text).unwrap().len() as u64).collect();
    assert_eq!(serde_json::json!(counts), golden["token_counts"]);
    let (values, dim) = vectors(&golden["embeddings"]);
    check("minilm", &embed(&model, "", &texts), &values, dim);
    let alone: Vec<f32> = texts.iter().flat_map(|text| embed(&model, "", std::slice::from_ref(text))).collect();
    let together = embed(&model, "", &texts);
    assert!(alone.iter().zip(&together).all(|(a, b)| (a - b).abs() <= 1e-6), "batch differs from single");
}
