//! A long text in pieces whose tokens, put together, are those of the whole: what the library holds at once has a bound, and work can be stopped between
//! two pieces.
//!
//! A text is cut before a single blank (between ideographs too, where they are words by themselves), and only for vocabularies whose tokens never reach across one. Each piece is tokenised with some text before and
//! behind it, whose tokens are thrown away, so that neither end of a piece is an end of the text. At every cut a few words around it are tokenised with
//! more and with less company: where that changes a token, another place is looked for.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{EncodeInput, Encoding, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::{TEXT_BYTES_MAX, TextTokenizer, clip};
use crate::{ModelError, StopCheck};

/// A text of so many bytes is tokenised whole.
pub const PIECE_BYTES: usize = 64 << 10;
/// What the library holds at most for each byte of what it tokenises at once: five hundred and some, for a vocabulary of words and a text of commas.
pub const LIBRARY_BYTES: u64 = 540;
/// Bytes of company before and behind a piece.
const COMPANY_BYTES: usize = 192;
/// Places that are tried in each direction before a stretch counts as one that cannot be cut.
const TRIES: usize = 64;

/// A token and the bytes of the text it came from.
type Placed = (u32, Range<usize>);

/// A piece of a text as the library tokenised it, without its company.
pub(super) struct Piece {
    pub(super) encoding: Encoding,
    /// The tokens of the piece, counted in the encoding.
    pub(super) content: Range<usize>,
    /// Where the encoding's text begins.
    pub(super) from: usize,
}

impl Piece {
    /// The tokens with their places in the whole text.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Placed> {
        let offsets = &self.encoding.get_offsets()[self.content.clone()];
        let ids = &self.encoding.get_ids()[self.content.clone()];
        ids.iter().zip(offsets).map(|(&id, &(start, end))| (id, start + self.from..end + self.from))
    }
}

impl TextTokenizer {
    /// Hands the pieces of `text` to `take`, in order; the first one alone has special tokens around its own.
    ///
    /// Errors: `Input` for a text the library fails on or a stretch without a place to cut; `Stopped` before a piece that nobody wants.
    pub(super) fn each_piece(&self, text: &str, stop: StopCheck<'_>, mut take: impl FnMut(Piece)) -> Result<(), ModelError> {
        for cuts in self.cuts(text, PIECE_BYTES)?.windows(2) {
            if stop() {
                return Err(ModelError::Stopped);
            }
            take(self.piece(text, cuts[0]..cuts[1])?);
        }
        Ok(())
    }

    pub(super) fn piece(&self, text: &str, bytes: Range<usize>) -> Result<Piece, ModelError> {
        let from = text.floor_char_boundary(bytes.start.saturating_sub(COMPANY_BYTES));
        let to = text.ceil_char_boundary(bytes.end.saturating_add(COMPANY_BYTES).min(text.len()));
        let encoding = self.library_encoding(&text[from..to], bytes.start == 0)?;
        let special = encoding.get_special_tokens_mask();
        let first = special.iter().take_while(|&&flag| flag == 1).count();
        let last = special.len() - special[first..].iter().rev().take_while(|&&flag| flag == 1).count();
        let starts: Vec<usize> = encoding.get_offsets()[first..last].iter().map(|&(start, _)| start + from).collect();
        let before = if bytes.start == 0 { 0 } else { starts.iter().take_while(|&&start| start < bytes.start).count() };
        let behind = if bytes.end == text.len() { 0 } else { starts.iter().rev().take_while(|&&start| start >= bytes.end).count() };
        Ok(Piece { encoding, content: first + before..(last - behind).max(first + before), from })
    }

    /// Ends of pieces of at most `piece_bytes` where that is possible: 0, the cuts, and the text's length.
    ///
    /// Errors: `Input` naming where more than [`TEXT_BYTES_MAX`] bytes offer no place to cut.
    pub(super) fn cuts(&self, text: &str, piece_bytes: usize) -> Result<Vec<usize>, ModelError> {
        let mut cuts = vec![0];
        let mut from = 0;
        while text.len() - from > piece_bytes {
            match self.cut_from(text, from, piece_bytes)? {
                Some(at) => from = at,
                None if text.len() - from <= TEXT_BYTES_MAX => break,
                None => {
                    return Err(ModelError::input(format!(
                        "this tokenizer finds no place to cut the {} bytes from byte {from} on, at most {TEXT_BYTES_MAX} are tokenised in one stretch; \
                         split the text",
                        text.len() - from
                    )));
                }
            }
            cuts.push(from);
        }
        cuts.push(text.len());
        Ok(cuts)
    }

    fn cut_from(&self, text: &str, from: usize, piece_bytes: usize) -> Result<Option<usize>, ModelError> {
        if !*self.keeps_words_apart.get_or_init(|| self.finds_words_apart()) {
            return Ok(None);
        }
        let middle = text.ceil_char_boundary(from + piece_bytes);
        let nearest = text.ceil_char_boundary(from + piece_bytes / 4);
        let farthest = text.floor_char_boundary((from + TEXT_BYTES_MAX).min(text.len()));
        // Such a normaliser puts blanks around ideographs.
        let spaced = matches!(self.inner.get_normalizer(), Some(NormalizerWrapper::BertNormalizer(bert)) if bert.handle_chinese_chars);
        let may_cut = |&at: &usize| single_blank(text, at) || spaced && between_ideographs(text, at);
        let back = text[nearest..middle].char_indices().rev().map(|(at, _)| nearest + at).filter(may_cut);
        let ahead = text[middle..farthest].char_indices().map(|(at, _)| middle + at).filter(may_cut);
        for at in back.take(TRIES).chain(ahead.take(TRIES)) {
            if self.is_seam(text, at)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// True when no token lies across `at`, and neither side's tokens change with how much of the other side is there.
    fn is_seam(&self, text: &str, at: usize) -> Result<bool, ModelError> {
        let from = text.floor_char_boundary(at.saturating_sub(COMPANY_BYTES));
        let to = text.ceil_char_boundary((at + COMPANY_BYTES).min(text.len()));
        let before = text.floor_char_boundary(at - 1);
        let behind = text[at..].char_indices().nth(2).map_or(text.len(), |(offset, _)| at + offset);
        let tokens = |bytes: Range<usize>| -> Result<Vec<Placed>, ModelError> {
            let encoding = self.library_encoding(&text[bytes.clone()], false)?;
            let places = encoding.get_offsets().iter().map(|&(start, end)| start + bytes.start..end + bytes.start);
            Ok(encoding.get_ids().iter().copied().zip(places).collect())
        };
        let both = tokens(from..to)?;
        if both.iter().any(|(_, bytes)| bytes.start < at && bytes.end > at) {
            return Ok(false);
        }
        let (left, right): (Vec<Placed>, Vec<Placed>) = both.into_iter().partition(|(_, bytes)| bytes.start < at);
        let left_alone = tokens(from..behind)?.into_iter().filter(|(_, bytes)| bytes.start < at);
        let right_alone = tokens(before..to)?.into_iter().filter(|(_, bytes)| bytes.start >= at);
        Ok(left_alone.eq(left) && right_alone.eq(right))
    }

    /// True when a token never holds the end of a word and what follows: the text is split at blanks before it reaches the vocabulary, or no entry of
    /// the vocabulary, which alone can become a token, holds a blank behind a letter.
    fn finds_words_apart(&self) -> bool {
        const PROBE: &str = "two words\nand five\tmore";
        let split =
            self.inner.get_pre_tokenizer().is_some_and(|pre_tokenizer| splits(pre_tokenizer, PROBE) >= PROBE.split_whitespace().count());
        let whole_entries = matches!(self.inner.get_model(), ModelWrapper::BPE(_) | ModelWrapper::Unigram(_));
        split || whole_entries && !self.inner.get_vocab(true).keys().any(|entry| has_inner_blank(entry))
    }

    /// What the library makes of a text or a pair. Errors: `Input` where it fails.
    pub(super) fn library_encoding<'t>(&self, input: impl Into<EncodeInput<'t>>, special_tokens: bool) -> Result<Encoding, ModelError> {
        let input = input.into();
        catch_unwind(AssertUnwindSafe(|| self.inner.encode(input, special_tokens)))
            .map_err(|_panic| ModelError::input("the tokenizer library fails on this text"))?
            .map_err(|error| ModelError::input(format!("the tokenizer refuses the text: {}", clip(&error.to_string()))))
    }
}

/// True for a blank alone between two characters that are none.
fn single_blank(text: &str, at: usize) -> bool {
    let mut next = text[at..].chars();
    let before = text[..at].chars().next_back().is_some_and(|c| !c.is_whitespace());
    before && next.next().is_some_and(char::is_whitespace) && next.next().is_some_and(|c| !c.is_whitespace())
}

fn between_ideographs(text: &str, at: usize) -> bool {
    let ideograph = |c: Option<char>| c.is_some_and(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
    ideograph(text[..at].chars().next_back()) && ideograph(text[at..].chars().next())
}

/// Stretches that a text is split into, none of which holds the end of a word and the beginning of the next; 0 when one does.
fn splits(pre_tokenizer: &PreTokenizerWrapper, text: &str) -> usize {
    let mut split = PreTokenizedString::from(text);
    if pre_tokenizer.pre_tokenize(&mut split).is_err() {
        return 0;
    }
    let stretches = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
    let across = stretches.iter().any(|(_, (start, end), _)| text.get(*start..*end).is_none_or(has_inner_blank));
    if across { 0 } else { stretches.len() }
}

/// True for a blank, or what stands for one in vocabularies, anywhere behind another character.
fn has_inner_blank(entry: &str) -> bool {
    let blank = |c: char| c.is_whitespace() || matches!(c, '▁' | 'Ġ' | 'Ċ' | 'ĉ' | 'č');
    entry.trim_start_matches(blank).contains(blank)
}
