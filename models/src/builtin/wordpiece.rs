//! Text to WordPiece ids: lower-cased, accents stripped, split at spaces and punctuation, longest piece first.
//!
//! The output equals the `tokenizers` crate's for a lower-casing BERT tokenizer without added tokens: the spelling `[CLS]` in a text is
//! five characters, never a control token. Plain ASCII between spaces and plain ideographs, most of most texts, are read directly; everything
//! else goes through that crate's own normaliser and splitter, in short cuts: it keeps some hundred bytes per character it works on. A text may
//! be cut at ASCII spaces and around ideographs, which are words by themselves, since no rule looks across one.

use std::ops::Range;

use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer, Token};

use super::vocabulary::{UNKNOWN, Vocabulary};
use crate::ModelError;

/// Words of more characters are not spelled out but become one unknown piece.
const WORD_CHARS_MAX: usize = 100;
/// From here on a cut for the library ends at the next break.
const CUT_BYTES: usize = 4_096;

/// Ids and the bytes of the text that each came from.
#[derive(Default)]
pub(super) struct Pieces {
    /// One id per piece.
    pub(super) ids: Vec<u32>,
    /// The bytes of the text per piece.
    pub(super) offsets: Vec<Range<usize>>,
}

impl Pieces {
    fn push(&mut self, id: u32, bytes: Range<usize>) {
        self.ids.push(id);
        self.offsets.push(bytes);
    }
}

/// The pieces of `text`, in order; none for a text of spaces and control characters only.
///
/// Errors: `Input` when the normaliser refuses the text.
pub(super) fn pieces(vocabulary: &Vocabulary, text: &str) -> Result<Pieces, ModelError> {
    let mut out = Pieces::default();
    let mut lowered = String::new();
    let mut start = 0;
    for span in text.split([' ', '\t', '\n', '\r']) {
        if span.bytes().all(|byte| byte.is_ascii_graphic()) {
            lowered.clear();
            lowered.push_str(span);
            lowered.make_ascii_lowercase();
            ascii_words(vocabulary, &lowered, start, &mut out);
        } else {
            mixed_words(vocabulary, span, start, &mut out)?;
        }
        start += span.len() + 1;
    }
    Ok(out)
}

/// Words of a span of any characters but ASCII spaces: plain ideographs one by one, what lies between them by the library.
fn mixed_words(vocabulary: &Vocabulary, span: &str, base: usize, out: &mut Pieces) -> Result<(), ModelError> {
    let mut at = 0;
    while let Some(first) = span[at..].chars().next() {
        let from = base + at;
        if is_plain_ideograph(first) {
            let end = at + first.len_utf8();
            spell(vocabulary, &span[at..end], |id, piece| out.push(id, from + piece.start..from + piece.end));
            at = end;
        } else {
            let ends = |(place, char): &(usize, char)| is_plain_ideograph(*char) || (*place >= CUT_BYTES && is_break(*char));
            let end = span[at..].char_indices().find(ends).map_or(span.len(), |(place, _)| at + place);
            library_words(vocabulary, &span[at..end], from, out)?;
            at = end;
        }
    }
    Ok(())
}

/// The ideographs of the first Unicode version: every table knows them as letters.
fn is_plain_ideograph(char: char) -> bool {
    ('\u{4e00}'..='\u{9fa5}').contains(&char)
}

/// Characters before which a word always ends.
fn is_break(char: char) -> bool {
    char.is_whitespace() || char.is_ascii_punctuation() || ('\u{3001}'..='\u{3003}').contains(&char)
}

/// Words of a lower-case ASCII span: runs of letters and digits, and every punctuation mark by itself.
fn ascii_words(vocabulary: &Vocabulary, span: &str, base: usize, out: &mut Pieces) {
    let bytes = span.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count().max(1);
        spell(vocabulary, &span[at..at + run], |id, piece| out.push(id, base + at + piece.start..base + at + piece.end));
        at += run;
    }
}

/// Words of any span, by the library's normaliser and splitter.
fn library_words(vocabulary: &Vocabulary, span: &str, base: usize, out: &mut Pieces) -> Result<(), ModelError> {
    let refuse = |error: tokenizers::Error| ModelError::input(format!("the text cannot be normalised: {error}"));
    let mut normalized = NormalizedString::from(span);
    BertNormalizer::default().normalize(&mut normalized).map_err(refuse)?;
    let mut words = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut words).map_err(refuse)?;
    words
        .tokenize(|word| {
            let mut tokens = Vec::new();
            spell(vocabulary, word.get(), |id, piece| tokens.push(Token::new(id, String::new(), (piece.start, piece.end))));
            Ok(tokens)
        })
        .map_err(refuse)?;
    let encoding = words.into_encoding(None, 0, OffsetType::Byte).map_err(refuse)?;
    for (&id, &(from, to)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
        out.push(id, base + from..base + to);
    }
    Ok(())
}

/// Spells one normalised word with the longest pieces from left to right; one unknown piece where that fails or the word is too long.
fn spell(vocabulary: &Vocabulary, word: &str, mut push: impl FnMut(u32, Range<usize>)) {
    let mut found = [(0_u32, 0_usize); WORD_CHARS_MAX];
    let mut count = 0;
    let mut at = 0;
    let too_long = word.len() > WORD_CHARS_MAX && word.chars().count() > WORD_CHARS_MAX;
    while !too_long && at < word.len() {
        let Some((id, length)) = vocabulary.longest(&word[at..], at == 0) else { break };
        at += length;
        found[count] = (id, at);
        count += 1;
    }
    if at < word.len() || too_long {
        return push(UNKNOWN, 0..word.len());
    }
    let mut from = 0;
    for &(id, to) in &found[..count] {
        push(id, from..to);
        from = to;
    }
}
