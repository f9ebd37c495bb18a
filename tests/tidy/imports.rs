//! Who may import whom. A new edge is a decision: add it to the table in the commit that needs it, with the reason in its message.

use std::collections::BTreeMap;

use crate::lexer::is_word;
use crate::source::{Breach, House, Source, block_end, word_positions};

/// A part of the worker, its floor, and the parts it may import. An edge goes to a strictly lower floor.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) floor: u8,
    pub(crate) may_import: &'static [&'static str],
}

const fn part(name: &'static str, floor: u8, may_import: &'static [&'static str]) -> Part {
    Part { name, floor, may_import }
}

/// The house from the ground up. `lib` only re-exports and is above everything but `main`.
pub(crate) const PARTS: [Part; 19] = [
    part("tallow_kernels", 0, &[]),
    part("tallow_models", 1, &["tallow_kernels"]),
    part("task", 2, &[]),
    part("journal", 3, &["task"]),
    part("resource", 3, &["task", "tallow_kernels"]),
    part("security", 3, &["task"]),
    part("wire", 3, &["task"]),
    part("embed", 4, &["resource", "tallow_models"]),
    part("manager", 4, &["task", "journal", "resource"]),
    part("vectors", 4, &["resource", "tallow_kernels"]),
    part("shelf", 5, &["task", "resource", "embed", "tallow_models"]),
    part("executor", 6, &["task", "resource", "embed", "vectors", "shelf", "tallow_kernels", "tallow_models"]),
    part("http", 8, &["task", "manager", "resource", "security"]),
    part("metrics", 8, &["task", "manager", "resource", "embed"]),
    part("config", 9, &["task", "resource", "security", "tallow_kernels", "tallow_models"]),
    part(
        "worker",
        10,
        &[
            "task",
            "manager",
            "resource",
            "security",
            "journal",
            "embed",
            "shelf",
            "executor",
            "http",
            "metrics",
            "config",
            "tallow_kernels",
            "tallow_models",
        ],
    ),
    part(
        "cli",
        11,
        &["task", "manager", "resource", "security", "executor", "shelf", "config", "worker", "http", "tallow_kernels", "tallow_models"],
    ),
    part("main", 12, &["cli", "worker", "config"]),
    part(
        "lib",
        12,
        &[
            "cli", "config", "embed", "executor", "http", "journal", "manager", "metrics", "resource", "security", "shelf", "task",
            "vectors", "wire", "worker",
        ],
    ),
];

/// One import: who, whom, and on which line (from 0).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) line: usize,
}

pub(crate) fn breaches(house: &House) -> Vec<Breach> {
    house.sources.iter().filter(|source| source.path.starts_with("src/")).flat_map(source_breaches).collect()
}

pub(crate) fn source_breaches(source: &Source) -> Vec<Breach> {
    edges(source).into_iter().filter_map(|edge| edge_breach(source, &edge)).collect()
}

fn edge_breach(source: &Source, edge: &Edge) -> Option<Breach> {
    let table = "the imports table in tests/tidy/imports.rs";
    let Some(from) = PARTS.iter().find(|part| part.name == edge.from) else {
        return Some(source.breach(0, format!("`{}` is a new part: give it a floor and its imports in {table}", edge.from)));
    };
    let Some(to) = PARTS.iter().find(|part| part.name == edge.to) else {
        let advice = format!("`crate::{}` is a re-export of the crate root: import it from the part that defines it", edge.to);
        return Some(source.breach(edge.line, advice));
    };
    if from.may_import.contains(&to.name) {
        return None;
    }
    let advice = if to.floor < from.floor {
        format!("`{}` may not import `{}`: take the edge away, or add it to {table} and say why in the commit", from.name, to.name)
    } else {
        format!(
            "`{}` (floor {}) may never import `{}` (floor {}): imports go down; move the word or pass a value in",
            from.name, from.floor, to.name, to.floor
        )
    };
    Some(source.breach(edge.line, advice))
}

/// Edges of the table that do not go down. Floors that fall along every edge make a circle impossible.
pub(crate) fn table_breaches() -> Vec<Breach> {
    let floors: BTreeMap<&str, u8> = PARTS.iter().map(|part| (part.name, part.floor)).collect();
    let breach = |advice: String| Breach { path: "tests/tidy/imports.rs".into(), line: 1, advice };
    let mut found = Vec::new();
    for part in &PARTS {
        for name in part.may_import {
            match floors.get(name) {
                None => found.push(breach(format!("`{}` imports `{name}`, which is no part", part.name))),
                Some(floor) if *floor >= part.floor => {
                    found.push(breach(format!("the edge from `{}` to `{name}` does not go down", part.name)))
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// The imports of a file under `src/`, tests left out: they may look at anything that is public to them.
pub(crate) fn edges(source: &Source) -> Vec<Edge> {
    let home = module_path(&source.path);
    let from = home.first().cloned().unwrap_or_else(|| source.stem().to_owned());
    let mut found = Vec::new();
    let mut add = |to: &str, at: usize| {
        let line = crate::source::line_of(&source.code, at);
        if to != from && !source.is_test_line(line) && !matches!(to, "self" | "crate" | "super") {
            found.push(Edge { from: from.clone(), to: to.to_owned(), line });
        }
    };
    for at in word_positions(&source.code, "crate::") {
        // `$crate::` in a macro is the same root; `pub(in crate::x)` opens a door and is no import.
        if !source.code[..at].ends_with("in ") {
            names_after(&source.code, at + "crate::".len()).iter().for_each(|name| add(name, at));
        }
    }
    for name in ["tallow_kernels", "tallow_models"] {
        word_positions(&source.code, name).for_each(|at| add(name, at));
    }
    // The binary's `main` sees the library by its name.
    if from == "main" {
        for at in word_positions(&source.code, "tallow::") {
            names_after(&source.code, at + "tallow::".len()).iter().for_each(|name| add(name, at));
        }
    }
    let inline = inline_modules(&source.code);
    for at in super_chains(&source.code) {
        let depth = home.len() + inline.iter().filter(|(open, close)| (*open..*close).contains(&at)).count();
        let mut rest = at;
        let mut ups = 0;
        while source.code[rest..].starts_with("super::") {
            (rest, ups) = (rest + "super::".len(), ups + 1);
        }
        if ups >= depth {
            names_after(&source.code, rest).iter().for_each(|name| add(name, at));
        }
    }
    found.sort();
    found
}

/// Where `super::` chains begin.
fn super_chains(code: &str) -> Vec<usize> {
    word_positions(code, "super::").filter(|&at| !code[..at].ends_with("super::")).collect()
}

/// The modules a file stands for: `src/a/b.rs` and `src/a/b/mod.rs` are `[a, b]`, `src/lib.rs` and `src/main.rs` are the root.
fn module_path(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    if matches!(inner, "lib" | "main") { Vec::new() } else { inner.split('/').map(str::to_owned).collect() }
}

/// The first names of a path or of each branch of a group: `a::b` gives `a`; `{a::{b, c}, d}` gives `a` and `d`.
fn names_after(code: &str, at: usize) -> Vec<String> {
    let rest = code[at..].trim_start();
    if !rest.starts_with('{') {
        let name: String = rest.chars().take_while(|&c| is_word(c)).collect();
        return if name.is_empty() { Vec::new() } else { vec![name] };
    }
    let open = code.len() - rest.len();
    let group = &code[open + 1..block_end(code, open)];
    let (mut depth, mut names, mut current) = (0usize, Vec::new(), String::new());
    for c in group.chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                let name: String = current.trim_start().chars().take_while(|&c| is_word(c)).collect();
                names.extend((!name.is_empty()).then_some(name));
                current.clear();
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    names
}

/// Byte ranges of modules written inside the file.
fn inline_modules(code: &str) -> Vec<(usize, usize)> {
    let opens = |at: usize| {
        let name_end = code[at + 3..].find(|c: char| !c.is_whitespace() && !is_word(c))? + at + 3;
        code[name_end..].starts_with('{').then_some((name_end, block_end(code, name_end)))
    };
    word_positions(code, "mod").filter_map(opens).collect()
}
