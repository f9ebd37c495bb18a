//! Chunks cover the text, fit their budget and end where they should.

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests::run;
use crate::task::text::{Chunk, ChunkOutput, CodeLanguage, ModelToken, TextTokenizer, TokenizerSource};
use crate::task::{CancelHandle, Task, TaskError, TaskExecutor, TaskPriority, TaskType};

fn chunks(text: &str, settings: &Value) -> Vec<Chunk> {
    let mut request = settings.clone();
    request["operation"] = json!("chunk");
    request["text"] = json!(text);
    let output: ChunkOutput = serde_json::from_value(run(request)).unwrap();
    assert_eq!(output.count, output.chunks.len());
    output.chunks
}

fn texts(text: &str, settings: &Value) -> Vec<String> {
    chunks(text, settings).into_iter().map(|chunk| chunk.text).collect()
}

/// What holds for every kind of chunk.
fn check(text: &str, chunks: &[Chunk], size: usize, overlap: bool) {
    let (mut covered, mut last_start) = (0, None);
    for chunk in chunks {
        assert_eq!(&text[chunk.start_byte..chunk.end_byte], chunk.text);
        assert_eq!(text[..chunk.start_byte].chars().count(), chunk.start_char);
        assert_eq!(text[..chunk.end_byte].chars().count(), chunk.end_char);
        assert!(!chunk.text.is_empty() && chunk.text.trim_end() == chunk.text);
        assert!(chunk.size <= size.max(1), "{chunk:?}");
        assert!(chunk.end_byte > covered, "a chunk holds something new: {chunk:?}");
        assert!(last_start.is_none_or(|start| chunk.start_byte > start));
        if chunk.start_byte >= covered {
            assert!(text[covered..chunk.start_byte].trim().is_empty(), "only white space lies between chunks");
        } else {
            assert!(overlap, "chunks overlap only when asked to");
        }
        (covered, last_start) = (chunk.end_byte, Some(chunk.start_byte));
    }
    assert!(text[covered..].trim().is_empty(), "only white space lies after the last chunk");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn chunks_cover_any_text_and_fit(
        text in "(\\PC|[a-z ]{1,9}|\\. |[\\r\\n\\t ]{1,3}|\u{301}|\u{200d}|# |- |```\\n|\\{|\\}|def |    ){0,80}",
        size in 1_usize..40,
        overlap in 0_usize..40,
        mode in 0_usize..8,
    ) {
        let overlap = overlap % size;
        let settings = [
            json!({ "by": "characters" }),
            json!({ "by": "words" }),
            json!({ "by": "sentences" }),
            json!({ "by": "markdown" }),
            json!({ "by": "markdown", "unit": "words" }),
            json!({ "by": "code", "language": "rust" }),
            json!({ "by": "code", "language": "python" }),
            json!({ "by": "code", "language": "javascript", "unit": "words" }),
        ];
        let mut settings = settings[mode].clone();
        settings["size"] = json!(size);
        settings["overlap"] = json!(overlap);
        check(&text, &chunks(&text, &settings), size, overlap > 0);
    }

    #[test]
    fn plain_chunks_are_those_of_text_splitter(text in "(([a-z]{1,7} ){1,8}\\n{1,3}|([A-Z][a-z]{1,9}\\. ){1,6}\\n{1,3}){0,30}", size in 12_usize..80) {
        let expected: Vec<&str> = text_splitter::TextSplitter::new(size).chunks(&text).collect();
        prop_assert_eq!(texts(&text, &json!({ "size": size })), expected);
    }
}

#[test]
fn a_chunk_ends_at_the_best_boundary_that_fits() {
    let cases = [
        ("One two. Three four.\n\nFive.\nSix.", json!({ "size": 26 }), vec!["One two. Three four.", "Five.\nSix."]),
        ("One two. Three four.", json!({ "size": 15 }), vec!["One two.", "Three four."]),
        ("one two three four", json!({ "size": 9 }), vec!["one two", "three", "four"]),
        ("abcdefghij", json!({ "size": 4 }), vec!["abcd", "efgh", "ij"]),
        ("a\u{301}b\u{301}c\u{301}", json!({ "size": 3 }), vec!["a\u{301}", "b\u{301}", "c\u{301}"]),
        ("aa bb cc dd ee", json!({ "by": "words", "size": 2 }), vec!["aa bb", "cc dd", "ee"]),
        ("A b. C d. E f.", json!({ "by": "sentences", "size": 2 }), vec!["A b. C d.", "E f."]),
        ("A b. C d. E f.", json!({ "by": "sentences", "size": 2, "overlap": 1 }), vec!["A b. C d.", "C d. E f."]),
        ("aa bb cc dd ee", json!({ "size": 8, "overlap": 3 }), vec!["aa bb cc", "cc dd ee"]),
        ("  \n ", json!({}), vec![]),
        ("", json!({ "by": "markdown" }), vec![]),
    ];
    let mut failures = Vec::new();
    for (text, settings, expected) in cases {
        let found = texts(text, &settings);
        if found != expected {
            failures.push(format!("{text:?} {settings}: {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn markdown_chunks_know_their_headings_and_keep_them() {
    let text = "# Guide\n\nIntro text here.\n\n## Install\n\n- step one\n- step two\n\n### Linux\n\nUse the package.\n\n## Use\n\n```sh\nrun it\n\nrun again\n```\n";
    let found = chunks(text, &json!({ "by": "markdown", "size": 40 }));
    let shown: Vec<(&str, Vec<&str>)> =
        found.iter().map(|chunk| (chunk.text.as_str(), chunk.headings.iter().map(String::as_str).collect())).collect();
    assert_eq!(
        shown,
        [
            ("# Guide\n\nIntro text here.", vec!["Guide"]),
            ("## Install\n\n- step one\n- step two", vec!["Guide", "Install"]),
            ("### Linux\n\nUse the package.", vec!["Guide", "Install", "Linux"]),
            ("## Use\n\n```sh\nrun it\n\nrun again\n```", vec!["Guide", "Use"]),
        ]
    );
}

#[test]
fn code_chunks_are_items_with_their_comments_and_indentation() {
    let rust = "use std::fmt;\n\n/// Adds.\n#[inline]\nfn add(a: u32, b: u32) -> u32 {\n    a + b\n}\n\nimpl Foo {\n    fn one() {}\n\n    fn two() {}\n}\n";
    assert_eq!(
        texts(rust, &json!({ "by": "code", "language": "rust", "size": 75 })),
        [
            "use std::fmt;",
            "/// Adds.\n#[inline]\nfn add(a: u32, b: u32) -> u32 {\n    a + b\n}",
            "impl Foo {\n    fn one() {}\n\n    fn two() {}\n}",
        ]
    );
    let python = "import os\n\n@cached\ndef first():\n    return 1\n\ndef second():\n    x = 1\n    return x\n";
    assert_eq!(
        texts(python, &json!({ "by": "code", "language": "python", "size": 43 })),
        ["import os", "@cached\ndef first():\n    return 1", "def second():\n    x = 1\n    return x"]
    );
    let script = "const a = 1;\nfunction f() {\n  return a;\n}\nclass C {\n  m() { return 2; }\n}\n";
    assert_eq!(
        texts(script, &json!({ "by": "code", "language": "javascript", "size": 45 })),
        ["const a = 1;\nfunction f() {\n  return a;\n}", "class C {\n  m() { return 2; }\n}"]
    );
}

#[test]
fn code_of_one_line_that_nests_without_end_is_cut_in_time() {
    for language in ["rust", "python", "javascript"] {
        for hostile in ["*a_ ".repeat(100_000), "((((".repeat(20_000), "a.b".repeat(50_000)] {
            check(&hostile, &chunks(&hostile, &json!({ "by": "code", "language": language })), 1_000, false);
        }
    }
}

#[test]
fn code_that_takes_too_long_to_parse_has_the_structure_of_its_lines() {
    let (text, cancel) = (include_str!("cutter.rs"), CancelHandle::default());
    let late = super::code::structure(text, CodeLanguage::Rust, Instant::now(), &cancel).unwrap();
    assert!(late.is_unparsed);
    let lines: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).filter(|&at| !text[at..].starts_with('\n')).collect();
    let of_line = |at: usize| late.best_within(at..at + 1);
    assert!(lines.iter().all(|&at| of_line(at) == Some(at)));
    let in_time = super::code::structure(text, CodeLanguage::Rust, super::code::deadline(text), &cancel).unwrap();
    assert!(!in_time.is_unparsed);
    let output = run(json!({ "operation": "chunk", "by": "code", "language": "rust", "text": "fn f() {} }} ((" }));
    assert!(output.get("unparsed_texts").is_none(), "a few errors are no reason to give up: {output}");
}

/// Tokens of up to three letters, cut from the start of every word: a word cut elsewhere has other tokens, as with real vocabularies.
struct Syllables;

impl TextTokenizer for Syllables {
    fn model(&self) -> &str {
        "syllables"
    }

    fn tokens(&self, text: &str, _cancel: &CancelHandle) -> Result<Vec<ModelToken>, TaskError> {
        let mut tokens = Vec::new();
        let mut letters = 0;
        for (at, character) in text.char_indices() {
            letters = if character.is_alphanumeric() { letters + 1 } else { 0 };
            if letters % 3 == 1 {
                tokens.push(ModelToken { id: u32::from(character), bytes: at..at + character.len_utf8() });
            }
        }
        Ok(tokens)
    }
}

impl TokenizerSource for Syllables {
    fn tokenizer(&self, model: Option<&str>) -> Result<Arc<dyn TextTokenizer>, TaskError> {
        match model {
            None | Some("syllables") => Ok(Arc::new(Syllables)),
            Some(other) => Err(TaskError::ModelMissing { model: other.into(), reason: "only `syllables` is here".into() }),
        }
    }
}

fn run_with_model(data: Value) -> Result<Value, TaskError> {
    let options = super::super::TextOptions { tokenizers: Some(Arc::new(Syllables)), ..Default::default() };
    let executor = super::super::TextProcessingExecutor::with_options(crate::resource::ComputePool::new(1)?, options);
    let task = Task::new(TaskType::TextProcessing, TaskPriority::Normal, data);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(executor.execute(&task)).map(|result| result.output)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn token_chunks_never_pass_their_budget(text in "([a-zé]{1,12}[ .]|\\n){0,60}", size in 1_usize..12, overlap in 0_usize..12) {
        let overlap = overlap % size;
        let output = run_with_model(json!({ "operation": "chunk", "text": text, "by": "tokens", "size": size, "overlap": overlap })).unwrap();
        let output: ChunkOutput = serde_json::from_value(output).unwrap();
        prop_assert_eq!(output.model.as_deref(), Some("syllables"));
        for chunk in &output.chunks {
            prop_assert_eq!(chunk.size, Syllables.count(&chunk.text, &CancelHandle::default()).unwrap());
        }
        check(&text, &output.chunks, size, overlap > 0);
    }
}

#[test]
fn a_lent_tokenizer_serves_every_operation_by_name() {
    let output = run_with_model(json!({ "operation": "tokenize", "text": "abcd e", "unit": "model" })).unwrap();
    assert_eq!((&output["count"], &output["model"], &output["tokens"][0]["id"]), (&json!(3), &json!("syllables"), &json!(u32::from('a'))));
    assert_eq!(run_with_model(json!({ "operation": "count_tokens", "text": "abcd e", "model": "syllables" })).unwrap()["count"], 3);
    let missing = run_with_model(json!({ "operation": "count_tokens", "text": "abcd e", "model": "other" }));
    assert!(matches!(missing, Err(TaskError::ModelMissing { model, .. }) if model == "other"));
}
