//! Small files, small functions.

use crate::source::{Breach, House, Source, block_end, line_of, word_positions};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer: path and reason.
const LONG_FILES: [(&str, &str); 0] = [];
/// Functions that may be longer: path, name and reason.
const LONG_FUNCTIONS: [(&str, &str, &str); 0] = [];

pub(crate) fn breaches(house: &House) -> Vec<Breach> {
    let mut found: Vec<Breach> =
        house.sources.iter().flat_map(|source| file_breaches(source).into_iter().chain(function_breaches(source))).collect();
    for (path, _reason) in LONG_FILES {
        if !house.sources.iter().any(|source| source.path == path && source.text.lines().count() > FILE_LINES_MAX) {
            found.push(stale(path, "it is short or gone: take it off LONG_FILES in tests/tidy/size.rs"));
        }
    }
    for (path, name, _reason) in LONG_FUNCTIONS {
        let is_long = |source: &Source| long_functions(source).iter().any(|(_, long, _)| long == name);
        if !house.sources.iter().any(|source| source.path == path && is_long(source)) {
            found.push(stale(path, &format!("`{name}` is short or gone: take it off LONG_FUNCTIONS in tests/tidy/size.rs")));
        }
    }
    found
}

fn stale(path: &str, advice: &str) -> Breach {
    Breach { path: path.into(), line: 1, advice: advice.into() }
}

pub(crate) fn file_breaches(source: &Source) -> Option<Breach> {
    let lines = source.text.lines().count();
    let excused = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    (lines > FILE_LINES_MAX && !excused)
        .then(|| source.breach(FILE_LINES_MAX, format!("the file has {lines} lines, {FILE_LINES_MAX} are allowed: split it by idea")))
}

pub(crate) fn function_breaches(source: &Source) -> Vec<Breach> {
    let excused = |name: &str| LONG_FUNCTIONS.iter().any(|(path, long, _)| *path == source.path && *long == name);
    long_functions(source)
        .into_iter()
        .filter(|(_, name, _)| !excused(name))
        .map(|(line, name, lines)| {
            source.breach(
                line,
                format!("`{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed: move its parts into functions of their own"),
            )
        })
        .collect()
}

/// Line, name and length of every function that is too long.
fn long_functions(source: &Source) -> Vec<(usize, String, usize)> {
    let code = &source.code;
    let mut long = Vec::new();
    for at in word_positions(code, "fn") {
        let name: String = code[at + 2..].trim_start().chars().take_while(|&c| crate::lexer::is_word(c)).collect();
        if name.is_empty() {
            continue;
        }
        // A function type or a declaration without a body ends before any block.
        let Some(open) = body_start(code, at) else { continue };
        let (first, last) = (line_of(code, at), line_of(code, block_end(code, open)));
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            long.push((first, name, lines));
        }
    }
    long
}

/// The brace that opens the body of the function at `at`; `None` when a semicolon outside brackets ends it first.
fn body_start(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (offset, byte) in code.as_bytes()[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}
