//! `normalize`: cleans a text, step after step.

use std::borrow::Cow;

use caseless::Caseless;
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{UnicodeNormalization, is_nfc, is_nfd, is_nfkc, is_nfkd};
use unicode_script::{Script, UnicodeScript};

use super::html::html_to_text;
use super::segment::map_blocks;
use super::{DocumentOperation, TextScope};
use crate::task::TaskError;
use crate::task::text::{CaseFolding, LineEndings, NormalizeRequest, TextOutput, UnicodeForm, WhitespaceRule};

pub(super) struct Normalize;

impl DocumentOperation for Normalize {
    type Request = NormalizeRequest;
    type Output = TextOutput;
    const NAME: &'static str = "normalize";
    const SUMMARY: &'static str =
        "Cleans a text: HTML, line endings, Unicode form, control and zero-width characters, quotes, accents, case and white space.";
    // Compatibility forms can be up to 18 times longer; texts are taken to grow four times at most, in three copies.
    const BYTES_PER_BYTE: u64 = 12;

    fn bytes_per_byte(request: &NormalizeRequest) -> u64 {
        if request.html { super::html::HtmlToText::BYTES_PER_BYTE + Self::BYTES_PER_BYTE } else { Self::BYTES_PER_BYTE }
    }

    fn run(text: &str, request: &NormalizeRequest, scope: &TextScope<'_>) -> Result<TextOutput, TaskError> {
        let text = if request.html { Cow::Owned(html_to_text(text)?) } else { Cow::Borrowed(text) };
        // A line feed stays what it is in every step up to white space, so blocks are cleaned one by one.
        let blocks = map_blocks(&text, scope.cancel, |block, _offset| Ok(clean_block(block, request)))?;
        drop(text);
        let mut cleaned = blocks.concat();
        drop(blocks);
        match request.whitespace {
            WhitespaceRule::Keep => {}
            WhitespaceRule::Trim => cleaned = cleaned.trim().to_owned(),
            WhitespaceRule::Lines => cleaned = tidy_lines(&cleaned),
            WhitespaceRule::Collapse => cleaned = collapse(&cleaned),
        }
        if request.line_endings == LineEndings::Crlf {
            cleaned = cleaned.replace('\n', "\r\n");
        }
        Ok(TextOutput { text: cleaned })
    }
}

/// All steps but white space and CR LF. Characters are removed before the form is applied, since what they kept apart may compose, and the form is
/// applied again at the end, since case and accents leave it. Cleaning what is clean changes nothing.
fn clean_block(block: &str, request: &NormalizeRequest) -> String {
    let mut text = match request.line_endings {
        LineEndings::Keep => block.to_owned(),
        LineEndings::Lf | LineEndings::Crlf => with_line_feeds(block),
    };
    if request.strip_control {
        text.retain(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{85}'));
    }
    if request.strip_zero_width {
        text.retain(|c| !is_zero_width(c));
    }
    text = with_form(text, request.form);
    if request.straighten_quotes {
        text = straighten(&text);
    }
    let mut form = request.form;
    if request.strip_accents && !text.is_ascii() {
        text = strip_accents(&text);
        // Decomposition was only a means.
        if form == UnicodeForm::None {
            form = UnicodeForm::Nfc;
        }
    }
    if request.case != CaseFolding::Keep {
        text = with_case(&text, request.case);
        // The iota subscript is a mark until its case makes a letter of it, behind which other marks are accents.
        if request.strip_accents && !text.is_ascii() {
            text = strip_accents(&text);
        }
    }
    with_form(text, form)
}

fn with_case(text: &str, case: CaseFolding) -> String {
    match case {
        CaseFolding::Keep => text.to_owned(),
        CaseFolding::Lower => text.to_lowercase(),
        CaseFolding::Upper => text.to_uppercase(),
        CaseFolding::Fold => text.chars().default_case_fold().collect(),
    }
}

fn with_form(text: String, form: UnicodeForm) -> String {
    if text.is_ascii() {
        return text;
    }
    match form {
        UnicodeForm::Nfc if !is_nfc(&text) => text.nfc().collect(),
        UnicodeForm::Nfd if !is_nfd(&text) => text.nfd().collect(),
        UnicodeForm::Nfkc if !is_nfkc(&text) => text.nfkc().collect(),
        UnicodeForm::Nfkd if !is_nfkd(&text) => text.nfkd().collect(),
        _ => text,
    }
}

fn with_line_feeds(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {
                characters.next_if_eq(&'\n');
                clean.push('\n');
            }
            '\u{85}' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            other => clean.push(other),
        }
    }
    clean
}

/// Invisible format characters whose removal changes neither joining nor emoji.
fn is_zero_width(character: char) -> bool {
    matches!(
        character,
        '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' | '\u{180e}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
    )
}

fn straighten(text: &str) -> String {
    let mut straight = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{2035}' | '\u{2039}' | '\u{203a}' => straight.push('\''),
            '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{2036}' | '\u{ab}' | '\u{bb}' => straight.push('"'),
            '\u{2010}'..='\u{2015}' | '\u{2212}' => straight.push('-'),
            '\u{2026}' => straight.push_str("..."),
            other => straight.push(other),
        }
    }
    straight
}

/// Drops combining marks that follow a Latin, Greek or Cyrillic letter; in other scripts they are vowels and tones.
pub(super) fn strip_accents(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut strips = true;
    for character in text.nfd() {
        if is_combining_mark(character) {
            if !strips {
                bare.push(character);
            }
            continue;
        }
        strips = matches!(character.script(), Script::Latin | Script::Greek | Script::Cyrillic | Script::Common);
        bare.push(character);
    }
    bare
}

/// Line endings stay what they are.
fn tidy_lines(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let (mut blank, mut ending) = (0, "\n");
    for raw in text.split_inclusive('\n') {
        let line = collapse(raw);
        if line.is_empty() {
            blank += 1;
            continue;
        }
        if !tidy.is_empty() {
            tidy.push_str(ending);
            tidy.push_str(if blank > 0 { ending } else { "" });
        }
        blank = 0;
        ending = if raw.ends_with("\r\n") { "\r\n" } else { "\n" };
        tidy.push_str(&line);
    }
    tidy
}

/// Every run of white space as one space, none at the ends.
pub(super) fn collapse(text: &str) -> String {
    let mut collapsed = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !collapsed.is_empty() {
            collapsed.push(' ');
        }
        collapsed.push_str(word);
    }
    collapsed
}
