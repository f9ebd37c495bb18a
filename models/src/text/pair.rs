//! One text or two as one sequence for a head: segments, places in the source, and cuts that keep the special tokens.

use std::ops::Range;

use tokenizers::Encoding;

use super::TextTokenizer;
use super::pieces::PIECE_BYTES;
use crate::ModelError;

/// A text, or two that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPair<'a> {
    /// The text, or the first of the two.
    pub first: &'a str,
    /// The other one.
    pub second: Option<&'a str>,
}

/// What happens to a sequence that is longer than the model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairCut {
    /// It is an error that names both numbers.
    Refuse,
    /// The longer text loses its end until both fit; a single text loses its end.
    LongestFirst,
    /// The first text loses its end; the second stays whole.
    OnlyFirst,
    /// The second text loses its end; the first stays whole.
    OnlySecond,
}

/// Where a token came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// True in the second text.
    pub second: bool,
    /// Bytes of that text as it was given.
    pub bytes: Range<usize>,
}

/// A tokenised text or pair. All lists have one entry per token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairTokens {
    /// Ids, special tokens included.
    pub ids: Vec<u32>,
    /// 0 for the first text, 1 for the second, as the model's tokenizer says.
    pub segments: Vec<u32>,
    /// Where each token came from; none for the special tokens around the texts.
    pub places: Vec<Option<Place>>,
    /// Tokens before any cut.
    pub full_count: usize,
}

impl PairTokens {
    /// Tokens, special ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without a single token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// True when tokens were cut away.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.full_count > self.ids.len()
    }

    fn from_encoding(encoding: &Encoding) -> Self {
        let special = encoding.get_special_tokens_mask();
        let sides = encoding.get_sequence_ids();
        let place = |index: usize| {
            let (from, to) = encoding.get_offsets()[index];
            (special[index] == 0).then(|| Place { second: sides[index] == Some(1), bytes: from..to })
        };
        Self {
            ids: encoding.get_ids().to_vec(),
            segments: encoding.get_type_ids().to_vec(),
            places: (0..encoding.len()).map(place).collect(),
            full_count: encoding.len(),
        }
    }

    /// Content tokens of the first and of the second text.
    fn content(&self) -> (usize, usize) {
        let second = self.places.iter().flatten().filter(|place| place.second).count();
        (self.places.iter().flatten().count() - second, second)
    }

    /// Keeps the first so many content tokens of each text, and every special token.
    fn keep(&mut self, mut first: usize, mut second: usize) {
        let mut kept = Vec::with_capacity(self.ids.len());
        for (index, place) in self.places.iter().enumerate() {
            let Some(place) = place else {
                kept.push(index);
                continue;
            };
            let left = if place.second { &mut second } else { &mut first };
            if *left > 0 {
                *left -= 1;
                kept.push(index);
            }
        }
        self.ids = kept.iter().map(|&index| self.ids[index]).collect();
        self.segments = kept.iter().map(|&index| self.segments[index]).collect();
        self.places = kept.iter().map(|&index| self.places[index].clone()).collect();
    }

    /// The sequence within `limit` tokens, made of texts of so many tokens. Errors: `Input` when it is too long and must not be cut, or cannot be cut
    /// enough.
    pub(super) fn within(mut self, (first, second): (usize, usize), limit: usize, cut: PairCut) -> Result<Self, ModelError> {
        let found = self.full_count;
        if found <= limit {
            return Ok(self);
        }
        let too_short = |which: &str| {
            ModelError::input(format!("{found} tokens, the model takes at most {limit}; without the {which} text it is still too long"))
        };
        let room = limit.checked_sub(found - first - second).filter(|&room| room > 0);
        let room = room.ok_or_else(|| ModelError::input(format!("the special tokens leave no room within {limit} tokens")))?;
        let kept = match cut {
            PairCut::Refuse => {
                return Err(ModelError::input(format!(
                    "{found} tokens, the model takes at most {limit}; ask for `truncate` or split the text"
                )));
            }
            PairCut::LongestFirst => longest_first(first, second, room),
            PairCut::OnlyFirst => (room.checked_sub(second).ok_or_else(|| too_short("first"))?, second),
            PairCut::OnlySecond if second == 0 => (room, 0),
            PairCut::OnlySecond => (first, room.checked_sub(first).ok_or_else(|| too_short("second"))?),
        };
        self.keep(kept.0, kept.1);
        Ok(self)
    }
}

/// What remains of two texts when the longer one is cut first, as the tokenizers library divides `room`.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    let (short, long) = (first.min(second), first.max(second));
    let (short, long) = if short + short >= room && short > 0 { (room / 2, room - room / 2) } else { (short, long.min(room - short)) };
    if first <= second { (short, long) } else { (long, short) }
}

impl TextTokenizer {
    /// A text or a pair as one sequence of at most `limit` tokens. Places are bytes of the texts as given.
    ///
    /// Errors: `Input` for a text the library fails on, one with a stretch beyond [`super::TEXT_BYTES_MAX`] that cannot be cut, and for what `cut` does
    /// not allow.
    pub fn pair(&self, pair: TextPair<'_>, limit: usize, cut: PairCut) -> Result<PairTokens, ModelError> {
        let is_long = pair.first.len().max(pair.second.map_or(0, str::len)) > PIECE_BYTES;
        let (mut tokens, counts) = if is_long { self.pair_in_pieces(pair, limit)? } else { self.pair_at_once(pair)? };
        if !self.has_segments {
            tokens.segments.fill(0);
        }
        tokens.within(counts, limit, cut)
    }

    pub(super) fn pair_at_once(&self, pair: TextPair<'_>) -> Result<(PairTokens, (usize, usize)), ModelError> {
        let encoding = match pair.second {
            Some(second) => self.library_encoding((pair.first, second), true)?,
            None => self.library_encoding(pair.first, true)?,
        };
        let tokens = PairTokens::from_encoding(&encoding);
        let counts = tokens.content();
        Ok((tokens, counts))
    }

    /// The special tokens that stand around two tiny texts, with the first `limit` tokens of each text in their places.
    fn pair_in_pieces(&self, pair: TextPair<'_>, limit: usize) -> Result<(PairTokens, (usize, usize)), ModelError> {
        const TINY: &str = "a";
        let (outline, tiny) = self.pair_at_once(TextPair { first: TINY, second: pair.second.map(|_| TINY) })?;
        if tiny.0 == 0 || pair.second.is_some() && tiny.1 == 0 {
            return Err(ModelError::input(format!("more than {PIECE_BYTES} bytes, which this tokenizer does not take; split the text")));
        }
        let mut tokens = PairTokens::default();
        let mut counts = [None; 2];
        for (index, place) in outline.places.iter().enumerate() {
            let Some(Place { second, .. }) = place else {
                tokens.ids.push(outline.ids[index]);
                tokens.segments.push(outline.segments[index]);
                tokens.places.push(None);
                continue;
            };
            if counts[usize::from(*second)].is_some() {
                continue;
            }
            let mut count = 0;
            let text = if *second { pair.second.unwrap_or_default() } else { pair.first };
            self.each_token(text, &|| false, |id, bytes| {
                count += 1;
                if count <= limit {
                    tokens.ids.push(id);
                    tokens.segments.push(outline.segments[index]);
                    tokens.places.push(Some(Place { second: *second, bytes }));
                }
            })?;
            counts[usize::from(*second)] = Some(count);
        }
        let counts = (counts[0].unwrap_or(0), counts[1].unwrap_or(0));
        tokens.full_count = outline.len() - tiny.0 - tiny.1 + counts.0 + counts.1;
        Ok((tokens, counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library's own division, on encodings of plain tokens.
    fn library(first: usize, second: usize, room: usize) -> (usize, usize) {
        use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
        let of = |count: usize| {
            Encoding::from_tokens(
                (0..count).map(|id| tokenizers::Token { id: id as u32, value: String::new(), offsets: (0, 0) }).collect(),
                0,
            )
        };
        let params = TruncationParams { max_length: room, ..TruncationParams::default() };
        let (a, b) = truncate_encodings(of(first), Some(of(second)), &params).unwrap();
        (a.len(), b.unwrap().len())
    }

    #[test]
    fn pairs_are_divided_as_the_library_divides_them() {
        for first in 0..14 {
            for second in 0..14 {
                for room in 1..first + second {
                    assert_eq!(longest_first(first, second, room), library(first, second, room), "{first} and {second} into {room}");
                }
            }
        }
    }
}
