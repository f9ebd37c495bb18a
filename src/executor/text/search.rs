//! `search`: many patterns at once, through differences of case and form.
//!
//! Text and patterns are folded user-perceived character by user-perceived character; matches must begin and end between them, so a folded match is a
//! match of the source.

use std::ops::Range;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, StartKind};
use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use super::documents::{answer, cost_of, matches_bytes};
use super::normalize::strip_accents;
use super::offsets::CharOffsets;
use super::segment::{blocks, for_each_word_segment};
use super::{Operation, TextScope, TextState};
use crate::executor::operation::Cost;
use crate::task::text::{
    MATCHES_MAX, PATTERN_BYTES_MAX, PATTERNS_BYTES_MAX, PATTERNS_MAX, SearchMatch, SearchNormalization, SearchOutput, SearchRequest,
    TextAnswer, TextRequest, check_range,
};
use crate::task::{CancelHandle, Parts, TaskError};
use rayon::prelude::*;

/// The folded text and where it differs in length.
const BYTES_PER_BYTE: u64 = 24;
/// States of two automata per byte of the patterns.
const AUTOMATA_BYTES_PER_BYTE: u64 = 128;
/// How many candidates pass between two looks at the cancellation token.
const CHECK_EVERY: usize = 256;

pub(super) struct Search;

impl Operation<TextState> for Search {
    type Request = SearchRequest;
    type Output = TextAnswer<SearchOutput>;
    const NAME: &'static str = "search";
    const SUMMARY: &'static str = "Finds many words at once, through differences of case, Unicode form and accents.";

    fn check(request: &SearchRequest, _state: &TextState, _parts: &Parts) -> Result<Cost, TaskError> {
        let input = request.input()?;
        check_range("patterns", request.patterns.len(), 1..=PATTERNS_MAX)?;
        check_range("matches_max", request.matches_max, 1..=MATCHES_MAX)?;
        for (idx, pattern) in request.patterns.iter().enumerate() {
            if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX || fold(pattern, request).is_empty() {
                let reason = format!(
                    "found {} bytes; 1 to {PATTERN_BYTES_MAX} are allowed, and something must be left after folding",
                    pattern.len()
                );
                return Err(TaskError::invalid(format!("patterns[{idx}]"), reason));
            }
        }
        let patterns_bytes: usize = request.patterns.iter().map(String::len).sum();
        if patterns_bytes > PATTERNS_BYTES_MAX {
            return Err(TaskError::invalid(
                "patterns",
                format!("found {patterns_bytes} bytes together; at most {PATTERNS_BYTES_MAX} are allowed"),
            ));
        }
        let mut cost = cost_of(input, BYTES_PER_BYTE);
        let automata = (patterns_bytes as u64).saturating_mul(AUTOMATA_BYTES_PER_BYTE);
        cost.host_bytes = cost.host_bytes.saturating_add(automata).saturating_add(matches_bytes(input, request.matches_max));
        Ok(cost)
    }

    fn run(request: &SearchRequest, scope: &TextScope<'_>) -> Result<TextAnswer<SearchOutput>, TaskError> {
        let folded: Vec<String> = request.patterns.iter().map(|pattern| fold(pattern, request)).collect();
        let build = |kind: MatchKind, start: StartKind| {
            let built = AhoCorasick::builder().match_kind(kind).start_kind(start).build(&folded);
            built.map_err(|error| TaskError::invalid("patterns", error.to_string()))
        };
        let finder = Finder {
            longest: build(MatchKind::LeftmostLongest, StartKind::Unanchored)?,
            every: build(MatchKind::Standard, StartKind::Both)?,
            crosses_lines: request.patterns.iter().any(|pattern| pattern.contains(['\n', '\r'])),
            request,
        };
        answer(request, scope, |text| finder.search(text, scope.cancel))
    }
}

struct Finder<'a> {
    longest: AhoCorasick,
    /// Finds the shorter matches at a place where the longest one is not allowed.
    every: AhoCorasick,
    crosses_lines: bool,
    request: &'a SearchRequest,
}

impl Finder<'_> {
    fn search(&self, text: &str, cancel: &CancelHandle) -> Result<SearchOutput, TaskError> {
        let ranges = if self.crosses_lines { std::iter::once(0..text.len()).collect() } else { blocks(text) };
        let found: Vec<Vec<(usize, Range<usize>)>> = ranges
            .into_par_iter()
            .map(|block| {
                cancel.check()?;
                self.search_block(&text[block.clone()], block.start, cancel)
            })
            .collect::<Result<_, TaskError>>()?;
        let mut counts = vec![0; self.request.patterns.len()];
        let mut matches = Vec::new();
        let mut count = 0;
        let mut characters = CharOffsets::new(text);
        for (pattern_idx, range) in found.into_iter().flatten() {
            count += 1;
            counts[pattern_idx] += 1;
            if matches.len() < self.request.matches_max {
                matches.push(SearchMatch {
                    pattern_idx,
                    start_char: characters.at(range.start),
                    end_char: characters.at(range.end),
                    start_byte: range.start,
                    end_byte: range.end,
                    text: text[range].to_owned(),
                });
            }
        }
        Ok(SearchOutput { truncated: matches.len() < count, matches, count, counts })
    }

    fn search_block(&self, block: &str, offset: usize, cancel: &CancelHandle) -> Result<Vec<(usize, Range<usize>)>, TaskError> {
        let folded = Folded::of(block, self.request);
        let words = if self.request.whole_word { Some(word_boundaries(block, cancel)?) } else { None };
        let source_of = |found: Range<usize>| -> Option<Range<usize>> {
            let source = folded.source(found.start)?..folded.source(found.end)?;
            let at_boundary = |at: usize| words.as_ref().is_none_or(|words| words.binary_search(&at).is_ok());
            (at_boundary(source.start) && at_boundary(source.end)).then_some(source)
        };
        let mut found = Vec::new();
        let mut from = 0;
        let mut steps = 0_usize;
        while let Some(longest) = self.longest.find(Input::new(&folded.text).range(from..)) {
            steps += 1;
            if steps.is_multiple_of(CHECK_EVERY) {
                cancel.check()?;
            }
            let start = longest.start();
            let allowed = match source_of(longest.range()) {
                Some(source) => Some((longest.pattern().as_usize(), longest.end(), source)),
                None => self.shorter(&folded.text, start..longest.end(), &source_of),
            };
            from = match allowed {
                Some((pattern, end, source)) => {
                    found.push((pattern, source.start + offset..source.end + offset));
                    end
                }
                None => folded.text.ceil_char_boundary(start + 1),
            };
        }
        Ok(found)
    }

    /// The longest allowed match that begins where the window does.
    fn shorter<F>(&self, folded: &str, window: Range<usize>, source_of: &F) -> Option<(usize, usize, Range<usize>)>
    where
        F: Fn(Range<usize>) -> Option<Range<usize>>,
    {
        let input = Input::new(folded).range(window.clone()).anchored(Anchored::Yes);
        let all = self.every.try_find_overlapping_iter(input).ok()?;
        all.filter(|found| found.start() == window.start)
            .filter_map(|found| source_of(found.range()).map(|source| (found.pattern().as_usize(), found.end(), source)))
            .max_by_key(|(_, end, _)| *end)
    }
}

/// A folded text and the way back to its source.
struct Folded {
    text: String,
    /// `(folded, source)` places between characters, sorted; between two neighbours either every byte maps to one byte, or nothing but the ends maps.
    places: Vec<(usize, usize)>,
    /// For each stretch between neighbours of `places`: its bytes are ASCII and map one to one.
    straight: Vec<bool>,
}

impl Folded {
    fn of(source: &str, request: &SearchRequest) -> Self {
        let mut folded = Self { text: String::with_capacity(source.len()), places: vec![(0, 0)], straight: Vec::new() };
        let bytes = source.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            // ASCII up to the last byte before something else: that byte may be the base of a combining mark. CR LF stays within.
            let run = bytes[at..].iter().position(|byte| !byte.is_ascii()).map_or(bytes.len() - at, |len| len.saturating_sub(1));
            if run > 0 {
                folded.text.extend(source[at..at + run].chars().map(|c| if request.fold_case { c.to_ascii_lowercase() } else { c }));
                at += run;
                folded.straight.push(true);
            } else {
                let Some(grapheme) = source[at..].graphemes(true).next() else { break };
                fold_into(grapheme, request, &mut folded.text);
                at += grapheme.len();
                folded.straight.push(false);
            }
            folded.places.push((folded.text.len(), at));
        }
        folded
    }

    /// The place in the source of a place in the folded text; `None` inside a character.
    fn source(&self, folded: usize) -> Option<usize> {
        let next = self.places.partition_point(|&(place, _)| place < folded);
        match self.places.get(next) {
            Some(&(place, source)) if place == folded => Some(source),
            Some(_) if next > 0 && self.straight[next - 1] => {
                let (place, source) = self.places[next - 1];
                Some(source + (folded - place))
            }
            _ => None,
        }
    }
}

fn fold(pattern: &str, request: &SearchRequest) -> String {
    let mut folded = String::with_capacity(pattern.len());
    for grapheme in pattern.graphemes(true) {
        fold_into(grapheme, request, &mut folded);
    }
    folded
}

fn fold_into(grapheme: &str, request: &SearchRequest, folded: &mut String) {
    let cased = |text: &mut dyn Iterator<Item = char>| -> String {
        if request.fold_case { text.default_case_fold().collect() } else { text.collect() }
    };
    match request.normalization {
        SearchNormalization::None => folded.push_str(&cased(&mut grapheme.chars())),
        SearchNormalization::Canonical => folded.extend(cased(&mut grapheme.nfd()).nfc()),
        SearchNormalization::Compatibility => folded.extend(cased(&mut cased(&mut grapheme.nfd()).nfkd()).nfkc()),
        SearchNormalization::Accents => {
            let compatible: String = cased(&mut grapheme.nfd()).nfkd().collect();
            folded.extend(cased(&mut strip_accents(&compatible).chars()).nfc());
        }
    }
}

fn word_boundaries(block: &str, cancel: &CancelHandle) -> Result<Vec<usize>, TaskError> {
    let mut boundaries = vec![0];
    for_each_word_segment(block, cancel, |range, _is_word| boundaries.push(range.end))?;
    Ok(boundaries)
}
