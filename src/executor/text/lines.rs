//! Which line breaks end a sentence.
//!
//! UAX #29 ends a sentence at every line break and leaves it to its users to take out those that only wrap a text. Here a single line break is a space
//! of the same length, so that offsets stay what they are, unless
//!
//! - a line before or after it is blank, or has neither letter nor digit, or the break is a paragraph separator (U+2029);
//! - the line after it begins as a list item, heading, quotation, table row or code fence, or the line before it is a heading (`#`);
//! - the line before it ends without punctuation, the line after it does not begin with a lower-case letter, and its first word would have had room on
//!   the line before: such lines were not filled but ended, as titles, lists without marks, verses and records are. The room is the width of the
//!   longest of the lines around: the two, and the one before them if it was not ended.
//!
//! So what a break means depends on three lines, and a text may be cut where a sentence is ended here without changing the answer.

use std::borrow::Cow;
use std::ops::Range;

use unicode_script::{Script, UnicodeScript};

/// List numbers have at most this many digits; longer ones are years and amounts.
const LIST_NUMBER_DIGITS_MAX: usize = 3;

/// The stretches of a text that are segmented as one line each; together they are the whole text.
pub(super) fn stretches(text: &str) -> Stretches<'_> {
    Stretches { text, at: 0 }
}

/// The stretch with its inner line breaks as spaces of the same length.
pub(super) fn as_one_line(stretch: &str) -> Cow<'_, str> {
    let body = stretch.strip_suffix("\r\n").or_else(|| stretch.strip_suffix(is_line_break)).unwrap_or(stretch);
    if !body.contains(is_line_break) {
        return Cow::Borrowed(stretch);
    }
    let mut line = String::with_capacity(stretch.len());
    for character in body.chars() {
        if is_line_break(character) {
            line.extend(std::iter::repeat_n(' ', character.len_utf8()));
        } else {
            line.push(character);
        }
    }
    line.push_str(&stretch[body.len()..]);
    Cow::Owned(line)
}

/// See [`stretches`].
pub(super) struct Stretches<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Stretches<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut line = Line::at(self.text, start)?;
        let mut width_before = 0;
        self.at = line.end;
        while let Some(next) = Line::at(self.text, line.end) {
            if ends_sentence(width_before, &line, &next) {
                break;
            }
            self.at = next.end;
            width_before = line.width;
            line = next;
        }
        Some(start..self.at)
    }
}

struct Line<'a> {
    /// Without white space at its ends.
    content: &'a str,
    /// In characters, with its indentation.
    width: usize,
    /// Past its line break.
    end: usize,
    separates_paragraphs: bool,
}

impl<'a> Line<'a> {
    fn at(text: &'a str, start: usize) -> Option<Self> {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let len = rest.find(is_line_break).unwrap_or(rest.len());
        let after = &rest[len..];
        let break_bytes = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        let filled = rest[..len].trim_end();
        Some(Self {
            content: filled.trim_start(),
            width: filled.chars().count(),
            end: start + len + break_bytes,
            separates_paragraphs: after.starts_with('\u{2029}'),
        })
    }
}

fn is_line_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn ends_sentence(width_before: usize, line: &Line<'_>, next: &Line<'_>) -> bool {
    if line.separates_paragraphs || is_heading(line.content) || begins_block(next.content) || !line.content.contains(char::is_alphanumeric)
    {
        return true;
    }
    let Some(first) = next.content.chars().find(|character| character.is_alphanumeric()) else { return true };
    if first.is_lowercase() || ends_with_punctuation(line.content) {
        return false;
    }
    // Scripts without spaces are wrapped anywhere.
    let wraps_anywhere = matches!(
        first.script(),
        Script::Han | Script::Hiragana | Script::Katakana | Script::Thai | Script::Lao | Script::Khmer | Script::Myanmar
    );
    let word = if wraps_anywhere { 1 } else { next.content.split_whitespace().next().map_or(0, |word| word.chars().count()) };
    line.width + 1 + word <= width_before.max(line.width).max(next.width)
}

fn is_heading(line: &str) -> bool {
    let title = line.trim_start_matches('#');
    title.len() < line.len() && title.starts_with(char::is_whitespace)
}

/// A list item, heading, quotation, table row or code fence.
fn begins_block(line: &str) -> bool {
    if line.starts_with(['>', '|']) || line.starts_with("```") || line.starts_with("~~~") || is_heading(line) {
        return true;
    }
    let mut characters = line.chars();
    let first = characters.next();
    let is_spaced = characters.next().is_none_or(char::is_whitespace);
    match first {
        Some('-' | '*' | '+' | '\u{2022}' | '\u{2023}' | '\u{25aa}' | '\u{25e6}' | '\u{b7}') if is_spaced => return true,
        // A dash begins what someone says, or goes on with a sentence.
        Some('\u{2013}' | '\u{2014}') if is_spaced => return !characters.as_str().trim_start().starts_with(char::is_lowercase),
        _ => {}
    }
    let line = line.strip_prefix('(').unwrap_or(line);
    let number = line.trim_start_matches(|character: char| character.is_ascii_digit());
    let digits = line.len() - number.len();
    let mark_end = match digits {
        1..=LIST_NUMBER_DIGITS_MAX => number.strip_prefix(['.', ')']),
        0 => line.strip_prefix(|character: char| character.is_ascii_alphabetic()).and_then(|rest| rest.strip_prefix(')')),
        _ => None,
    };
    mark_end.is_some_and(|rest| rest.starts_with(char::is_whitespace))
}

/// Closing quotation marks and brackets aside. Where a sentence ends at punctuation is left to UAX #29.
fn ends_with_punctuation(line: &str) -> bool {
    let bare =
        line.trim_end_matches(['"', '\'', ')', ']', '}', '*', '_', '\u{bb}', '\u{201d}', '\u{2019}', '\u{300d}', '\u{300f}', '\u{ff09}']);
    bare.chars().next_back().is_some_and(|last| !last.is_alphanumeric())
}
