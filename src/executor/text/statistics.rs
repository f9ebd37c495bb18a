//! `statistics` and `word_count`.

use std::collections::HashSet;

use unicode_segmentation::UnicodeSegmentation;

use super::offsets::count_chars;
use super::segment::{count_sentences, for_each_word, map_blocks};
use super::{DocumentOperation, TextScope, TextState};
use crate::task::text::{StatisticsOutput, StatisticsRequest, WordCountOutput, WordCountRequest, check_range};
use crate::task::{CancelHandle, TaskError};

pub(super) struct Statistics;

impl DocumentOperation for Statistics {
    type Request = StatisticsRequest;
    type Output = StatisticsOutput;
    const NAME: &'static str = "statistics";
    const SUMMARY: &'static str =
        "Counts bytes, characters, graphemes, words, sentences, lines and paragraphs, and estimates the reading time.";
    // The set of different words, in the worst case every second character a new one.
    const BYTES_PER_BYTE: u64 = 12;

    fn check(request: &StatisticsRequest, _state: &TextState) -> Result<(), TaskError> {
        check_range("words_per_minute", request.words_per_minute as usize, 1..=10_000)
    }

    fn run(text: &str, request: &StatisticsRequest, scope: &TextScope<'_>) -> Result<StatisticsOutput, TaskError> {
        let mut blocks = map_blocks(text, scope.cancel, |block, _offset| count_block(block, scope.cancel))?.into_iter();
        let mut total = blocks.next().unwrap_or_default();
        for block in blocks {
            total.add(block);
        }
        total.sentences = count_sentences(text, scope.cancel)?;
        Ok(total.finish(text, request.words_per_minute))
    }
}

#[derive(Default)]
struct BlockCounts<'a> {
    characters: usize,
    whitespace: usize,
    graphemes: usize,
    words: usize,
    word_characters: usize,
    sentences: usize,
    distinct: HashSet<std::borrow::Cow<'a, str>>,
}

impl<'a> BlockCounts<'a> {
    fn add(&mut self, other: BlockCounts<'a>) {
        self.characters += other.characters;
        self.whitespace += other.whitespace;
        self.graphemes += other.graphemes;
        self.words += other.words;
        self.word_characters += other.word_characters;
        if other.distinct.len() > self.distinct.len() {
            let smaller = std::mem::replace(&mut self.distinct, other.distinct);
            self.distinct.extend(smaller);
        } else {
            self.distinct.extend(other.distinct);
        }
    }

    fn finish(self, text: &str, words_per_minute: u32) -> StatisticsOutput {
        let (lines, paragraphs) = lines_and_paragraphs(text);
        StatisticsOutput {
            bytes: text.len(),
            characters: self.characters,
            characters_without_whitespace: self.characters - self.whitespace,
            graphemes: self.graphemes,
            words: self.words,
            distinct_words: self.distinct.len(),
            sentences: self.sentences,
            lines,
            paragraphs,
            mean_word_characters: mean(self.word_characters, self.words),
            mean_sentence_words: mean(self.words, self.sentences),
            reading_time_s: self.words as f64 * 60.0 / f64::from(words_per_minute.max(1)),
        }
    }
}

fn mean(sum: usize, count: usize) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}

fn count_block<'a>(block: &'a str, cancel: &CancelHandle) -> Result<BlockCounts<'a>, TaskError> {
    let mut counts = BlockCounts::default();
    for character in block.chars() {
        counts.characters += 1;
        counts.whitespace += usize::from(character.is_whitespace());
    }
    // In ASCII only CR LF is one grapheme of two characters.
    counts.graphemes = if block.is_ascii() {
        block.len() - memchr::memmem::find_iter(block.as_bytes(), b"\r\n").count()
    } else {
        block.graphemes(true).count()
    };
    cancel.check()?;
    for_each_word(block, cancel, |range| {
        let word = &block[range];
        counts.words += 1;
        counts.word_characters += count_chars(word);
        counts.distinct.insert(super::frequencies::fold_word(word));
    })?;
    Ok(counts)
}

fn lines_and_paragraphs(text: &str) -> (usize, usize) {
    let (mut lines, mut paragraphs, mut inside) = (0, 0, false);
    for line in text.lines() {
        lines += 1;
        let blank = line.trim().is_empty();
        paragraphs += usize::from(!blank && !inside);
        inside = !blank;
    }
    (lines, paragraphs)
}

pub(super) struct WordCount;

impl DocumentOperation for WordCount {
    type Request = WordCountRequest;
    type Output = WordCountOutput;
    const NAME: &'static str = "word_count";
    const SUMMARY: &'static str = "Counts words.";
    const BYTES_PER_BYTE: u64 = 1;

    fn run(text: &str, _request: &WordCountRequest, scope: &TextScope<'_>) -> Result<WordCountOutput, TaskError> {
        let counts = map_blocks(text, scope.cancel, |block, _offset| {
            let mut count = 0_usize;
            for_each_word(block, scope.cancel, |_range| count += 1)?;
            Ok(count)
        })?;
        Ok(WordCountOutput { word_count: counts.into_iter().sum() })
    }
}
