//! Tokens and their places against the tokenizers library (`fixtures/make_token_goldens.py` makes the values), and long texts against whole ones.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::*;

type Placed = (u32, Range<usize>);

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join("token_golden.json")).unwrap()).unwrap()
}

/// The folder of a variable, or a word that the test was skipped.
fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable);
    if folder.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    folder.map(PathBuf::from)
}

/// The tokenizer that a name of the golden file means; `None` for one whose model is not here.
fn tokenizer(name: &str) -> Option<TextTokenizer> {
    let (model, change) = name.split_once(", ").unwrap_or((name, ""));
    let home = match model {
        "all-MiniLM-L6-v2" => folder("TALLOW_TEST_MODELS")?.join(model),
        "tiny-bert" => fixtures().join(model),
        _ => fixtures().join("heads").join(model),
    };
    let read = |home: &Path| TextTokenizer::read(home, change == "lowered", usize::MAX).unwrap();
    if change != "cased" {
        return Some(read(&home));
    }
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(home.join("tokenizer.json"), copy.path().join("tokenizer.json")).unwrap();
    let switches = r#"{"tokenizer_class": "BertTokenizer", "do_lower_case": false, "strip_accents": false}"#;
    std::fs::write(copy.path().join("tokenizer_config.json"), switches).unwrap();
    Some(read(copy.path()))
}

fn placed(sequence: &Sequence) -> Vec<Placed> {
    sequence.ids.iter().copied().zip(sequence.offsets.iter().cloned()).collect()
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
        Value::Object(texts) => {
            let mut texts: Vec<(&String, &Value)> = texts.iter().collect();
            texts.sort_by_key(|(name, _)| name.to_owned());
            texts.into_iter().map(|(_, text)| text.as_str().unwrap().to_owned()).collect()
        }
        other => panic!("{other} holds no texts"),
    }
}

#[test]
fn ids_and_places_are_those_of_the_tokenizers_library() {
    let golden = golden();
    for (name, expected) in golden["tokens"].as_object().unwrap() {
        let Some(tokenizer) = tokenizer(name) else { continue };
        for (text, expected) in texts(&golden["texts"]).iter().zip(expected.as_array().unwrap()) {
            let expected: Vec<(u32, usize, usize)> = serde_json::from_value(expected.clone()).unwrap();
            let expected: Vec<Placed> = expected.into_iter().map(|(id, start, end)| (id, start..end)).collect();
            assert_eq!(placed(&tokenizer.tokenize("", text).unwrap()), expected, "{name}, {text:?}");
            let content: Vec<Placed> = expected.into_iter().skip(tokenizer.special_token_count() / 2).collect();
            let mut each = Vec::new();
            tokenizer.each_token(text, &|| false, |id, bytes| each.push((id, bytes))).unwrap();
            assert_eq!(each, content[..content.len() - tokenizer.special_token_count() / 2], "{name}, {text:?}");
        }
    }
}

#[test]
fn naughty_strings_and_languages_have_the_tokens_of_the_tokenizers_library() {
    let Some(data) = folder("TALLOW_TEST_DATA") else { return };
    let golden = golden();
    let mut compared = 0;
    for (file, expected) in golden["data"].as_object().unwrap() {
        let found = texts(&serde_json::from_slice(&std::fs::read(data.join(file)).unwrap()).unwrap());
        for (name, expected) in expected.as_object().unwrap() {
            let Some(tokenizer) = tokenizer(name) else { continue };
            let expected: Vec<&str> = expected.as_str().unwrap().split(' ').collect();
            assert_eq!(found.len(), expected.len(), "{file}");
            for (text, expected) in found.iter().zip(expected) {
                let tokens = placed(&tokenizer.tokenize("", text).unwrap());
                let spelled: String = tokens.iter().fold(String::new(), |mut all, (id, bytes)| {
                    let _fits = write!(all, "{id}:{}:{},", bytes.start, bytes.end);
                    all
                });
                let digest: String = Sha256::digest(spelled).iter().take(8).fold(String::new(), |all, byte| format!("{all}{byte:02x}"));
                assert_eq!(format!("{}:{digest}", tokens.len()), expected, "{name}, {text:?}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 5 * 500, "only {compared} texts were compared");
}

const SMALL: [&str; 6] =
    ["tiny-bert", "roberta-mlm", "xlm-roberta-mlm", "roberta-mlm, lowered", "xlm-roberta-mlm, lowered", "tiny-bert, lowered"];

/// The text's tokens from pieces of at most `piece_bytes`, and how many pieces that took.
fn in_pieces(tokenizer: &TextTokenizer, text: &str, piece_bytes: usize) -> (Vec<Placed>, usize) {
    let cuts = tokenizer.cuts(text, piece_bytes).unwrap();
    assert!(cuts.windows(2).all(|cut| cut[0] < cut[1] || text.is_empty()), "cuts go forward");
    let pieces = cuts.windows(2).map(|cut| tokenizer.piece(text, cut[0]..cut[1]).unwrap());
    let tokens = pieces.flat_map(|piece| piece.tokens().collect::<Vec<_>>()).collect();
    (tokens, cuts.len() - 1)
}

fn whole(tokenizer: &TextTokenizer, text: &str) -> Vec<Placed> {
    tokenizer.piece(text, 0..text.len()).unwrap().tokens().collect()
}

#[test]
fn books_and_naughty_strings_have_the_same_tokens_in_pieces() {
    let Some(data) = folder("TALLOW_TEST_DATA") else { return };
    let read = |file: &str| std::fs::read_to_string(data.join(file)).unwrap();
    let part = |file: &str, bytes: usize| {
        let text = read(file);
        text[..text.floor_char_boundary(bytes)].to_owned()
    };
    let naughty = texts(&serde_json::from_str(&read("blns/blns.json")).unwrap());
    let languages = texts(&serde_json::from_str(&read("whatlang-examples/examples.json")).unwrap());
    let long = [
        part("sherlock/sherlock-holmes-huge-ascii.txt", 150_000),
        part("sherlock/opensubtitles2018-ru-huge-utf8.txt", 100_000),
        part("sherlock/opensubtitles2018-zh-huge-utf8.txt", 100_000),
        naughty.join(" "),
        naughty.join("\n"),
        languages.join(" "),
    ];
    let ideographs: String = long[2].chars().filter(|c| ('\u{4e00}'..='\u{9fff}').contains(c)).collect();
    let bert = tokenizer("tiny-bert").unwrap();
    let (found, pieces) = in_pieces(&bert, &ideographs, 20_000);
    assert!(pieces > 2 && found == whole(&bert, &ideographs), "ideographs without a blank in {pieces} pieces");
    for name in ["all-MiniLM-L6-v2", "tiny-bert", "roberta-mlm", "xlm-roberta-mlm", "roberta-mlm, lowered"] {
        let Some(tokenizer) = tokenizer(name) else { continue };
        for (index, text) in long.iter().enumerate() {
            let expected = whole(&tokenizer, text);
            for piece_bytes in [1_500, 20_000] {
                let (found, pieces) = in_pieces(&tokenizer, text, piece_bytes);
                assert!(pieces > 1, "{name}, text {index}: nothing was cut");
                let differs = found.iter().zip(&expected).position(|(a, b)| a != b);
                assert!(found == expected, "{name}, text {index}, pieces of {piece_bytes}: differs at {differs:?}");
            }
        }
    }
}

#[test]
fn pieces_do_not_show_in_the_tokens() {
    let tokenizers = SMALL.map(|name| (name, tokenizer(name).unwrap()));
    let words = proptest::collection::vec("[a-zA-Zéßİς日本😀.,'\u{301}\u{1f1e9}<>\\[\\]]{0,9}", 1..60);
    proptest!(ProptestConfig::with_cases(96), |(words in words, gap in "[ \n\t]|  |\u{3000}")| {
        let text = words.join(&gap).replace("<>", "<mask>").replace("[]", "[SEP]");
        for (name, tokenizer) in &tokenizers {
            prop_assert_eq!(in_pieces(tokenizer, &text, 24).0, whole(tokenizer, &text), "{}", name);
        }
    });
}

#[test]
fn tokens_lie_in_order_at_characters_of_the_text() {
    let tokenizers = SMALL.map(|name| (name, tokenizer(name).unwrap()));
    proptest!(ProptestConfig::with_cases(200), |(text in "(\\PC|[İẞΣςéŉ \n\u{301}\u{323}\u{200b}]){0,40}")| {
        for (name, tokenizer) in &tokenizers {
            let sequence = tokenizer.tokenize("", &text).unwrap();
            let mut earlier = 0;
            for bytes in &sequence.offsets[sequence.content.clone()] {
                prop_assert!(text.get(bytes.clone()).is_some(), "{name}: {bytes:?} is no slice of {text:?}");
                prop_assert!(bytes.start >= earlier, "{name}: {bytes:?} comes after {earlier} in {text:?}");
                earlier = bytes.start;
            }
        }
    });
}

#[test]
fn a_text_of_ten_megabytes_has_as_many_tokens_as_its_sentences() {
    for (name, count) in [("tiny-bert", 500_000), ("xlm-roberta-mlm", 20_000)] {
        let text = "the cat sits outside ".repeat(count);
        let tokenizer = tokenizer(name).unwrap();
        let mut each = 0;
        tokenizer.each_token(&text, &|| false, |_, _| each += 1).unwrap();
        let one = tokenizer.tokenize("", "the cat sits outside the cat sits outside ").unwrap().content.len();
        let two = tokenizer.tokenize("", "the cat sits outside the cat sits outside the cat sits outside ").unwrap().content.len();
        assert_eq!(each, one + (count - 2) * (two - one), "{name}");
    }
}

#[test]
fn a_stretch_that_cannot_be_cut_is_refused_and_the_work_can_be_stopped() {
    let tokenizer = tokenizer("tiny-bert").unwrap();
    let refused = tokenizer.tokenize("", &"x".repeat(TEXT_BYTES_MAX + 1)).unwrap_err().to_string();
    assert!(refused.contains("no place to cut") && refused.contains(&TEXT_BYTES_MAX.to_string()), "{refused}");
    assert_eq!(tokenizer.each_token("the cat", &|| true, |_, _| ()), Err(ModelError::Stopped));
}

/// A tokenizer of unigrams that are all as likely.
fn unigrams(normalizer: &str, entries: &[&str]) -> TextTokenizer {
    let vocab: Vec<Value> = entries.iter().map(|entry| serde_json::json!([entry, -1.0])).collect();
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": null, "post_processor": null, "decoder": null, "truncation": null, "padding": null,
        "normalizer": serde_json::from_str::<Value>(normalizer).unwrap(), "model": { "type": "Unigram", "unk_id": 0, "vocab": vocab },
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    TextTokenizer::read(folder.path(), false, usize::MAX).unwrap()
}

#[test]
fn a_vocabulary_with_tokens_across_blanks_is_not_cut() {
    let tokenizer = unigrams("null", &["<unk>", "a b", "a", "b", " "]);
    assert_eq!(tokenizer.cuts(&"a b ".repeat(100), 16).unwrap(), [0, 400]);
}

#[test]
fn what_is_put_before_a_text_is_not_put_before_its_pieces() {
    let before = r#"{"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}"#;
    let tokenizer = unigrams(before, &["<unk>", "▁", "▁the", "▁cat", "▁▁", "t", "h", "e", "c", "a"]);
    let text = "the cat that  hat ".repeat(40);
    let (found, pieces) = in_pieces(&tokenizer, &text, 100);
    assert_eq!(found, whole(&tokenizer, &text));
    assert!(pieces > 5 && found[0] == (2, 0..3), "{pieces} pieces from {:?}", found[0]);
}

#[test]
fn long_pairs_are_made_of_pieces_as_of_whole_texts() {
    let long = "the cat sits outside, why is the sky blue? Rayleigh scattering. 日本語 мир! ".repeat(1_000);
    assert!(long.len() > PIECE_BYTES);
    let pairs = [
        TextPair { first: &long, second: None },
        TextPair { first: &long, second: Some("the cat") },
        TextPair { first: "the cat", second: Some(&long) },
        TextPair { first: &long, second: Some(&long[..long.len() / 2]) },
        TextPair { first: &long, second: Some("") },
    ];
    for name in ["bert-rerank", "roberta-rerank", "xlm-roberta-nli"] {
        let tokenizer = tokenizer(name).unwrap();
        for (index, pair) in pairs.iter().enumerate() {
            for (limit, cut) in [
                (usize::MAX, PairCut::Refuse),
                (41, PairCut::LongestFirst),
                (40, PairCut::LongestFirst),
                (40, PairCut::OnlyFirst),
                (40, PairCut::OnlySecond),
                (40, PairCut::Refuse),
            ] {
                let (whole, counts) = tokenizer.pair_at_once(*pair).unwrap();
                let mut whole = whole.within(counts, limit, cut);
                if let (Ok(whole), false) = (&mut whole, tokenizer.has_segments) {
                    whole.segments.fill(0);
                }
                assert_eq!(tokenizer.pair(*pair, limit, cut), whole, "{name}, pair {index}, {limit}, {cut:?}");
            }
        }
    }
}
