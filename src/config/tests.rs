//! Quantities, layers and the settings file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

fn env_of<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
    move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
}

#[test]
fn sizes_are_read_as_people_write_them() {
    let cases: [(&str, Option<u64>); 13] = [
        ("0", Some(0)),
        ("1048576", Some(1 << 20)),
        ("512MiB", Some(512 << 20)),
        ("8GiB", Some(8 << 30)),
        ("8 gib", Some(8 << 30)),
        ("1.5GB", Some(1_500_000_000)),
        ("64k", None),
        ("10b", Some(10)),
        ("", None),
        ("GiB", None),
        ("-1", None),
        ("nan", None),
        ("1e300GiB", None),
    ];
    let wrong: Vec<_> = cases.iter().filter(|(text, bytes)| text.parse::<ByteSize>().ok().map(|size| size.0) != *bytes).collect();
    assert!(wrong.is_empty(), "read otherwise than expected: {wrong:?}");
}

#[test]
fn spans_are_read_as_people_write_them() {
    let cases: [(&str, Option<u64>); 9] = [
        ("30s", Some(30_000)),
        ("500ms", Some(500)),
        ("2m", Some(120_000)),
        ("1h", Some(3_600_000)),
        ("15", Some(15_000)),
        ("0.5s", Some(500)),
        ("fast", None),
        ("400d", None),
        ("-3s", None),
    ];
    let read = |text: &str| text.parse::<Span>().ok().map(|span| span.0.as_millis() as u64);
    let wrong: Vec<_> = cases.iter().filter(|(text, ms)| read(text) != *ms).map(|(text, ms)| (text, ms, read(text))).collect();
    assert!(wrong.is_empty(), "read otherwise than expected: {wrong:?}");
}

#[test]
fn the_first_layer_counts_before_the_second_and_that_before_defaults() {
    let file =
        ConfigFile::parse("[worker]\ndevice = \"cuda:1\"\nthreads = 3\n[serve]\ndrain_timeout = 5\n", Path::new("c.toml")).expect("valid");
    let flags = WorkerLayer { device: Some("cpu".into()), ..WorkerLayer::default() };
    let worker = WorkerSettings::resolve(&flags, &file.worker, env_of(&[]));
    assert_eq!((worker.device.as_str(), worker.threads, worker.queue_max), ("cpu", Some(3), None));
    let serve = ServeSettings::resolve(&ServeLayer::default(), &file.serve);
    assert_eq!((serve.drain_timeout, serve.listen), (Duration::from_secs(5), DEFAULT_LISTEN));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let error = ConfigFile::parse("# settings\n[serve]\nlisten = \"127.0.0.1:1\"\nlissten = 3\n", Path::new("dir/c.toml"))
        .expect_err("unknown key");
    let text = error.to_string();
    assert!(text.starts_with("dir/c.toml:4: unknown field `lissten`") && text.contains("no_auth"), "{text}");
}

#[test]
fn a_wrong_value_is_refused_with_its_line() {
    let cases = [
        ("[worker]\n\nmemory_limit = \"lots\"\n", 3, "lots"),
        ("[worker]\nthreads = -2\n", 2, ""),
        ("[nope]\n", 1, "unknown field `nope`"),
        ("[serve]\nlisten = \"here\"\n", 2, ""),
        ("[serve\n", 1, ""),
    ];
    for (text, line, part) in cases {
        let error = ConfigFile::parse(text, Path::new("c.toml")).expect_err(text);
        assert_eq!(error.line, Some(line), "{text}: {error}");
        assert!(error.reason.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_named_file_must_exist_and_the_default_one_may_be_absent() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let absent = dir.path().join("absent.toml");
    assert_eq!(ConfigFile::load(None, Some(&absent)), Ok(ConfigFile::default()));
    assert!(ConfigFile::load(Some(&absent), None).expect_err("absent").missing);
}

#[test]
fn relative_xdg_directories_do_not_count() {
    let env = [("XDG_CONFIG_HOME", "relative"), ("HOME", "/u")];
    assert_eq!(default_config_path(env_of(&env)), Some(PathBuf::from("/u/.config/tallow/config.toml")));
    assert_eq!(default_config_path(env_of(&[])), None);
    let dirs = [&[("XDG_DATA_HOME", "/d")][..], &env, &[]].map(|pairs| default_data_dir(env_of(pairs)));
    assert_eq!(dirs, ["/d/tallow", "/u/.local/share/tallow", ".tallow"].map(PathBuf::from));
}

#[test]
fn the_hub_variable_turns_fetching_off_unless_a_layer_says_otherwise() {
    let resolve = |flag, value: &'static str| {
        let flags = WorkerLayer { offline: flag, ..WorkerLayer::default() };
        WorkerSettings::resolve(&flags, &WorkerLayer::default(), env_of(&[("HF_HUB_OFFLINE", value)])).offline
    };
    assert_eq!([resolve(None, "1"), resolve(None, "0"), resolve(Some(false), "1"), resolve(Some(true), "0")], [true, false, false, true]);
}

#[test]
fn every_value_out_of_bounds_is_refused_with_its_line_and_what_is_allowed() {
    let cases = [
        ("worker", "threads = 0", "threads is 0; allowed: 1 to 1024"),
        ("worker", "threads = -3", "threads is -3; allowed: 1 to 1024"),
        ("worker", "threads = 2.5", "threads is 2.5; allowed: 1 to 1024"),
        ("worker", "threads = true", "threads: invalid type: boolean `true`, expected a text or a number"),
        ("worker", "queue_max = 0", "queue_max is 0; allowed: 1 to 100000000"),
        ("worker", "device = \"abacus\"", "device is abacus; found `abacus`; allowed are auto, cpu, cuda, cuda:N and metal"),
        ("worker", "precision = \"fp8\"", "precision is fp8; allowed: auto, exact, bf16, int8"),
        ("worker", "precision = 8", "precision is 8; allowed: auto, exact, bf16, int8"),
        ("worker", "isa = \"sse9\"", "isa is sse9; unknown instruction set `sse9`; allowed: portable, neon, avx2, avx512, amx"),
        ("worker", "memory_limit = 1000", "memory_limit is 1000; allowed: 64"),
        ("worker", "memory_limit = \"0%\"", "memory_limit is 0%; a percentage"),
        ("worker", "batch_tokens = 8", "batch_tokens is 8; allowed: 16 to 1048576"),
        ("worker", "result_cache = 1000", "result_cache is 1000; allowed: 0, or 1"),
        ("worker", "result_cache = \"much\"", "result_cache is much;"),
        ("worker", "model = \"\"", "model is empty; allowed: a model's name"),
        ("serve", "listen = \"localhost\"", "listen is localhost; allowed: an IP address and a port"),
        ("serve", "allowed_host = [\"good.example\", \"http://bad\"]", "allowed_host is http://bad; allowed: a host's name"),
        ("serve", "body_max = 0", "body_max is 0; allowed: 1"),
        ("serve", "drain_timeout = \"soon\"", "drain_timeout is soon;"),
        ("serve", "log_format = \"xml\"", "log_format: found `xml`; allowed: text, json"),
        ("serve", "log = \"a=b=c\"", "log is a=b=c; allowed: a level"),
        ("client", "url = \"https://w\"", "url is https://w; allowed: http://host:port"),
    ];
    for (table, line, said) in cases {
        let error = ConfigFile::parse(&format!("# one\n[{table}]\n\n{line}\n"), Path::new("tallow.toml")).expect_err(line);
        assert!(error.to_string().starts_with(&format!("tallow.toml:4: {said}")), "{line}: {error}");
    }
    let file = "[worker]\nthreads = 1\nqueue_max = 1\nbatch_tokens = 16\nresult_cache = 0\nmemory_limit = \"64MiB\"\n[serve]\nlog = \"info,tallow=debug\"\nlisten = \"[::1]:0\"\n\
        allowed_host = [\"Worker.Example\", \"[fd00::1]\"]\nbody_max = 1024\n[client]\nurl = \"http://w:1/\"\n";
    let file = ConfigFile::parse(file, Path::new("c.toml")).expect("every value is at its bound");
    let serve = ServeSettings::resolve(&ServeLayer::default(), &file.serve);
    assert_eq!(serve.allowed_hosts, ["worker.example", "[fd00::1]"]);
    let flags = ServeLayer { allowed_host: Some(vec!["other".into()]), ..ServeLayer::default() };
    assert_eq!(ServeSettings::resolve(&flags, &file.serve).allowed_hosts, ["other"]);
}
