//! Where words, sentences, graphemes and lines end; every other file of this executor asks here.
//!
//! Words and sentences are those of UAX #29 as ICU4X implements it, with dictionaries for Thai, Lao, Khmer, Burmese, Chinese and Japanese.
//! A line feed ends words and graphemes, so texts are cut into blocks after line feeds and the blocks are worked on in parallel: the answer does not
//! depend on the cut. Sentences differ from UAX #29 in one thing: a line break ends one only as [`super::lines`] says, and for them texts are cut there.

use std::ops::Range;
use std::sync::LazyLock;

use icu_segmenter::options::{SentenceBreakInvariantOptions, WordBreakInvariantOptions};
use icu_segmenter::{SentenceSegmenter, SentenceSegmenterBorrowed, WordSegmenter, WordSegmenterBorrowed};
use memchr::memchr;
use rayon::prelude::*;

use super::lines::{as_one_line, stretches};
use crate::task::{CancelHandle, TaskError};

/// Blocks are at least this long (bytes); the last may be shorter.
const BLOCK_BYTES: usize = 64 * 1024;

/// How many segments pass between two looks at the cancellation token.
pub(super) const CHECK_EVERY: usize = 16 * 1024;

/// Immutable tables: which code points begin and end segments.
static WORDS: LazyLock<WordSegmenterBorrowed<'static>> =
    LazyLock::new(|| WordSegmenter::new_dictionary(WordBreakInvariantOptions::default()));
static SENTENCES: LazyLock<SentenceSegmenterBorrowed<'static>> =
    LazyLock::new(|| SentenceSegmenter::new(SentenceBreakInvariantOptions::default()));

/// Cuts after line feeds into blocks of at least [`BLOCK_BYTES`]; together they are the whole text.
pub(super) fn blocks(text: &str) -> Vec<Range<usize>> {
    let mut blocks = Vec::with_capacity(text.len() / BLOCK_BYTES + 1);
    let mut start = 0;
    while start < text.len() {
        let from = (start + BLOCK_BYTES).min(text.len());
        let end = memchr(b'\n', &text.as_bytes()[from..]).map_or(text.len(), |at| from + at + 1);
        blocks.push(start..end);
        start = end;
    }
    blocks
}

/// Applies `work` to every block in parallel, in order; `work` gets the block and its offset. Errors: those of `work`, and cancellation before a block.
pub(super) fn map_blocks<'t, T, F>(text: &'t str, cancel: &CancelHandle, work: F) -> Result<Vec<T>, TaskError>
where
    T: Send,
    F: Fn(&'t str, usize) -> Result<T, TaskError> + Sync,
{
    map_ranges(text, blocks(text), cancel, work)
}

/// The same for blocks that end where a line break ends a sentence.
pub(super) fn map_sentence_blocks<'t, T, F>(text: &'t str, cancel: &CancelHandle, work: F) -> Result<Vec<T>, TaskError>
where
    T: Send,
    F: Fn(&'t str, usize) -> Result<T, TaskError> + Sync,
{
    map_ranges(text, sentence_blocks(text), cancel, work)
}

/// Stretches put together into blocks of at least [`BLOCK_BYTES`].
pub(super) fn sentence_blocks(text: &str) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::with_capacity(text.len() / BLOCK_BYTES + 1);
    for stretch in stretches(text) {
        match blocks.last_mut() {
            Some(block) if block.len() < BLOCK_BYTES => block.end = stretch.end,
            _ => blocks.push(stretch),
        }
    }
    blocks
}

fn map_ranges<'t, T, F>(text: &'t str, ranges: Vec<Range<usize>>, cancel: &CancelHandle, work: F) -> Result<Vec<T>, TaskError>
where
    T: Send,
    F: Fn(&'t str, usize) -> Result<T, TaskError> + Sync,
{
    ranges
        .into_par_iter()
        .map(|range| {
            cancel.check()?;
            work(&text[range.clone()], range.start)
        })
        .collect()
}

/// Calls `each` with every segment between word boundaries, white space and punctuation included; the flag is true for words.
///
/// Errors: cancellation, looked for every [`CHECK_EVERY`] segments.
pub(super) fn for_each_word_segment(text: &str, cancel: &CancelHandle, mut each: impl FnMut(Range<usize>, bool)) -> Result<(), TaskError> {
    let mut start = 0;
    for (idx, end) in WORDS.segment_str(text).enumerate() {
        if idx % CHECK_EVERY == CHECK_EVERY - 1 {
            cancel.check()?;
        }
        if end > start {
            // The segmenter's own word type looks at the last character, so that a word ending in a combining mark would be none.
            each(start..end, text[start..end].chars().any(char::is_alphanumeric));
            start = end;
        }
    }
    Ok(())
}

/// Calls `each` with every word.
pub(super) fn for_each_word(text: &str, cancel: &CancelHandle, mut each: impl FnMut(Range<usize>)) -> Result<(), TaskError> {
    for_each_word_segment(text, cancel, |range, is_word| {
        if is_word {
            each(range);
        }
    })
}

/// Calls `each` with every sentence, the white space after it included. Line breaks inside paragraphs are spaces.
pub(super) fn for_each_sentence(text: &str, cancel: &CancelHandle, mut each: impl FnMut(Range<usize>)) -> Result<(), TaskError> {
    for (idx, stretch) in stretches(text).enumerate() {
        if idx % CHECK_EVERY == CHECK_EVERY - 1 {
            cancel.check()?;
        }
        let offset = stretch.start;
        for_each_unicode_sentence(&as_one_line(&text[stretch]), cancel, |range| each(range.start + offset..range.end + offset))?;
    }
    Ok(())
}

/// Calls `each` with every sentence of UAX #29, which every line break ends.
pub(super) fn for_each_unicode_sentence(text: &str, cancel: &CancelHandle, mut each: impl FnMut(Range<usize>)) -> Result<(), TaskError> {
    let mut start = 0;
    for (idx, end) in SENTENCES.segment_str(text).enumerate() {
        if idx % CHECK_EVERY == CHECK_EVERY - 1 {
            cancel.check()?;
        }
        if end > start {
            each(start..end);
            start = end;
        }
    }
    Ok(())
}

/// The words of a whole text, in parallel.
pub(super) fn words(text: &str, cancel: &CancelHandle) -> Result<Vec<Range<usize>>, TaskError> {
    let parts = map_blocks(text, cancel, |block, offset| collect(offset, |push| for_each_word(block, cancel, push)))?;
    Ok(parts.concat())
}

/// The sentences of a whole text, trimmed; those without a letter or digit are left out. In parallel.
pub(super) fn sentences(text: &str, cancel: &CancelHandle) -> Result<Vec<Range<usize>>, TaskError> {
    let parts = map_sentence_blocks(text, cancel, |block, offset| {
        collect(offset, |push| {
            for_each_sentence(block, cancel, |range| {
                if has_content(&block[range.clone()]) {
                    push(trim(block, range));
                }
            })
        })
    })?;
    Ok(parts.concat())
}

/// How many [`sentences`] there are.
pub(super) fn count_sentences(text: &str, cancel: &CancelHandle) -> Result<usize, TaskError> {
    let counts = map_sentence_blocks(text, cancel, |block, _offset| {
        let mut count = 0_usize;
        for_each_sentence(block, cancel, |range| count += usize::from(has_content(&block[range])))?;
        Ok(count)
    })?;
    Ok(counts.into_iter().sum())
}

/// No text has more words, nor more sentences that say something: each has a run of ASCII letters and digits, or a character that is not ASCII.
pub(super) fn word_count_max(text: &str) -> usize {
    let mut inside = false;
    let mut count = 0;
    for &byte in text.as_bytes() {
        let starts = byte.is_ascii_alphanumeric() && !inside;
        let is_wide = byte >= 0xc0;
        count += usize::from(starts) + usize::from(is_wide);
        inside = byte.is_ascii_alphanumeric();
    }
    count
}

/// True when a sentence says something: it has a letter or a digit.
pub(super) fn has_content(sentence: &str) -> bool {
    sentence.chars().any(char::is_alphanumeric)
}

/// The range without white space at its ends; empty at its start when there is nothing else.
pub(super) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let slice = &text[range.clone()];
    let kept = slice.trim_start();
    let start = range.start + (slice.len() - kept.len());
    start..start + kept.trim_end().len()
}

/// What `segment` pushes, moved by `offset`.
fn collect<F>(offset: usize, segment: F) -> Result<Vec<Range<usize>>, TaskError>
where
    F: FnOnce(&mut dyn FnMut(Range<usize>)) -> Result<(), TaskError>,
{
    let mut found = Vec::new();
    segment(&mut |range| found.push(range.start + offset..range.end + offset))?;
    Ok(found)
}
