//! How far a budget reaches: characters, words or sentences, tokens of a model.

use std::ops::Range;

use crate::task::text::TextTokenizer;
use crate::task::{CancelHandle, TaskError};

/// Measures stretches of one text.
pub(super) trait Meter {
    /// The furthest end such that `start..end` fits the budget; always past `start` while there is text.
    fn reach(&self, start: usize) -> usize;

    /// The earliest start, not before `floor`, such that `start..end` fits the overlap.
    fn reach_back(&self, floor: usize, end: usize) -> usize;

    /// The size of a chunk. Errors: those of a model.
    fn size(&self, range: Range<usize>) -> Result<usize, TaskError>;

    /// An earlier reach for a chunk that turned out `excess` units too large, or `None` when nothing less is left.
    fn shrink(&self, _start: usize, _reach: usize, _excess: usize) -> Option<usize> {
        None
    }

    /// The budget.
    fn budget(&self) -> usize;
}

/// Counts Unicode scalar values.
pub(super) struct CharacterMeter<'a> {
    pub(super) text: &'a str,
    pub(super) size: usize,
    pub(super) overlap: usize,
}

impl Meter for CharacterMeter<'_> {
    fn reach(&self, start: usize) -> usize {
        let rest = &self.text[start..];
        // In ASCII, and in any text shorter than the budget, bytes decide.
        match rest.as_bytes().get(..self.size) {
            None => self.text.len(),
            Some(head) if head.is_ascii() => start + self.size,
            Some(_) => rest.char_indices().nth(self.size).map_or(self.text.len(), |(at, _)| start + at),
        }
    }

    fn reach_back(&self, floor: usize, end: usize) -> usize {
        let Some(last) = self.overlap.checked_sub(1) else { return end };
        self.text[floor..end].char_indices().rev().nth(last).map_or(floor, |(at, _)| floor + at)
    }

    fn size(&self, range: Range<usize>) -> Result<usize, TaskError> {
        Ok(self.text[range].chars().count())
    }

    fn budget(&self) -> usize {
        self.size
    }
}

/// Counts units (words, sentences) by where they begin.
pub(super) struct UnitMeter {
    starts: Vec<usize>,
    text_len: usize,
    size: usize,
    overlap: usize,
}

impl UnitMeter {
    /// A meter for units in the order of the text.
    pub(super) fn new(text: &str, units: &[Range<usize>], size: usize, overlap: usize) -> Self {
        Self { starts: units.iter().map(|unit| unit.start).collect(), text_len: text.len(), size, overlap }
    }

    fn first_from(&self, byte: usize) -> usize {
        self.starts.partition_point(|&start| start < byte)
    }
}

impl Meter for UnitMeter {
    fn reach(&self, start: usize) -> usize {
        self.starts.get(self.first_from(start) + self.size).copied().unwrap_or(self.text_len)
    }

    fn reach_back(&self, floor: usize, end: usize) -> usize {
        if self.overlap == 0 {
            return end;
        }
        let past = self.first_from(end);
        past.checked_sub(self.overlap).and_then(|idx| self.starts.get(idx)).map_or(floor, |&start| start.max(floor))
    }

    fn size(&self, range: Range<usize>) -> Result<usize, TaskError> {
        Ok(self.first_from(range.end) - self.first_from(range.start))
    }

    fn budget(&self) -> usize {
        self.size
    }
}

/// A tokenizer, and what stops it.
#[derive(Clone, Copy)]
pub(super) struct LentTokenizer<'a> {
    pub(super) tokenizer: &'a dyn TextTokenizer,
    pub(super) cancel: &'a CancelHandle,
}

/// Counts a model's tokens. The tokens of the whole text say where to look; the tokens of the chunk itself decide, since a chunk that stands
/// alone may be cut into other tokens than the same stretch inside the text.
pub(super) struct TokenMeter<'a> {
    text: &'a str,
    lent: LentTokenizer<'a>,
    units: UnitMeter,
}

impl<'a> TokenMeter<'a> {
    /// Tokenises the text once. Errors: those of the model.
    pub(super) fn new(text: &'a str, lent: LentTokenizer<'a>, size: usize, overlap: usize) -> Result<Self, TaskError> {
        let tokens = lent.tokenizer.tokens(text, lent.cancel)?;
        let mut starts: Vec<usize> = tokens.iter().map(|token| text.floor_char_boundary(token.bytes.start)).collect();
        starts.sort_unstable();
        Ok(Self { text, lent, units: UnitMeter { starts, text_len: text.len(), size, overlap } })
    }
}

impl Meter for TokenMeter<'_> {
    fn reach(&self, start: usize) -> usize {
        let reach = self.units.reach(start);
        // Several tokens of one character begin at the same byte.
        if reach > start { reach } else { self.text.ceil_char_boundary(start + 1) }
    }

    fn reach_back(&self, floor: usize, end: usize) -> usize {
        self.units.reach_back(floor, end)
    }

    fn size(&self, range: Range<usize>) -> Result<usize, TaskError> {
        self.lent.tokenizer.count(&self.text[range], self.lent.cancel)
    }

    fn shrink(&self, start: usize, reach: usize, excess: usize) -> Option<usize> {
        let idx = self.units.first_from(reach).checked_sub(excess.max(1))?;
        let first_character_end = self.text.ceil_char_boundary(start + 1);
        match self.units.starts.get(idx) {
            Some(&earlier) if earlier > start && earlier < reach => Some(earlier),
            _ if reach > first_character_end => Some(first_character_end),
            _ => None,
        }
    }

    fn budget(&self) -> usize {
        self.units.size
    }
}
