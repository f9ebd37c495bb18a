//! `tallow serve` and the `task` commands that talk to it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::json;

use crate::harness::Home;
use crate::server::Server;

const COUNT: &str =
    r#"{"type": "text_processing", "data": {"operation": "word_count", "text": "to be or not to be"}, "labels": {"play": "hamlet"}}"#;

#[test]
fn a_task_makes_the_round_trip_and_the_token_is_found_by_itself() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let url = server.url().to_owned();
    let task = |args: &[&str]| home.run(["task", "--url", &url].iter().chain(args));
    let id = task(&["submit", COUNT]).ok().stdout.trim().to_owned();
    let result = task(&["result", &id]).ok();
    assert_eq!(result.stdout.trim(), "word_count  6");
    assert_eq!(task(&["status", &id, "--json"]).ok().json_lines()[0]["status"], "completed");
    let listed = task(&["list", "--json", "--label", "play=hamlet"]).ok().json_lines();
    assert_eq!((listed.len(), listed[0]["id"].as_str()), (1, Some(id.as_str())));
    assert!(task(&["list"]).ok().stdout.contains(&id));
    let events = task(&["watch", &id, "--json"]).ok().json_lines();
    assert_eq!(events.last().expect("an event")["event"], "task_completed");
    let unknown = "00000000-0000-7000-8000-000000000000";
    task(&["result", unknown]).exits(3);
    task(&["status", unknown]).exits(3);
    task(&["cancel", &id]).exits(1);
    task(&["result", "nonsense"]).exits(2);
    task(&["submit", r#"{"type": "text_processing", "data": {"operation": "nope"}}"#]).exits(2);
    let waited = home.run_with_input(["task", "--url", &url, "submit", "-", "--wait", "--json"], COUNT).ok().json_lines();
    assert_eq!(waited[0]["result"]["output"], json!({ "word_count": 6 }));
}

#[test]
fn a_graph_is_submitted_at_once_and_its_vectors_come_back_as_npy() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let graph = json!([
        { "name": "pieces", "type": "text_processing", "data": { "operation": "tokenize", "text": "wax light", "unit": "words" } },
        { "type": "model_inference", "data": { "operation": "embed", "texts": { "$from": "pieces", "path": "/tokens/*/text" }, "encoding": "part" } },
    ]);
    let file = home.file("graph.json", graph.to_string());
    let submitted = home.run(["task", "--url", server.url(), "submit", "-f", file.to_str().expect("text")]).ok();
    let ids: Vec<&str> = submitted.stdout.lines().collect();
    assert_eq!(ids.len(), 2);
    home.run(["task", "--url", server.url(), "result", ids[1], "-o", "v.npy"]).ok();
    let stats = home.run(["vector", "stats", "v.npy", "--json"]).ok();
    assert!(stats.stdout.contains("output"), "{}", stats.stdout);
    let refused = home.run(["task", "--url", server.url(), "result", ids[0], "-o", "v.npy"]).exits(2);
    assert!(refused.stderr.contains("no binary part"), "{}", refused.stderr);
}

#[test]
fn without_the_token_the_worker_says_no_and_the_client_says_where_it_looked() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let mode = {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(server.token_path()).expect("the token").permissions().mode() & 0o777
    };
    assert_eq!(mode, 0o600);
    let stranger = Home::new();
    let refused = stranger.run(["task", "--url", server.url(), "list"]).exits(1);
    assert!(refused.stderr.contains("--token-file"), "{}", refused.stderr);
    let path = server.token_path().to_str().expect("text");
    stranger.run(["task", "--url", server.url(), "--token-file", path, "list"]).ok();
    let token = std::fs::read_to_string(path).expect("the token");
    let output = stranger.command(["task", "--url", server.url(), "list"]).env("TALLOW_TOKEN", token).output().expect("the program starts");
    assert!(output.status.success());
    stranger.run(["task", "--url", server.url(), "--token-file", "absent", "list"]).exits(3);
}

#[test]
fn sigterm_lets_accepted_tasks_end_and_exits_with_0() {
    let home = Home::new();
    let server = Server::start(&home, &["--drain-timeout", "60s", "--threads", "1"]);
    // One thread and many tasks: some of them are still waiting when the signal comes.
    let text = "word ".repeat(40_000);
    let task = json!({ "type": "text_processing", "data": { "operation": "statistics", "text": text } });
    let file = home.file("graph.json", json!(vec![task; 24]).to_string());
    let ids = home.run(["task", "--url", server.url(), "submit", "-f", file.to_str().expect("text")]).ok().stdout;
    let last = ids.lines().last().expect("an id").to_owned();
    let mut watcher = home
        .command(["task", "--url", server.url(), "watch", &last, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut events = BufReader::new(watcher.stdout.take().expect("a pipe")).lines();
    // The stream is open once its first event is here.
    events.next().expect("an event").expect("text");
    server.terminate();
    let seen: Vec<String> = events.map(|line| line.expect("text")).collect();
    assert!(watcher.wait().expect("the watcher ends").success(), "{seen:?}");
    assert!(seen.iter().any(|line| line.contains("task_completed")), "{seen:?}");
    let (status, stderr) = server.ended();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("0 were cancelled"), "{stderr}");
}

#[test]
fn the_greeting_tells_an_operator_what_to_do() {
    let home = Home::new();
    let mut child = home
        .command(["serve", "--listen", "127.0.0.1:0", "--no-auth"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut greeting = String::new();
    while !greeting.contains("OPENAI_BASE_URL") {
        greeting.push_str(&lines.next().expect("a line").expect("text"));
        greeting.push('\n');
    }
    child.kill().expect("the program runs");
    child.wait().expect("the program ends");
    for part in ["device    cpu", "memory    ", "model     tallow-builtin", "docs http://127.0.0.1:", "/metrics", "--no-auth"] {
        assert!(greeting.contains(part), "{part} is missing in:\n{greeting}");
    }
}

#[test]
fn a_taken_port_is_told() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let address = server.url().trim_start_matches("http://").to_owned();
    let ran = home.run(["serve", "--listen", &address]).exits(1);
    assert!(ran.stderr.contains(&address), "{}", ran.stderr);
}

#[test]
fn a_missing_model_shows_directories_to_the_local_command_line_alone() {
    let home = Home::new();
    let place = home.path("").display().to_string();
    let local = home.run(["embed", "wax", "--model", "no/such"]);
    assert!(local.code != 0 && local.stderr.contains("no/such") && local.stderr.contains(&place), "{}", local.stderr);
    let server = Server::start(&home, &[]);
    for operation in [json!({ "operation": "embed", "texts": "wax" }), json!({ "operation": "count_tokens", "texts": "wax" })] {
        let mut data = operation;
        data["model"] = json!("no/such");
        let task = json!({ "type": "model_inference", "data": data }).to_string();
        let served = home.run(["task", "--url", server.url(), "submit", &task]);
        assert!(served.code != 0 && served.stderr.contains("model `no/such` is missing"), "{}", served.stderr);
        assert!(!served.stderr.contains(&place) && !served.stderr.contains("pull"), "{}", served.stderr);
    }
}
