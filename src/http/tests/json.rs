//! Strict JSON: what is refused, and under which code and path.

use serde_json::Value;

use super::{DEPTH_MAX, parse, value};
use crate::task::SubmissionSpec;

fn code<T: std::fmt::Debug>(outcome: Result<T, super::ApiError>) -> (String, String) {
    let object = outcome.unwrap_err().object();
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    (text("code"), text("param"))
}

#[test]
fn every_truncation_of_a_sound_body_is_refused() {
    let body = r#"{"type": "text_processing", "priority": "high", "data": {"operation": "reverse", "text": "añ\u00e9", "n": [1, -2.5e3, true, null]}}"#;
    assert!(parse::<SubmissionSpec>(body.as_bytes()).is_ok());
    for length in 0..body.len() {
        let (code, _) = code(parse::<SubmissionSpec>(&body.as_bytes()[..length]));
        assert!(code == "invalid_json" || code == "invalid_utf8", "{length}: {code}");
    }
}

#[test]
fn bad_documents_get_their_code() {
    let deep = |open: &str| open.repeat(100_000);
    let cases = [
        (String::new(), "invalid_json"),
        ("{} {}".into(), "invalid_json"),
        ("\u{feff}{}".into(), "invalid_json"),
        (r#"{"a": "\ud800"}"#.into(), "invalid_json"),
        (r#"{"a": 1e400}"#.into(), "invalid_json"),
        (r#"{"a": NaN}"#.into(), "invalid_json"),
        (r#"{"a": 1, "a": 2}"#.into(), "duplicate_field"),
        (r#"{"a": [{"b": {"c": 1, "c": 1}}]}"#.into(), "duplicate_field"),
        (deep("["), "json_too_deep"),
        (deep(r#"{"a":"#), "json_too_deep"),
    ];
    for (body, expected) in cases {
        assert_eq!(code(value(body.as_bytes())).0, expected, "{:.40}", body);
    }
    assert_eq!(code(value(b"{\"a\": \"\xff\"}")).0, "invalid_utf8");
    let nested = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    assert!(value(nested.as_bytes()).is_ok(), "the deepest allowed nesting");
}

#[test]
fn a_wrong_field_is_named() {
    for (body, expected) in [
        (r#"[]"#, ("expected_object", "")),
        (r#"null"#, ("expected_object", "")),
        (r#"{"type": "text_processing", "data": {}, "status": "completed"}"#, ("unknown_field", "status")),
        (r#"{"type": "text_processing", "data": {}, "submitter": "root"}"#, ("unknown_field", "submitter")),
        (r#"{"type": "text_processing"}"#, ("invalid_payload", "data")),
        (r#"{"data": {}}"#, ("invalid_payload", "type")),
        (r#"{"type": "text_processing", "data": {}, "priority": "Ultra"}"#, ("invalid_payload", "priority")),
        (r#"{"type": "text_processing", "data": {}, "priority": 4}"#, ("invalid_payload", "priority")),
        (r#"{"type": "text_processing", "data": {}, "retries_max": -1}"#, ("invalid_payload", "retries_max")),
        (r#"{"type": "text_processing", "data": {}, "depends_on": [1]}"#, ("invalid_payload", "depends_on[0]")),
    ] {
        let (code, param) = code(parse::<SubmissionSpec>(body.as_bytes()));
        assert_eq!((code.as_str(), param.as_str()), expected, "{body}");
    }
}

#[test]
fn values_come_out_as_serde_json_reads_them() {
    for text in ["0", "-1", "18446744073709551615", "1.5", "\"\\u0000\"", "[[],{}]", r#"{"b":1,"a":[null,true]}"#] {
        assert_eq!(value(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
    }
}
