//! Words, calls and names that are not for here.

use crate::source::{Breach, House, Source, word_positions};

/// Where a rule looks.
#[derive(Clone, Copy, PartialEq)]
enum In {
    Everywhere,
    OutsideTests,
}

struct Rule {
    /// What is looked for in code, as whole words.
    words: &'static [&'static str],
    place: In,
    /// Paths where it is allowed, by their beginnings.
    except: &'static [&'static str],
    advice: &'static str,
}

const RULES: [Rule; 11] = [
    Rule {
        words: &["todo!", "unimplemented!"],
        place: In::Everywhere,
        except: &[],
        advice: "finish it, or return an error that says what cannot be done",
    },
    Rule { words: &["dbg!"], place: In::Everywhere, except: &[], advice: "remove it; use tracing for what is worth keeping" },
    Rule {
        words: &["#[ignore"],
        place: In::Everywhere,
        except: &[],
        advice: "a test runs or is gone; print what is skipped when a needed folder is not named",
    },
    Rule {
        words: &["let _ ="],
        place: In::Everywhere,
        except: &[],
        advice: "handle the error, or name what is dropped and why: `let _reason = ...`",
    },
    Rule {
        words: &[".unwrap()"],
        place: In::OutsideTests,
        except: &[],
        advice: "return the error, or say in `expect` why it cannot happen",
    },
    Rule {
        words: &["thread::sleep"],
        place: In::Everywhere,
        except: &[],
        advice: "wait for the thing itself (a channel, a condition), not for time to pass",
    },
    Rule {
        words: &["env::var", "env::vars", "env::var_os", "env::vars_os", "option_env!"],
        place: In::OutsideTests,
        except: &["src/config/", "src/cli/", "src/worker.rs", "src/worker/", "src/main.rs"],
        advice: "the environment is read by config, cli, worker and main; take the value as an argument",
    },
    Rule {
        words: &["unbounded_channel", "mpsc::unbounded", "mpsc::channel()", "channel::unbounded"],
        place: In::Everywhere,
        except: &[],
        advice: "every channel is bounded and says why that number",
    },
    Rule { words: &["static mut"], place: In::Everywhere, except: &[], advice: "no mutable static: give the state an owner and pass it" },
    Rule {
        words: &["process::exit", "process::abort"],
        place: In::Everywhere,
        except: &["src/main.rs", "src/cli/"],
        advice: "return an error; only main and cli end the process",
    },
    Rule {
        words: &["std::process::Command", "process::Command"],
        place: In::OutsideTests,
        except: &["src/cli/", "models/builtin/", "kernels/build.rs"],
        advice: "the worker starts no programs",
    },
];

/// File, module and folder names that say nothing.
const EMPTY_NAMES: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "misc", "stuff", "manager2"];
/// Endings of type names that say nothing.
const EMPTY_ENDINGS: [&str; 2] = ["Impl", "Base"];
/// Marks of unfinished work in comments.
const MARKS: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];
/// Beginnings of paths that exist on one machine. Written in halves, so that this file does not breach its own rule.
const MACHINE_PATHS: [&str; 4] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

pub(crate) fn breaches(house: &House) -> Vec<Breach> {
    let mut found: Vec<Breach> = house.sources.iter().flat_map(source_breaches).collect();
    for (path, text) in &house.texts {
        found.extend(machine_paths(text).map(|(line, advice)| Breach { path: path.clone(), line: line + 1, advice }));
    }
    found
}

pub(crate) fn source_breaches(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    for rule in &RULES {
        for word in rule.words {
            for at in word_positions(&source.code, word) {
                let line = crate::source::line_of(&source.code, at);
                let there = match rule.place {
                    In::Everywhere => true,
                    In::OutsideTests => !source.is_test_line(line),
                };
                if there && !rule.except.iter().any(|beginning| source.path.starts_with(beginning)) {
                    found.push(source.breach(line, format!("`{}`: {}", word.trim(), rule.advice)));
                }
            }
        }
    }
    found.extend(sleeps_in_tests(source));
    found.extend(names(source));
    for (line, text) in source.comments.lines().enumerate() {
        let mark = MARKS.iter().find(|mark| word_positions(text, mark).next().is_some());
        found.extend(mark.map(|mark| source.breach(line, format!("`{mark}`: finish it now, or leave it out"))));
    }
    found.extend(machine_paths(&source.text).map(|(line, advice)| source.breach(line, advice)));
    found
}

/// An async sleep in a test is allowed under a paused clock alone, where it takes no time.
fn sleeps_in_tests(source: &Source) -> Vec<Breach> {
    if source.text.contains("start_paused") || source.text.contains("time::pause") {
        return Vec::new();
    }
    let advice = "`time::sleep` in a test: wait for the thing itself, or pause the clock (`start_paused = true`)";
    let positions = word_positions(&source.code, "time::sleep").map(|at| crate::source::line_of(&source.code, at));
    positions.filter(|&line| source.is_test_line(line)).map(|line| source.breach(line, advice)).collect()
}

fn names(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    for step in source.path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&step) {
            found.push(source.breach(0, format!("the name `{step}` says nothing: name the idea")));
        }
    }
    for (line, code) in source.code_lines() {
        for keyword in ["struct ", "enum ", "trait ", "type "] {
            for at in word_positions(code, keyword) {
                let name: String = code[at + keyword.len()..].chars().take_while(|&c| crate::lexer::is_word(c)).collect();
                if EMPTY_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                    found.push(source.breach(line, format!("the name `{name}` says nothing: name what it is")));
                }
            }
        }
    }
    found
}

fn machine_paths(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    text.lines().enumerate().filter_map(|(line, text)| {
        let path = MACHINE_PATHS.iter().find(|path| stands_alone(text, path))?;
        Some((line, format!("`{path}...` exists on one machine only: take the path as an argument or from the environment")))
    })
}

/// True where the path begins there and is not the tail of a longer one, such as `target/work/`.
fn stands_alone(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|c| !(crate::lexer::is_word(c) || matches!(c, '.' | '-' | '/' | '$' | '}' | '~' | '*')))
    })
}

pub(crate) fn missing_docs(house: &House) -> Vec<Breach> {
    house.sources.iter().filter_map(missing_doc).collect()
}

pub(crate) fn missing_doc(source: &Source) -> Option<Breach> {
    let first = source.text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    (!first.starts_with("//!")).then(|| source.breach(0, "begin the file with `//!`: what it is, and what it must not know"))
}
