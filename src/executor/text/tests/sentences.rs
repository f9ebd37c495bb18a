//! Sentences over lines: what a line break means.

use proptest::prelude::*;
use serde_json::json;

use super::run;

fn sentences(text: &str) -> Vec<String> {
    let output = run(json!({ "operation": "tokenize", "unit": "sentences", "text": text }));
    let tokens = output["tokens"].as_array().unwrap();
    let found: Vec<String> = tokens.iter().map(|token| token["text"].as_str().unwrap().to_owned()).collect();
    for token in tokens {
        let (start, end) = (token["start_byte"].as_u64().unwrap() as usize, token["end_byte"].as_u64().unwrap() as usize);
        assert_eq!(&text[start..end], token["text"].as_str().unwrap());
    }
    assert_eq!(run(json!({ "operation": "statistics", "text": text }))["sentences"], found.len());
    found
}

fn check(cases: &[(&str, &[&str])]) {
    let mut failures = Vec::new();
    for (text, expected) in cases {
        let found = sentences(text);
        if found != *expected {
            failures.push(format!("{text:?}: {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_line_break_inside_a_paragraph_is_a_space() {
    check(&[
        ("The sun\nis hot. It\nburns.", &["The sun\nis hot.", "It\nburns."]),
        ("The sun\r\nis hot. It\r\nburns.", &["The sun\r\nis hot.", "It\r\nburns."]),
        ("The sun\u{2028}is hot.\u{85}It burns.", &["The sun\u{2028}is hot.", "It burns."]),
        (
            "We met in the old part of\nParis with our friend\nJohn, who paid.",
            &["We met in the old part of\nParis with our friend\nJohn, who paid."],
        ),
        ("das Wetter ist schön und die\nSonne scheint.", &["das Wetter ist schön und die\nSonne scheint."]),
    ]);
}

#[test]
fn a_blank_line_ends_a_sentence() {
    check(&[
        ("A title\n\nthe text goes on.", &["A title", "the text goes on."]),
        ("A title\r\n \t\r\nthe text", &["A title", "the text"]),
        ("one\u{2029}two", &["one", "two"]),
    ]);
}

#[test]
fn list_items_and_lines_that_were_not_filled_stand_alone() {
    check(&[
        ("We need:\n- milk\n- two\n  eggs\n1. bread\n2) salt", &["We need:", "- milk", "- two\n  eggs", "1. bread", "2) salt"]),
        ("# Solar\nThe sun is hot.\n> a quote\n* * *", &["# Solar", "The sun is hot.", "> a quote"]),
        ("Introduction\nThe sun is hot and it burns all day.", &["Introduction", "The sun is hot and it burns all day."]),
        ("你好\n今天天气很好我们走吧", &["你好", "今天天气很好我们走吧"]),
        ("It was in\n1.5 hours.", &["It was in\n1.5 hours."]),
        ("It was down to minus\n-5 degrees", &["It was down to minus\n-5 degrees"]),
    ]);
}

proptest! {
    #[test]
    fn a_cut_where_a_line_break_ends_a_sentence_changes_no_sentence(text in "([a-z]{1,9} |[A-Z][a-z]{0,7}[.!,]? ?|\\r?\\n|\u{2028}|- |1\\. |# |東京){0,60}") {
        let stretches: Vec<_> = super::lines::stretches(&text).collect();
        prop_assert_eq!(stretches.iter().map(|stretch| &text[stretch.clone()]).collect::<String>(), text.as_str());
        let cancel = crate::task::CancelHandle::default();
        let of = |part: &str, offset: usize| {
            let mut found = Vec::new();
            super::segment::for_each_sentence(part, &cancel, |range| found.push(range.start + offset..range.end + offset)).unwrap();
            found
        };
        for stretch in stretches {
            let (head, tail) = text.split_at(stretch.end);
            prop_assert_eq!([of(head, 0), of(tail, stretch.end)].concat(), of(&text, 0));
        }
    }
}
