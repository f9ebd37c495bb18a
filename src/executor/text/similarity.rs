//! `similarity`: lexical measures of two texts.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use caseless::Caseless;

use super::documents::map_texts;
use super::frequencies::fold_word;
use super::segment::{for_each_word, map_blocks};
use super::{Operation, TextScope, TextState};
use crate::executor::operation::Cost;
use crate::task::text::{
    SHINGLE_SIZE_MAX, SimilarityMeasure, SimilarityOutput, SimilarityRequest, SimilarityScore, TEXT_BYTES_MAX, TEXTS_MAX, TextAnswer,
    check_range,
};
use crate::task::{CancelHandle, Parts, TaskError};

/// The character measures take time with the product of the lengths, and are not interrupted within a pair.
const CHARACTER_PRODUCT_MAX: u64 = 100_000_000;
/// A step of Damerau-Levenshtein takes several times as long.
const DAMERAU_PRODUCT_MAX: u64 = 10_000_000;
/// The same over all of `texts_b`.
const CHARACTER_PRODUCT_SUM_MAX: u64 = 2_000_000_000;
/// Sets of words and shingles of both texts.
const BYTES_PER_BYTE: u64 = 48;
const MEASURES_MAX: usize = 8;

pub(super) struct Similarity;

impl Operation<TextState> for Similarity {
    type Request = SimilarityRequest;
    type Output = TextAnswer<SimilarityOutput>;
    const NAME: &'static str = "similarity";
    const SUMMARY: &'static str =
        "Compares texts by their words, shingles or characters: Jaccard, cosine, Dice, Levenshtein, Damerau, Jaro-Winkler.";

    fn check(request: &SimilarityRequest, _state: &TextState, _parts: &Parts) -> Result<Cost, TaskError> {
        check_range("measures", request.measures.len(), 1..=MEASURES_MAX)?;
        check_range("shingle_size", request.shingle_size, 1..=SHINGLE_SIZE_MAX)?;
        check_length("text_a", &request.text_a)?;
        let others: Vec<(String, &str)> = match (&request.text_b, &request.texts_b) {
            (Some(text), None) => vec![("text_b".into(), text)],
            (None, Some(texts)) => {
                check_range("texts_b", texts.len(), 1..=TEXTS_MAX)?;
                texts.iter().enumerate().map(|(idx, text)| (format!("texts_b[{idx}]"), text.as_str())).collect()
            }
            _ => return Err(TaskError::invalid("text_b", "give either `text_b` (a string) or `texts_b` (an array of strings)")),
        };
        let mut other_bytes = 0;
        for (field, text) in &others {
            check_length(field, text)?;
            other_bytes += text.len() as u64;
        }
        check_products(request, &others)?;
        let bytes = request.text_a.len() as u64 + other_bytes;
        Ok(Cost { host_bytes: bytes.saturating_mul(BYTES_PER_BYTE), parallel: bytes >= super::documents::PARALLEL_BYTES_MIN })
    }

    fn run(request: &SimilarityRequest, scope: &TextScope<'_>) -> Result<TextAnswer<SimilarityOutput>, TaskError> {
        let left = Side::of(&request.text_a, request, scope.cancel)?;
        let compare = |text: &str| -> Result<SimilarityOutput, TaskError> {
            scope.cancel.check()?;
            let right = Side::of(text, request, scope.cancel)?;
            let mut scores = Vec::with_capacity(request.measures.len());
            for &measure in &request.measures {
                scope.cancel.check()?;
                scores.push(SimilarityScore { measure, score: left.score(&right, measure) });
            }
            Ok(SimilarityOutput { similarity: scores.first().map_or(0.0, |first| first.score), scores })
        };
        match (&request.text_b, &request.texts_b) {
            (None, Some(texts)) => {
                let results = map_texts(texts, |_idx, text| compare(text))?;
                Ok(TextAnswer::Many { count: results.len(), results })
            }
            (text, _) => compare(text.as_deref().unwrap_or_default()).map(TextAnswer::One),
        }
    }
}

fn check_length(field: &str, text: &str) -> Result<(), TaskError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(TaskError::invalid(field, format!("found {} bytes; at most {TEXT_BYTES_MAX} bytes are allowed", text.len())));
    }
    Ok(())
}

/// Bounds what the character measures compute, for each pair and for all together.
fn check_products(request: &SimilarityRequest, others: &[(String, &str)]) -> Result<(), TaskError> {
    let bounds = request.measures.iter().filter_map(|&measure| Some((measure, product_max(measure)?)));
    let Some((measure, most)) = bounds.min_by_key(|(_, most)| *most) else { return Ok(()) };
    let own_length = character_count(&request.text_a, request.fold_case);
    let mut sum = 0_u64;
    for (field, text) in others {
        let product = own_length.saturating_mul(character_count(text, request.fold_case));
        if product > most {
            let reason = format!(
                "the product of the lengths is {product} characters; `{}` allows {most}; `cosine` and `jaccard_*` take long texts",
                serde_json::to_value(measure).ok().as_ref().and_then(serde_json::Value::as_str).unwrap_or_default()
            );
            return Err(TaskError::invalid(field, reason));
        }
        sum = sum.saturating_add(product);
    }
    // Every character measure of the request takes its time for every pair.
    let work = request.measures.iter().filter_map(|&measure| Some(CHARACTER_PRODUCT_MAX / product_max(measure)?)).sum::<u64>();
    let sum = sum.saturating_mul(work);
    if sum > CHARACTER_PRODUCT_SUM_MAX {
        let reason = format!(
            "the products of the lengths, times the character measures, are {sum} together; {CHARACTER_PRODUCT_SUM_MAX} are allowed; \
             `cosine` and `jaccard_*` take long texts"
        );
        return Err(TaskError::invalid("texts_b", reason));
    }
    Ok(())
}

/// The longest pair of a character measure; `None` for the measures that are linear.
fn product_max(measure: SimilarityMeasure) -> Option<u64> {
    use SimilarityMeasure as M;
    match measure {
        M::Levenshtein | M::JaroWinkler => Some(CHARACTER_PRODUCT_MAX),
        M::DamerauLevenshtein => Some(DAMERAU_PRODUCT_MAX),
        M::JaccardWords | M::JaccardShingles | M::JaccardTrigrams | M::Cosine | M::Dice => None,
    }
}

/// As the measures see it: folding can make a text longer.
fn character_count(text: &str, fold_case: bool) -> u64 {
    if text.is_ascii() {
        return text.len() as u64;
    }
    let count = if fold_case { text.chars().default_case_fold().count() } else { text.chars().count() };
    count as u64
}

/// One text in the forms that the measures need.
struct Side<'a> {
    text: Cow<'a, str>,
    words: HashMap<u64, u32>,
    shingles: HashSet<u64>,
    trigrams: HashSet<[char; 3]>,
}

impl<'a> Side<'a> {
    fn of(text: &'a str, request: &SimilarityRequest, cancel: &CancelHandle) -> Result<Self, TaskError> {
        use SimilarityMeasure as M;
        let wants = |wanted: &[M]| request.measures.iter().any(|measure| wanted.contains(measure));
        let text: Cow<'a, str> = if request.fold_case { fold_word(text) } else { text.into() };
        let mut side = Self { text: Cow::Borrowed(""), words: HashMap::new(), shingles: HashSet::new(), trigrams: HashSet::new() };
        if wants(&[M::JaccardWords, M::JaccardShingles, M::Cosine, M::Dice]) {
            let hashes = word_hashes(&text, cancel)?;
            if wants(&[M::JaccardShingles]) {
                side.shingles = shingle_hashes(&hashes, request.shingle_size).into_iter().collect();
            }
            for hash in hashes {
                *side.words.entry(hash).or_default() += 1;
            }
        }
        if wants(&[M::JaccardTrigrams]) {
            side.trigrams = trigrams(&text);
        }
        side.text = text;
        Ok(side)
    }

    fn score(&self, other: &Self, measure: SimilarityMeasure) -> f64 {
        use SimilarityMeasure as M;
        let shared_words = || self.words.keys().filter(|word| other.words.contains_key(word)).count();
        match measure {
            M::JaccardWords => jaccard(shared_words(), self.words.len(), other.words.len()),
            M::JaccardShingles => jaccard(self.shingles.intersection(&other.shingles).count(), self.shingles.len(), other.shingles.len()),
            M::JaccardTrigrams => jaccard(self.trigrams.intersection(&other.trigrams).count(), self.trigrams.len(), other.trigrams.len()),
            M::Dice => match self.words.len() + other.words.len() {
                0 => 1.0,
                sum => 2.0 * shared_words() as f64 / sum as f64,
            },
            M::Cosine => cosine(&self.words, &other.words),
            M::Levenshtein => strsim::normalized_levenshtein(&self.text, &other.text),
            M::DamerauLevenshtein => strsim::normalized_damerau_levenshtein(&self.text, &other.text),
            M::JaroWinkler => strsim::jaro_winkler(&self.text, &other.text),
        }
    }
}

/// Intersection over union; two empty sets are equal.
pub(super) fn jaccard(shared: usize, left: usize, right: usize) -> f64 {
    match left + right - shared {
        0 => 1.0,
        union => shared as f64 / union as f64,
    }
}

fn cosine(left: &HashMap<u64, u32>, right: &HashMap<u64, u32>) -> f64 {
    if left.is_empty() || right.is_empty() {
        return if left.is_empty() && right.is_empty() { 1.0 } else { 0.0 };
    }
    // Products of counts are whole numbers: the sums do not depend on the order of the tables.
    let square = |counts: &HashMap<u64, u32>| counts.values().map(|&count| u128::from(count).pow(2)).sum::<u128>() as f64;
    let dot: u128 = left.iter().filter_map(|(word, &count)| right.get(word).map(|&other| u128::from(count) * u128::from(other))).sum();
    (dot as f64 / (square(left).sqrt() * square(right).sqrt())).min(1.0)
}

/// One 64-bit hash per word, in order.
pub(super) fn word_hashes(text: &str, cancel: &CancelHandle) -> Result<Vec<u64>, TaskError> {
    let blocks = map_blocks(text, cancel, |block, _offset| {
        let mut hashes = Vec::new();
        for_each_word(block, cancel, |range| hashes.push(hash_bytes(block[range].as_bytes())))?;
        Ok(hashes)
    })?;
    Ok(blocks.concat())
}

/// One hash per run of `size` hashes; a shorter document that is not empty is one run.
pub(super) fn shingle_hashes(hashes: &[u64], size: usize) -> Vec<u64> {
    let combine = |run: &[u64]| run.iter().fold(run.len() as u64, |sum, &hash| mix(sum.rotate_left(23) ^ hash));
    if hashes.len() < size {
        return if hashes.is_empty() { Vec::new() } else { vec![combine(hashes)] };
    }
    hashes.windows(size).map(combine).collect()
}

fn trigrams(text: &str) -> HashSet<[char; 3]> {
    let characters: Vec<char> = text.chars().collect();
    match characters.as_slice() {
        [] => HashSet::new(),
        [a] => HashSet::from([[*a, '\0', '\0']]),
        [a, b] => HashSet::from([[*a, *b, '\0']]),
        longer => longer.windows(3).map(|run| [run[0], run[1], run[2]]).collect(),
    }
}

/// FNV-1a with a finaliser: stable over versions and machines, which the hashes of the standard library are not.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finaliser of SplitMix64: a bijection in which every input bit reaches every output bit.
pub(super) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
