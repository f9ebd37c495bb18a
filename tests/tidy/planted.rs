//! Rules that cannot fail are none: each finds a breach planted for it, and passes over what only looks like one.

use crate::lexer::{code_only, comments_only};
use crate::source::{Breach, Source};
use crate::{imports, nevers, size, words};

fn source(path: &str, text: &str) -> Source {
    Source::new(path.into(), text.into())
}

fn lines(breaches: &[Breach]) -> Vec<usize> {
    breaches.iter().map(|breach| breach.line).collect()
}

#[test]
fn literals_and_comments_are_not_code() {
    let text = r##"let a = "todo!() \" // no"; // todo!()
let b = r#"x " todo!()"#; /* todo!() /* nested */ todo!() */ let c = 'x'; let d = '\''; let e: &'static str = b"todo!()";
let f = '"'; let g = c"todo!"; let r#type = br"\"; real();"##;
    let code = code_only(text);
    assert!(!code.contains("todo") && code.contains("real()") && code.contains("'static str") && code.contains("r#type"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(code.chars().count(), text.chars().count());
    let comments = comments_only(text);
    assert!(comments.contains("nested") && !comments.contains("let"), "{comments}");
    for cut in ["\"", "'", "r#\"", "/*", "b'", "'\\", "//"] {
        assert_eq!(code_only(cut).chars().count(), cut.chars().count(), "{cut}");
    }
}

#[test]
fn edges_are_found_however_they_are_written() {
    let found = |path: &str, text: &str| -> Vec<String> { imports::edges(&source(path, text)).into_iter().map(|edge| edge.to).collect() };
    assert_eq!(found("src/manager/a.rs", "use crate::{task::{A, B}, executor::C, manager::D};"), ["executor", "task"]);
    assert_eq!(found("src/manager/a.rs", "fn f() { crate::http::serve(); }"), ["http"]);
    assert_eq!(found("src/manager/mod.rs", "use super::http;"), ["http"]);
    assert_eq!(found("src/manager/a.rs", "use super::super::{http, task::X};"), ["http", "task"]);
    assert_eq!(found("src/manager/a.rs", "use super::http;"), Vec::<String>::new(), "a module of its own");
    assert_eq!(found("src/manager/a.rs", "mod inner { use super::super::b; use super::super::super::http; }"), ["http"]);
    assert_eq!(found("src/embed/mod.rs", "use tallow_models::X; use crate::task::Y;"), ["tallow_models", "task"]);
    assert_eq!(
        found("src/manager/a.rs", "// crate::http\nlet x = \"crate::http\"; pub(in crate::manager) fn f() {}"),
        Vec::<String>::new()
    );
    assert_eq!(found("src/manager/a.rs", "#[cfg(test)]\nmod tests {\n use crate::http;\n}\nuse crate::wire;"), ["wire"]);
    assert_eq!(found("src/manager/core/tests.rs", "use crate::http;"), Vec::<String>::new());
    assert_eq!(found("src/main.rs", "fn main() { tallow::cli::main() }"), ["cli"]);
}

#[test]
fn edges_outside_the_table_are_breaches() {
    let count = |path: &str, text: &str| imports::source_breaches(&source(path, text)).len();
    assert_eq!(count("src/manager/a.rs", "use crate::task::A;"), 0);
    assert_eq!(count("src/manager/a.rs", "use crate::executor::A;\nuse crate::task::B;"), 1);
    assert_eq!(count("src/task/a.rs", "use crate::resource::A;"), 1);
    assert_eq!(count("src/task/a.rs", "use crate::TaskError;"), 1, "a re-export hides the edge");
    assert_eq!(count("src/brandnew/a.rs", "use crate::task::A;"), 1);
    assert_eq!(count("src/embed/a.rs", "use crate::task::A;"), 1);
}

#[test]
fn long_files_and_functions_are_found() {
    let body = "    x();\n".repeat(69);
    let long = format!("fn short() {{\n}}\nfn long(\n    a: fn(u8) -> u8,\n) {{\n{body}}}\n");
    assert_eq!(lines(&size::function_breaches(&source("src/a.rs", &long))), [3]);
    let fits = format!("fn fits() {{\n{}}}\n", "    x();\n".repeat(68));
    assert!(size::function_breaches(&source("src/a.rs", &fits)).is_empty());
    let declared = format!("trait T {{\n    fn declared(&self, a: [u8; 2]);\n}}\n{}", "// x\n".repeat(100));
    assert!(size::function_breaches(&source("src/a.rs", &declared)).is_empty());
    assert!(size::file_breaches(&source("src/a.rs", &"//! x\n".repeat(400))).is_none());
    assert!(size::file_breaches(&source("src/a.rs", &"//! x\n".repeat(401))).is_some());
}

#[test]
fn banned_words_are_found_in_code_and_only_there() {
    let count = |path: &str, text: &str| words::source_breaches(&source(path, text)).len();
    let planted = [
        "fn f() { todo!() }",
        "fn f() { unimplemented!(\"x\") }",
        "fn f() { dbg!(1); }",
        "#[ignore = \"slow\"]\nfn f() {}",
        "fn f() { let _ = g(); }",
        "fn f() { g().unwrap(); }",
        "fn f() { std::thread::sleep(d); }",
        "fn f() { std::env::var(\"X\"); }",
        "fn f() { mpsc::unbounded_channel(); }",
        "static mut X: u8 = 0;",
        "fn f() { std::process::exit(1); }",
        "// TODO later",
        "struct QueueImpl;",
        concat!("const P: &str = \"/ro", "ot/x\";"),
    ];
    for text in planted {
        assert_eq!(count("src/manager/a.rs", text), 1, "{text}");
    }
    let innocent = [
        "// never use todo!() here",
        "let s = \"let _ = x.unwrap()\";",
        "fn f() { let _first = g(); x.unwrap_or(1); }",
        "struct Implement; struct Baseline;",
        "#[cfg(test)]\nmod tests {\n fn f() { g().unwrap(); }\n}",
        "const P: &str = \"target/work/x\";",
    ];
    for text in innocent {
        assert_eq!(count("src/manager/a.rs", text), 0, "{text}");
    }
    assert_eq!(count("src/config/a.rs", "fn f() { std::env::var(\"X\"); }"), 0);
    assert_eq!(count("src/manager/utils.rs", "//! x"), 1);
    assert_eq!(count("src/manager/tests.rs", "async fn f() { tokio::time::sleep(d).await; }"), 1);
    assert_eq!(count("src/manager/tests.rs", "#[tokio::test(start_paused = true)]\nasync fn f() { tokio::time::sleep(d).await; }"), 0);
    assert!(words::missing_doc(&source("src/a.rs", "use x;\n//! late\n")).is_some());
    assert!(words::missing_doc(&source("src/a.rs", "\n//! early\n")).is_none());
}

#[test]
fn a_file_that_says_it_is_pure_is_held_to_it() {
    let unlisted = |path: &str, text: &str| nevers::purity_breaches(&[source(path, text)]).iter().any(|breach| breach.path == path);
    assert!(unlisted("src/manager/a.rs", "//! What is due. Pure.\n"));
    assert!(unlisted("src/manager/a.rs", "//! What is due.\n//!\n//! Pure: values in.\n"));
    assert!(unlisted("src/shelf/a.rs", "//! Which leave: pure, values in, values out.\n"));
    assert!(!unlisted("src/manager/retry.rs", "//! When. Pure: chance comes in as a number.\n"));
    assert!(!unlisted("src/manager/a.rs", "//! A token. Pure but for drawing one.\n\n// Pure.\n"));
    assert!(nevers::purity_breaches(&[]).iter().any(|breach| breach.path == "src/manager/queue/"), "an entry that is gone");
}

#[test]
fn the_nevers_are_found() {
    let count = |path: &str, text: &str| nevers::source_breaches(&source(path, text)).len();
    let planted = [
        ("kernels/src/dot/mod.rs", "use candle_core::Tensor;"),
        ("kernels/src/dot/mod.rs", "use serde::Serialize;"),
        ("src/executor/a.rs", "use candle_core::Tensor;"),
        ("models/src/arch/bert.rs", "use tokio::sync;"),
        ("models/src/arch/bert.rs", "fn f() { unsafe { g() } }"),
        ("models/src/arch/bert.rs", "#[cfg(feature = \"cuda\")]\nfn f() {}"),
        ("src/manager/a.rs", "use axum::Router;"),
        ("src/manager/a.rs", "pub enum TaskStatus { A }"),
        ("src/wire/a.rs", "fn f() { Utc::now() }"),
        ("src/manager/retry.rs", "fn f() { rand::random() }"),
        ("src/manager/ring.rs", "struct A(Mutex<u8>);"),
        ("src/manager/queue/pick.rs", "fn f() { std::env::args(); }"),
        ("src/shelf/choice.rs", "async fn f() {}"),
        ("kernels/src/dot/reference.rs", "fn f(a: OnceLock<u8>) {}"),
        ("src/task/submission.rs", "fn f() { Utc::now() }"),
    ];
    for (path, text) in planted {
        assert_eq!(count(path, text), 1, "{path}: {text}");
    }
    let innocent = [
        ("kernels/src/dot/tensor.rs", "use candle_core::Tensor;"),
        ("kernels/src/gpu/mod.rs", "#[cfg(feature = \"cuda\")]\nmod cuda;"),
        ("src/http/a.rs", "use axum::Router;"),
        ("src/manager/a.rs", "struct TaskStatusView; impl TaskExecutor for X {}"),
        ("src/manager/a.rs", "// candle_core, axum and unsafe"),
        ("src/manager/a.rs", "fn f() { Utc::now() }"),
        ("src/task/model.rs", "fn f() { Utc::now() }"),
        ("src/manager/ring.rs", "#[cfg(test)]\nmod tests {\n fn f() { Utc::now() }\n}"),
    ];
    for (path, text) in innocent {
        assert_eq!(count(path, text), 0, "{path}: {text}");
    }
}
