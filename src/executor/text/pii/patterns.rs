//! Where each kind may be, and whether it is there. Candidates are found by expressions, then checked by code.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::numbers::{iban_length, is_card, is_iban, is_us_ssn};
use crate::task::text::PiiKind;
use crate::task::{CancelHandle, TaskError};

/// How many candidates pass between two looks at the cancellation token.
const CHECK_EVERY: usize = 1_024;

/// How far a word before a number is looked at.
const CODE_WORD_CHARS: usize = 32;
/// Fewer digits than any IBAN has: lower-case words between two digits are no account.
const IBAN_DIGITS_MIN: usize = 10;

fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the expressions of this file are tested")
}

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| compile(r"[\p{L}\p{N}._%+'-]+@(?:[\p{L}\p{N}-]+\.)+(?:(?i:xn--)[0-9A-Za-z-]*[0-9A-Za-z]|\p{L}{2,})"));
static URL: LazyLock<Regex> = LazyLock::new(|| compile(r#"(?i)(?:(?:https?|ftps?|sftp|wss?)://|www\.)[^\s<>"'`{}|\\^]+"#));
static IBAN_HEAD: LazyLock<Regex> = LazyLock::new(|| compile(r"[A-Za-z]{2}[0-9]{2}[ \x{a0}\x{202f}-]?[A-Za-z0-9]"));
static DIGIT_GROUPS: LazyLock<Regex> = LazyLock::new(|| compile(r"[0-9]+(?:[ \x{a0}\x{202f}-][0-9]+)*"));
static IPV4: LazyLock<Regex> = LazyLock::new(|| compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"));
static IPV6: LazyLock<Regex> = LazyLock::new(|| compile(r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:\.[0-9]{1,3}){0,3}"));
static MAC: LazyLock<Regex> = LazyLock::new(|| compile(r"[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})"));
static US_SSN: LazyLock<Regex> = LazyLock::new(|| compile(r"([0-9]{3})(?:-([0-9]{2})-| ([0-9]{2}) )([0-9]{4})"));
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    compile(concat!(
        r"\(?(?:\+|00)[1-9](?:[ \x{a0}\x{202f}./()-]{0,2}[0-9]){6,14}",
        r"|(?:\+?1[ \x{a0}\x{202f}.-])?\(?[2-9][0-9]{2}\)?[ \x{a0}\x{202f}.-][2-9][0-9]{2}[ \x{a0}\x{202f}.-][0-9]{4}",
        r"|\(?0[1-9][0-9]{0,4}\)?(?:[ \x{a0}\x{202f}./-][0-9]{2,8}){1,4}",
    ))
});

/// Calls `each` with every find of `kind`. Errors: cancellation.
pub(super) fn scan(kind: PiiKind, text: &str, cancel: &CancelHandle, each: &mut dyn FnMut(Range<usize>)) -> Result<(), TaskError> {
    let regex = match kind {
        PiiKind::Email => &*EMAIL,
        PiiKind::Url => &*URL,
        PiiKind::Iban => &*IBAN_HEAD,
        PiiKind::Card => &*DIGIT_GROUPS,
        PiiKind::Ipv4 => &*IPV4,
        PiiKind::Ipv6 => &*IPV6,
        PiiKind::Mac => &*MAC,
        PiiKind::UsSsn => &*US_SSN,
        PiiKind::Phone => &*PHONE,
    };
    let (mut at, mut count) = (0, 0_usize);
    while let Some(found) = regex.find_at(text, at) {
        count += 1;
        if count.is_multiple_of(CHECK_EVERY) {
            cancel.check()?;
        }
        let range = found.range();
        if kind == PiiKind::Card {
            at = range.end;
            cards(text, range, each);
        } else if let Some(verified) = verify(kind, text, range.clone()) {
            at = range.end.max(verified.end);
            each(verified);
        } else {
            at = after_refusal(kind, text, range);
        }
    }
    Ok(())
}

/// Where the search goes on: in a refused number another one may begin.
fn after_refusal(kind: PiiKind, text: &str, range: Range<usize>) -> usize {
    match kind {
        PiiKind::Iban => range.start + 1,
        PiiKind::Phone => {
            let number = &text[range.clone()];
            let digits = number.trim_start_matches(|character: char| !character.is_ascii_digit());
            range.end - digits.trim_start_matches(|character: char| character.is_ascii_digit()).len()
        }
        _ => range.end,
    }
}

fn verify(kind: PiiKind, text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let alone = |range: &Range<usize>| !follows_word(text, range.start) && !precedes_word(text, range.end);
    match kind {
        PiiKind::Email => email(text, range),
        PiiKind::Url => (!follows_word(text, range.start)).then(|| trim_url(text, range)).flatten(),
        PiiKind::Iban => iban(text, range.start),
        PiiKind::Ipv4 => {
            let is_part = text[..range.start].ends_with('.') || text[range.end..].starts_with('.') && starts_digit(&text[range.end + 1..]);
            (alone(&range) && !is_part && text[range.clone()].parse::<Ipv4Addr>().is_ok()).then_some(range)
        }
        PiiKind::Ipv6 => ipv6(text, range),
        PiiKind::Mac => {
            let is_part = text[..range.start].ends_with([':', '-']) || text[range.end..].starts_with([':', '-']);
            (alone(&range) && !is_part).then_some(range)
        }
        PiiKind::UsSsn => {
            let number = &text[range.clone()];
            let is_part = text[..range.start].ends_with('-') || text[range.end..].starts_with('-');
            (alone(&range) && !is_part && is_us_ssn(&number[..3], &number[4..6], &number[7..])).then_some(range)
        }
        PiiKind::Phone => phone(text, range),
        PiiKind::Card => None,
    }
}

fn follows_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_some_and(|character| character.is_alphanumeric() || character == '_')
}

fn precedes_word(text: &str, at: usize) -> bool {
    text[at..].chars().next().is_some_and(|character| character.is_alphanumeric() || character == '_')
}

/// True when a digit stands before the character that ends at `at`: that character is then inside a number.
fn follows_digit(text: &str, at: usize) -> bool {
    text[..at].chars().rev().nth(1).is_some_and(|character| character.is_ascii_digit())
}

/// True when a hyphen or full stop before `at` joins it to a word with a digit, as in a UUID.
fn continues_code(text: &str, at: usize) -> bool {
    let Some(before) = text[..at].strip_suffix(['-', '.']) else { return false };
    before.chars().rev().take(CODE_WORD_CHARS).take_while(|character| character.is_alphanumeric()).any(|character| character.is_numeric())
}

fn starts_digit(text: &str) -> bool {
    text.starts_with(|character: char| character.is_ascii_digit())
}

/// The lengths of RFC 5321, and no full stop or hyphen where a part may not have one. An ellipsis before an address belongs to the sentence.
fn email(text: &str, mut range: Range<usize>) -> Option<Range<usize>> {
    let local = text[range.clone()].split('@').next().unwrap_or_default();
    range.start += local.rfind("..").map_or(0, |dots| dots + 2);
    let start = range.start + (range.len() - text[range.clone()].trim_start_matches(['.', '\'']).len());
    let address = &text[start..range.end];
    let (local, domain) = address.split_once('@')?;
    let is_part = precedes_word(text, range.end) || text[range.end..].starts_with('@') || text[..start].ends_with('@');
    let is_local = (1..=64).contains(&local.len()) && !local.ends_with('.');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    (!is_part && is_local && domain.len() <= 255 && domain.split('.').all(is_label)).then_some(start..range.end)
}

/// Punctuation after a URL belongs to the sentence, and so does a closing bracket that the URL did not open.
fn trim_url(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let mut url = &text[range.clone()];
    loop {
        let shorter =
            url.trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_', '~', '\u{3002}', '\u{ff0c}', '\u{ff1b}', '\u{ff01}', '\u{ff1f}']);
        let unopened = [('(', ')'), ('[', ']')]
            .into_iter()
            .any(|(open, close)| shorter.ends_with(close) && shorter.matches(open).count() < shorter.matches(close).count());
        let shorter = if unopened { &shorter[..shorter.len() - 1] } else { shorter };
        if shorter.len() == url.len() {
            break;
        }
        url = shorter;
    }
    let host = url.split_once("://").map_or_else(|| url.get(4..).unwrap_or_default(), |(_, host)| host);
    host.starts_with(|character: char| character.is_alphanumeric() || character == '[').then(|| range.start..range.start + url.len())
}

/// Takes as many letters and digits as the country's IBAN has, single spaces or hyphens between them.
fn iban(text: &str, start: usize) -> Option<Range<usize>> {
    if follows_word(text, start) {
        return None;
    }
    let length = iban_length(&text[start..start + 2].to_ascii_uppercase())?;
    let mut compact = Vec::with_capacity(length);
    let mut end = start;
    for (at, character) in text[start..].char_indices() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' => {
                compact.push(character.to_ascii_uppercase() as u8);
                end = start + at + 1;
            }
            ' ' | '-' | '\u{a0}' | '\u{202f}' if end == start + at => {}
            _ => break,
        }
        if compact.len() == length {
            break;
        }
    }
    let digits = compact.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_whole = compact.len() == length && !precedes_word(text, end);
    (is_whole && digits >= IBAN_DIGITS_MIN && is_iban(&compact)).then_some(start..end)
}

/// Looks for cards that begin and end with groups of a run of digits.
fn cards(text: &str, run: Range<usize>, each: &mut dyn FnMut(Range<usize>)) {
    if follows_word(text, run.start) || precedes_word(text, run.end) || continues_code(text, run.start) {
        return;
    }
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut start = run.start;
    for at in run.clone() {
        if !text.as_bytes()[at].is_ascii_digit() {
            // Separators may have several bytes.
            if start < at {
                groups.push(start..at);
            }
            start = at + 1;
        }
    }
    groups.push(start..run.end);
    let mut first = 0;
    while first < groups.len() {
        let mut digits: Vec<u8> = Vec::new();
        let mut longest = None;
        for (last, group) in groups.iter().enumerate().skip(first) {
            if digits.len() + group.len() > 19 {
                break;
            }
            digits.extend_from_slice(&text.as_bytes()[group.clone()]);
            if is_card(&digits) {
                longest = Some(last);
            }
        }
        match longest {
            Some(last) => {
                each(groups[first].start..groups[last].end);
                first = last + 1;
            }
            None => first += 1,
        }
    }
}

fn ipv6(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let mut end = range.end;
    while end > range.start && !precedes_word(text, end) {
        let address = &text[range.start..end];
        if address.parse::<Ipv6Addr>().is_ok() {
            // `a::b` is more often code than an address.
            let says_enough = address.bytes().any(|byte| byte.is_ascii_digit()) || address.matches(':').count() > 3;
            let is_part =
                follows_word(text, range.start) || text[..range.start].ends_with(':') || text[end..].starts_with(':') && end == range.end;
            return (says_enough && !is_part).then_some(range.start..end);
        }
        // A colon or full stop after an address belongs to the sentence.
        if !address.ends_with([':', '.']) {
            return None;
        }
        end -= 1;
    }
    None
}

fn phone(text: &str, mut range: Range<usize>) -> Option<Range<usize>> {
    let brackets = |number: &str| number.matches('(').count() == number.matches(')').count();
    // A bracket around the number and more belongs to the sentence.
    if text[range.clone()].starts_with('(') && !brackets(&text[range.clone()]) {
        range.start += 1;
    }
    let number = &text[range.clone()];
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let before = &text[..range.start];
    // Nothing but a plus sign begins a number for certain: `17,+49 30` are two fields, `17,030` may be one.
    let joins = if number.starts_with(['+', '(']) { ['.', '-'].as_slice() } else { ['.', '-', ':', ','].as_slice() };
    let is_part = follows_word(text, range.start)
        || precedes_word(text, range.end)
        || before.ends_with(['/', '+'])
        || before.ends_with(joins) && follows_digit(text, range.start)
        || continues_code(text, range.start)
        || text[range.end..].starts_with(['-', '/', ':']) && starts_digit(&text[range.end + 1..]);
    (!is_part && brackets(number) && (7..=15).contains(&digits) && !is_date(number)).then_some(range)
}

/// `01.02.2023`, `01/02/2023`, `01-02-23` and the like.
fn is_date(number: &str) -> bool {
    let groups: Vec<&str> = number.split(['.', '/', '-']).collect();
    let [day, month, year] = groups.as_slice() else { return false };
    let at_most = |group: &str, max: u32| group.len() <= 2 && group.parse::<u32>().is_ok_and(|value| (1..=max).contains(&value));
    at_most(day, 31) && at_most(month, 31) && matches!(year.len(), 2 | 4)
}
