//! `word_frequencies`, and the folding of words that every comparison of words uses.

use std::borrow::Cow;
use std::collections::HashMap;

use caseless::Caseless;

use super::language::{resolve_language, stop_words};
use super::offsets::count_chars;
use super::segment::{for_each_word, map_blocks};
use super::{DocumentOperation, TextScope, TextState};
use crate::task::TaskError;
use crate::task::text::{TOP_MAX, WordFrequenciesOutput, WordFrequenciesRequest, WordFrequency, check_range};

/// The word in Unicode default case folding; borrowed when it is lower-case ASCII already.
pub(super) fn fold_word(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        if word.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(word.to_ascii_lowercase()) } else { Cow::Borrowed(word) }
    } else {
        Cow::Owned(word.chars().default_case_fold().collect())
    }
}

pub(super) struct WordFrequencies;

impl DocumentOperation for WordFrequencies {
    type Request = WordFrequenciesRequest;
    type Output = WordFrequenciesOutput;
    const NAME: &'static str = "word_frequencies";
    const SUMMARY: &'static str = "Lists the most frequent words after case folding, with or without stop words.";
    const BYTES_PER_BYTE: u64 = 24;

    fn check(request: &WordFrequenciesRequest, _state: &TextState) -> Result<(), TaskError> {
        check_range("top", request.top, 1..=TOP_MAX)?;
        request.stop_words.as_deref().map_or(Ok(()), |language| super::language::check_language("stop_words", language))
    }

    fn run(text: &str, request: &WordFrequenciesRequest, scope: &TextScope<'_>) -> Result<WordFrequenciesOutput, TaskError> {
        let blocks = map_blocks(text, scope.cancel, |block, _offset| {
            let mut counts: HashMap<Cow<'_, str>, usize> = HashMap::new();
            for_each_word(block, scope.cancel, |range| *counts.entry(fold_word(&block[range])).or_default() += 1)?;
            Ok(counts)
        })?;
        let mut counts: HashMap<Cow<'_, str>, usize> = HashMap::new();
        for block in blocks {
            scope.cancel.check()?;
            for (word, count) in block {
                *counts.entry(word).or_default() += count;
            }
        }
        let language = request.stop_words.as_deref().and_then(|language| resolve_language(language, text));
        let stops = language.map(|language| stop_words(language.iso1)).unwrap_or_default();
        counts.retain(|word, _| !stops.contains(word.as_ref()) && count_chars(word) >= request.min_characters);
        let counted_words: usize = counts.values().sum();
        let distinct_words = counts.len();
        let mut ranked: Vec<_> = counts.into_iter().collect();
        ranked.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        ranked.truncate(request.top);
        let words = ranked
            .into_iter()
            .map(|(word, count)| WordFrequency { word: word.into_owned(), count, share: count as f64 / counted_words as f64 })
            .collect();
        let stop_words_language = language.map(|language| language.iso1.to_owned());
        Ok(WordFrequenciesOutput { words, counted_words, distinct_words, stop_words_language })
    }
}
