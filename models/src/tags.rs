//! From one label per token to spans with one label: how transformers' token classification pipeline joins B-I-O tags, and B-I-O-E-S beside them.
//!
//! Pure: scores, places and spellings in, spans out.

use std::ops::Range;

/// How the tokens of a word, and the words of an entity, become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Joining {
    /// Not at all: one span per token.
    None,
    /// Tokens with the same tag side by side become one span.
    #[default]
    Simple,
    /// A word takes the label of its first token.
    First,
    /// A word takes the label of its surest token.
    Max,
    /// A word takes the label that is best on average over its tokens.
    Average,
}

/// A token with its scores.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedToken {
    /// Its spelling in the vocabulary.
    pub spelling: String,
    /// Bytes of the text.
    pub bytes: Range<usize>,
    /// True when it continues the word before it.
    pub continues: bool,
    /// One score per label.
    pub scores: Vec<f32>,
}

/// A stretch of text under one label.
#[derive(Clone, Debug, PartialEq)]
pub struct TagSpan {
    /// The label without the tag's prefix; with it when tokens are not joined.
    pub label: String,
    /// The mean of its parts' scores.
    pub score: f32,
    /// The spellings of its tokens, word by word.
    pub words: Vec<Vec<String>>,
    /// Bytes of the text.
    pub bytes: Range<usize>,
}

/// A part of a span: a token, or a word.
struct Piece<'a> {
    label: &'a str,
    score: f32,
    spellings: Vec<String>,
    bytes: Range<usize>,
}

/// Spans of `tokens` under `labels`, in the order of the text. `O` and what stands in no span is left out.
///
/// Ties go to the lower label. Tokens without text between them do not matter; two `B-` side by side are two spans.
#[must_use]
pub fn join(tokens: &[TaggedToken], labels: &[String], joining: Joining) -> Vec<TagSpan> {
    let pieces: Vec<Piece<'_>> = match joining {
        Joining::None | Joining::Simple => tokens.iter().map(|token| word(std::slice::from_ref(token), labels, Joining::First)).collect(),
        _ => words(tokens).map(|tokens| word(tokens, labels, joining)).collect(),
    };
    let spans: Vec<TagSpan> = match joining {
        Joining::None => pieces.into_iter().map(|piece| span(vec![piece], str::to_owned)).collect(),
        _ => group(pieces, Scheme::of(labels)),
    };
    spans.into_iter().filter(|span| span.label != "O").collect()
}

/// Tokens word by word: a word begins where a token does not continue the one before.
fn words(tokens: &[TaggedToken]) -> impl Iterator<Item = &[TaggedToken]> {
    tokens.chunk_by(|_, next| next.continues)
}

fn word<'a>(tokens: &[TaggedToken], labels: &'a [String], joining: Joining) -> Piece<'a> {
    let surest = |token: &&TaggedToken| best(&token.scores).1;
    let (label, score) = match joining {
        Joining::Average => {
            let mean = |label: usize| tokens.iter().map(|token| f64::from(token.scores[label])).sum::<f64>() / tokens.len() as f64;
            best(&(0..labels.len()).map(|label| mean(label) as f32).collect::<Vec<f32>>())
        }
        // The first of equals.
        Joining::Max => {
            let token = tokens.iter().rev().max_by(|a, b| surest(a).total_cmp(&surest(b)));
            token.map_or((0, 0.0), |token| best(&token.scores))
        }
        _ => best(&tokens[0].scores),
    };
    Piece {
        label: labels.get(label).map_or("O", String::as_str),
        score,
        spellings: tokens.iter().map(|token| token.spelling.clone()).collect(),
        bytes: tokens[0].bytes.start..tokens[tokens.len() - 1].bytes.end,
    }
}

/// The largest score and its index; the lower of equals.
fn best(scores: &[f32]) -> (usize, f32) {
    let largest = scores.iter().copied().enumerate().reduce(|kept, next| if next.1 > kept.1 { next } else { kept });
    largest.unwrap_or((0, 0.0))
}

/// Which prefixes labels carry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// `B-` begins, everything else continues.
    Bio,
    /// `B-` and `S-` begin, `E-` and `S-` end.
    Bioes,
}

impl Scheme {
    /// `E-X` beside `I-X` or `B-X` is an end, and no entity of its own.
    fn of(labels: &[String]) -> Self {
        let has = |prefix: &str, kind: &str| labels.iter().any(|label| label.strip_prefix(prefix) == Some(kind));
        let ends = labels.iter().filter_map(|label| label.strip_prefix("E-"));
        if ends.into_iter().any(|kind| has("B-", kind) || has("I-", kind)) { Self::Bioes } else { Self::Bio }
    }

    /// The prefix's letter and the kind. Without a prefix a label continues.
    fn split(self, label: &str) -> (char, &str) {
        let known: &[char] = if self == Self::Bio { &['B', 'I'] } else { &['B', 'I', 'E', 'S'] };
        let mut letters = label.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), Some('-')) if known.contains(&letter) => (letter, &label[2..]),
            _ => ('I', label),
        }
    }
}

fn group(pieces: Vec<Piece<'_>>, scheme: Scheme) -> Vec<TagSpan> {
    let mut spans = Vec::new();
    let mut open: Vec<Piece<'_>> = Vec::new();
    for piece in pieces {
        let continues = open.last().is_some_and(|last| {
            let ((before, kind), (letter, next)) = (scheme.split(last.label), scheme.split(piece.label));
            kind == next && !matches!(letter, 'B' | 'S') && !matches!(before, 'E' | 'S')
        });
        if !continues && !open.is_empty() {
            spans.push(span(std::mem::take(&mut open), kind_of));
        }
        open.push(piece);
    }
    if !open.is_empty() {
        spans.push(span(open, kind_of));
    }
    spans
}

/// What stands behind the first hyphen, as transformers names a group.
fn kind_of(label: &str) -> String {
    label.split_once('-').map_or(label, |(_, kind)| kind).to_owned()
}

fn span(pieces: Vec<Piece<'_>>, label: impl Fn(&str) -> String) -> TagSpan {
    let score = pieces.iter().map(|piece| f64::from(piece.score)).sum::<f64>() / pieces.len() as f64;
    TagSpan {
        label: label(pieces[0].label),
        score: score as f32,
        bytes: pieces[0].bytes.start..pieces[pieces.len() - 1].bytes.end,
        words: pieces.into_iter().map(|piece| piece.spellings).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tags: &[usize], labels: usize) -> Vec<TaggedToken> {
        let token = |(at, &tag): (usize, &usize)| TaggedToken {
            spelling: format!("t{at}"),
            bytes: at..at + 1,
            continues: false,
            scores: (0..labels).map(|label| if label == tag { 0.75 } else { 0.01 }).collect(),
        };
        tags.iter().enumerate().map(token).collect()
    }

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn ends_and_singles_close_a_span() {
        let names = labels(&["O", "B-PER", "I-PER", "E-PER", "S-PER"]);
        let found = join(&tokens(&[1, 2, 3, 3, 4, 4, 0, 2, 1, 3], 5), &names, Joining::Simple);
        let places: Vec<Range<usize>> = found.iter().map(|span| span.bytes.clone()).collect();
        assert_eq!(places, [0..3, 3..4, 4..5, 5..6, 7..8, 8..10]);
        assert!(found.iter().all(|span| span.label == "PER"));
    }

    #[test]
    fn labels_without_ends_keep_the_plain_scheme() {
        // As transformers reads it, `E-5` is a kind of its own where nothing says B-5 or I-5.
        let names = labels(&["O", "B-PER", "I-PER", "E-5"]);
        let found = join(&tokens(&[3, 3, 1, 1, 2], 4), &names, Joining::Simple);
        let seen: Vec<(&str, Range<usize>)> = found.iter().map(|span| (span.label.as_str(), span.bytes.clone())).collect();
        assert_eq!(seen, [("5", 0..2), ("PER", 2..3), ("PER", 3..5)]);
    }

    #[test]
    fn nothing_makes_nothing() {
        for joining in [Joining::None, Joining::Simple, Joining::First, Joining::Max, Joining::Average] {
            assert_eq!(join(&[], &labels(&["O"]), joining), []);
        }
    }
}
