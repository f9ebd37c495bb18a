//! `character_counts` and `reverse`.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use super::segment::map_blocks;
use super::{DocumentOperation, TextScope, TextState};
use crate::task::TaskError;
use crate::task::text::{CharacterClass, CharacterCountsOutput, CharacterCountsRequest, ReverseRequest, TOP_MAX, TextOutput, check_range};

pub(super) struct CharacterCounts;

impl DocumentOperation for CharacterCounts {
    type Request = CharacterCountsRequest;
    type Output = CharacterCountsOutput;
    const NAME: &'static str = "character_counts";
    const SUMMARY: &'static str = "Counts characters by class and lists the most frequent ones.";
    // At most 1.1 million different characters, a table entry each; a short text cannot have more than it has characters.
    const BYTES_PER_BYTE: u64 = 12;

    fn check(request: &CharacterCountsRequest, _state: &TextState) -> Result<(), TaskError> {
        check_range("top", request.top, 0..=TOP_MAX)
    }

    fn run(text: &str, request: &CharacterCountsRequest, scope: &TextScope<'_>) -> Result<CharacterCountsOutput, TaskError> {
        let blocks = map_blocks(text, scope.cancel, |block, _offset| Ok(histogram(block)))?;
        let mut counts: HashMap<char, usize> = HashMap::new();
        for (character, count) in blocks.into_iter().flatten() {
            *counts.entry(character).or_default() += count;
        }
        Ok(classify(counts, request.top))
    }
}

fn histogram(block: &str) -> Vec<(char, usize)> {
    let mut ascii = [0_usize; 128];
    let mut others: HashMap<char, usize> = HashMap::new();
    for character in block.chars() {
        match ascii.get_mut(character as usize) {
            Some(count) => *count += 1,
            None => *others.entry(character).or_default() += 1,
        }
    }
    let ascii = (0_u8..128).map(char::from).zip(ascii).filter(|&(_, count)| count > 0);
    ascii.chain(others).collect()
}

fn classify(counts: HashMap<char, usize>, top: usize) -> CharacterCountsOutput {
    let mut output = CharacterCountsOutput { distinct: counts.len(), ..CharacterCountsOutput::default() };
    for (&character, &count) in &counts {
        output.characters += count;
        output.uppercase += if character.is_uppercase() { count } else { 0 };
        output.lowercase += if character.is_lowercase() { count } else { 0 };
        let class = if character.is_alphabetic() {
            &mut output.letters
        } else if character.is_numeric() {
            &mut output.digits
        } else if character.is_whitespace() {
            &mut output.whitespace
        } else if character.is_control() {
            &mut output.control
        } else {
            &mut output.other
        };
        *class += count;
    }
    let mut ranked: Vec<(char, usize)> = counts.into_iter().collect();
    ranked.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let ranked = ranked.into_iter().take(top);
    output.most_frequent =
        ranked.map(|(character, count)| CharacterClass { character, code_point: format!("U+{:04X}", character as u32), count }).collect();
    output
}

pub(super) struct Reverse;

impl DocumentOperation for Reverse {
    type Request = ReverseRequest;
    type Output = TextOutput;
    const NAME: &'static str = "reverse";
    const SUMMARY: &'static str = "Reverses by user-perceived characters, so that accents, emoji and flags stay whole.";
    const BYTES_PER_BYTE: u64 = 4;

    fn run(text: &str, _request: &ReverseRequest, scope: &TextScope<'_>) -> Result<TextOutput, TaskError> {
        let blocks = map_blocks(text, scope.cancel, |block, _offset| Ok(block.graphemes(true).rev().collect::<String>()))?;
        let mut reversed = String::with_capacity(text.len());
        for block in blocks.iter().rev() {
            reversed.push_str(block);
        }
        Ok(TextOutput { text: reversed })
    }
}
