//! The nevers of the design, as far as text shows them: which crate may know what.

use crate::source::{Breach, House, Source, word_positions};

/// Words that may stand in the code of some files only.
struct Never {
    words: &'static [&'static str],
    /// Whether the rule concerns this file.
    concerns: fn(&str) -> bool,
    tests_too: bool,
    advice: &'static str,
}

const NEVERS: [Never; 11] = [
    Never {
        words: &["candle_core", "candle_nn", "candle_transformers", "cudarc"],
        concerns: |path| path.starts_with("kernels/src/") && !path.ends_with("/tensor.rs") && !path.starts_with("kernels/src/gpu/"),
        tests_too: false,
        advice: "in kernels only tensor.rs of a family and gpu/ speak to candle",
    },
    Never {
        words: &["candle_core", "candle_nn", "candle_transformers", "cudarc"],
        concerns: |path| path.starts_with("src/"),
        tests_too: false,
        advice: "the worker never calls candle: ask kernels or models",
    },
    Never {
        words: &["tokio", "serde", "serde_json", "tallow_models", "tallow"],
        concerns: |path| path.starts_with("kernels/src/"),
        tests_too: true,
        advice: "kernels know no runtime, no formats, no models and no worker",
    },
    Never {
        words: &["tokio", "async fn", "tallow", "thread::spawn", "thread::Builder"],
        concerns: |path| path.starts_with("models/src/"),
        tests_too: false,
        advice: "models know no worker and no runtime, and spawn no threads",
    },
    Never {
        words: &["std::net", "TcpStream", "ureq", "hf_hub"],
        concerns: |path| path.starts_with("models/src/") && !path.starts_with("models/src/source/"),
        tests_too: false,
        advice: "in models only source/ opens a socket",
    },
    Never {
        words: &["StatusCode", "axum", "hyper"],
        concerns: |path| path.starts_with("src/") && !path.starts_with("src/http/") && !path.starts_with("src/worker"),
        tests_too: false,
        advice: "HTTP and its status codes never appear outside http",
    },
    Never {
        words: &["TcpStream", "TcpListener", "UnixStream", "UnixListener", "UdpSocket"],
        concerns: |path| {
            ["src/task/", "src/wire/", "src/manager/", "src/resource/", "src/embed/", "src/vectors/"]
                .iter()
                .any(|part| path.starts_with(part))
        },
        tests_too: false,
        advice: "this part opens no connection",
    },
    Never {
        words: &IMPURE_WORDS,
        concerns: is_pure,
        tests_too: false,
        advice: "a pure file takes values and gives values: no lock, clock, file, environment, randomness, wait or spawn",
    },
    Never {
        words: &["Instant::now", "Utc::now", "SystemTime::now", "std::fs", "std::env", "rand", "tokio::spawn"],
        concerns: |path| path.starts_with("src/task/") && path != "src/task/model.rs",
        tests_too: false,
        advice: "the words of a task have no input, output or clock: the one exception is Task::new in src/task/model.rs",
    },
    Never {
        words: &["unsafe"],
        concerns: |path| path.starts_with("models/") && !UNSAFE_MODELS_FILES.contains(&path),
        tests_too: true,
        advice: "unsafe belongs to kernels; in models only the memory map of a weights file may use it",
    },
    Never {
        words: &["unsafe"],
        concerns: |path| path.starts_with("src/"),
        tests_too: true,
        advice: "the worker has no unsafe code: ask a function of kernels",
    },
];

/// What reads time, chance, files, the environment or the network, what locks, waits or spawns.
const IMPURE_WORDS: [&str; 27] = [
    "tokio",
    "async fn",
    "async move",
    "parking_lot",
    "Mutex",
    "RwLock",
    "Condvar",
    "OnceLock",
    "AtomicBool",
    "AtomicU32",
    "AtomicU64",
    "AtomicUsize",
    "Instant::now",
    "Utc::now",
    "SystemTime",
    "Task::new",
    "TaskId::new",
    "rand",
    "std::fs",
    "stdin",
    "stdout",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "thread::spawn",
    "tracing",
];
/// Files and folders whose decisions are pure: values in, values out. Every file that says so of itself is here, and every entry is there.
const PURE_FILES: &[&str] = &[
    "models/src/pooling.rs",
    "models/src/quality/",
    "models/src/tags.rs",
    "models/src/weights/gguf.rs",
    "models/src/weights/header.rs",
    "models/src/weights/names.rs",
    "src/cli/show.rs",
    "src/embed/batch/",
    "src/embed/cache.rs",
    "src/embed/shares.rs",
    "src/embed/slices.rs",
    "src/embed/stats.rs",
    "src/http/host.rs",
    "src/manager/admission.rs",
    "src/manager/chunked.rs",
    "src/manager/dependencies.rs",
    "src/manager/histogram.rs",
    "src/manager/idempotency.rs",
    "src/manager/large.rs",
    "src/manager/queue/",
    "src/manager/references.rs",
    "src/manager/registers.rs",
    "src/manager/retention.rs",
    "src/manager/retry.rs",
    "src/manager/ring.rs",
    "src/manager/state.rs",
    "src/manager/throughput.rs",
    "src/manager/timers.rs",
    "src/metrics/exposition.rs",
    "src/resource/budget.rs",
    "src/resource/bytes.rs",
    "src/resource/cgroup.rs",
    "src/resource/device.rs",
    "src/resource/threads.rs",
    "src/shelf/choice.rs",
    "src/task/demand.rs",
    "src/task/id_map.rs",
    "src/task/wording.rs",
    "src/vectors/bits.rs",
    "src/vectors/filter.rs",
    "src/vectors/spec.rs",
    "src/wire/",
    "src/worker/memory.rs",
];
/// The memory map of a weights file.
const UNSAFE_MODELS_FILES: [&str; 1] = ["models/src/weights/map.rs"];

/// Words of the task floor: defined there and nowhere else.
const TASK_WORDS: [&str; 14] = [
    "Task",
    "TaskId",
    "TaskPayload",
    "TaskStatus",
    "TaskPriority",
    "TaskType",
    "TaskResult",
    "TaskError",
    "TaskEvent",
    "TaskExecutor",
    "TaskContext",
    "ResourceDemand",
    "ExecutorCapabilities",
    "Submission",
];

pub(crate) fn breaches(house: &House) -> Vec<Breach> {
    house
        .sources
        .iter()
        .flat_map(source_breaches)
        .chain(purity_breaches(&house.sources))
        .chain(house.texts.iter().flat_map(|(path, text)| manifest_breaches(path, text)))
        .collect()
}

pub(crate) fn source_breaches(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    for never in NEVERS.iter().filter(|never| (never.concerns)(&source.path)) {
        for word in never.words {
            let lines = word_positions(&source.code, word).map(|at| crate::source::line_of(&source.code, at));
            let counted = lines.filter(|&line| never.tests_too || !source.is_test_line(line));
            found.extend(counted.map(|line| source.breach(line, format!("`{word}`: {}", never.advice))));
        }
    }
    if source.path.starts_with("src/") && !source.path.starts_with("src/task/") {
        found.extend(second_definitions(source));
    }
    if !source.path.starts_with("kernels/") {
        found.extend(hardware_conditions(source));
    }
    found
}

/// Pure by the list, or the plain reference of a family of kernels.
fn is_pure(path: &str) -> bool {
    PURE_FILES.iter().any(|pure| path.starts_with(pure)) || path.starts_with("kernels/src/") && path.ends_with("/reference.rs")
}

/// Entries of the list that are not there, and files that say that they are pure and are not on it.
pub(crate) fn purity_breaches(sources: &[Source]) -> Vec<Breach> {
    let list = "PURE_FILES in tests/tidy/nevers.rs";
    let gone = PURE_FILES.iter().filter(|pure| !sources.iter().any(|source| source.path.starts_with(**pure)));
    let gone = gone.map(|pure| Breach {
        path: (*pure).into(),
        line: 1,
        advice: format!("it is not there: take it off {list}, or name where it went"),
    });
    let unlisted = sources.iter().filter(|source| says_it_is_pure(source) && !is_pure(&source.path));
    let unlisted = unlisted.map(|source| source.breach(0, format!("it says that it is pure: put it on {list}, so that it stays so")));
    gone.chain(unlisted).collect()
}

/// True when the description of a file has a sentence that begins with `Pure`, or a clause that says so, without an exception.
fn says_it_is_pure(source: &Source) -> bool {
    let described: Vec<&str> = source.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let described = described.join(" ");
    ["Pure.", "Pure:", ": pure,"].iter().any(|claim| described.contains(claim))
}

fn second_definitions(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    for (line, code) in source.code_lines().filter(|(line, _)| !source.is_test_line(*line)) {
        for keyword in ["struct ", "enum ", "trait ", "type "] {
            for at in word_positions(code, keyword) {
                let name: String = code[at + keyword.len()..].chars().take_while(|&c| crate::lexer::is_word(c)).collect();
                if TASK_WORDS.contains(&name.as_str()) && !code[..at].contains("impl") {
                    found.push(source.breach(line, format!("`{name}` is a word of src/task: import it, or name this otherwise")));
                }
            }
        }
    }
    found
}

/// Features and target features are asked for in kernels alone; elsewhere the answer is a value.
fn hardware_conditions(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    for (line, (code, text)) in source.code.lines().zip(source.text.lines()).enumerate() {
        let condition =
            code.contains("cfg") && ["feature = \"cuda\"", "feature = \"metal\"", "target_feature"].iter().any(|mark| text.contains(mark));
        if condition && !source.is_test_line(line) {
            found.push(source.breach(line, "hardware conditions live in kernels: ask it for a value (tallow_kernels::device)"));
        }
    }
    found
}

/// What the manifests of the lower crates may not depend on.
fn manifest_breaches(path: &str, text: &str) -> Vec<Breach> {
    let banned: &[&str] = match path {
        "kernels/Cargo.toml" => &["tokio", "serde", "serde_json", "tallow", "tallow-models", "axum"],
        "models/Cargo.toml" => &["tokio", "axum", "tallow"],
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut section = "";
    for (line, text) in text.lines().enumerate() {
        if text.starts_with('[') {
            section = text.trim();
        }
        let name = text.split(['=', '.', ' ']).next().unwrap_or("").trim();
        if section == "[dependencies]" && banned.contains(&name) {
            found.push(Breach { path: path.into(), line: line + 1, advice: format!("`{name}` is not for this floor") });
        }
    }
    found
}
