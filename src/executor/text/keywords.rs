//! `keywords`: YAKE (R. Campos et al., "YAKE! Keyword extraction from single documents using multiple local features", Information Sciences 509, 2020).
//!
//! The features and the weighting are those of the authors' program, as the `yake-rust` crate has them; that crate takes seconds per megabyte, cannot be
//! cancelled, and cuts words with a back-tracking engine that can give up on hostile input, so that the tests use it as the outside truth only.
//! Words are those of the segmenter, so languages without spaces work; there, a word of one character is short instead of one of two.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use unicode_script::{Script, UnicodeScript};

use super::language::{check_language, resolve_language, stop_words};
use super::normalize::collapse;
use super::segment::{CHECK_EVERY, for_each_sentence, for_each_word_segment, map_sentence_blocks};
use super::{DocumentOperation, TextScope, TextState};
use crate::task::text::{Keyword, KeywordsOutput, KeywordsRequest, TOP_MAX, check_range, check_share};
use crate::task::{CancelHandle, TaskError};

/// The most words of a phrase.
const NGRAM_MAX: usize = 5;
/// Words with fewer characters count as stop words.
const WORD_CHARS_MIN: usize = 3;

pub(super) struct Keywords;

impl DocumentOperation for Keywords {
    type Request = KeywordsRequest;
    type Output = KeywordsOutput;
    const NAME: &'static str = "keywords";
    const SUMMARY: &'static str = "Finds key phrases by YAKE.";
    // Words of 40 bytes each, and up to `ngram_max` candidates of about 120 bytes per word; a word has four bytes with its space at least.
    const BYTES_PER_BYTE: u64 = 60;

    fn bytes_per_byte(request: &KeywordsRequest) -> u64 {
        Self::BYTES_PER_BYTE + 30 * request.ngram_max.min(NGRAM_MAX) as u64
    }

    fn check(request: &KeywordsRequest, _state: &TextState) -> Result<(), TaskError> {
        check_range("top", request.top, 1..=TOP_MAX)?;
        check_range("ngram_max", request.ngram_max, 1..=NGRAM_MAX)?;
        check_share("similarity_max", request.similarity_max, 0.01..=1.0)?;
        check_language("language", &request.language)
    }

    fn run(text: &str, request: &KeywordsRequest, scope: &TextScope<'_>) -> Result<KeywordsOutput, TaskError> {
        let language = resolve_language(&request.language, text);
        let stops = language.map(|language| stop_words(language.iso1)).unwrap_or_default();
        let document = Document::read(text, &stops, scope.cancel)?;
        let mut candidates = document.candidates(request.ngram_max, scope.cancel)?;
        document.weigh(&mut candidates);
        candidates.sort_by(|a, b| a.score.total_cmp(&b.score).then(a.first.cmp(&b.first)));
        let keywords = document.pick(&candidates, request, scope.cancel)?;
        let language = language.filter(|_| !stops.is_empty()).map(|language| language.iso1.to_owned());
        Ok(KeywordsOutput { count: keywords.len(), keywords, language })
    }
}

/// What a word looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Digit,
    Unparsable,
    Acronym,
    Uppercase,
    Parsable,
}

/// One word of the text. Punctuation is kept as the gap before a word.
struct Word {
    range: Range<usize>,
    term: u32,
    sentence: u32,
    tag: Tag,
    /// Punctuation or a sentence's beginning lies before it.
    after_gap: bool,
}

/// A term: a lower-cased word without plural `s`, with YAKE's features of it.
struct Term {
    stop: bool,
    frequency: f64,
    score: f64,
}

/// A phrase: words `first..first + len` of the text.
struct Candidate {
    first: usize,
    len: usize,
    count: usize,
    score: f64,
}

struct Document<'a> {
    text: &'a str,
    words: Vec<Word>,
    terms: Vec<Term>,
    pairs: HashMap<(u32, u32), u32>,
}

/// Words of a block before terms are known.
struct RawWord {
    range: Range<usize>,
    folded: String,
    tag: Tag,
    after_gap: bool,
    begins_sentence: bool,
}

impl<'a> Document<'a> {
    fn read(text: &'a str, stops: &HashSet<&'static str>, cancel: &CancelHandle) -> Result<Self, TaskError> {
        let blocks = map_sentence_blocks(text, cancel, |block, offset| read_block(block, offset, cancel))?;
        let mut ids: HashMap<String, u32> = HashMap::new();
        let mut words = Vec::new();
        let mut is_stop = Vec::new();
        let mut sentence = 0_u32;
        for raw in blocks.into_iter().flatten() {
            sentence += u32::from(raw.begins_sentence && !words.is_empty());
            let stop = is_stop_word(&raw.folded, stops);
            let next = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            let term = *ids.entry(single(&raw.folded).to_owned()).or_insert(next);
            if term as usize == is_stop.len() {
                is_stop.push(stop);
            } else if let Some(known) = is_stop.get_mut(term as usize) {
                // A term is a stop word only if all its forms are.
                *known &= stop;
            }
            words.push(Word { range: raw.range, term, sentence, tag: raw.tag, after_gap: raw.after_gap });
        }
        cancel.check()?;
        let mut document = Self { text, words, terms: Vec::new(), pairs: HashMap::new() };
        document.pair_up();
        document.score_terms(&is_stop, sentence as usize + 1);
        Ok(document)
    }

    /// Counts which term stands right before which.
    fn pair_up(&mut self) {
        for pair in self.words.windows(2) {
            let [left, right] = pair else { continue };
            let counts = |word: &Word| !matches!(word.tag, Tag::Digit | Tag::Unparsable);
            if !right.after_gap && counts(left) && counts(right) {
                *self.pairs.entry((left.term, right.term)).or_default() += 1;
            }
        }
    }

    fn score_terms(&mut self, is_stop: &[bool], sentence_count: usize) {
        let count = is_stop.len();
        let mut uses: Vec<TermUse> = (0..count).map(|_| TermUse::default()).collect();
        for word in &self.words {
            uses[word.term as usize].add(word);
        }
        // Distinct and all neighbours on either side.
        let (mut left, mut right) = (vec![(0_u32, 0_u32); count], vec![(0_u32, 0_u32); count]);
        for (&(before, after), &times) in &self.pairs {
            let (distinct, all) = &mut right[before as usize];
            (*distinct, *all) = (*distinct + 1, *all + times);
            let (distinct, all) = &mut left[after as usize];
            (*distinct, *all) = (*distinct + 1, *all + times);
        }
        let (mean, deviation) =
            mean_and_deviation(uses.iter().zip(is_stop).filter(|(_, stop)| !**stop).map(|(used, _)| used.frequency as f64));
        let frequency_max = uses.iter().map(|used| used.frequency).max().unwrap_or(1) as f64;
        let dispersion = |(distinct, all): (u32, u32)| if all == 0 { 0.0 } else { f64::from(distinct) / f64::from(all) };
        self.terms = uses
            .into_iter()
            .enumerate()
            .map(|(id, used)| {
                let frequency = used.frequency as f64;
                let casing = used.acronyms.max(used.capitals) as f64 / (1.0 + frequency.ln());
                let position = (3.0 + used.median_sentence()).ln().ln();
                let relatedness = 1.0 + (dispersion(left[id]) + dispersion(right[id])) * (frequency / frequency_max);
                let normal_frequency = if mean + deviation > 0.0 { frequency / (mean + deviation) } else { frequency };
                let spread = used.sentences.len() as f64 / sentence_count as f64;
                let score = relatedness * position / (casing + normal_frequency / relatedness + spread / relatedness);
                Term { stop: is_stop[id], frequency, score }
            })
            .collect();
    }

    /// Every run of up to `ngram_max` words of a sentence that neither begins nor ends with a stop word and holds no number or odd word.
    fn candidates(&self, ngram_max: usize, cancel: &CancelHandle) -> Result<Vec<Candidate>, TaskError> {
        let mut found: HashMap<[u32; NGRAM_MAX], usize> = HashMap::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        for first in 0..self.words.len() {
            if first % CHECK_EVERY == 0 {
                cancel.check()?;
            }
            let mut key = [u32::MAX; NGRAM_MAX];
            for len in 1..=ngram_max {
                let Some(word) = self.words.get(first + len - 1) else { break };
                let is_odd = matches!(word.tag, Tag::Digit | Tag::Unparsable);
                if is_odd || len > 1 && word.after_gap || len == 1 && self.terms[word.term as usize].stop {
                    break;
                }
                key[len - 1] = word.term;
                if self.terms[word.term as usize].stop {
                    continue;
                }
                match found.get(&key) {
                    Some(&known) => candidates[known].count += 1,
                    None => {
                        found.insert(key, candidates.len());
                        candidates.push(Candidate { first, len, count: 1, score: 0.0 });
                    }
                }
            }
        }
        Ok(candidates)
    }

    fn weigh(&self, candidates: &mut [Candidate]) {
        for candidate in candidates {
            let words = &self.words[candidate.first..candidate.first + candidate.len];
            let (mut product, mut sum) = (1.0, 0.0);
            for (at, word) in words.iter().enumerate() {
                let term = &self.terms[word.term as usize];
                if term.stop {
                    // A stop word inside a phrase weighs by how firmly it is tied to its neighbours.
                    let before = self.tie(words[at - 1].term, word.term, self.terms[words[at - 1].term as usize].frequency);
                    let after = self.tie(word.term, words[at + 1].term, self.terms[words[at + 1].term as usize].frequency);
                    let tied = before * after;
                    product *= 1.0 + (1.0 - tied);
                    sum -= 1.0 - tied;
                } else {
                    product *= term.score;
                    sum += term.score;
                }
            }
            if sum == -1.0 {
                sum = 0.999_999_999;
            }
            candidate.score = product / (candidate.count as f64 * (1.0 + sum));
        }
    }

    fn tie(&self, left: u32, right: u32, frequency: f64) -> f64 {
        self.pairs.get(&(left, right)).map_or(0.0, |&times| f64::from(times) / frequency)
    }

    fn pick(&self, ranked: &[Candidate], request: &KeywordsRequest, cancel: &CancelHandle) -> Result<Vec<Keyword>, TaskError> {
        let mut keywords: Vec<Keyword> = Vec::new();
        let mut folded: Vec<String> = Vec::new();
        for candidate in ranked {
            if keywords.len() == request.top {
                break;
            }
            cancel.check()?;
            let last = &self.words[candidate.first + candidate.len - 1];
            let range = self.words[candidate.first].range.start..last.range.end;
            let text = collapse(&self.text[range.clone()]);
            let lower = text.to_lowercase();
            if folded.iter().any(|known| strsim_at_least(known, &lower, request.similarity_max)) {
                continue;
            }
            folded.push(lower);
            keywords.push(Keyword { text, score: candidate.score, count: candidate.count, start_byte: range.start, end_byte: range.end });
        }
        Ok(keywords)
    }
}

/// How a term is used.
#[derive(Default)]
struct TermUse {
    frequency: usize,
    acronyms: usize,
    capitals: usize,
    /// Sentences in ascending order, each once.
    sentences: Vec<u32>,
}

impl TermUse {
    fn add(&mut self, word: &Word) {
        self.frequency += 1;
        self.acronyms += usize::from(word.tag == Tag::Acronym);
        self.capitals += usize::from(word.tag == Tag::Uppercase);
        if self.sentences.last() != Some(&word.sentence) {
            self.sentences.push(word.sentence);
        }
    }

    fn median_sentence(&self) -> f64 {
        let (len, half) = (self.sentences.len(), self.sentences.len() / 2);
        match len {
            0 => 0.0,
            _ if len % 2 == 1 => f64::from(self.sentences[half]),
            _ => (f64::from(self.sentences[half - 1]) + f64::from(self.sentences[half])) / 2.0,
        }
    }
}

/// Mean and population standard deviation; zeros without values.
fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (count, sum) = values.clone().fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    if count == 0.0 {
        return (0.0, 0.0);
    }
    let mean = sum / count;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

fn strsim_at_least(a: &str, b: &str, threshold: f64) -> bool {
    let (long, short) = (a.len().max(b.len()), a.len().min(b.len()));
    // The distance is at least the difference of the lengths, in bytes four times that in characters at most.
    if threshold < 1.0 && (long - short) as f64 / 4.0 > (1.0 - threshold) * long as f64 {
        return false;
    }
    if threshold >= 1.0 { a == b } else { strsim::normalized_levenshtein(a, b) >= threshold }
}

fn read_block(block: &str, offset: usize, cancel: &CancelHandle) -> Result<Vec<RawWord>, TaskError> {
    let mut sentences = Vec::new();
    for_each_sentence(block, cancel, |range| sentences.push(range))?;
    let mut words: Vec<RawWord> = Vec::new();
    for sentence in sentences {
        let (mut after_gap, mut begins_sentence, mut hyphen_at) = (true, true, None);
        let base = sentence.start;
        for_each_word_segment(&block[sentence.clone()], cancel, |range, is_word| {
            let (start, end) = (base + range.start, base + range.end);
            let segment = &block[start..end];
            if !is_word {
                let follows_word = words.last().is_some_and(|word| word.range.end == start + offset);
                hyphen_at = (matches!(segment, "-" | "\u{2010}" | "\u{2011}") && follows_word && !after_gap_after(segment)).then_some(end);
                after_gap |= !segment.trim().is_empty() && hyphen_at.is_none();
                return;
            }
            if hyphen_at.take() == Some(start) && !begins_sentence {
                // Words joined by a hyphen are one word.
                if let Some(last) = words.last_mut() {
                    last.range.end = end + offset;
                    let joined = &block[last.range.start - offset..end];
                    last.folded = joined.to_lowercase();
                    last.tag = tag_of(joined, last.begins_sentence);
                    return;
                }
            }
            let folded = segment.to_lowercase();
            let tag = tag_of(segment, begins_sentence);
            words.push(RawWord { range: start + offset..end + offset, folded, tag, after_gap, begins_sentence });
            (after_gap, begins_sentence) = (false, false);
        })?;
    }
    Ok(words)
}

fn after_gap_after(segment: &str) -> bool {
    segment.chars().count() > 1
}

fn tag_of(word: &str, begins_sentence: bool) -> Tag {
    if word.replace(',', "").parse::<f64>().is_ok() {
        return Tag::Digit;
    }
    let has_digit = word.chars().any(char::is_numeric);
    let has_letter = word.chars().any(char::is_alphabetic);
    if has_digit == has_letter {
        return Tag::Unparsable;
    }
    if word.chars().all(char::is_uppercase) {
        return Tag::Acronym;
    }
    let mut characters = word.chars();
    let capital = characters.next().is_some_and(char::is_uppercase) && !characters.any(char::is_uppercase);
    if capital && !begins_sentence { Tag::Uppercase } else { Tag::Parsable }
}

/// The word without a plural `s`.
fn single(folded: &str) -> &str {
    if folded.chars().take(4).count() > 3 { folded.strip_suffix('s').unwrap_or(folded) } else { folded }
}

fn is_stop_word(folded: &str, stops: &HashSet<&'static str>) -> bool {
    let single = single(folded);
    let characters = single.chars().filter(|character| character.is_alphanumeric()).count();
    let min = if single.chars().any(is_dense) { WORD_CHARS_MIN - 1 } else { WORD_CHARS_MIN };
    characters < min || stops.contains(folded) || stops.contains(single)
}

/// Scripts whose words have few characters.
fn is_dense(character: char) -> bool {
    matches!(character.script(), Script::Han | Script::Hiragana | Script::Katakana | Script::Hangul)
}
