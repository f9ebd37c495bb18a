//! The files of the house, with what the rules need to know of each: its code without literals, and which lines are tests.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::lexer::{code_only, comments_only, is_word};

/// A rule that is not kept, at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Breach {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) advice: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.advice)
    }
}

/// One Rust file.
pub(crate) struct Source {
    /// Path from the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
    pub(crate) comments: String,
    /// For each line (from 0) whether it is test code.
    test_lines: Vec<bool>,
}

/// Every Rust file of the repository, and every other text file that is ours.
pub(crate) struct House {
    pub(crate) sources: Vec<Source>,
    /// Path and text of manifests, scripts and documents.
    pub(crate) texts: Vec<(String, String)>,
}

const FOLDERS: [&str; 9] = ["src", "kernels", "models", "tests", "benches", "fuzz", "scripts", "examples", ".ci"];
const TEXT_ENDINGS: [&str; 6] = ["toml", "md", "sh", "py", "yml", "yaml"];

impl House {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut house = Self { sources: Vec::new(), texts: Vec::new() };
        house.take_folder(root, root, 0);
        house.sources.sort_by(|a, b| a.path.cmp(&b.path));
        house
    }

    fn take_folder(&mut self, root: &Path, folder: &Path, depth: usize) {
        for entry in fs::read_dir(folder).expect("the repository can be listed") {
            let path = entry.expect("the repository can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                let ours = if depth == 0 { FOLDERS.contains(&name.as_str()) } else { name != "target" && !name.starts_with('.') };
                if ours {
                    self.take_folder(root, &path, depth + 1);
                }
                continue;
            }
            let relative = path.strip_prefix(root).expect("it was listed below the root").to_string_lossy().replace('\\', "/");
            let ending = relative.rsplit_once('.').map_or("", |(_, ending)| ending);
            if ending == "rs" {
                self.sources.push(Source::new(relative, read_text(&path)));
            } else if TEXT_ENDINGS.contains(&ending) || ["justfile", ".ci/run"].contains(&relative.as_str()) {
                self.texts.push((relative, read_text(&path)));
            }
        }
    }
}

fn read_text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{} cannot be read as text: {error}", path.display()))
}

impl Source {
    pub(crate) fn new(path: String, text: String) -> Self {
        let (code, comments) = (code_only(&text), comments_only(&text));
        let whole = is_test_file(&path);
        let mut test_lines = vec![whole; text.lines().count()];
        for (from, to) in test_items(&code) {
            test_lines[line_of(&code, from)..=line_of(&code, to)].fill(true);
        }
        Self { path, text, code, comments, test_lines }
    }

    /// Whether that line (from 0) is test code.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.get(line).copied().unwrap_or(false)
    }

    /// Lines of code with their number from 0.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate()
    }

    pub(crate) fn breach(&self, line: usize, advice: impl Into<String>) -> Breach {
        Breach { path: self.path.clone(), line: line + 1, advice: advice.into() }
    }

    /// The file's name without its ending.
    pub(crate) fn stem(&self) -> &str {
        self.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or(&self.path)
    }
}

fn is_test_file(path: &str) -> bool {
    let folders = ["tests/", "benches/", "fuzz/", "examples/"];
    folders.iter().any(|folder| path.starts_with(folder) || path.contains(&format!("/{folder}"))) || path.ends_with("/tests.rs")
}

/// Byte ranges of the items under `#[cfg(test)]`: to the end of their block, or to the semicolon.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start + "#[cfg(test)]".len());
        items.push((start, end));
        from = end;
    }
    items
}

/// The end of the item that begins at `from`: its closing brace, or its semicolon when that comes first.
pub(crate) fn item_end(code: &str, from: usize) -> usize {
    let rest = &code[from..];
    match rest.find(['{', ';']) {
        Some(at) if rest[at..].starts_with('{') => block_end(code, from + at),
        Some(at) => from + at,
        None => code.len().saturating_sub(1),
    }
}

/// Where the block that opens at `open` closes.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (offset, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open + offset;
        }
    }
    code.len().saturating_sub(1)
}

/// The line (from 0) of a byte position.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}

/// Positions at which `word` stands alone: no letter, digit or underscore before or behind it.
pub(crate) fn word_positions<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back().is_none_or(|c| !is_word(c));
        let behind = code[at + word.len()..].chars().next().is_none_or(|c| !is_word(c));
        let open_ended = !word.ends_with(is_word);
        before && (open_ended || behind)
    })
}
