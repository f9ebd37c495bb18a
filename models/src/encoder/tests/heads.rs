//! Heads against what transformers and sentence-transformers answer (`fixtures/make_head_goldens.py` makes models and values).

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;

use crate::heads::{HeadPlan, ScoreRule, TaskHead};
use crate::tags::{Joining, TaggedToken, join};
use crate::text::{PairCut, PairTokens, Special, TextPair};
use crate::weights::Weights;
use crate::{Ability, Encoder, ModelError};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/heads").join(name)
}

/// Every model whose name ends so, with its golden values.
fn models(ending: &str) -> Vec<(String, Encoder, Value)> {
    let names = std::fs::read_dir(folder("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending) && !name.starts_with("alone")).collect();
    names.sort();
    assert!(!names.is_empty(), "no model ends in {ending}");
    names.into_iter().map(|name| (name.clone(), load(&name), golden(&name))).collect()
}

fn load(name: &str) -> Encoder {
    Encoder::load(&folder(name), name, &Device::Cpu).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(name).join("golden.json")).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // `exact` on AMX leaves about 2⁻¹⁶ of each product, and the fixtures' logits are up to about 5.
    let bound = 1e-4 * expected.iter().fold(1f32, |largest, value| largest.max(value.abs()));
    assert!(largest <= bound, "{what}: differs by {largest}: {found:?}, expected {expected:?}");
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn singles(model: &Encoder, texts: &[&str]) -> Vec<PairTokens> {
    let one = |first: &&str| model.pair(TextPair { first, second: None }, PairCut::LongestFirst).unwrap();
    texts.iter().map(one).collect()
}

fn pairs(model: &Encoder, pairs: &Value) -> Vec<PairTokens> {
    let one = |pair: &Value| {
        let pair = TextPair { first: pair[0].as_str().unwrap(), second: pair[1].as_str() };
        model.pair(pair, PairCut::LongestFirst).unwrap()
    };
    pairs.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn sequence_logits_and_scores_of_texts_and_pairs_agree_with_transformers() {
    for (name, model, golden) in ["-nli", "-rerank", "-multi"].into_iter().flat_map(models) {
        let found = model.sequence_logits(&singles(&model, &texts(&golden["texts"])), &|| false).unwrap();
        for (text, row) in found.iter().enumerate() {
            close(&format!("{name}, text {text}"), row, &floats(&golden["logits"][text]));
            let scores = model.score_rule().apply(row);
            for expected in golden["scores"][text].as_array().unwrap() {
                let label = model.labels().iter().position(|label| label == expected["label"].as_str().unwrap()).unwrap();
                close(&format!("{name}, score of text {text}"), &[scores[label]], &[expected["score"].as_f64().unwrap() as f32]);
            }
        }
        let found = model.sequence_logits(&pairs(&model, &golden["pairs"]), &|| false).unwrap();
        for (pair, row) in found.iter().enumerate() {
            close(&format!("{name}, pair {pair}"), row, &floats(&golden["pair_logits"][pair]));
        }
        if let Some(rerank) = golden.get("rerank") {
            let scores: Vec<f32> = found.iter().map(|row| model.rerank_rule().apply(row)[0]).collect();
            close(&format!("{name}, rerank"), &scores, &floats(rerank));
        }
    }
}

/// The tokens of a text as the joining takes them.
fn tagged(model: &Encoder, text: &str) -> Vec<TaggedToken> {
    let sequence = singles(model, &[text]).remove(0);
    let rows = model.token_logits(std::slice::from_ref(&sequence), &|| false).unwrap().remove(0);
    model.tagged_tokens(text, &sequence, &rows)
}

#[test]
fn token_logits_and_joined_spans_agree_with_transformers() {
    for (name, model, golden) in models("-tags") {
        let texts = texts(&golden["texts"]);
        let rows = model.token_logits(&singles(&model, &texts), &|| false).unwrap();
        for (text, rows) in rows.iter().enumerate() {
            let expected: Vec<f32> = golden["logits"][text].as_array().unwrap().iter().flat_map(floats).collect();
            close(&format!("{name}, text {text}"), &rows.values, &expected);
        }
        for (strategy, joining) in [
            ("none", Joining::None),
            ("simple", Joining::Simple),
            ("first", Joining::First),
            ("max", Joining::Max),
            ("average", Joining::Average),
        ] {
            for (index, text) in texts.iter().enumerate() {
                let what = format!("{name}, {strategy}, {text:?}");
                let found = join(&tagged(&model, text), model.labels(), joining);
                let expected = golden["spans"][strategy][index].as_array().unwrap();
                assert_eq!(found.len(), expected.len(), "{what}");
                for (span, expected) in found.iter().zip(expected) {
                    let label = expected.get("entity_group").unwrap_or(&expected["entity"]);
                    assert_eq!(span.label, label.as_str().unwrap(), "{what}");
                    close(&what, &[span.score], &[expected["score"].as_f64().unwrap() as f32]);
                    let (start, end) = (expected["start"].as_u64().unwrap() as usize, expected["end"].as_u64().unwrap() as usize);
                    let chars: String = text.chars().skip(start).take(end - start).collect();
                    assert_eq!(text[..span.bytes.start].chars().count(), start, "{what}");
                    assert_eq!(text[span.bytes.clone()], chars, "{what}");
                    assert_eq!(model.spell(span, joining).unwrap(), expected["word"].as_str().unwrap(), "{what}");
                }
            }
        }
    }
}

#[test]
fn masks_are_filled_as_transformers_fills_them() {
    for (name, model, golden) in models("-mlm") {
        let texts = texts(&golden["texts"]);
        let sequences = singles(&model, &texts);
        let fills = model.fill_masks(&sequences, 4, &|| false).unwrap();
        for (text, places) in fills.iter().enumerate() {
            let expected = golden["fills"][text].as_array().unwrap();
            assert_eq!(places.len(), expected.len(), "{name}, text {text}: masks");
            for (place, expected) in places.iter().zip(expected) {
                for ((id, score), expected) in place.best.iter().zip(expected.as_array().unwrap()) {
                    assert_eq!(u64::from(*id), expected["token"].as_u64().unwrap(), "{name}, text {text}");
                    close(&format!("{name}, text {text}"), &[*score], &[expected["score"].as_f64().unwrap() as f32]);
                    let special = if places.len() == 1 { Special::LeftOut } else { Special::Kept };
                    assert_eq!(model.filled(&sequences[text], place.token, *id, special).unwrap(), expected["sequence"].as_str().unwrap());
                    assert_eq!(model.tokenizer().decode(&[*id], Special::Kept).unwrap(), expected["token_str"].as_str().unwrap());
                }
            }
        }
    }
}

fn dense(pairs: &[(u32, f32)], size: usize) -> Vec<f32> {
    let mut out = vec![0f32; size];
    pairs.iter().for_each(|&(id, weight)| out[id as usize] = weight);
    out
}

#[test]
fn sparse_weights_agree_with_splade() {
    for (name, model, golden) in ["-mlm", "-splade", "-splade-sum"].into_iter().flat_map(models) {
        let texts = texts(golden.get("sparse_texts").unwrap_or(&golden["texts"]));
        let found = model.sparse(&singles(&model, &texts), &|| false).unwrap();
        for (text, pairs) in found.iter().enumerate() {
            let expected = floats(&golden["sparse"][text]);
            close(&format!("{name}, text {text}"), &dense(pairs, expected.len()), &expected);
        }
    }
}

#[test]
fn token_vectors_are_the_last_hidden_state() {
    for (name, model, golden) in models("-mlm") {
        let rows =
            model.token_vectors(&singles(&model, &["the cat sits outside", "Anna plays guitar in Zürich, Straße 3."]), &|| false).unwrap();
        for (text, rows) in rows.iter().enumerate() {
            let expected: Vec<f32> = golden["hidden"][text].as_array().unwrap().iter().flat_map(floats).collect();
            close(&format!("{name}, text {text}"), &rows.values, &expected);
        }
    }
}

#[test]
fn heads_of_other_families_agree_on_their_own() {
    let names = std::fs::read_dir(folder("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name.starts_with("alone")).collect();
    assert_eq!(names.len(), 7);
    for name in names {
        let config = serde_json::from_slice(&std::fs::read(folder(&name).join("config.json")).unwrap()).unwrap();
        let mut weights = Weights::read(&[folder(&name).join("model.safetensors")], &Device::Cpu).unwrap();
        let head = TaskHead::take(&HeadPlan::from_json(&config).unwrap(), &mut weights).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden = golden(&name);
        for (index, hidden) in golden["hidden"].as_array().unwrap().iter().enumerate() {
            let rows: Vec<Vec<f32>> = hidden.as_array().unwrap().iter().map(floats).collect();
            let hidden = Tensor::from_vec(rows.concat(), (rows.len(), 16), &Device::Cpu).unwrap();
            let expected = &golden["logits"][index];
            let (found, expected) = match &head {
                TaskHead::Sequence(head) => (head.logits(&hidden, &[0, rows.len()]).unwrap().to_vec2().unwrap().concat(), floats(expected)),
                TaskHead::Token(head) => {
                    let expected = expected.as_array().unwrap().iter().flat_map(floats).collect();
                    (head.logits(&hidden).unwrap().to_vec2().unwrap().concat(), expected)
                }
                TaskHead::Masked(head) => {
                    let mut found = Vec::new();
                    let each = |_, logits: &Tensor| {
                        found.extend(logits.to_vec2::<f32>()?.concat());
                        Ok(())
                    };
                    head.logits(&hidden, each).unwrap();
                    (found, expected.as_array().unwrap().iter().flat_map(floats).collect())
                }
                TaskHead::None => panic!("{name} has no head"),
            };
            close(&name, &found, &expected);
        }
    }
}

#[test]
fn a_row_of_logits_does_not_depend_on_its_neighbours() {
    let model = load("mpnet-nli");
    let golden = golden("mpnet-nli");
    let texts: Vec<&str> = texts(&golden["texts"]).into_iter().cycle().take(90).collect();
    let together = model.sequence_logits(&singles(&model, &texts), &|| false).unwrap();
    for (text, row) in texts.iter().zip(&together) {
        let alone = model.sequence_logits(&singles(&model, &[text]), &|| false).unwrap();
        assert!(alone[0].iter().zip(row).all(|(a, b)| (a - b).abs() <= 1e-6), "{text:?} alone differs from {text:?} in a batch");
    }
}

#[test]
fn what_a_model_has_no_head_for_is_refused_with_what_it_offers() {
    let model = load("bert-mlm");
    for (ability, needs) in [(Ability::Rerank, "one label"), (Ability::Tag, "token classification"), (Ability::Entail, "entailment")] {
        let error = model.require(ability).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ModelError::Unsupported { .. }), "{text}");
        assert!(text.contains(needs) && text.contains("embed, embed_tokens, embed_sparse, fill_mask"), "{text}");
    }
    let classifier = load("roberta-nli");
    assert!(classifier.require(Ability::Embed).unwrap_err().to_string().contains("offers embed_tokens, classify, zero_shot"));
    assert_eq!(model.sequence_logits(&[], &|| false), Err(model.require(Ability::Classify).unwrap_err()));
}

/// A copy of a model with another configuration.
fn changed(name: &str, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(folder(name).join(file), copy.path().join(file)).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&std::fs::read(folder(name).join("config.json")).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(copy.path().join("config.json"), config.to_string()).unwrap();
    copy
}

#[test]
fn head_weights_that_are_missing_are_an_error_and_never_invented() {
    let promised = changed("bert-mlm", |config| config["architectures"] = serde_json::json!(["BertForSequenceClassification"]));
    let error = Encoder::load(promised.path(), "m", &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("pooler.dense.weight") && error.contains("missing"), "{error}");
    let other_count = changed("bert-nli", |config| config["id2label"] = serde_json::json!({ "0": "a", "1": "b" }));
    let error = Encoder::load(other_count.path(), "m", &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("classifier.weight") && error.contains("shape"), "{error}");
    let copy = changed("bert-nli", |_| {});
    let file = copy.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    tensors.remove("bert.pooler.dense.bias").unwrap();
    candle_core::safetensors::save(&tensors, &file).unwrap();
    let error = Encoder::load(copy.path(), "m", &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("pooler.dense.bias") && error.contains("missing"), "{error}");
    // An embedder is of use without the head that its configuration names; that head is refused when it is asked for.
    let embedder = changed("bert-nli", |config| config["architectures"] = serde_json::json!(["BertForMaskedLM"]));
    let model = Encoder::load(embedder.path(), "m", &Device::Cpu).unwrap();
    assert!(model.require(Ability::Embed).is_ok());
    let error = model.fill_masks(&singles(&model, &["[MASK]"]), 1, &|| false).unwrap_err();
    assert!(matches!(&error, ModelError::Corrupt { field, .. } if field.contains("cls.predictions")), "{error}");
}

/// As sentence-transformers 6 saves a cross-encoder: a Transformer module alone, and the activation beside it.
#[test]
fn a_cross_encoder_saved_with_modules_reranks_and_does_not_embed() {
    let copy = changed("bert-rerank", |_| {});
    let module = r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.base.modules.transformer.Transformer"}]"#;
    std::fs::write(copy.path().join("modules.json"), module).unwrap();
    let activation = r#"{"activation_fn": "torch.nn.modules.linear.Identity", "model_type": "CrossEncoder", "prompts": {}}"#;
    std::fs::write(copy.path().join("config_sentence_transformers.json"), activation).unwrap();
    let model = Encoder::load(copy.path(), "m", &Device::Cpu).unwrap();
    assert!(model.require(Ability::Rerank).is_ok() && model.require(Ability::Embed).is_err());
    assert_eq!(model.rerank_rule(), ScoreRule::Raw);
}

#[test]
fn a_stop_ends_the_work_without_a_result() {
    let model = load("bert-nli");
    assert_eq!(model.sequence_logits(&singles(&model, &["the cat"]), &|| true), Err(ModelError::Stopped));
    let model = load("bert-mlm");
    assert_eq!(model.sparse(&singles(&model, &["the cat"]), &|| true), Err(ModelError::Stopped));
}

#[test]
fn a_long_pair_is_an_error_or_cut_where_it_was_asked_for() {
    let model = load("bert-rerank");
    let long = "cat ".repeat(60);
    let pair = |cut| model.pair(TextPair { first: "the cat", second: Some(&long) }, cut);
    let refused = pair(PairCut::Refuse).unwrap_err().to_string();
    assert!(refused.contains("65 tokens") && refused.contains("at most 40"), "{refused}");
    let second = pair(PairCut::OnlySecond).unwrap();
    assert_eq!((second.len(), second.full_count, second.is_cut()), (40, 65, true));
    assert_eq!(second, pair(PairCut::LongestFirst).unwrap());
    assert!(pair(PairCut::OnlyFirst).unwrap_err().to_string().contains("first text"));
}
