//! The arithmetic of encoders and the instructions of kernels: asked for, refused, measured, remembered, told.

use serde_json::{Value, json};

use crate::doors::get;
use crate::harness::Home;
use crate::server::Server;

const LEVELS: [&str; 5] = ["portable", "neon", "avx2", "avx512", "amx"];

fn fixture(name: &str) -> String {
    format!("{}/models/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn doctor(home: &Home, args: &[&str]) -> Value {
    let ran = home.run([&["doctor", "--json"], args].concat()).ok();
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// The levels of this processor, as the doctor lists them.
fn levels(home: &Home) -> Vec<String> {
    serde_json::from_value(doctor(home, &[])["host"]["instructions"].clone()).expect("names")
}

/// Output and metadata of one task.
fn answer(home: &Home, data: Value, args: &[&str]) -> Value {
    home.file("one.jsonl", json!({ "type": "model_inference", "data": data }).to_string());
    let ran = home.run([&["run", "one.jsonl", "--json"], args].concat()).ok();
    let lines = ran.json_lines();
    lines
        .iter()
        .find_map(|line| [line, &line["result"]].into_iter().find(|value| value["metadata"].is_object()).cloned())
        .expect("an answer")
}

fn vector(home: &Home, model: &str, text: &str, args: &[&str]) -> Vec<f64> {
    let ran = home.run([&["embed", text, "--json", "--model", model], args].concat()).ok();
    serde_json::from_value(ran.json_lines()[0]["embedding"].clone()).expect("numbers")
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn a_wrong_precision_is_told_by_the_name_it_came_under_with_what_is_allowed() {
    let home = Home::new();
    home.file("tallow.toml", "[worker]\nprecision = \"fp8\"\n");
    let cases: [(&[&str], Option<&str>, &str); 4] = [
        (&["doctor", "--precision", "fp8"], None, "--precision"),
        (&["embed", "a", "--precision", "f32"], None, "--precision"),
        (&["doctor"], Some("fp8"), "TALLOW_PRECISION"),
        (&["--config", "tallow.toml", "doctor"], None, "tallow.toml:2: precision is fp8"),
    ];
    for (args, variable, name) in cases {
        let variables = variable.map(|value| ("TALLOW_PRECISION", value));
        let output = home.command(args).envs(variables).output().expect("the program starts");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(name) && stderr.contains("auto, exact, bf16, int8"), "{args:?}: {stderr}");
    }
}

#[test]
fn the_doctor_says_which_instructions_and_which_precision_would_be_picked_and_why() {
    let home = Home::new();
    let best = levels(&home).pop().expect("portable at least");
    let picked = &doctor(&home, &[])["picked"];
    assert_eq!((&picked["instructions"]["isa"], &picked["precision"]["choice"]), (&json!(best), &json!("auto")));
    let rule = picked["precision"]["reason"].as_str().expect("a sentence").to_owned();
    assert!(rule.contains(&best) && rule.contains("exact"), "{rule}");
    let asked = &doctor(&home, &["--precision", "bf16", "--isa", "portable"])["picked"];
    assert_eq!((&asked["instructions"]["isa"], &asked["precision"]["choice"]), (&json!("portable"), &json!("bf16")));
    assert_eq!(asked["instructions"]["reason"], "asked for");
    let portable = &doctor(&home, &["--isa", "portable"])["picked"]["precision"]["reason"];
    assert!(portable.as_str().expect("a sentence").contains("nothing is faster with portable"), "{portable}");
}

#[test]
fn instructions_that_the_processor_lacks_are_an_error_that_lists_what_it_has() {
    let home = Home::new();
    let available = levels(&home);
    for level in LEVELS {
        let output = home.command(["embed", "a", "--json"]).env("TALLOW_ISA", level).output().expect("the program starts");
        let stderr = String::from_utf8(output.stderr).expect("text");
        if available.iter().any(|has| has == level) {
            assert!(output.status.success(), "{level}: {stderr}");
        } else {
            assert_eq!(output.status.code(), Some(4), "{level}: {stderr}");
            assert!(stderr.contains(&format!("no `{level}`")) && stderr.contains(&available.join(", ")), "{stderr}");
        }
    }
    for args in [&["doctor", "--isa", "sse"][..], &["models", "ls", "--isa", "sse"]] {
        let stderr = home.run(args).exits(2).stderr;
        assert!(stderr.contains("--isa") && stderr.contains("portable, neon, avx2, avx512, amx"), "{stderr}");
    }
}

#[test]
fn every_level_of_instructions_gives_the_same_vectors_at_exact() {
    let home = Home::new();
    let mut models = vec![fixture("tiny-bert"), fixture("tiny-mpnet")];
    match std::env::var("TALLOW_TEST_MODELS") {
        Ok(root) => models.push(format!("{root}/all-MiniLM-L6-v2")),
        Err(_) => eprintln!("skipped for all-MiniLM-L6-v2: TALLOW_TEST_MODELS is not set"),
    }
    let text = "Four instruction sets walk into a bar, and all of them order the same vector: 3.14159!";
    for model in models {
        let of = |level: &str| vector(&home, &model, text, &["--precision", "exact", "--isa", level]);
        let portable = of("portable");
        for level in levels(&home) {
            let agreement = cosine(&portable, &of(&level));
            assert!(agreement >= 0.99999, "{model} on {level}: cosine {agreement} to portable");
        }
    }
}

#[test]
fn auto_is_measured_once_kept_with_the_token_and_shown() {
    let home = Home::new();
    let model = fixture("tiny-bert");
    let ask = json!({ "operation": "embed", "texts": ["a text"], "model": model });
    let first = answer(&home, ask.clone(), &[]);
    let taken = first["metadata"]["precision"].as_str().unwrap_or_else(|| panic!("no precision in {first}")).to_owned();
    let records = home.path(".local/share/tallow/precision");
    let shown = |home: &Home| -> Value { serde_json::from_str(&home.run(["models", "show", &model, "--json"]).ok().stdout).expect("JSON") };
    if levels(&home).iter().all(|level| level != "amx") {
        assert_eq!((taken.as_str(), records.exists()), ("exact", false), "there is nothing to measure");
        return;
    }
    let files: Vec<_> = std::fs::read_dir(&records).expect("the records").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(shown(&home)["precision"], taken.as_str());
    assert!(shown(&home)["precision_reason"].as_str().expect("a sentence").contains("cosine"), "{}", shown(&home));
    // What the record says counts from now on; and one that says nothing is measured again.
    let text = std::fs::read_to_string(&files[0]).expect("a record");
    let mut record: Value = serde_json::from_str(&text).expect("JSON");
    record["measured"] = json!([
        { "precision": "int8", "cosine": 0.5, "score_difference": null },
        { "precision": "bf16", "cosine": 0.5, "score_difference": null }
    ]);
    std::fs::write(&files[0], record.to_string()).expect("a record");
    assert_eq!(answer(&home, ask.clone(), &[])["metadata"]["precision"], "exact");
    std::fs::write(&files[0], "garbage").expect("a record");
    assert_eq!(answer(&home, ask, &[])["metadata"]["precision"], taken.as_str());
    assert_eq!(std::fs::read_to_string(&files[0]).expect("a record"), text);
}

#[test]
fn the_precision_asked_for_is_in_the_answer() {
    let home = Home::new();
    for precision in ["exact", "bf16", "int8"] {
        let ask = json!({ "operation": "embed", "texts": ["a text"], "model": fixture("tiny-bert") });
        assert_eq!(answer(&home, ask, &["--precision", precision])["metadata"]["precision"], precision);
    }
    let built_in = answer(&home, json!({ "operation": "embed", "texts": ["a text"] }), &["--precision", "bf16"]);
    assert_eq!(built_in["metadata"]["precision"], "int4_table", "the built-in model has no products");
    let shown: Value = serde_json::from_str(&home.run(["models", "show", "builtin", "--json"]).ok().stdout).expect("JSON");
    assert_eq!(shown["precision"], "int4_table");
}

#[test]
fn a_served_worker_names_precision_and_instructions_wherever_it_lists_models_and_logs_why() {
    for (args, told) in [(&["--precision", "bf16", "--isa", "portable"][..], Some(("bf16", "portable"))), (&[], None)] {
        let home = Home::new();
        let server = Server::start(&home, &[&["--no-auth", "--models-dir", &fixture(""), "--model", "tiny-bert"], args].concat());
        let (_, executors) = get(&server, "/v1/executors", "localhost");
        let (_, listed) = get(&server, "/v1/models", "localhost");
        server.terminate();
        let (status, log) = server.ended();
        assert!(status.success(), "{log}");
        let all = executors.as_object().expect("a document").values().filter_map(Value::as_array).flatten();
        let details = all.map(|one| &one["details"]).find(|details| details["default_model"].is_string()).expect("the executor of models");
        let of = |name: &str| listed["data"].as_array().expect("models").iter().find(|model| model["id"] == name).expect(name).clone();
        let (loaded, other) = (of("tiny-bert"), of("tiny-mpnet"));
        assert_eq!((&loaded["loaded"], &other["loaded"]), (&json!(true), &json!(false)));
        assert_eq!((&details["models"][0]["precision"], &other["precision"]), (&loaded["precision"], &details["precision"]));
        match told {
            Some((precision, isa)) => {
                assert_eq!(
                    (&loaded["precision"], &details["isa"], &details["precision"]),
                    (&json!(precision), &json!(isa), &json!(precision))
                );
            }
            None => assert_eq!((&details["isa"], &details["precision"]), (&json!(levels(&home).last()), &json!("auto"))),
        }
        let reason = loaded["precision_reason"].as_str().expect("a sentence");
        let line = log.lines().find(|line| line.contains("a model is loaded")).unwrap_or_else(|| panic!("no line of a load in {log}"));
        assert!(line.contains(reason) && line.contains(loaded["precision"].as_str().expect("a name")), "{line} lacks {reason}");
    }
}
