//! Families against the values of `fixtures/goldens_families.py`, and what they refuse.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use candle_core::Device;
use serde_json::{Value, json};

use super::{EncoderArch, EncoderConfig, TokenBatch, build};
use crate::weights::Weights;
use crate::{Embedder, Encoder, ModelError, Sequence};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families")
}

fn folders() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn load(folder: &Path, config: Value) -> Result<Box<dyn EncoderArch>, ModelError> {
    let config = EncoderConfig::from_json(config)?;
    let mut weights = Weights::read(&[folder.join("model.safetensors")], &Device::Cpu)?;
    build(&config, &mut weights, &Device::Cpu)
}

/// The sequences of a golden and what the model answers, `[tokens, hidden]`.
struct Golden {
    ids: Vec<Vec<u32>>,
    segments: Vec<Vec<u32>>,
    hidden: Vec<f32>,
    width: usize,
}

fn golden(folder: &Path) -> Golden {
    let value = read_json(&folder.join("golden.json"));
    let bytes = base64::engine::general_purpose::STANDARD.decode(value["hidden"]["f32"].as_str().unwrap()).unwrap();
    Golden {
        ids: serde_json::from_value(value["ids"].clone()).unwrap(),
        segments: serde_json::from_value(value["segments"].clone()).unwrap_or_default(),
        hidden: bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        width: value["hidden"]["shape"][1].as_u64().unwrap() as usize,
    }
}

fn forward(model: &dyn EncoderArch, ids: &[Vec<u32>], segments: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
    let mut batch = TokenBatch { ids: ids.concat(), segments: segments.concat(), offsets: vec![0] };
    batch.offsets.extend(ids.iter().scan(0, |end, row| {
        *end += row.len();
        Some(*end)
    }));
    Ok(model.forward(&batch, &|| false)?.flatten_all()?.to_vec1()?)
}

/// The smallest cosine of two rows and the largest difference of two values.
fn distance(found: &[f32], expected: &[f32], width: usize) -> (f64, f32) {
    assert_eq!(found.len(), expected.len(), "number of values");
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    let cosine = |(a, b): (&[f32], &[f32])| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let cosine = found.chunks(width).zip(expected.chunks(width)).map(cosine).fold(1.0, f64::min);
    (cosine, found.iter().zip(expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max))
}

/// How far hidden states may be from the reference: 1.5e-4 of the largest of them. `exact` on AMX splits f32 into two bf16, which leaves about 2⁻¹⁶ of
/// each product, and the fixtures' weights are drawn wide, so that mistakes show; on plain f32 the differences are below 1e-5.
fn bound(golden: &Golden) -> f32 {
    1.5e-4 * golden.hidden.iter().fold(1f32, |largest, value| largest.max(value.abs()))
}

#[test]
fn every_family_agrees_with_its_reference_alone_and_in_a_batch() {
    let folders = folders();
    assert!(!folders.is_empty());
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let model = load(&folder, read_json(&folder.join("config.json"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden = golden(&folder);
        let together = forward(&*model, &golden.ids, &golden.segments).unwrap();
        let (cosine, largest) = distance(&together, &golden.hidden, golden.width);
        println!("{name}: cosine {cosine:.9}, largest difference {largest:.1e}");
        assert!(cosine >= 0.999_99 && largest <= bound(&golden), "{name}: cosine {cosine}, largest difference {largest}");
        let alone: Vec<f32> = (0..golden.ids.len())
            .flat_map(|row| {
                let segments = if golden.segments.is_empty() { &[][..] } else { &golden.segments[row..=row] };
                forward(&*model, &golden.ids[row..=row], segments).unwrap()
            })
            .collect();
        let (_, largest) = distance(&alone, &together, golden.width);
        assert!(largest <= 1e-5, "{name}: alone and in a batch differ by {largest}");
    }
}

#[test]
fn a_sequence_beyond_the_positions_and_an_id_beyond_the_vocabulary_are_refused() {
    for folder in folders() {
        let config = EncoderConfig::from_json(read_json(&folder.join("config.json"))).unwrap();
        let model = load(&folder, read_json(&folder.join("config.json"))).unwrap();
        let long = forward(&*model, &[vec![3; config.usable_positions() + 1]], &[]).unwrap_err();
        assert!(matches!(long, ModelError::Input { .. }) && long.to_string().contains("positions"), "{folder:?}: {long}");
        let stray = forward(&*model, &[vec![config.vocab as u32]], &[]).unwrap_err();
        assert!(matches!(stray, ModelError::Input { .. }) && stray.to_string().contains("embedding"), "{folder:?}: {stray}");
    }
}

#[test]
fn a_stop_ends_every_family_without_a_result() {
    for folder in folders() {
        let model = load(&folder, read_json(&folder.join("config.json"))).unwrap();
        let batch = TokenBatch { ids: vec![3, 4], segments: Vec::new(), offsets: vec![0, 2] };
        assert_eq!(model.forward(&batch, &|| true).err(), Some(ModelError::Stopped), "{folder:?}");
    }
}

#[test]
fn tensors_of_another_shape_are_refused_by_name() {
    for folder in folders() {
        for field in ["intermediate_size", "n_inner", "vocab_size"] {
            let mut config = read_json(&folder.join("config.json"));
            let Some(size) = config[field].as_u64() else { continue };
            config[field] = json!(size + 8);
            let error = load(&folder, config).err().unwrap_or_else(|| panic!("{folder:?} with another {field} was loaded"));
            assert!(matches!(error, ModelError::Corrupt { .. }), "{folder:?}, {field}: {error}");
            assert!(error.to_string().contains("tensor `") && error.to_string().contains("shape"), "{folder:?}, {field}: {error}");
        }
    }
}

#[test]
fn a_decoder_in_a_folder_embeds_with_its_last_token() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, name: &str| std::fs::copy(fixtures().join(from).join(name), folder.path().join(name)).unwrap();
    copy("qwen3", "config.json");
    copy("qwen3", "model.safetensors");
    copy("../tiny-bert", "tokenizer.json");
    let modules = json!([{"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]);
    std::fs::write(folder.path().join("modules.json"), modules.to_string()).unwrap();
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    std::fs::write(folder.path().join("1_Pooling/config.json"), r#"{"pooling_mode_lasttoken": true}"#).unwrap();
    let encoder = Encoder::load(folder.path(), "q", &Device::Cpu).unwrap();
    assert_eq!((encoder.info().pooling.as_str(), encoder.info().architecture.as_str()), ("lasttoken", "qwen3"));
    let model = load(&fixtures().join("qwen3"), read_json(&fixtures().join("qwen3/config.json"))).unwrap();
    let texts = ["the cat sits outside", "x", ""];
    let sequences: Vec<Sequence> = texts.iter().map(|text| encoder.tokenize("", text).unwrap()).collect();
    let rows = encoder.embed(&sequences, &|| false).unwrap();
    for (sequence, row) in sequences.iter().zip(rows.chunks(16)) {
        let hidden = forward(&*model, std::slice::from_ref(&sequence.ids), &[]).unwrap();
        let (cosine, _) = distance(row, &hidden[hidden.len() - 16..], 16);
        let length = row.iter().map(|x| x * x).sum::<f32>();
        assert!(cosine >= 0.999_999 && (length - 1.0).abs() < 1e-5, "{}: cosine {cosine}, length {length}", sequence.text);
    }
}

/// A module folder with a linear layer without bias or activation.
fn write_dense(folder: &Path, weight: &[f32], shape: [usize; 2]) {
    std::fs::create_dir(folder).unwrap();
    let config = json!({"in_features": shape[1], "out_features": shape[0], "bias": false, "activation_function": "torch.nn.modules.linear.Identity"});
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let bytes: Vec<u8> = weight.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &bytes).unwrap();
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize([("linear.weight", view)], None).unwrap()).unwrap();
}

#[test]
fn embedding_gemma_s_modules_follow_its_decoder() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, name: &str| std::fs::copy(fixtures().join(from).join(name), folder.path().join(name)).unwrap();
    copy("gemma3", "config.json");
    copy("gemma3", "model.safetensors");
    copy("../tiny-bert", "tokenizer.json");
    let kinds = ["Transformer", "Pooling", "Dense", "Dense", "Normalize"];
    let paths = ["", "1_Pooling", "2_Dense", "3_Dense", "4_Normalize"];
    let modules: Vec<Value> =
        kinds.iter().zip(paths).map(|(kind, path)| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")})).collect();
    std::fs::write(folder.path().join("modules.json"), json!(modules).to_string()).unwrap();
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    std::fs::write(folder.path().join("1_Pooling/config.json"), r#"{"pooling_mode_mean_tokens": true, "include_prompt": true}"#).unwrap();
    let wave = |n: usize| -> Vec<f32> { (0..n).map(|i| (i as f32 * 0.7).sin()).collect() };
    let (up, down) = (wave(24 * 16), wave(10 * 24));
    write_dense(&folder.path().join("2_Dense"), &up, [24, 16]);
    write_dense(&folder.path().join("3_Dense"), &down, [10, 24]);
    let encoder = Encoder::load(folder.path(), "g", &Device::Cpu).unwrap();
    assert_eq!((encoder.info().dimensions, encoder.info().normalizes), (10, true));
    let sequence = encoder.tokenize("", "why is the sky blue").unwrap();
    let found = encoder.embed(std::slice::from_ref(&sequence), &|| false).unwrap();
    let model = load(&fixtures().join("gemma3"), read_json(&fixtures().join("gemma3/config.json"))).unwrap();
    let hidden = forward(&*model, std::slice::from_ref(&sequence.ids), &[]).unwrap();
    let mean: Vec<f32> = (0..16).map(|at| hidden.iter().skip(at).step_by(16).sum::<f32>() / sequence.len() as f32).collect();
    let times =
        |weight: &[f32], x: &[f32]| -> Vec<f32> { weight.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect() };
    let expected = times(&down, &times(&up, &mean));
    let length = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(found.iter().zip(&expected).all(|(x, y)| (x - y / length).abs() <= 1e-5), "{found:?} is not {expected:?} at length 1");
}

#[test]
fn both_spellings_of_a_configuration_build_the_same_model() {
    let plain = |theta: f64| json!({"rope_type": "default", "rope_theta": theta});
    let both = json!({"full_attention": plain(1e6), "sliding_attention": plain(1e4)});
    let layers = |full: usize| (0..4).map(|at| if at == full { "full_attention" } else { "sliding_attention" }).collect::<Vec<_>>();
    let common = json!({"model_type": "nomic_bert", "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": 48, "vocab_size": 40, "type_vocab_size": 2, "hidden_act": "silu", "layer_norm_eps": 1e-12,
        "rope_parameters": plain(1e3)});
    let changed = |family: &str, gone: &[&str], more: Value| {
        let mut config = read_json(&fixtures().join(family).join("config.json"));
        let fields = config.as_object_mut().unwrap();
        fields.retain(|name, _| !gone.contains(&name.as_str()));
        fields.extend(more.as_object().unwrap().clone());
        config
    };
    let gone = ["rope_theta", "rope_scaling", "rope_local_base_freq", "sliding_window_pattern"];
    let cases = [
        ("nomic", common),
        (
            "qwen3",
            changed(
                "qwen3",
                &gone,
                json!({"rope_parameters": plain(1e6), "layer_types": ["full_attention", "full_attention", "full_attention"]}),
            ),
        ),
        ("gemma3", changed("gemma3", &gone, json!({"rope_parameters": both, "layer_types": layers(2)}))),
        (
            "gte",
            changed(
                "gte",
                &["rope_theta", "position_embedding_type", "pack_qkv"],
                json!({"rope_parameters": plain(2e4), "model_type": "gte"}),
            ),
        ),
    ];
    for (family, config) in cases {
        let folder = fixtures().join(family);
        let golden = golden(&folder);
        let found = forward(&*load(&folder, config).unwrap(), &golden.ids, &golden.segments).unwrap();
        let (_, largest) = distance(&found, &golden.hidden, golden.width);
        assert!(largest <= bound(&golden), "{family}: differs by {largest}");
    }
}

/// Family, field, the value put there, and whether the error is `Unsupported` (else `Corrupt`); the field is always named.
fn refusals() -> Vec<(&'static str, &'static str, Value, bool)> {
    vec![
        ("modernbert", "layer_types", json!(["full_attention", "linear_attention", "full_attention", "full_attention"]), true),
        ("modernbert", "layer_types", json!(["full_attention"]), false),
        ("modernbert", "rope_scaling", json!({"type": "yarn", "factor": 2.0}), true),
        ("modernbert", "hidden_size", json!(0), false),
        ("modernbert", "num_attention_heads", json!(3), false),
        ("modernbert", "norm_eps", json!("small"), false),
        ("modernbert", "attention_bias", json!(1), false),
        ("modernbert", "hidden_activation", json!("mish"), true),
        ("qwen3", "num_key_value_heads", json!(3), false),
        ("qwen3", "head_dim", json!(7), false),
        ("qwen3", "is_causal", json!(false), true),
        ("qwen3", "rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), true),
        ("qwen3", "quantization_config", json!({"bits": 4}), true),
        ("gemma3", "attn_logit_softcapping", json!(50.0), true),
        ("gemma3", "sliding_window", json!(null), false),
        ("gemma3", "hidden_activation", json!("quick_gelu"), true),
        ("albert", "inner_group_num", json!(2), true),
        ("albert", "num_hidden_groups", json!(5), false),
        ("electra", "position_embedding_type", json!("relative_key"), true),
        ("nomic", "prenorm", json!(true), true),
        ("nomic", "activation_function", json!("gelu"), true),
        ("nomic", "rotary_emb_fraction", json!(0.5), true),
        ("nomic", "rotary_emb_fraction", json!(null), true),
        ("nomic", "rotary_scaling_factor", json!(2.0), true),
        ("nomic", "num_experts", json!(8), true),
        ("nomic", "n_embd", json!(0), false),
        ("nomic", "n_head", json!(3), false),
        ("gte-ntk", "position_embedding_type", json!("absolute"), true),
        ("gte-ntk", "layer_norm_type", json!("rms_norm"), true),
        ("gte-ntk", "logn_attention_scale", json!(true), true),
        ("gte-ntk", "rope_scaling", json!({"type": "dynamic", "factor": 2.0}), true),
        ("gte-ntk", "rope_scaling", json!({"type": "ntk", "factor": 2.0, "mixed_b": 0.6}), true),
        ("gte-ntk", "rope_scaling", json!("ntk"), false),
        ("jina", "feed_forward_type", json!("original"), true),
        ("jina", "position_embedding_type", json!("relative_key"), true),
        ("jina", "max_position_embeddings", json!(1 << 20), false),
        ("jina", "is_decoder", json!(true), true),
        ("deberta-v3", "relative_attention", json!(false), true),
        ("deberta-v3", "relative_attention", json!(null), true),
        ("deberta-v3", "pos_att_type", json!("c2p|p2p"), true),
        ("deberta-v3", "position_buckets", json!(2), false),
        ("deberta-v3", "attention_head_size", json!(4), true),
        ("deberta-v3", "conv_kernel_size", json!(4), true),
        ("deberta-v3", "norm_rel_ebd", json!("rms_norm"), true),
    ]
}

#[test]
fn what_a_configuration_asks_for_and_cannot_be_run_is_named() {
    for (family, field, value, is_unsupported) in refusals() {
        let mut config = read_json(&fixtures().join(family).join("config.json"));
        config[field] = value.clone();
        let error = EncoderConfig::from_json(config).err().unwrap_or_else(|| panic!("{family} with {field} {value} was accepted"));
        let of_kind =
            if is_unsupported { matches!(error, ModelError::Unsupported { .. }) } else { matches!(error, ModelError::Corrupt { .. }) };
        assert!(of_kind, "{family}, {field} {value}: {error:?}");
        assert!(error.to_string().contains(field), "{family}, {field} {value}: {error}");
    }
}
