//! The structure of source code by its syntax tree.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tree_sitter::{Language, ParseOptions, Parser, Tree};

use super::super::segment::CHECK_EVERY;
use super::boundaries::{Boundary, Structure, for_each_line_run};
use super::markdown::line_start;
use crate::task::text::CodeLanguage;
use crate::task::{CancelHandle, TaskError};

/// Boundaries before a node of the tree: the higher up, the better.
const NODE_LEVEL: u32 = 10_000;
/// Boundaries after a line.
const LINE_LEVEL: u32 = 1;

/// How long a parse may take: some time for any text, and several times what real code needs per byte. What the parser does to recover from errors has no
/// bound of its own, and the steps that it reports do not tell how long they take.
const PARSE_TIME: Duration = Duration::from_secs(1);
const PARSE_TIME_PER_BYTE: Duration = Duration::from_micros(5);

/// When the parse of a text that begins now is given up.
pub(super) fn deadline(text: &str) -> Instant {
    Instant::now() + PARSE_TIME + PARSE_TIME_PER_BYTE * u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// Boundaries of a source file. Code with syntax errors has the structure that is left of it, and code that is not parsed at `deadline` that of its lines
/// ([`Structure::is_unparsed`]). Errors: cancellation; `Internal` when a grammar cannot be loaded.
pub(super) fn structure(text: &str, language: CodeLanguage, deadline: Instant, cancel: &CancelHandle) -> Result<Structure, TaskError> {
    let mut boundaries = Vec::new();
    for_each_line_run(text, |run, line_breaks| {
        boundaries.push(Boundary { at: line_start(text, run.end), level: LINE_LEVEL + u32::from(line_breaks > 1) });
    });
    let mut parser = Parser::new();
    parser.set_language(&grammar(language)).map_err(|error| TaskError::internal("a code grammar cannot be loaded", error.to_string()))?;
    let bytes = text.as_bytes();
    let is_late = || Instant::now() >= deadline;
    let mut stop = |_: &tree_sitter::ParseState| match cancel.is_cancelled() || is_late() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let options = ParseOptions::new().progress_callback(&mut stop);
    let tree = parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options));
    cancel.check()?;
    match tree {
        Some(tree) => {
            collect(&tree, text, &mut boundaries, cancel)?;
            Ok(Structure::new(boundaries))
        }
        None if is_late() => {
            let mut lines = Structure::new(boundaries);
            lines.is_unparsed = true;
            Ok(lines)
        }
        None => Err(TaskError::internal("the code could not be parsed", "")),
    }
}

/// Adds a boundary before every named node that begins a line. The depth is counted along: the cursor walks up to the root to tell it, which at every
/// node of a deep tree takes time with the square of the depth.
fn collect(tree: &Tree, text: &str, boundaries: &mut Vec<Boundary>, cancel: &CancelHandle) -> Result<(), TaskError> {
    let mut cursor = tree.walk();
    let (mut visited, mut depth) = (0_usize, 0_u32);
    // The end of the last comment, attribute or decorator: what follows on the next line belongs to it.
    let mut prefix_end: Option<usize> = None;
    loop {
        visited += 1;
        if visited.is_multiple_of(CHECK_EVERY) {
            cancel.check()?;
        }
        let node = cursor.node();
        let start = text.floor_char_boundary(node.start_byte());
        let at = line_start(text, start);
        let begins_line = at == 0 || text[..at].ends_with(['\n', '\r']);
        if node.is_named() && begins_line && !prefix_end.is_some_and(|end| follows_directly(text, end, start)) {
            boundaries.push(Boundary { at, level: NODE_LEVEL.saturating_sub(depth).max(LINE_LEVEL + 2) });
        }
        if is_prefix(node.kind()) {
            prefix_end = Some(text.floor_char_boundary(node.end_byte()));
        }
        if cursor.goto_first_child() {
            depth += 1;
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return Ok(());
            }
            depth -= 1;
        }
    }
}

fn is_prefix(kind: &str) -> bool {
    kind.contains("comment") || kind.contains("attribute_item") || kind == "decorator"
}

/// True when only white space with at most one line break lies between. A node inside the comment itself does not follow it.
fn follows_directly(text: &str, end: usize, start: usize) -> bool {
    text.get(end..start).is_some_and(|gap| gap.trim().is_empty() && gap.matches('\n').count() <= 1)
}

fn grammar(language: CodeLanguage) -> Language {
    match language {
        CodeLanguage::Rust => tree_sitter_rust::LANGUAGE.into(),
        CodeLanguage::Python => tree_sitter_python::LANGUAGE.into(),
        CodeLanguage::Javascript => tree_sitter_javascript::LANGUAGE.into(),
    }
}
