//! Cleaning, HTML and character sets.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{base64_of, run};

fn normalized(text: &str, settings: Value) -> String {
    let mut request = settings;
    request["operation"] = json!("normalize");
    request["text"] = json!(text);
    run(request)["text"].as_str().unwrap().to_owned()
}

#[test]
fn each_step_does_what_it_says() {
    let cases = [
        ("e\u{301}", json!({ "form": "nfc" }), "\u{e9}"),
        ("\u{e9}", json!({ "form": "nfd" }), "e\u{301}"),
        ("ﬁ①", json!({ "form": "nfkc" }), "fi1"),
        ("ﬁé", json!({ "form": "nfkd" }), "fie\u{301}"),
        ("Å\u{2126}", json!({ "form": "none" }), "Å\u{2126}"),
        ("a\r\nb\rc\u{2028}d", json!({}), "a\nb\nc\nd"),
        ("a\nb\r\n", json!({ "line_endings": "crlf", "whitespace": "keep" }), "a\r\nb\r\n"),
        ("a\u{0}b\u{7}\tc", json!({}), "ab\tc"),
        ("a\u{200b}b\u{feff}c\u{ad}d", json!({}), "abcd"),
        ("👨\u{200d}👩", json!({}), "👨\u{200d}👩"),
        ("\u{201c}it\u{2019}s\u{201d} \u{2013} so\u{2026}", json!({ "straighten_quotes": true }), "\"it's\" - so..."),
        ("Crème Brûlée Ελλάδα ёлка", json!({ "strip_accents": true }), "Creme Brulee Ελλαδα елка"),
        ("हिन्दी", json!({ "strip_accents": true }), "हिन्दी"),
        ("Straße İ", json!({ "case": "fold" }), "strasse i\u{307}"),
        ("ΟΔΟΣ", json!({ "case": "lower" }), "οδος"),
        ("straße", json!({ "case": "upper" }), "STRASSE"),
        ("  a  b \n\n\n\n c\t\n", json!({ "whitespace": "lines" }), "a b\n\nc"),
        ("  a  b \n\n c\t\n", json!({ "whitespace": "collapse" }), "a b c"),
        ("  a ", json!({ "whitespace": "keep" }), "  a "),
        ("<p>a <b>b</b></p><script>x()</script><p>c</p>", json!({ "html": true }), "a b\n\nc"),
    ];
    let mut failures = Vec::new();
    for (text, settings, expected) in cases {
        let found = normalized(text, settings.clone());
        if found != expected {
            failures.push(format!("{text:?} {settings}: {found:?}, not {expected:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn cleaning_a_clean_text_changes_nothing() {
    let settings = || json!({ "form": "nfkc", "straighten_quotes": true, "strip_accents": true, "case": "fold", "whitespace": "lines" });
    for text in ["Ａ\u{300}  \u{1e9b}\u{323}\n\n\nx", "İstanbul ǅ ﷺ", "e\u{301}\u{328} \u{3a3}\u{3c2}"] {
        let once = normalized(text, settings());
        assert_eq!(normalized(&once, settings()), once);
    }
}

#[test]
fn a_mark_that_its_case_makes_a_letter_takes_the_accents_behind_it() {
    for case in ["upper", "fold"] {
        let settings = || json!({ "case": case, "strip_accents": true });
        let once = normalized("\u{1810}\u{345}\u{f99}", settings());
        assert_eq!(once, if case == "upper" { "\u{1810}\u{399}" } else { "\u{1810}\u{3b9}" });
        assert_eq!(normalized(&once, settings()), once);
        assert_eq!(normalized("ᾳ", settings()), if case == "upper" { "Α" } else { "α" }, "behind a Greek letter it is an accent itself");
    }
}

#[test]
fn the_asked_form_holds_for_the_result() {
    let cases = [
        ("e\u{200b}\u{301}", json!({}), "\u{e9}"),
        ("e\u{7}\u{301}", json!({}), "\u{e9}"),
        ("\u{390}", json!({ "case": "fold" }), "\u{390}"),
        ("\u{390}", json!({ "case": "upper" }), "\u{3aa}\u{301}"),
        ("\u{130}", json!({ "case": "lower", "form": "nfd" }), "i\u{307}"),
        ("x\u{345}\u{200b}\u{301}", json!({ "case": "fold" }), "x\u{301}\u{3b9}"),
        (" a\r\n\r\n\r\n b \n", json!({ "line_endings": "crlf", "whitespace": "lines" }), "a\r\n\r\nb"),
        (" a\r\n b\n c\n", json!({ "line_endings": "keep", "whitespace": "lines" }), "a\r\nb\nc"),
        (" a\n b\r\n", json!({ "line_endings": "crlf", "whitespace": "trim" }), "a\r\n b"),
    ];
    for (text, settings, expected) in cases {
        assert_eq!(normalized(text, settings.clone()), expected, "{text:?} {settings}");
    }
}

/// Every value of every field but `html`, picked by the digits of `choice`.
fn settings_of(mut choice: usize) -> Value {
    let mut pick = |values: &[&str]| {
        let value = values[choice % values.len()].to_owned();
        choice /= values.len();
        value
    };
    let is = |value: String| value == "true";
    let flags = ["false", "true"];
    json!({
        "form": pick(&["nfc", "nfd", "nfkc", "nfkd", "none"]),
        "case": pick(&["keep", "lower", "upper", "fold"]),
        "whitespace": pick(&["keep", "trim", "lines", "collapse"]),
        "line_endings": pick(&["keep", "lf", "crlf"]),
        "strip_control": is(pick(&flags)),
        "strip_zero_width": is(pick(&flags)),
        "straighten_quotes": is(pick(&flags)),
        "strip_accents": is(pick(&flags)),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn cleaning_twice_is_cleaning_once(
        text in "(\\PC|\\p{M}|[a-zA-Z\u{370}-\u{3ff}\u{1e00}-\u{1fff}\u{130}\u{149}\u{17f}\u{1f0}]|[\u{300}-\u{345}]|[\r\n\t\u{0}\u{85}\u{200b}\u{ad}\u{2028}\u{2032}\u{2033}\u{b4}]| ){0,24}",
        choice in 0_usize..3_840,
    ) {
        let once = normalized(&text, settings_of(choice));
        prop_assert_eq!(&normalized(&once, settings_of(choice)), &once, "{:?} {}", &text, settings_of(choice));
    }
}

#[test]
fn html_becomes_readable_text() {
    let html = "<html><head><title>T</title><style>p{}</style></head><body><h1>Title</h1><p>One &amp; two&nbsp;three</p>\
                <ul><li>first<li>second</ul><table><tr><td>a</td><td>b</td></tr></table></body></html>";
    let text = run(json!({ "operation": "html_to_text", "text": html }))["text"].as_str().unwrap().to_owned();
    for part in ["Title", "One & two", "first", "second", "a"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.len() < 200, "columns are not filled up: {}", text.len());
    assert!(!text.contains("p{}") && !text.contains('<'), "{text}");
}

#[test]
fn bytes_are_decoded_by_label_by_mark_and_by_guess() {
    let cp1252 = b"caf\xe9 \x93quoted\x94 na\xefve d\xe9j\xe0 vu, o\xf9 \xeates-vous all\xe9 hier\xa0?";
    let russian = encoding_rs::WINDOWS_1251.encode("Привет, мир! Это обычный русский текст для проверки кодировки.").0.into_owned();
    let japanese = encoding_rs::SHIFT_JIS.encode("これは日本語のテキストです。文字コードを判定します。").0.into_owned();
    let cases: [(&[u8], Value, &str, bool, &str); 6] = [
        (cp1252, json!("latin1"), "windows-1252", false, "café"),
        (cp1252, Value::Null, "windows-1252", true, "café \u{201c}quoted\u{201d}"),
        (&russian, Value::Null, "windows-1251", true, "Привет, мир!"),
        (&japanese, Value::Null, "Shift_JIS", true, "これは日本語"),
        (b"\xef\xbb\xbfmark", Value::Null, "UTF-8", false, "mark"),
        (b"\xff\xfeh\0i\0", Value::Null, "UTF-16LE", false, "hi"),
    ];
    for (bytes, encoding, name, guessed, start) in cases {
        let mut request = json!({ "operation": "decode", "bytes": { "base64": base64_of(bytes) } });
        if !encoding.is_null() {
            request["encoding"] = encoding;
        }
        let output = run(request);
        assert_eq!(output["encoding"], name);
        assert_eq!(output["guessed"], guessed, "{name}");
        assert!(output["text"].as_str().unwrap().starts_with(start), "{output}");
        assert_eq!(output["had_errors"], false);
    }
    let broken = run(json!({ "operation": "decode", "bytes": { "base64": base64_of(b"a\xffb") }, "encoding": "utf-8" }));
    assert_eq!((broken["text"].as_str().unwrap(), broken["had_errors"].as_bool().unwrap()), ("a\u{fffd}b", true));
}
