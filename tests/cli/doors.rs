//! What a new user runs into: mistakes that are named with their place, files that are whole or absent, variables that never stand in the way.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::Home;
use crate::server::Server;

fn fixture(name: &str) -> String {
    format!("{}/models/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn an_output_file_is_whole_or_absent_and_the_error_says_where_and_how_far() {
    let home = Home::new();
    let mut texts: String = (0..600).map(|number| format!("\"text number {number}\"\n")).collect();
    texts.push_str("\n{\"text\": 5}\n\"never read\"\n");
    home.file("texts.jsonl", texts);
    for output in ["out.jsonl", "out.npy"] {
        for before in [None, Some("precious")] {
            if let Some(text) = before {
                home.file(output, text);
            }
            let ran = home.run(["embed", "-f", "texts.jsonl", "-o", output]).exits(2);
            assert!(ran.stderr.contains("texts.jsonl:602: field `text` is a number"), "{}", ran.stderr);
            assert!(ran.stderr.contains("600 texts were embedded before it; the output file was not written"), "{}", ran.stderr);
            assert_eq!(std::fs::read_to_string(home.path(output)).ok().as_deref(), before, "{output} is as it was");
            assert!(!home.path(&format!("{output}.part")).exists(), "no draft is left");
        }
    }
    // Standard output streams: what came before the line is there.
    let ran = home.run(["embed", "-f", "texts.jsonl", "--json"]).exits(2);
    assert_eq!(ran.json_lines().len(), 600);
    assert!(ran.stderr.contains("texts.jsonl:602") && ran.stderr.contains("600 vectors were written before it"), "{}", ran.stderr);
    let folder = home.run(["embed", "wax", "-o", "."]).exits(2);
    assert!(folder.stderr.contains(".npy or .jsonl"), "{}", folder.stderr);
}

#[test]
fn a_text_that_a_model_refuses_is_named_by_its_line() {
    let home = Home::new();
    home.file("texts.jsonl", "\"a cat\"\n\n{\"text\": \"  \"}\n");
    home.file("long.txt", format!("a cat\n\n{}\n", "the cat sits outside . ".repeat(20)));
    let model = fixture("tiny-bert");
    let cases: [(&[&str], &str); 6] = [
        (&["embed", "-f", "texts.jsonl"], "texts.jsonl:3: the text is blank"),
        (&["embed", "a cat", ""], "text 2: the text is empty"),
        (
            &["embed", "-f", "long.txt", "-o", "long.npy", "--model", &model],
            "long.txt:3: the text has 102 tokens, the model takes at most 40; give --long-input",
        ),
        (&["search", "long.txt", "a cat", "--model", &model], "long.txt:3: the text has 102 tokens"),
        (
            &["embed", "a cat", "--dimensions", "4", "--model", &model],
            "found 4; the model was trained for 16 (it declares no shorter ones); give --any-dimensions",
        ),
        (&["embed", "a cat", "--any-dimensions"], "--dimensions"),
    ];
    for (args, part) in cases {
        let ran = home.run(args).exits(2);
        assert!(ran.stderr.contains(part), "{args:?}: {}", ran.stderr);
    }
    assert!(!home.path("long.npy").exists());
    let cut = home.run(["embed", "a cat", "--dimensions", "4", "--any-dimensions", "--model", &model]).ok().json_lines();
    assert_eq!(cut[0].as_array().map(Vec::len), Some(4));
    home.run(["embed", "-f", "long.txt", "--long-input", "chunk", "--model", &model]).ok();
}

#[test]
fn what_is_given_wins_over_the_variable_of_something_else() {
    let home = Home::new();
    let file = home.file("a.txt", "one two three");
    let file = file.to_str().expect("text");
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 12] = [
        (&["embed", "some text"], &[("TALLOW_EMBED_FILE", file)], "["),
        (&["text", "count", "to be or"], &[("TALLOW_TEXT_FILE", file), ("TALLOW_TEXT_LINES", "true")], "word_count  3"),
        (&["text", "count", "to be"], &[("TALLOW_TEXT_LIST", "true")], "word_count  2"),
        (&["text", "count"], &[("TALLOW_TEXT_FILE", file)], "word_count  3"),
        (&["vector", "cosine", "1,2", "2,4"], &[("TALLOW_VECTOR_LIST", "1"), ("TALLOW_VECTOR_PART", "x")], "similarity  1.0"),
        (&["zero-shot", "stars", "-l", "a"], &[("TALLOW_TEXTS_FILE", "absent.txt"), ("TALLOW_ZERO_SHOT_LABELS", "b")], "stars"),
        (&["embed", "wax"], &[("TALLOW_EMBED_OUTPUT", ""), ("TALLOW_THREADS", "")], "["),
        (&["embed"], &[("TALLOW_EMBED_FILE", file)], "["),
        (&["embed", "wax", "-o", "wax.npy"], &[("TALLOW_EMBED_ENCODING", "base64")], ""),
        (
            &["text", "count", "to be"],
            &[("TALLOW_TEXT_SIZE", "9"), ("TALLOW_TEXT_TOP", "9"), ("TALLOW_TEXT_SET", "size=9")],
            "word_count  2",
        ),
        (&["vector", "cosine", "1,2", "2,4"], &[("TALLOW_VECTOR_TOP", "9"), ("TALLOW_VECTOR_OUTPUT", "out.npy")], "similarity  1.0"),
        (&["text", "chunk", "one two. three four."], &[("TALLOW_TEXT_SIZE", "10")], "chunks (3)"),
    ];
    for (args, variables, part) in cases {
        let output = home.command(args).envs(variables.iter().copied()).output().expect("the program starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && stdout.contains(part), "{args:?} with {variables:?}: {stdout}{stderr}");
    }
    let both = home.run(["embed", "some text", "-f", file]).exits(2);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
    let unreachable = home.command(["task", "submit", "{}", "--url", "http://127.0.0.1:9"]).env("TALLOW_TASK_FILE", file).output();
    let stderr = String::from_utf8(unreachable.expect("the program starts").stderr).expect("text");
    assert!(stderr.contains("no worker answers"), "{stderr}");
}

#[test]
fn a_wrong_setting_is_told_by_the_name_it_came_under() {
    let home = Home::new();
    let output = home.command(["doctor"]).env("TALLOW_QUEUE_MAX", "0").output().expect("the program starts");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(2) && stderr.contains("TALLOW_QUEUE_MAX") && stderr.contains("1 to 100000000"), "{stderr}");
    let flag = home.run(["doctor", "--queue-max", "0"]).exits(2).stderr;
    assert!(flag.contains("--queue-max") && !flag.contains("TALLOW_QUEUE_MAX"), "{flag}");
    home.file("tallow.toml", "[worker]\nthreads = 2\n\nqueue_max = 0\n");
    let file = home.run(["--config", "tallow.toml", "doctor"]).exits(2).stderr;
    assert!(file.contains("tallow.toml:4: queue_max is 0; allowed: 1 to 100000000"), "{file}");
}

#[test]
fn models_take_the_settings_of_the_worker_on_either_side_of_what_to_do() {
    let home = Home::new();
    let fixtures = fixture("");
    for args in [["models", "ls", "--models-dir", &fixtures, "--json"], ["models", "--models-dir", &fixtures, "ls", "--json"]] {
        let names: Vec<Value> = home.run(args).ok().json_lines().into_iter().map(|model| model["name"].clone()).collect();
        assert!(names.contains(&json!("tiny-bert")) && names.contains(&json!("heads/bert-rerank")), "{names:?}");
    }
    assert!(home.run(["models", "pull", "nobody/nothing", "--offline"]).exits(3).stderr.contains("nobody/nothing"));
}

/// The answer to one call without a token.
/// Head and JSON body of an answer.
pub(crate) fn get(server: &Server, path: &str, host: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).expect("a connection");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head.to_owned(), serde_json::from_str(body).expect("JSON"))
}

#[test]
fn a_served_worker_lists_the_models_it_could_load_and_answers_to_the_names_it_was_given() {
    let home = Home::new();
    let server =
        Server::start(&home, &["--no-auth", "--models-dir", &fixture(""), "--allowed-host", "worker.example", "--allowed-host", "w2"]);
    for (host, status) in [("worker.example:80", "200"), ("W2", "200"), ("localhost", "200"), ("evil.example", "403")] {
        let (head, _) = get(&server, "/v1/models", host);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {head}");
    }
    let (_, listed) = get(&server, "/v1/models", "localhost");
    let models = listed["data"].as_array().expect("models");
    let loaded = |id: &str| models.iter().filter(|model| model["id"] == id).map(|model| model["loaded"].clone()).collect::<Vec<_>>();
    assert_eq!(loaded("tallow-builtin-static-v1"), [json!(true)]);
    assert_eq!((loaded("tiny-bert"), loaded("heads/bert-rerank")), (vec![json!(false)], vec![json!(false)]), "{listed}");
    let wrong = home.run(["serve", "--allowed-host", "http://worker.example"]).exits(2);
    assert!(wrong.stderr.contains("--allowed-host") && wrong.stderr.contains("without scheme and port"), "{}", wrong.stderr);
    let output = home
        .command(["serve", "--listen", "127.0.0.1:0"])
        .env("TALLOW_ALLOWED_HOST", "fine,not fine")
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(2) && stderr.contains("TALLOW_ALLOWED_HOST"), "{stderr}");
}

#[test]
fn mistakes_of_a_first_day_are_answered_with_what_to_do() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let (url, address) = (server.url().to_owned(), server.url().trim_start_matches("http://").to_owned());
    home.file("token", "tallow-wrong");
    home.file(
        "tasks.jsonl",
        "{\"type\": \"text_procesing\", \"data\": {}}\n{\"type\": \"storage\", \"data\": {}, \"priority\": \"asap\"}\n",
    );
    home.file("page.html", "<p>");
    let cases: [(&[&str], i32, &[&str]); 12] = [
        (&["embed", "-f", "absent.txt"], 3, &["absent.txt"]),
        (&["embed", "x", "--model", "no/such"], 3, &["no/such", "the hub is switched off", "HF_HUB_OFFLINE"]),
        (&["embed", "x", "-o", "out.csv"], 2, &["out.csv", ".npy or .jsonl"]),
        (&["rerank", "the cat", "a man"], 1, &["offers embed"]),
        (&["serve", "--listen", &address], 1, &[&address, "--listen 127.0.0.1:0"]),
        (&["task", "list", "--url", "http://127.0.0.1:9"], 1, &["tallow serve", "--url"]),
        (&["task", "list", "--url", &url, "--token-file", "token"], 1, &["unauthorized", "--token-file"]),
        (&["task", "submit", "{\"type\": \"text_processing\"}", "--url", &url], 2, &["data"]),
        (&["task", "submit", "{\"type\": \"storage\", \"data\": {}}", "--url", &url], 2, &["found type `storage`", "text_processing"]),
        (&["text", "cuont", "x"], 2, &["no operation `cuont`", "word_count"]),
        (&["vector", "cosine", "1,2", "1,2,3"], 2, &["vector_b"]),
        (&["embd", "x"], 2, &["embed"]),
    ];
    for (args, code, parts) in cases {
        let ran = home.run(args).exits(code);
        for part in parts {
            assert!(ran.stderr.contains(part), "{args:?} lacks {part}: {}", ran.stderr);
        }
    }
    let answers = home.run(["run", "tasks.jsonl", "-o", "-"]).exits(6).json_lines();
    let message = |line: usize| answers[line]["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message(0).contains("found `text_procesing`; allowed: text_processing, "), "{}", message(0));
    assert!(message(1).contains("found `asap`; allowed: low, normal, high, critical"), "{}", message(1));
}
