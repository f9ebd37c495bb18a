//! The built-in embedder: its tokens, its layout, and one text as many.

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use super::*;

fn embedder() -> BuiltinEmbedder {
    BuiltinEmbedder::load().unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The library's own tokenizer over the same vocabulary: the truth for ids and offsets.
fn library_tokenizer() -> Tokenizer {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/builtin/vocab.txt");
    let model = WordPiece::from_file(path).unk_token("[UNK]".into()).build().unwrap();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(NormalizerWrapper::BertNormalizer(BertNormalizer::default()))).unwrap();
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::BertPreTokenizer(BertPreTokenizer)));
    tokenizer
}

fn assert_tokens_equal(embedder: &BuiltinEmbedder, library: &Tokenizer, text: &str) {
    let ours = embedder.tokenize("", text).unwrap();
    let theirs = library.encode(text, false).unwrap();
    assert_eq!(ours.ids, theirs.get_ids(), "ids of {text:?}");
    let offsets: Vec<(usize, usize)> = ours.offsets.iter().map(|range| (range.start, range.end)).collect();
    assert_eq!(offsets, theirs.get_offsets(), "offsets of {text:?}");
}

const MULTILINGUAL: &str = "Hello, world! unaffable's café CAFE\u{301} naïve Ünïcödé ﬁne ½ — “quotes” İstanbul ẞtraße\n\
    Привет, мир! Ёжик\r\nΚαλημέρα κόσμε\tसभी मनुष्यों को גוֹרָל שָׁלוֹם مرحبا بالعالم 你好，世界。 日本語のテスト 한국어 시험 ไทย ตัวอย่าง\n\
    🤷🏽‍♀️ emoji 👍 zero\u{200b}width soft\u{ad}hyphen nbsp\u{a0}here \u{feff}bom nul\0nul bell\u{7}bell form\u{c}feed \u{85}nel 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u{fffd}\n\
    [CLS] [SEP] ##ing don't 3.14 a_b-c/d\\e e=mc² ½ ① ﷽ Ⅷ ǅ ŉ \u{1d11e} x\u{301}\u{302}\u{323}y";

#[test]
fn tokens_equal_the_library_on_many_scripts() {
    let (embedder, library) = (embedder(), library_tokenizer());
    let cuts = ["é。".repeat(3_000), "é\u{3000}x!".repeat(2_000), "ไทย".repeat(3_000), "é,".repeat(2_047) + "e\u{301},".repeat(9).as_str()];
    let long = ["a".repeat(100), "a".repeat(101), "é".repeat(100), "é".repeat(101), "antidisestablishmentarianism".repeat(3)];
    let texts = MULTILINGUAL
        .split('\n')
        .chain([MULTILINGUAL, "", " ", "\n\n", "\u{301}", "##", "\u{7f}"])
        .chain(long.iter().chain(&cuts).map(String::as_str));
    for text in texts {
        assert_tokens_equal(&embedder, &library, text);
    }
}

#[test]
fn tokens_equal_the_library_on_any_text() {
    let (embedder, library) = (embedder(), library_tokenizer());
    let text = prop_oneof![
        "\\PC{0,80}",
        "[ -~\\n\\t]{0,120}",
        "[a-zé\u{300}-\u{30f}\u{4e00}-\u{4e20}가-각 .,]{0,60}",
        "[\u{4e00}\u{4e01}\u{9fa5}-\u{9fff}\u{f900}-\u{f90f}\u{3000}-\u{3003}\u{fe00}\u{3099}かカé]{0,40}",
        any::<String>()
    ];
    proptest!(ProptestConfig::with_cases(1000), |(text in text)| assert_tokens_equal(&embedder, &library, &text));
}

#[test]
fn the_embedded_weights_are_the_recorded_ones() {
    let digest: String = Sha256::digest(WEIGHTS).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, DIGEST);
    assert_eq!(embedder().info().digest, DIGEST);
}

/// Golden values: `models/fixtures/builtin.py`, an independent implementation in numpy f64.
#[test]
fn vectors_equal_the_reference_implementation() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../../fixtures/builtin.json")).unwrap();
    let every = golden["every"].as_u64().unwrap() as usize;
    let (embedder, cases) = (embedder(), golden["cases"].as_array().unwrap());
    assert!(cases.len() >= 6);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let found: Vec<f32> = embedder.embed_text(text).unwrap().into_iter().step_by(every).collect();
        let expected: Vec<f32> = serde_json::from_value(case["vector"].clone()).unwrap();
        assert_eq!(found.len(), expected.len());
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() < 2e-6, "{text:?}, component {}: {found}, expected {expected}", at * every);
        }
    }
}

#[test]
fn vectors_are_numbers_of_length_one_whatever_the_text() {
    let embedder = embedder();
    proptest!(ProptestConfig::with_cases(200), |(text in any::<String>())| {
        let vector = embedder.embed_text(&text).unwrap();
        let norm = cosine(&vector, &vector).sqrt();
        let has_pieces = !embedder.tokenize("", &text).unwrap().is_empty();
        prop_assert!(vector.iter().all(|value| value.is_finite()));
        prop_assert!(if has_pieces { (norm - 1.0).abs() < 1e-5 } else { norm == 0.0 }, "{norm} for {text:?}");
    });
}

#[test]
fn a_text_without_pieces_is_the_zero_vector_and_any_other_is_not() {
    let embedder = embedder();
    for text in ["", " ", "\t\r\n", "\u{200b}\u{7}\0", "\u{301}"] {
        assert!(embedder.embed_text(text).unwrap().iter().all(|value| *value == 0.0), "{text:?}");
    }
    for text in ["!", "…", "🤷", "你", "ไทย", "\u{e000}x", "[PAD]", "0", &"z".repeat(1000), "ⵣ"] {
        let vector = embedder.embed_text(text).unwrap();
        assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-5, "{text:?}");
    }
}

#[test]
fn a_batch_gives_the_bytes_that_single_texts_give() {
    let embedder = embedder();
    let texts: Vec<String> =
        (0..100).map(|at| format!("{} {at} {}", MULTILINGUAL.split('\n').nth(at % 4).unwrap(), "word ".repeat(at))).collect();
    let sequences: Vec<_> = texts.iter().map(|text| embedder.tokenize("", text).unwrap()).collect();
    let batch = embedder.embed(&sequences, &|| false).unwrap();
    assert_eq!(batch.len(), texts.len() * DIMENSIONS);
    for (row, text) in batch.chunks(DIMENSIONS).zip(&texts) {
        assert_eq!(row, embedder.embed_text(text).unwrap(), "{text}");
    }
    assert_eq!(embedder.embed(&[], &|| false).unwrap(), Vec::<f32>::new());
}

#[test]
fn meaning_letters_and_case_count_as_they_should() {
    let embedder = embedder();
    let score = |a: &str, b: &str| cosine(&embedder.embed_text(a).unwrap(), &embedder.embed_text(b).unwrap());
    assert!((score("The Café!", "the cafe!") - 1.0).abs() < 1e-5);
    assert!(
        score("a man plays the guitar", "someone is playing an instrument") > score("a man plays the guitar", "stock prices fell sharply")
    );
    assert!(score("quzzlewumping", "quzzlewumped") > score("quzzlewumping", "brindlefarth") + 0.2);
    assert!(score("Война и мир, роман", "роман Война и мир") > score("Война и мир, роман", "дождь в Лондоне") + 0.2);
}

#[test]
fn prompts_are_part_of_the_text_and_counted() {
    let embedder = embedder();
    let sequence = embedder.tokenize("query: ", "what is rust").unwrap();
    assert_eq!((sequence.prompt_tokens, sequence.text_tokens()), (2, 3));
    let spellings: Vec<_> = sequence.ids.iter().map(|id| embedder.token(*id).unwrap()).collect();
    assert_eq!(spellings, ["query", ":", "what", "is", "rust"]);
    assert_eq!(embedder.embed(&[sequence], &|| false).unwrap(), embedder.embed_text("query: what is rust").unwrap());
    assert_eq!(embedder.token(PIECE_COUNT as u32), None);
}

#[test]
fn windows_and_cuts_embed_as_their_own_text() {
    let embedder = embedder();
    let sequence = embedder.tokenize("", "one two three four ไทย six").unwrap();
    let cut = sequence.truncated(3).unwrap();
    assert_eq!(embedder.embed(&[cut], &|| false).unwrap(), embedder.embed_text("one two three").unwrap());
    let last = sequence.windows(3).unwrap().pop().unwrap();
    let bytes = last.offsets[0].start..last.offsets[last.len() - 1].end;
    assert_eq!(embedder.embed(std::slice::from_ref(&last), &|| false).unwrap(), embedder.embed_text(&last.text[bytes]).unwrap());
}

#[test]
fn broken_sequences_are_refused_and_unwanted_work_stops() {
    let embedder = embedder();
    let good = embedder.tokenize("", "some words and ไทย").unwrap();
    let with = |change: fn(&mut Sequence)| {
        let mut sequence = good.clone();
        change(&mut sequence);
        sequence
    };
    let broken = [
        with(|sequence| sequence.ids[0] = PIECE_COUNT as u32),
        with(|sequence| sequence.ids[0] = u32::MAX),
        with(|sequence| sequence.content = 0..99),
        with(|sequence| sequence.offsets.clear()),
        with(|sequence| sequence.text.clear()),
        with(|sequence| *sequence.offsets.last_mut().unwrap() = 16..17),
    ];
    for sequence in broken {
        let error = embedder.embed(std::slice::from_ref(&sequence), &|| false).unwrap_err();
        assert!(matches!(error, ModelError::Input { .. }), "{error} for {sequence:?}");
    }
    assert_eq!(embedder.embed(&[good], &|| true), Err(ModelError::Stopped));
}

#[test]
fn another_layout_is_corrupt() {
    let truncated = &WEIGHTS[..WEIGHTS.len() - 1];
    assert!(matches!(TokenTable::read(FILE, truncated), Err(ModelError::Corrupt { .. })));
    // The scales lie right behind the header.
    let scales = 8 + u64::from_le_bytes(WEIGHTS[..8].try_into().unwrap()) as usize;
    for bad in [f32::NAN, f32::INFINITY, -1.0] {
        let mut bytes = WEIGHTS.to_vec();
        bytes[scales + 4..scales + 8].copy_from_slice(&bad.to_le_bytes());
        let error = TokenTable::read(FILE, &bytes).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("row 1"), "{error}");
    }
    for length in 0..200 {
        assert!(TokenTable::read(FILE, &WEIGHTS[..length]).is_err());
    }
}

#[test]
fn packing_and_reading_agree_within_half_a_step() {
    let vector: [f64; TOKEN_DIM] = std::array::from_fn(|at| ((at * 37 % 101) as f64 - 50.0) / 60.0);
    let (bytes, scale) = table::pack(&vector);
    for (at, value) in vector.iter().enumerate() {
        let stored = bytes[at % table::ROW_BYTES];
        let nibble = if at < table::ROW_BYTES { stored & 15 } else { stored >> 4 };
        let read = (f64::from(nibble) - 8.0) * f64::from(scale);
        let clipped = value.clamp(-7.0 * f64::from(scale), 7.0 * f64::from(scale));
        assert!((read - clipped).abs() <= f64::from(scale) / 2.0 + 1e-9, "component {at}: {value} read as {read}");
    }
    assert_eq!(table::pack(&[0.0; TOKEN_DIM]).1, 0.0);
}
