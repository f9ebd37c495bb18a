//! Real data from the folder that `TALLOW_TEST_DATA` names. Unset, these tests say that they were skipped; set, missing files fail.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{check_every_operation, run};

fn data(path: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("TALLOW_TEST_DATA") else {
        eprintln!("skipped: TALLOW_TEST_DATA is not set, {path} is not read");
        return None;
    };
    let file = PathBuf::from(folder).join(path);
    Some(std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

/// The files are those of Unicode 14; this character lost its Extended_Pictographic property in a later version, which is the one implemented.
const NOT_PICTOGRAPHIC_ANY_MORE: char = '\u{2701}';

/// The pieces that a break test expects, one list per line of the official file.
fn break_tests(file: &str) -> Vec<(String, Vec<String>)> {
    let mut tests = Vec::new();
    for line in file.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let pieces: Vec<String> = line
            .trim_matches(['÷', ' '])
            .split('÷')
            .map(|piece| piece.split('×').map(|code| char::from_u32(u32::from_str_radix(code.trim(), 16).unwrap()).unwrap()).collect())
            .collect();
        let text = pieces.concat();
        if !text.contains(NOT_PICTOGRAPHIC_ANY_MORE) {
            tests.push((text, pieces));
        }
    }
    assert!(tests.len() > 100, "the official file has hundreds of tests");
    tests
}

#[test]
fn graphemes_break_where_unicode_says() {
    let Some(file) = data("unicode-break-tests/GraphemeBreakTest.txt") else { return };
    for (text, expected) in break_tests(&file) {
        let output = run(json!({ "operation": "tokenize", "text": text, "unit": "graphemes" }));
        let found: Vec<&str> = output["tokens"].as_array().unwrap().iter().map(|token| token["text"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{text:?}");
        let reversed: String = expected.iter().rev().map(String::as_str).collect();
        assert_eq!(run(json!({ "operation": "reverse", "text": text }))["text"], reversed);
    }
}

#[test]
fn words_break_where_unicode_says() {
    let Some(file) = data("unicode-break-tests/WordBreakTest.txt") else { return };
    for (text, expected) in break_tests(&file) {
        let mut found = Vec::new();
        let cancel = crate::task::CancelHandle::default();
        super::segment::for_each_word_segment(&text, &cancel, |range, _| found.push(text[range].to_owned())).unwrap();
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn sentences_break_where_unicode_says() {
    let Some(file) = data("unicode-break-tests/SentenceBreakTest.txt") else { return };
    let cancel = crate::task::CancelHandle::default();
    let mut without_breaks = 0;
    for (text, expected) in break_tests(&file) {
        let (mut found, mut over_lines) = (Vec::new(), Vec::new());
        super::segment::for_each_unicode_sentence(&text, &cancel, |range| found.push(text[range].to_owned())).unwrap();
        assert_eq!(found, expected, "{text:?}");
        super::segment::for_each_sentence(&text, &cancel, |range| over_lines.push(text[range].to_owned())).unwrap();
        // Only what a line break inside the text means is a rule of our own.
        let body = text.trim_end_matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
        if !body.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            without_breaks += 1;
            assert_eq!(over_lines, expected, "{text:?}");
        }
        assert_eq!(over_lines.concat(), text);
    }
    assert!(without_breaks > 100, "{without_breaks}");
}

#[test]
fn blocks_do_not_change_the_answer() {
    for file in [
        "sherlock/sherlock-holmes-huge-ascii.txt",
        "sherlock/opensubtitles2018-ru-huge-utf8.txt",
        "sherlock/opensubtitles2018-zh-huge-utf8.txt",
    ] {
        let Some(text) = data(file) else { return };
        let cancel = crate::task::CancelHandle::default();
        let (mut words, mut sentences) = (Vec::new(), Vec::new());
        super::segment::for_each_word(&text, &cancel, |range| words.push(range)).unwrap();
        super::segment::for_each_sentence(&text, &cancel, |range| {
            if super::segment::has_content(&text[range.clone()]) {
                sentences.push(super::segment::trim(&text, range));
            }
        })
        .unwrap();
        assert!(super::segment::blocks(&text).len() > 5 && super::segment::sentence_blocks(&text).len() > 5);
        assert_eq!(super::segment::words(&text, &cancel).unwrap(), words, "{file}");
        assert_eq!(super::segment::sentences(&text, &cancel).unwrap(), sentences, "{file}");
    }
}

#[test]
fn statistics_agree_with_an_independent_implementation() {
    use unicode_segmentation::UnicodeSegmentation;
    for file in
        ["sherlock/sherlock-holmes-huge-ascii.txt", "sherlock/opensubtitles2018-ru-huge-utf8.txt", "war-and-peace/war-and-peace.txt"]
    {
        let Some(text) = data(file) else { return };
        let output = run(json!({ "operation": "statistics", "text": text }));
        assert_eq!(output["graphemes"], text.graphemes(true).count());
        assert_eq!(output["words"], text.unicode_words().count());
        let has_content = |sentence: &&str| sentence.chars().any(char::is_alphanumeric);
        let sentences: usize = super::lines::stretches(&text)
            .map(|range| text[range].replace(['\n', '\r'], " ").unicode_sentences().filter(has_content).count())
            .sum();
        assert_eq!(output["sentences"], sentences);
        assert!(sentences < text.unicode_sentences().filter(has_content).count());
        assert_eq!(output["characters"], text.chars().count());
        assert_eq!(output["lines"], text.lines().count());
    }
}

#[test]
fn languages_of_the_examples_are_told() {
    let Some(file) = data("whatlang-examples/examples.json") else { return };
    let examples: std::collections::BTreeMap<String, String> = serde_json::from_str(&file).unwrap();
    let texts: Vec<&String> = examples.values().collect();
    let output = run(json!({ "operation": "detect_language", "texts": texts }));
    let wrong: Vec<_> = examples
        .keys()
        .zip(output["results"].as_array().unwrap())
        .filter(|(code, found)| found["language"] != code.as_str())
        .map(|(code, found)| format!("{code}: {}", found["language"]))
        .collect();
    assert!(examples.len() > 60 && wrong.len() * 20 <= examples.len(), "{} of {}: {wrong:?}", wrong.len(), examples.len());
}

#[test]
fn naughty_strings_harm_no_operation() {
    let Some(file) = data("blns/blns.json") else { return };
    let strings: Vec<String> = serde_json::from_str(&file).unwrap();
    assert!(strings.len() > 400);
    for text in &strings {
        check_every_operation(text);
    }
    check_every_operation(&strings.join("\n"));
}

#[test]
fn hostile_lengths_end_in_time() {
    let texts = [
        "a".repeat(2_000_000),
        "a\u{200d}".repeat(500_000),
        "👨\u{200d}👩\u{200d}👧".repeat(50_000),
        "\u{301}".repeat(500_000),
        ". ".repeat(500_000),
    ];
    for text in texts {
        for operation in
            ["statistics", "reverse", "chunk", "word_frequencies", "detect_language", "keywords", "summarize", "detect_pii", "normalize"]
        {
            run(json!({ "operation": operation, "text": text }));
        }
        run(json!({ "operation": "chunk", "text": text, "by": "markdown", "overlap": 100 }));
    }
}

#[test]
fn chinese_subtitles_have_words_and_keywords() {
    let Some(text) = data("sherlock/opensubtitles2018-zh-huge-utf8.txt") else { return };
    let output = run(json!({ "operation": "keywords", "text": text, "top": 10 }));
    assert_eq!(output["language"], "zh");
    let has_words = |found: &Value| found["text"].as_str().is_some_and(|text| text.chars().count() >= 2);
    assert!(output["keywords"].as_array().unwrap().iter().all(has_words), "{output}");
}
