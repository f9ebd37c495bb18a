//! Rust text with comments and literals blanked out, so that rules look at code alone. Lines and columns stay where they are.

/// The text with every comment, string, byte string and character literal replaced by blanks (line ends kept).
pub(crate) fn code_only(text: &str) -> String {
    blank(text, Keep::Code)
}

/// The text with everything but comments replaced by blanks.
pub(crate) fn comments_only(text: &str) -> String {
    blank(text, Keep::Comments)
}

#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Code,
    Comments,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

fn blank(text: &str, keep: Keep) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let (kind, end) = piece(&chars, at);
        let kept = matches!((keep, kind), (Keep::Code, Kind::Code) | (Keep::Comments, Kind::Comment));
        out.extend(chars[at..end].iter().map(|&c| if kept || c == '\n' { c } else { ' ' }));
        at = end;
    }
    out
}

/// The kind of what begins at `at`, and where it ends.
fn piece(chars: &[char], at: usize) -> (Kind, usize) {
    let next = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let after_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next(1) == '/' => (Kind::Comment, line_end(chars, at)),
        '/' if next(1) == '*' => (Kind::Comment, block_end(chars, at)),
        '"' => (Kind::Literal, string_end(chars, at + 1)),
        'b' | 'c' | 'r' if !after_word => match prefixed_literal_end(chars, at) {
            Some(end) => (Kind::Literal, end),
            None => (Kind::Code, at + 1),
        },
        '\'' => match char_end(chars, at) {
            Some(end) => (Kind::Literal, end),
            None => (Kind::Code, at + 1),
        },
        _ => (Kind::Code, at + 1),
    }
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |offset| at + offset)
}

fn block_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (0usize, at);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

/// `at` is behind the opening quote.
fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of `b"…"`, `r#"…"#`, `br"…"`, `c"…"`, `b'…'`; `None` for an identifier (raw ones included).
fn prefixed_literal_end(chars: &[char], at: usize) -> Option<usize> {
    let mut end = at;
    while matches!(chars.get(end), Some('b' | 'c' | 'r')) && end - at < 2 {
        end += 1;
    }
    let raw = chars[at..end].contains(&'r');
    let hashes = chars[end..].iter().take_while(|&&c| c == '#').count();
    match chars.get(end + hashes)? {
        '"' if raw => Some(raw_end(chars, end + hashes + 1, hashes)),
        '"' if hashes == 0 => Some(string_end(chars, end + 1)),
        '\'' if hashes == 0 && chars[at..end] == ['b'] => char_end(chars, end),
        _ => None,
    }
}

fn raw_end(chars: &[char], from: usize, hashes: usize) -> usize {
    let closes = |at: usize| chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
    (from..chars.len()).find(|&at| closes(at)).map_or(chars.len(), |at| (at + 1 + hashes).min(chars.len()))
}

/// The end of a character literal; `None` for a lifetime.
fn char_end(chars: &[char], at: usize) -> Option<usize> {
    if chars.get(at + 1) == Some(&'\\') {
        let closing = chars.get(at + 3..)?.iter().take(12).position(|&c| c == '\'')?;
        return Some(at + 3 + closing + 1);
    }
    (chars.get(at + 2) == Some(&'\'')).then_some(at + 3)
}
