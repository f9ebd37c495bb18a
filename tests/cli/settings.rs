//! Arguments, environment and the settings file.

use crate::harness::Home;

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_allowed() {
    let home = Home::new();
    let cases: [(&[&str], &str); 14] = [
        (&[], "Usage"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["serve", "--listen", "somewhere"], "--listen"),
        (&["serve", "--drain-timeout", "soon"], "30s"),
        (&["doctor", "--memory-limit", "8G"], "8GiB"),
        (&["doctor", "--memory-limit", "1000TiB"], "more than"),
        (&["doctor", "--threads", "0"], "--threads"),
        (&["doctor", "--device", "abacus"], "cuda:N"),
        (&["run"], "FILE.jsonl"),
        (&["task", "status", "--url", "https://elsewhere", "x"], "http://"),
        (&["task", "submit", "{\"type\": "], "not JSON"),
        (&["embed"], "TEXTS"),
        (&["completions", "tcsh"], "bash"),
        (&["serve", "--no-auth", "--listen", "0.0.0.0:0"], "loopback"),
    ];
    for (args, part) in cases {
        let ran = home.run(args).exits(2);
        assert!(ran.stderr.contains(part) && ran.stdout.is_empty(), "{args:?}: {}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let home = Home::new();
    let file = home.file("tasks.jsonl", "");
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--version"], 0, ""),
        (&["run", "absent.jsonl"], 3, "absent.jsonl"),
        (&["--config", "absent.toml", "doctor"], 3, "absent.toml"),
        (&["doctor", "--device", "cuda:77"], 4, "cuda:77"),
        (&["run", file.to_str().expect("text"), "--device", "metal"], 4, "metal"),
        (&["task", "list", "--url", "http://127.0.0.1:9"], 1, "tallow serve"),
        (&["embed", "x", "--model", "nobody/nothing"], 3, "nobody/nothing"),
    ];
    for (args, code, part) in cases {
        let ran = home.run(args).exits(code);
        assert!(ran.stderr.contains(part), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_flag_counts_before_the_environment_before_the_file_before_the_default() {
    let home = Home::new();
    let threads = |args: &[&str], env: Option<&str>| {
        let mut command = home.command(["doctor", "--json"].iter().chain(args));
        if let Some(value) = env {
            command.env("TALLOW_THREADS", value);
        }
        let output = command.output().expect("the program starts");
        let doctor: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        doctor["picked"]["threads"][0].as_str().expect("a sentence").to_owned()
    };
    assert!(!threads(&[], None).contains("as asked for"));
    home.file(".config/tallow/config.toml", "[worker]\nthreads = 3\n");
    assert!(threads(&[], None).starts_with("compute: 3,"));
    assert!(threads(&[], Some("4")).starts_with("compute: 4,"));
    assert!(threads(&["--threads", "5"], Some("4")).starts_with("compute: 5,"));
}

#[test]
fn an_unknown_key_of_the_file_is_refused_with_file_and_line() {
    let home = Home::new();
    let path = home.file("my.toml", "[worker]\nthreads = 2\n\n[serve]\nport = 1\n");
    let ran = home.run(["--config", path.to_str().expect("text"), "doctor"]).exits(2);
    assert!(ran.stderr.contains("my.toml:5: unknown field `port`"), "{}", ran.stderr);
}

#[test]
fn help_of_every_command_names_the_variables_of_its_flags() {
    let home = Home::new();
    let commands = [
        "serve",
        "run",
        "task",
        "task submit",
        "task list",
        "embed",
        "similarity",
        "rerank",
        "classify",
        "tag",
        "fill-mask",
        "zero-shot",
        "search",
        "text",
        "vector",
        "models",
        "doctor",
        "bench",
    ];
    for command in commands {
        let ran = home.run(command.split(' ').chain(["--help"])).ok();
        // Long lines are broken where they meet the edge.
        let text = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("Usage:") && text.matches("[env: TALLOW_").count() >= 4, "{command}:\n{}", ran.stdout);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    let mut child = home
        .command(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn completions_name_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = home.run(["completions", shell]).ok();
        assert!(["serve", "doctor", "drain-timeout"].iter().all(|word| ran.stdout.contains(word)), "{shell}");
    }
}
