//! The linear pass: from a start, the best boundary within reach.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::super::segment::{for_each_sentence, for_each_word_segment};
use super::boundaries::Structure;
use super::meter::Meter;
use crate::task::{CancelHandle, TaskError};

/// How far (bytes) past the reach a sentence or word boundary at the reach may depend on what follows.
const LOOKAHEAD_BYTES: usize = 64;

/// A chunk before it becomes an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    pub(super) size: usize,
}

/// What a pass works with.
pub(super) struct Cutter<'a> {
    pub(super) text: &'a str,
    pub(super) structure: &'a Structure,
    pub(super) meter: &'a dyn Meter,
    /// Cut exactly where the budget ends: its units (sentences) are boundaries.
    pub(super) whole_units: bool,
    pub(super) has_overlap: bool,
}

impl Cutter<'_> {
    /// All chunks. Their stretches, with the white space between them, are the whole text. Errors: cancellation; those of a model.
    pub(super) fn cut(&self, cancel: &CancelHandle) -> Result<Vec<Piece>, TaskError> {
        let text_end = self.text.trim_end().len();
        let mut pieces = Vec::new();
        let mut fresh = self.fitting_from(0);
        let mut start = fresh;
        while fresh < text_end {
            cancel.check()?;
            let piece = self.piece(start, fresh, text_end, cancel)?;
            let end = piece.range.end;
            fresh = self.fitting_from(end);
            start = if self.has_overlap && fresh < text_end { self.overlap_start(&piece.range, fresh, cancel)? } else { fresh };
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// The chunk that begins at `start` and holds at least one character from `fresh` on.
    fn piece(&self, start: usize, fresh: usize, text_end: usize, cancel: &CancelHandle) -> Result<Piece, TaskError> {
        let content = self.skip_space(fresh);
        let past_first = self.text.ceil_char_boundary(content + 1);
        let mut reach = self.meter.reach(start).max(past_first);
        loop {
            let end = if reach >= text_end { text_end } else { self.best_end(start, content, reach, cancel)? };
            let end = start + self.text[start..end].trim_end().len();
            let size = self.meter.size(start..end)?;
            let Some(excess) = size.checked_sub(self.meter.budget()).filter(|&excess| excess > 0) else {
                return Ok(Piece { range: start..end, size });
            };
            match self.meter.shrink(start, end.min(reach), excess) {
                Some(earlier) if earlier >= past_first => reach = earlier,
                // Repeated text that leaves no room for new text is given up.
                _ if start < fresh => return self.piece(fresh, fresh, text_end, cancel),
                // So is indentation.
                _ if fresh < content => return self.piece(content, content, text_end, cancel),
                _ => return Ok(Piece { range: start..end, size }),
            }
        }
    }

    /// The best place to end past the character at `fresh`: structure, then sentence, word, grapheme, character.
    fn best_end(&self, start: usize, fresh: usize, reach: usize, cancel: &CancelHandle) -> Result<usize, TaskError> {
        if self.whole_units {
            return Ok(reach);
        }
        // White space after the reach does not count: it is trimmed.
        let limit = reach + (self.text[reach..].len() - self.text[reach..].trim_start().len());
        if let Some(end) = self.structure.best_within(fresh + 1..limit + 1) {
            return Ok(end);
        }
        let window = start..self.text.floor_char_boundary((limit + LOOKAHEAD_BYTES).min(self.text.len()));
        let allowed = fresh + 1..limit + 1;
        if let Some(end) = self.sentence_ends(window.clone(), cancel)?.into_iter().rfind(|end| allowed.contains(end)) {
            return Ok(end);
        }
        let words = self.word_ends(window, cancel)?;
        let words = || words.iter().copied().filter(|end| allowed.contains(end));
        let after_space = words().rfind(|&end| self.text[..end].ends_with(char::is_whitespace) || end == limit && limit > reach);
        if let Some(end) = after_space.or_else(|| words().next_back()) {
            return Ok(end);
        }
        if self.is_grapheme_end(start, reach) {
            return Ok(reach);
        }
        let mut graphemes = self.text[start..reach].grapheme_indices(true).map(|(at, _)| start + at);
        Ok(graphemes.rfind(|at| (fresh + 1..reach).contains(at)).unwrap_or(reach))
    }

    /// True when `reach` lies between graphemes.
    fn is_grapheme_end(&self, start: usize, reach: usize) -> bool {
        let end = self.text.floor_char_boundary((reach + LOOKAHEAD_BYTES).min(self.text.len()));
        let from = self.text.floor_char_boundary(reach.saturating_sub(LOOKAHEAD_BYTES).max(start));
        self.text[from..end].grapheme_indices(true).any(|(at, _)| from + at == reach)
    }

    fn sentence_ends(&self, window: Range<usize>, cancel: &CancelHandle) -> Result<Vec<usize>, TaskError> {
        let mut ends = Vec::new();
        for_each_sentence(&self.text[window.clone()], cancel, |range| ends.push(window.start + range.end))?;
        Ok(ends)
    }

    fn word_ends(&self, window: Range<usize>, cancel: &CancelHandle) -> Result<Vec<usize>, TaskError> {
        let mut ends = Vec::new();
        for_each_word_segment(&self.text[window.clone()], cancel, |range, _is_word| ends.push(window.start + range.end))?;
        Ok(ends)
    }

    /// Where the next chunk begins so that it repeats at most the overlap: the first boundary of structure or sentence that is close enough, else the
    /// first word, else none.
    fn overlap_start(&self, previous: &Range<usize>, fresh: usize, cancel: &CancelHandle) -> Result<usize, TaskError> {
        let floor = self.text.ceil_char_boundary(previous.start + 1).min(previous.end);
        let from = self.meter.reach_back(floor, previous.end);
        let allowed = from..previous.end;
        if allowed.is_empty() {
            return Ok(fresh);
        }
        let sentences = self.sentence_ends(previous.clone(), cancel)?;
        let sentence = sentences.into_iter().find(|at| allowed.contains(at));
        let structure = self.structure.first_within(allowed.clone());
        let mut start = match (sentence, structure) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if start.is_none() && !self.whole_units {
            start = self.word_ends(previous.clone(), cancel)?.into_iter().find(|at| allowed.contains(at));
        }
        let start = start.map_or(fresh, |at| self.fitting_from(at));
        // Repeated text must leave room for new text.
        let has_room = start < fresh && self.meter.reach(start) > self.skip_space(fresh);
        Ok(if has_room { start } else { fresh })
    }

    /// The first byte from `at` on that belongs to a chunk: white space is skipped, but for the indentation of a line where that is kept and fits.
    fn fitting_from(&self, at: usize) -> usize {
        let content = self.skip_space(at);
        if !self.structure.keeps_indentation {
            return content;
        }
        let line = self.text[at..content].rfind(['\n', '\r']).map(|found| at + found + 1);
        let line = line.or_else(|| (at == 0).then_some(0)).unwrap_or(content);
        if self.meter.reach(line) > content { line } else { content }
    }

    fn skip_space(&self, at: usize) -> usize {
        at + (self.text[at..].len() - self.text[at..].trim_start().len())
    }
}
