//! Commands that compute here and print.

use serde_json::{Value, json};

use crate::harness::Home;

#[test]
fn vector_operations_take_arrays_and_npy_files_and_write_npy() {
    let home = Home::new();
    let ran = home.run(["vector", "cosine", "1,2,3", "2,4,6"]).ok();
    assert_eq!(ran.stdout.trim(), "similarity  1.0");
    home.run(["vector", "normalize", "[[3,4],[0,2]]", "-o", "unit.npy"]).ok();
    let bytes = std::fs::read(home.path("unit.npy")).expect("the file");
    assert!(bytes.starts_with(b"\x93NUMPY"));
    let ran = home.run(["vector", "topk", "unit.npy", "[1, 0]", "-k", "1", "--json"]).ok();
    assert_eq!(ran.json_lines()[0]["output"]["indices"], json!([[0]]));
    assert_eq!(home.run(["vector", "kmeans", "unit.npy", "-k", "2", "--json"]).ok().json_lines()[0]["output"]["k"], 2);
}

#[test]
fn a_saved_set_is_filled_and_searched_by_one_command_after_another() {
    let home = Home::new();
    home.run(["vector", "normalize", "[[3,4],[0,2],[1,0]]", "-o", "unit.npy"]).ok();
    home.run(["vector", "set.create", "docs", "2", "--set", "persistent=true"]).ok();
    home.run(["vector", "set.append", "docs", "unit.npy", "--set", "metadata={\"n\": [1, 2, 3]}"]).ok();
    home.run(["vector", "set.load", "docs", "--set", "file=unit.npy"]).ok();
    let ran = home.run(["vector", "set.search", "docs", "1,0", "-k", "2", "--json"]).ok();
    assert_eq!(ran.json_lines()[0]["output"]["ids"], json!([[2, 5]]));
    let listed = home.run(["vector", "set.list", "--json"]).ok().json_lines();
    assert_eq!((&listed[0]["output"]["sets"][0]["set"], &listed[0]["output"]["sets"][0]["rows"]), (&json!("docs"), &json!(6)));
    assert!(home.path(".local/share/tallow/vectors/sets/docs/manifest").is_file(), "in the data directory unless told otherwise");
    let elsewhere = home.run(["vector", "set.list", "--vectors-dir", "elsewhere", "--json"]).ok().json_lines();
    assert_eq!(elsewhere[0]["output"]["sets"], json!([]));
    let refused = home.run(["vector", "set.create", "docs", "2"]).exits(2);
    assert!(refused.stderr.contains("there already"), "{}", refused.stderr);
    let refused = home.run(["vector", "set.create", "other", "wide"]).exits(2);
    assert!(refused.stderr.contains("`wide` is no number"), "{}", refused.stderr);
    home.run(["vector", "set.drop", "docs"]).ok();
}

#[test]
fn wrong_input_of_vector_operations_is_named() {
    let home = Home::new();
    home.file("broken.npy", "\u{93}NUMPY");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["vector", "frobnicate", "1"], 2, "cosine_similarity"),
        (&["vector", "cosine", "1,2", "1,2", "1,2"], 2, "takes 2 inputs"),
        (&["vector", "cosine", "1,2", "one"], 2, "vector_b"),
        (&["vector", "stats", "[[1,2],[3]]"], 2, "vectors[1]"),
        (&["vector", "stats", "absent.npy"], 3, "absent.npy"),
        (&["vector", "stats", "broken.npy"], 2, "broken.npy"),
    ];
    for (args, code, part) in cases {
        let ran = home.run(args).exits(code);
        assert!(ran.stderr.contains(part), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn doctor_tells_what_would_be_picked_and_why() {
    let home = Home::new();
    let ran = home.run(["doctor"]).ok();
    for part in ["processors", "instructions", "memory limit", "cuda", "token"] {
        assert!(ran.stdout.contains(part), "{part} is missing in:\n{}", ran.stdout);
    }
    let doctor: Value = serde_json::from_str(&home.run(["doctor", "--json"]).ok().stdout).expect("JSON");
    assert!(doctor["host"]["processors"]["usable"].as_u64() >= Some(1), "{doctor}");
    assert!(doctor["picked"]["memory_limit"]["bytes"].as_u64() > Some(0), "{doctor}");
    let shares = doctor["picked"]["memory_split"].as_object().expect("the shares of the limit");
    let all: u64 = shares.values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(all), doctor["picked"]["memory_limit"]["bytes"].as_u64(), "{doctor}");
}

#[test]
fn text_operations_read_arguments_files_and_standard_input() {
    let home = Home::new();
    home.file("a.txt", "One two three.\nFour.");
    home.file("b.txt", "One two three.\nFive.");
    let cases: [(&[&str], &str); 9] = [
        (&["text", "count", "to be or not to be"], "word_count  6"),
        (&["text", "lang", "Der Hund läuft durch den Wald und sucht seinen Ball."], "German"),
        (&["text", "redact", "write to someone@example.org today"], "write to"),
        (&["text", "stats", "-f", "a.txt"], "sentences"),
        (&["text", "chunk", "-f", "a.txt", "--size", "15"], "chunks (2)"),
        (&["text", "diff", "-f", "a.txt", "-f", "b.txt"], "-Four."),
        (&["text", "count", "-f", "a.txt", "--lines"], "results (2)"),
        (&["text", "similarity", "a b c", "a b d"], "similarity"),
        (&["text", "--list"], "near_duplicates"),
    ];
    for (args, part) in cases {
        let ran = home.run(args).ok();
        assert!(ran.stdout.contains(part), "{args:?}: {}", ran.stdout);
    }
    assert_eq!(home.run_with_input(["text", "reverse"], "abc").ok().stdout, "cba\n");
    let refused = home.run(["text", "count", "x", "--size", "3"]).exits(2);
    assert!(refused.stderr.contains("--size"), "{}", refused.stderr);
    home.run(["text", "count", "-f", "absent.txt"]).exits(3);
}

#[test]
fn texts_become_vectors_and_are_found_again() {
    let home = Home::new();
    home.file("corpus.txt", "The ferry stayed at its pier.\nBread is sold at five in the morning.\n\nCandles gave light for two nights.\n");
    home.file("docs.jsonl", "{\"text\": \"wax\"}\n\"light\"\n");
    let of_texts = home.run(["search", "corpus.txt", "a lamp of wax and a candle", "-k", "2", "--json"]).ok().json_lines();
    assert_eq!((of_texts.len(), of_texts[0]["row"].as_u64()), (2, Some(2)), "{of_texts:?}");
    home.run(["embed", "-f", "corpus.txt", "-o", "corpus.npy"]).ok();
    let of_vectors = home.run(["search", "corpus.npy", "a lamp of wax and a candle", "-k", "2", "--json", "--texts", "corpus.txt"]).ok();
    assert_eq!(of_vectors.json_lines(), of_texts);
    home.run(["embed", "-f", "docs.jsonl", "-o", "docs.out.jsonl", "--with-text", "--dimensions", "64"]).ok();
    let text = std::fs::read_to_string(home.path("docs.out.jsonl")).expect("the vectors");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), lines[0]["text"].as_str(), lines[0]["embedding"].as_array().map(Vec::len)), (2, Some("wax"), Some(64)));
    let vectors = home.run(["embed", "wax"]).ok().json_lines();
    assert!(vectors[0].as_array().is_some_and(|vector| vector.len() > 64));
    let near = home.run(["similarity", "a cat sat", "a cat sat"]).ok();
    assert_eq!(near.stdout.trim(), "1.0000");
    home.file("bad.jsonl", "{\"text\": 5}\n");
    let refused = home.run(["embed", "-f", "bad.jsonl"]).exits(2);
    assert!(refused.stderr.contains("bad.jsonl:1"), "{}", refused.stderr);
}

#[test]
fn heads_answer_on_the_command_line() {
    let home = Home::new();
    let model = |name: &str| format!("{}/models/fixtures/heads/{name}", env!("CARGO_MANIFEST_DIR"));
    let reranked =
        home.run(["rerank", "--model", &model("bert-rerank"), "the cat", "a man", "the cat sits", "-n", "1", "--json"]).ok().json_lines();
    assert_eq!(reranked[0]["results"].as_array().map(Vec::len), Some(1));
    let table = home.run(["classify", "--model", &model("bert-nli"), "the cat", "-k", "1"]).ok().stdout;
    assert!(table.contains("label") && table.contains("the cat") && table.lines().count() == 2, "{table}");
    let spans = home.run(["tag", "--model", &model("bert-tags"), "Anna plays in Zürich", "--json"]).ok().json_lines();
    assert!(spans[0]["items"][0].is_array());
    let words = home.run(["fill-mask", "--model", &model("bert-mlm"), "the [MASK] sits", "-k", "3"]).ok().stdout;
    assert_eq!(words.lines().count(), 4, "{words}");
    let judged = home.run(["zero-shot", "galaxies and stars", "-l", "astronomy", "-l", "cooking", "--json"]).ok().json_lines();
    assert_eq!(judged[0]["items"][0][0]["label"], "astronomy");
    let refused = home.run(["rerank", "the cat", "a man"]).exits(1);
    assert!(refused.stderr.contains("this model offers embed, similarity, zero_shot"), "{}", refused.stderr);
}

#[test]
fn models_are_listed_shown_and_verified() {
    let home = Home::new();
    let listed = home.run(["models", "ls", "--json"]).ok().json_lines();
    assert_eq!(listed[0]["place"], "built in");
    let name = listed[0]["name"].as_str().expect("a name").to_owned();
    assert!(home.run(["models", "show", &name]).ok().stdout.contains("dimensions"));
    assert!(home.run(["models", "verify", &name]).ok().stdout.starts_with("ok"));
    home.run(["models", "show", "nobody/nothing"]).exits(3);
    home.run(["models", "rm", "nobody/nothing"]).exits(3);
    home.run(["models", "pull", "nobody/nothing"]).exits(3);
}

#[test]
fn bench_measures_every_door() {
    let home = Home::new();
    let ran = home.run(["bench", "--time", "1ms", "--json"]).ok();
    let bench: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let doors: Vec<&str> = bench["doors"].as_array().expect("doors").iter().filter_map(|door| door["door"].as_str()).collect();
    assert_eq!(doors, ["manager", "text", "vector", "embed"]);
    assert!(bench["doors"].as_array().expect("doors").iter().all(|door| door["mean"].as_f64() > Some(0.0)), "{bench}");
    let latencies = bench["latencies"].as_array().expect("latencies");
    assert_eq!(latencies.len(), 3, "alone, load, beside the load");
    for measured in [&latencies[0], &latencies[2]] {
        let (p50, p99) = (measured["p50_ms"].as_f64(), measured["p99_ms"].as_f64());
        assert!(p50 > Some(0.0) && p99 >= p50, "{measured}");
    }
    assert!(latencies.iter().all(|measured| measured["tokens_per_s"].as_f64() > Some(0.0)), "{bench}");
}
