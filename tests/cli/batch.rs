//! `tallow run`: files of tasks.

use serde_json::{Value, json};

use crate::harness::Home;

fn word_count(name: &str, text: &str) -> String {
    json!({ "name": name, "type": "text_processing", "data": { "operation": "word_count", "text": text } }).to_string()
}

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the answers");
    text.lines().map(|line| serde_json::from_str(line).expect("an answer")).collect()
}

#[test]
fn the_example_of_the_readme_runs_all_three_kinds_of_tasks() {
    let home = Home::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/first.jsonl");
    let ran = home.run(["run", example]).ok();
    for part in ["text_processing chunk", "model_inference embed", "vector_computation top_k", "nearest"] {
        assert!(ran.stdout.contains(part), "{part} is missing in:\n{}", ran.stdout);
    }
    assert!(ran.stderr.contains("tasks/s"), "{}", ran.stderr);
    let answers = home.run(["run", example, "-o", "-"]).ok().json_lines();
    let found = answers.iter().find(|answer| answer["name"] == "nearest").expect("an answer");
    let pieces = answers.iter().find(|answer| answer["name"] == "pieces").expect("an answer");
    let best = found["output"]["indices"][0][0].as_u64().expect("a row");
    let text = pieces["output"]["chunks"][best as usize]["text"].as_str().expect("a text");
    assert!(text.contains("candles"), "the nearest piece is: {text}");
}

#[test]
fn the_example_of_sets_finds_a_sentence_by_what_it_means() {
    let home = Home::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sets.jsonl");
    let answers = home.run(["run", example, "-o", "-"]).ok().json_lines();
    let found = answers.iter().find(|answer| answer["name"] == "found").expect("an answer");
    let text = found["output"]["metadata"][0][0]["text"].as_str().expect("a text");
    assert!(text.contains("rocket"), "the nearest sentence is: {text}");
}

#[test]
fn answers_keep_the_order_of_the_lines_and_bad_lines_are_named_while_the_rest_is_done() {
    let home = Home::new();
    let tasks = [
        word_count("a", "one two three"),
        "{ not json".into(),
        json!({ "type": "text_processing", "data": { "operation": "no_such" } }).to_string(),
        String::new(),
        json!({ "type": "text_processing", "data": { "operation": "word_count" }, "surprise": 1 }).to_string(),
        json!({ "type": "text_processing", "data": { "operation": "word_count", "text": { "$from": "later", "path": "/text" } } })
            .to_string(),
        word_count("a", "the name is taken"),
        word_count("later", "one two"),
    ];
    let file = home.file("tasks.jsonl", tasks.join("\n"));
    let output = home.path("answers.jsonl");
    home.run(["run", file.to_str().expect("text"), "-o", "answers.jsonl"]).exits(6);
    let answers = lines(&output);
    let told: Vec<(u64, &str)> =
        answers.iter().map(|a| (a["line"].as_u64().expect("a line"), a["status"].as_str().expect("a status"))).collect();
    assert_eq!(told, [(1, "completed"), (2, "failed"), (3, "failed"), (5, "failed"), (6, "failed"), (7, "failed"), (8, "completed")]);
    assert_eq!((&answers[0]["output"], &answers[6]["output"]), (&json!({ "word_count": 3 }), &json!({ "word_count": 2 })));
    for (answer, part) in answers[1..6].iter().zip(["not a task", "no_such", "surprise", "later", "line 1"]) {
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_type_that_nothing_serves_is_told_with_those_that_are_served() {
    let home = Home::new();
    let tasks = [json!({ "type": "storage", "data": {} }).to_string(), json!({ "type": { "custom": "odd" }, "data": {} }).to_string()];
    let file = home.file("tasks.jsonl", tasks.join("\n"));
    let run = |extra: &[&str]| home.run(["run", file.to_str().expect("text")].iter().chain(extra)).exits(6).stdout;
    let answers = run(&["-o", "-"]);
    for told in [run(&[]), answers.clone()] {
        for part in
            ["found type `storage`; this worker serves: ", "found type `odd`; this worker serves: ", "text_processing", "model_inference"]
        {
            assert!(told.contains(part), "{part} is missing in:\n{told}");
        }
    }
    assert_eq!(answers.matches("unsupported_task_type").count(), 2, "{answers}");
}

#[test]
fn a_run_that_was_interrupted_resumes_where_it_stopped() {
    let home = Home::new();
    let chunk = json!({ "name": "pieces", "type": "text_processing", "data": { "operation": "reverse", "text": "abc def" } }).to_string();
    let count = json!({ "name": "count", "type": "text_processing", "data": { "operation": "word_count", "text": { "$from": "pieces", "path": "/text" } } });
    let tasks = [chunk, count.to_string(), word_count("x", "one"), word_count("y", "one two"), word_count("y2", "one two")];
    let file = home.file("tasks.jsonl", tasks.join("\n"));
    let (file, output) = (file.to_str().expect("text"), home.path("answers.jsonl"));
    let run = |extra: &[&str]| home.run(["run", file, "-o", "answers.jsonl"].iter().chain(extra));
    run(&[]).ok();
    let whole = lines(&output);
    let text = std::fs::read_to_string(&output).expect("the answers");
    // Killed while the third answer was written: two answers and a torn line are left.
    let kept: usize = text.lines().take(2).map(|line| line.len() + 1).sum();
    std::fs::write(&output, &text.as_bytes()[..kept + 20]).expect("a file");
    let ran = run(&[]).ok();
    assert!(ran.stderr.contains("2 answers are kept") && ran.stderr.contains("2 were answered before"), "{}", ran.stderr);
    assert_eq!(essence(&lines(&output)), essence(&whole));
    let third = run(&[]).ok();
    assert!(third.stderr.contains("0 lines") && third.stderr.contains("5 were answered before"), "{}", third.stderr);

    // A line that takes values from an answered one gets them although that one is not answered again.
    let changed = tasks[1].replace("word_count", "statistics");
    let changed = home.file("tasks.jsonl", [tasks[0].clone(), changed].join("\n"));
    assert!(changed.exists());
    let fourth = run(&[]).ok();
    assert!(fourth.stderr.contains("1 lines") && fourth.stderr.contains("1 were answered before"), "{}", fourth.stderr);
    assert_eq!(lines(&output).last().expect("an answer")["output"]["words"], 2);

    let fifth = run(&["--overwrite"]).ok();
    assert!(!fifth.stderr.contains("answered before"), "{}", fifth.stderr);
    assert_eq!(lines(&output).len(), 2);
}

/// What of an answer is the same in every run.
fn essence(answers: &[Value]) -> Vec<(Value, Value, Value, Value)> {
    answers.iter().map(|a| (a["line"].clone(), a["key"].clone(), a["status"].clone(), a["output"].clone())).collect()
}

#[test]
fn a_failed_line_is_tried_again_and_a_foreign_file_is_never_overwritten() {
    let home = Home::new();
    let bad = json!({ "type": "text_processing", "data": { "operation": "word_count", "text": 5 } }).to_string();
    let file = home.file("tasks.jsonl", bad);
    let args = ["run", file.to_str().expect("text"), "-o", "answers.jsonl"];
    home.run(args).exits(6);
    let again = home.run(args).exits(6);
    assert!(again.stderr.contains("1 failed or torn ones are redone"), "{}", again.stderr);
    assert_eq!(lines(&home.path("answers.jsonl")).len(), 1);

    let precious = home.file("answers.jsonl", "{\"my\": \"diary\"}\n");
    let ran = home.run(args).exits(2);
    assert!(ran.stderr.contains("answers.jsonl:1: not an answer"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(precious).expect("the file"), "{\"my\": \"diary\"}\n");
    let same = home.run(["run", file.to_str().expect("text"), "-o", file.to_str().expect("text")]).exits(2);
    assert!(same.stderr.contains("overwrite the tasks"), "{}", same.stderr);
}

#[test]
fn standard_input_and_output_make_a_pipe() {
    let home = Home::new();
    let ran = home.run_with_input(["run", "-", "-o", "-"], &format!("{}\r\n{}", word_count("a", "one"), word_count("b", "one two"))).ok();
    let counts: Vec<Value> = ran.json_lines().iter().map(|answer| answer["output"]["word_count"].clone()).collect();
    assert_eq!(counts, [1, 2]);
}

#[test]
fn parts_go_to_files_where_a_directory_is_named() {
    let home = Home::new();
    let task =
        json!({ "name": "v", "type": "model_inference", "data": { "operation": "embed", "texts": ["wax", "light"], "encoding": "part" } });
    let file = home.file("tasks.jsonl", task.to_string());
    let ran = home.run(["run", file.to_str().expect("text"), "-o", "-", "--parts-dir", "parts"]).ok();
    let part = &ran.json_lines()[0]["parts"]["embeddings"];
    assert_eq!((&part["dtype"], &part["shape"][0]), (&json!("f32"), &json!(2)));
    let bytes = std::fs::read(home.path(part["file"].as_str().expect("a path"))).expect("the part");
    assert!(bytes.starts_with(b"\x93NUMPY"));
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let home = Home::new();
    let tasks: Vec<String> = (0..2_000).map(|number| word_count(&format!("t{number}"), &"word ".repeat(200))).collect();
    let file = home.file("tasks.jsonl", tasks.join("\n"));
    let mut child = home
        .command(["run", file.to_str().expect("text"), "-o", "-"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_whole_book_goes_through_chunk_embed_and_search_as_dependent_tasks() {
    let Some(data) = std::env::var_os("TALLOW_TEST_DATA") else {
        println!("skipped: TALLOW_TEST_DATA names no folder");
        return;
    };
    let folder = std::path::PathBuf::from(data).join("sherlock");
    let book = std::fs::read_dir(&folder)
        .expect("TALLOW_TEST_DATA holds sherlock/")
        .filter_map(|entry| {
            Some(entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        })
        .max_by_key(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len()))
        .expect("sherlock/ holds a text");
    let text = String::from_utf8_lossy(&std::fs::read(book).expect("the book")).into_owned();
    assert!(text.len() > 100_000, "a whole book, not {} bytes", text.len());
    let tasks = [
        json!({ "name": "chunks", "type": "text_processing", "data": { "operation": "chunk", "text": text } }),
        json!({ "name": "book", "type": "model_inference", "data": { "operation": "embed", "texts": { "$from": "chunks", "path": "/chunks/*/text" }, "encoding": "part" } }),
        json!({ "name": "query", "type": "model_inference", "data": { "operation": "embed", "texts": ["the league of red-headed men and the vacancy for a red-headed man"], "encoding": "part" } }),
        json!({ "name": "found", "type": "vector_computation", "data": { "operation": "top_k", "queries": { "$from": "query", "part": "embeddings" }, "vectors": { "$from": "book", "part": "embeddings" }, "k": 3, "metric": "cosine" } }),
    ];
    let home = Home::new();
    let file = home.file("book.jsonl", tasks.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"));
    let answers = home.run(["run", file.to_str().expect("text"), "-o", "-", "--parts-dir", "parts"]).ok().json_lines();
    assert_eq!(answers.len(), 4);
    let chunks = answers[0]["output"]["chunks"].as_array().expect("chunks");
    let hits = answers[3]["output"]["indices"][0].as_array().expect("hits");
    let texts: Vec<&str> = hits.iter().map(|hit| chunks[hit.as_u64().expect("a row") as usize]["text"].as_str().expect("a text")).collect();
    assert!(texts.iter().any(|text| text.to_lowercase().contains("red-headed")), "{texts:?}");
}
